"""Samples for training and evaluation: sources, one per file, behind one `Dataset`."""
