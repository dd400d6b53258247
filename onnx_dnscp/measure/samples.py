"""Samples that several commands need: to verify with, to time with."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.errors import ModelError
from onnx_dnscp.measure.evaluation import batch_limit
from onnx_dnscp.model.graph import Graph, dimensions
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.model.trace import Trace
from onnx_dnscp.tracing.trace import random_inputs

VERIFY_BATCH = 32
VERIFY_BATCHES = 2
MAX_GROWN = 1 << 26  # elements that attention's largest tensor may grow to at a larger size: 256 MB of float32
SIZE_STEP = 32  # how much larger other images are; networks with free sizes mostly want multiples of it


def verification_batches(graph: Graph, trace: Trace, dataset: Dataset | None) -> list[Batch]:
    """Real samples where there are some, else random ones; with two batch sizes where the model takes any.

    Flags are off in the first random batch and on in the second, so that both branches of an If are seen. Where the
    model takes images of any size, one more batch has another size than discovery saw.
    """
    others = _other_sizes(graph, trace)
    if dataset is None:
        first = random_inputs(graph, trace.shapes_of(graph.inputs), np.random.default_rng(0))
        second = random_inputs(graph, _shapes_of_one_call(graph, trace), np.random.default_rng(1))
        flagged = {n: np.ones_like(v) if v.dtype == np.bool_ else v for n, v in second.items()}
        return [Batch(first), Batch(flagged), *others]
    fixed = batch_limit(graph)
    size = fixed or min(VERIFY_BATCH, len(dataset.samples))
    batches = list(islice(dataset.batches(size, size * VERIFY_BATCHES), VERIFY_BATCHES))
    whole = [b for b in batches if fixed is None or b.size == fixed]
    return [*whole, *others] if fixed else [*whole, *islice(dataset.batches(1, 1), 1), *others]


def _other_sizes(graph: Graph, trace: Trace) -> list[Batch]:
    """One random sample with every free axis but the first larger than traced, if there are any and the model runs.

    Where it might fill the memory, because attention grows with the square of the size, there is none.
    """
    shapes = dict(_shapes_of_one_call(graph, trace))
    for name, declared in graph.inputs.items():
        free = [axis for axis, dim in enumerate(dimensions(declared)) if axis and not isinstance(dim, int)]
        grown = {axis: shapes[name][axis] + SIZE_STEP * (i + 1) for i, axis in enumerate(free)}
        shapes[name] = tuple(grown.get(axis, size) for axis, size in enumerate(shapes[name]))
    if shapes == _shapes_of_one_call(graph, trace):
        return []
    before, grown_to = (sum(map(math.prod, sizes.values())) for sizes in (_shapes_of_one_call(graph, trace), shapes))
    largest = max(map(math.prod, trace.shapes.values())) / max(1, trace.batch)
    if largest * (grown_to / max(1, before)) ** 2 > MAX_GROWN:
        return []
    feeds = random_inputs(graph, shapes, np.random.default_rng(2))
    try:
        Session(graph.proto, optimize=False).run(feeds)
    except ModelError:  # free in name only
        return []
    return [Batch(feeds)]


def one_call(graph: Graph, trace: Trace, dataset: Dataset | None) -> dict[str, NDArray[Any]]:
    """Inputs for timing one call: one sample, or as many as the model is fixed to."""
    if dataset is not None and dataset.real:
        size = batch_limit(graph) or 1
        return dict(next(iter(dataset.batches(size, size))).inputs)
    return random_inputs(graph, _shapes_of_one_call(graph, trace), np.random.default_rng(0))


def _shapes_of_one_call(graph: Graph, trace: Trace) -> dict[str, tuple[int, ...]]:
    """Traced input shapes, with one sample where the number is free."""
    size = batch_limit(graph) or 1
    shapes = dict(trace.shapes_of(graph.inputs))
    for name, declared in graph.inputs.items():
        if shapes[name] and not isinstance(dimensions(declared)[0], int):
            shapes[name] = (size, *shapes[name][1:])
    return shapes
