"""Samples that several commands need: to verify with, to time with."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.evaluation import batch_limit
from onnx_dnscp.graph import Graph, dimensions
from onnx_dnscp.tracing.probe import Trace
from onnx_dnscp.tracing.trace import random_inputs

VERIFY_BATCH = 32
VERIFY_BATCHES = 2


def verification_batches(graph: Graph, seen: Trace, dataset: Dataset | None) -> list[Batch]:
    """Real samples where there are some, else random ones; with two batch sizes where the model takes any.

    Flags are off in the first random batch and on in the second, so that both branches of an If are seen.
    """
    if dataset is None:
        first = random_inputs(graph, seen.shapes_of(graph.inputs), np.random.default_rng(0))
        second = random_inputs(graph, _shapes_of_one_call(graph, seen), np.random.default_rng(1))
        return [Batch(first), Batch({n: np.ones_like(v) if v.dtype == np.bool_ else v for n, v in second.items()})]
    fixed = batch_limit(graph)
    size = fixed or min(VERIFY_BATCH, len(dataset.samples))
    batches = list(islice(dataset.batches(size, size * VERIFY_BATCHES), VERIFY_BATCHES))
    whole = [b for b in batches if fixed is None or b.size == fixed]
    return whole if fixed else [*whole, *islice(dataset.batches(1, 1), 1)]


def one_call(graph: Graph, seen: Trace, dataset: Dataset | None) -> dict[str, NDArray[Any]]:
    """Inputs for timing one call: one sample, or as many as the model is fixed to."""
    if dataset is not None and dataset.real:
        size = batch_limit(graph) or 1
        return dict(next(iter(dataset.batches(size, size))).inputs)
    return random_inputs(graph, _shapes_of_one_call(graph, seen), np.random.default_rng(0))


def _shapes_of_one_call(graph: Graph, seen: Trace) -> dict[str, tuple[int, ...]]:
    """Traced input shapes, with one sample where the number is free."""
    size = batch_limit(graph) or 1
    shapes = dict(seen.shapes_of(graph.inputs))
    for name, declared in graph.inputs.items():
        if shapes[name] and not isinstance(dimensions(declared)[0], int):
            shapes[name] = (size, *shapes[name][1:])
    return shapes
