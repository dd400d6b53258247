"""Stage 2, canonicalise: what one run of a model shows."""
