"""Rewrites of the gradient graph that make it faster and compute the same, one idea per file.

`apply.py` chooses. A rewrite that does not fit a node, or that the processor has no kernels for, leaves it as it is.
"""
