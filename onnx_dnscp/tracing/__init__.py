"""Stage 2, canonicalise: the sizes and integers of a model."""
