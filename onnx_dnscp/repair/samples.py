"""Samples to repair with: real ones where there are some, else noise with the spectrum of photographs.

Sources: Field, "Relations between the statistics of natural images and the response properties of cortical cells", 1987
(amplitudes fall as 1 / frequency); Baradad et al., "Learning to See by Looking at Noise", NeurIPS 2021.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.measure.evaluation import batch_limit
from onnx_dnscp.model.graph import Graph
from onnx_dnscp.tracing.trace import random_inputs

NUM_SAMPLES = 512
_MIN_SAMPLES = 64
_TOTAL_ELEMENTS = 1 << 25  # of all inputs together, beyond which fewer samples must do
_BATCH_ELEMENTS = 1 << 20  # of one batch's inputs; activations of a wide network are some hundred times as many
_MAX_BATCH = 128
_SHARED = 0.7  # of the noise that all channels have in common, as colours do


def repair_batches(
    graph: Graph, shapes: Mapping[str, tuple[int, ...]], dataset: Dataset | None, seed: int
) -> list[Batch]:
    """Batches to repair with, shuffled.

    Args:
        graph: The model.
        shapes: Traced shape of each input, batch first.
        dataset: Real samples; None makes some up.
        seed: Of the shuffling or the noise.
    """
    if dataset is not None:
        shapes = dataset.input_shapes(1)
    elements = max(1, sum(math.prod(shape[1:]) for shape in shapes.values()))
    count = min(NUM_SAMPLES, max(_MIN_SAMPLES, _TOTAL_ELEMENTS // elements))
    if dataset is not None:
        count = min(count, len(dataset.samples))
    size = batch_limit(graph) or min(count, _MAX_BATCH, max(1, _BATCH_ELEMENTS // elements))
    num_batches = max(1, count // size)
    if dataset is not None:
        return list(islice(dataset.training_batches(size, seed), num_batches))
    own = {name: (size, *shape[1:]) for name, shape in shapes.items()}
    return [_made_up(graph, own, np.random.default_rng([seed, index])) for index in range(num_batches)]


def _made_up(graph: Graph, shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator) -> Batch:
    inputs: dict[str, NDArray[Any]] = dict(random_inputs(graph, shapes, rng))
    for name, value in inputs.items():
        if value.dtype.kind == "f" and value.ndim > 2:
            inputs[name] = natural_noise(value.shape, rng).astype(value.dtype)
    return Batch(inputs)


def natural_noise(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise of mean 0 and deviation 1 whose amplitude falls with frequency, alike in all channels.

    Args:
        shape: Batch first; the smallest of the other axes counts the channels, all others are spatial.
        rng: Draws it.
    """
    channels = 1 + int(np.argmin(shape[1:]))
    space = tuple(axis for axis in range(1, len(shape)) if axis != channels)
    frequencies = np.zeros((1,) * len(shape))
    for axis in space:
        frequency = np.fft.fftfreq(shape[axis]) ** 2
        frequencies = frequencies + frequency.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    amplitude = 1 / np.sqrt(np.maximum(frequencies, 1 / max(shape[axis] for axis in space) ** 2))
    one = tuple(1 if axis == channels else size for axis, size in enumerate(shape))
    white = math.sqrt(_SHARED) * rng.standard_normal(one) + math.sqrt(1 - _SHARED) * rng.standard_normal(shape)
    noise = np.fft.ifftn(np.fft.fftn(white, axes=space) * amplitude, axes=space).real
    return np.asarray(noise / noise.std())
