"""Passes that arrange a model for training, one per file.

Each edits its argument in place and returns None, unless its docstring says otherwise, and leaves the function
that the model computes as it was.
"""
