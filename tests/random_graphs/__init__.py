"""Random valid ONNX networks for property tests."""

from random_graphs.strategy import HEADS, PLAIN, RandomGraph, random_graphs

__all__ = ["HEADS", "PLAIN", "RandomGraph", "random_graphs"]
