"""Made-up inputs, for when there is no data: standard normal values shaped like the model's inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnx_dnscp.data.dataset import Dataset, Sample
from onnx_dnscp.model.graph import Graph
from onnx_dnscp.tracing.trace import random_inputs

NUM_SAMPLES = 512


class SyntheticSamples:
    """Samples made when asked for; sample i is the same every time."""

    def __init__(self, graph: Graph, shapes: Mapping[str, tuple[int, ...]], seed: int) -> None:
        self._graph = graph
        self._shapes = {name: (1, *shape[1:]) for name, shape in shapes.items()}
        self._seed = seed

    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, index: int) -> Sample:
        made = random_inputs(self._graph, self._shapes, np.random.default_rng([self._seed, index]))
        return {name: value[0] for name, value in made.items()}


def synthetic_dataset(graph: Graph, shapes: Mapping[str, tuple[int, ...]], seed: int) -> Dataset:
    """Samples for a model without data; `shapes` are its traced input shapes, batch first."""
    return Dataset(SyntheticSamples(graph, shapes, seed), False, "synthetic inputs", real=False)
