"""Part of the samples set aside, to measure on what was not trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.data.dataset import Dataset, Sample, Samples
from onnx_dnscp.errors import DataError


class _Part:
    """Some of the samples."""

    def __init__(self, samples: Samples, chosen: NDArray[Any]) -> None:
        self._samples = samples
        self._chosen = chosen

    def __len__(self) -> int:
        return int(self._chosen.size)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[int(self._chosen[index])]


def hold_out(dataset: Dataset, share: float, seed: int, at_least: int = 1) -> tuple[Dataset, Dataset]:
    """Samples to train on, and `share` of all, drawn at random, to measure on.

    Args:
        dataset: All samples.
        share: 0 < share < 1.
        seed: Of the draw.
        at_least: Samples that either part must have.

    Raises:
        DataError: There are too few.
    """
    count = len(dataset.samples)
    held = max(at_least, round(share * count))
    if count - held < at_least:
        raise DataError(
            f"The data {dataset.description!r} holds {count} sample(s), too few to train on some and to measure on "
            "others; give more, or --test-data."
        )
    order = np.random.default_rng(seed).permutation(count)
    rest = replace(dataset, samples=_Part(dataset.samples, np.sort(order[held:])))
    description = f"{held} samples of {dataset.description} that were held out"
    return rest, replace(dataset, samples=_Part(dataset.samples, np.sort(order[:held])), description=description)
