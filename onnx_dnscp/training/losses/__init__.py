"""Losses, one per file: each adds its nodes to the training view and says what to feed at every step."""
