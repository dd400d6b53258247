"""One shape for all data: indexable samples that were checked against the model's inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import DataError
from onnx_dnscp.model.graph import Graph, dimensions
from onnx_dnscp.ops.table import Table

LABELS_KEY = "labels"
_INDEX_KEY = "dnscp//index"
_TARGET_PREFIX = "dnscp//target/"
DECODE_THREADS = 2  # decoding a small JPEG takes less than training on it; more threads would take its cores
_ENDLESS = 1 << 30  # epochs; without a number the length in batches of one sample overflows
Sample = dict[str, NDArray[Any]]


def target_key(output: str) -> str:
    """The key under which a sample holds what an output should be."""
    return f"{_TARGET_PREFIX}{output}"


class Samples(Protocol):
    """Random access to samples: model input name to one sample without the batch axis.

    Plus a class number under `labels` and what outputs should be under their `target_key`, if there are any.
    """

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, index: int) -> Sample:
        """One sample. Raises `DataError` if it cannot be read."""


@dataclass(frozen=True)
class Dataset:
    """Samples that fit a model.

    Attributes:
        samples: The samples.
        has_labels: Whether each has a class number under `labels`.
        description: What to call them in reports.
        real: False for synthetic samples.
        decode_threads: Threads worth using to read them; 0 where samples are already in memory.
        targets: Outputs that each sample tells the value of.
        augment: Makes another sample of each for training.
        fixed: False where a sample is drawn anew whenever it is read, so that nothing about it can be kept.
        fingerprint: Tells whether samples that lie in no file of the user's are still what they were.
    """

    samples: Samples
    has_labels: bool
    description: str
    real: bool = True
    decode_threads: int = 0
    targets: tuple[str, ...] = ()
    fixed: bool = True
    fingerprint: str | None = None
    augment: Callable[[Sample, np.random.Generator], Sample] | None = None

    def input_shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Concrete shape of each model input for `batch` samples."""
        return {name: (batch, *value.shape) for name, value in _inputs(self.samples[0]).items()}

    def training_batches(self, batch: int, seed: int, start: int = 0) -> Iterator[Batch]:
        """Endless batches, reshuffled every epoch; the same for the same seed.

        Args:
            batch: Samples in each.
            seed: Of the order.
            start: Batches to leave out at the beginning; their samples are not even read.
        """
        grain = _grain()
        samples = grain.MapDataset.source(_Numbered(self.samples)).seed(seed).shuffle().repeat(_ENDLESS)
        if self.augment is not None:
            samples = samples.random_map(self.augment)
        return self._read(samples.batch(batch)[start:])

    def batches(self, batch: int, limit: int | None = None) -> Iterator[Batch]:
        """All samples (or the first `limit`) once, in order; the last batch may be smaller."""
        grain = _grain()
        count = len(self.samples) if limit is None else min(limit, len(self.samples))
        return self._read(grain.MapDataset.source(_Numbered(self.samples))[:count].batch(batch))

    def _read(self, pipeline: Any) -> Iterator[Batch]:
        """Batches of a grain pipeline; each thread makes one while another one of its own waits to be used."""
        ahead = _grain().ReadOptions(num_threads=self.decode_threads, prefetch_buffer_size=2 * self.decode_threads)
        return map(as_batch, iter(pipeline.to_iter_dataset(ahead)))


class _Numbered:
    """Samples that know their position."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return {**self._samples[index], _INDEX_KEY: np.asarray(index, dtype=np.int64)}


def as_batch(stacked: Mapping[str, NDArray[Any]]) -> Batch:
    """Sort stacked samples into inputs, labels, targets and positions."""
    targets = {
        key.removeprefix(_TARGET_PREFIX): value for key, value in stacked.items() if key.startswith(_TARGET_PREFIX)
    }
    return Batch(_inputs(stacked), stacked.get(LABELS_KEY), targets, stacked.get(_INDEX_KEY))


def _inputs(arrays: Mapping[str, NDArray[Any]]) -> Sample:
    """What of a sample, or of several stacked ones, the model reads."""
    return {
        key: value
        for key, value in arrays.items()
        if key not in (LABELS_KEY, _INDEX_KEY) and not key.startswith(_TARGET_PREFIX)
    }


def _grain() -> Any:
    import logging

    logging.getLogger("absl").setLevel(logging.ERROR)  # grain warns at import that jax's profiler is missing
    import grain

    return grain


Opener = Callable[[Path, Graph, Preprocess], Dataset | None]
_OPENERS: Table[str, Opener] = Table("data source")


def data_source(opener: Opener) -> Opener:
    """Register a kind of data: a function that opens a path, or returns None if it is not its kind."""
    _OPENERS.add(f"{opener.__module__}.{opener.__qualname__}", opener)
    return opener


def open_dataset(path: str | Path, graph: Graph, preprocess: Preprocess, num_classes: int | None) -> Dataset:
    """Open data of any registered kind and check it against the model.

    Args:
        path: A file, a folder, or in its place the name of a function.
        graph: The model the samples are for.
        preprocess: How to prepare them.
        num_classes: Labels must lie in 0 .. num_classes-1; None if the model is no classifier.

    Raises:
        DataError: Missing, of no known kind, empty, too few for the model's fixed batch, or not fitting the model.
    """
    path = Path(path)
    for opener in _OPENERS.values():
        dataset = opener(path, graph, preprocess)
        if dataset is not None:
            break
    else:
        if not path.exists():
            raise DataError(f"The data {str(path)!r} does not exist.")
        raise DataError(
            f"The data {str(path)!r} is of no known kind; give an .npz or .npy file, images in a folder, .zip, .tar or "
            ".parquet file, or a function as package.module:function."
        )
    if not len(dataset.samples):
        raise DataError(f"The data {str(path)!r} is empty: it holds no samples.")
    check_sample(dataset.samples[0], graph, path)
    _check_count(len(dataset.samples), graph, path)
    labels = getattr(dataset.samples, "labels", None)
    if num_classes is not None and dataset.has_labels:
        if labels is None:  # they are known one by one
            return replace(dataset, samples=_LabelsChecked(dataset.samples, num_classes, path))
        _check_labels(np.asarray(labels), num_classes, path)
    return dataset


class _LabelsChecked:
    """Samples whose labels are looked at when they are read."""

    def __init__(self, samples: Samples, num_classes: int, path: Path) -> None:
        self._samples = samples
        self._num_classes = num_classes
        self._path = path

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        sample = self._samples[index]
        _check_labels(sample[LABELS_KEY][None], self._num_classes, self._path, index)
        return sample


def check_sample(sample: Sample, graph: Graph, path: Path) -> None:
    """Make sure one sample has every model input, in its rank and fixed sizes.

    Raises:
        DataError: It does not.
    """
    given = list(_inputs(sample))
    for name, declared in graph.inputs.items():
        if name not in sample:
            raise DataError(
                f"The model's input {name!r} is missing in {str(path)!r}, which has {', '.join(given) or 'no arrays'}; "
                "arrays must be named like the inputs."
            )
        dims = dimensions(declared)[1:]
        shape = sample[name].shape
        fits = len(dims) == len(shape) and all(
            not isinstance(d, int) or d == s for d, s in zip(dims, shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if not isinstance(d, int) else str(d) for d in dims)
            raise DataError(
                f"Samples for input {name!r} in {str(path)!r} have shape {shape}; the model wants ({wanted}) "
                "after the batch axis."
            )


def _check_count(count: int, graph: Graph, path: Path) -> None:
    for name, declared in graph.inputs.items():
        batch = next(iter(dimensions(declared)), None)
        if isinstance(batch, int) and batch > count:
            raise DataError(
                f"The data {str(path)!r} holds {count} samples; the model takes {batch} at a time at its input "
                f"{name!r}. Give more samples."
            )


def _check_labels(labels: NDArray[Any], num_classes: int, path: Path, first: int = 0) -> None:
    """Make sure that labels, of which the first is that of sample `first`, are class numbers."""
    if labels.ndim != 1:
        raise DataError(
            f"'labels' in {str(path)!r} have shape {labels.shape}; a classifier needs one class number per sample, "
            f"shape ({len(labels)},)."
        )
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if bad.size:
        raise DataError(
            f"Label {labels.flat[bad[0]]} of sample {first + bad[0]} in {str(path)!r} is out of range: the model has "
            f"{num_classes} classes, 0 to {num_classes - 1}."
        )
