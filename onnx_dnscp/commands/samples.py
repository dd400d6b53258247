"""Samples that several commands need: to verify with, to time with."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.evaluation import batch_limit
from onnx_dnscp.graph import Graph
from onnx_dnscp.tracing.probe import Trace
from onnx_dnscp.tracing.trace import random_inputs

VERIFY_BATCH = 32
VERIFY_BATCHES = 2


def verification_batches(graph: Graph, seen: Trace, dataset: Dataset | None) -> list[Batch]:
    """Real samples where there are some, else random ones; with two batch sizes where the model takes any."""
    if dataset is None:
        shapes = seen.shapes_of(graph.inputs)
        return [Batch(random_inputs(graph, shapes, np.random.default_rng(seed))) for seed in range(VERIFY_BATCHES)]
    fixed = batch_limit(graph)
    size = fixed or min(VERIFY_BATCH, len(dataset.samples))
    batches = list(islice(dataset.batches(size, size * VERIFY_BATCHES), VERIFY_BATCHES))
    whole = [b for b in batches if fixed is None or len(next(iter(b.inputs.values()))) == fixed]
    return whole if fixed else [*whole, *islice(dataset.batches(1, 1), 1)]


def one_call(graph: Graph, seen: Trace, dataset: Dataset | None) -> dict[str, NDArray[Any]]:
    """Inputs for timing one call: one sample, or as many as the model is fixed to."""
    size = batch_limit(graph) or 1
    if dataset is not None and dataset.real:
        return dict(next(iter(dataset.batches(size, size))).inputs)
    shapes = {name: (size, *seen.shapes[name][1:]) for name in graph.inputs}
    return random_inputs(graph, shapes, np.random.default_rng(0))
