"""The stages of a run: each takes a `Pruning` and gives a `Pruning`."""
