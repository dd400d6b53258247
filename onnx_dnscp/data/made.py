"""Samples that a user's function makes.

It is called without arguments and returns one of these:

- a sequence, which has `__len__` and `__getitem__`: samples are asked for in any order, by several threads;
- an iterator, or anything else that can be iterated over: it is read once and to its end, into a temporary file;
- a dict of whole arrays by input name.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.data.arrays import array_dataset
from onnx_dnscp.data.convert import Conversion
from onnx_dnscp.data.dataset import DECODE_THREADS, LABELS_KEY, Dataset, Sample, Samples, data_source
from onnx_dnscp.data.function import is_function, load_function, telling
from onnx_dnscp.data.mapped import MappedArray
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.data.spool import Spool
from onnx_dnscp.errors import DataError
from onnx_dnscp.model.graph import Graph

logger = logging.getLogger("onnx_dnscp")

_NUM_COMPARED = 16  # samples of a sequence that tell whether it is still the same
_FORMS = "give (inputs, label) or a dict by input name"


@data_source
def open_function(path: Path, graph: Graph, preprocess: Preprocess) -> Dataset | None:
    """Samples of a function; None for paths."""
    if not is_function(path):
        return None
    name = str(path)
    function = load_function(name)
    with telling(name, "when it was called"):
        made = function()
    if isinstance(made, (str, bytes, tuple)):
        raise DataError(
            f"The data {name!r} returned a {type(made).__name__}; return a list of samples, an iterator over samples, "
            "or a dict of arrays by input name."
        )
    if isinstance(made, Mapping):
        with telling(name, "when its arrays were looked at"):
            arrays = {str(key): np.asarray(value) for key, value in made.items()}
        return _marked(array_dataset(arrays, path, graph, preprocess))
    reader = _Reader(name, graph, Conversion(graph, preprocess, name))
    if hasattr(made, "__len__") and hasattr(made, "__getitem__"):
        return _marked(_sequence(made, reader, path))
    kept, digest = _read_once(made, reader)
    return replace(array_dataset(kept, path, graph, preprocess), fingerprint=digest)


class _Reader:
    """Takes samples apart that a user's code hands over, and makes sure that they are all alike.

    Args:
        name: Of the function.
        graph: The model.
        convert: Knows which arrays mean something to it.
    """

    def __init__(self, name: str, graph: Graph, convert: Conversion) -> None:
        self.name = name
        self.convert = convert
        self._graph = graph
        self._form: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] | None = None

    def arrays(self, sample: Any, index: int) -> dict[str, NDArray[Any]]:
        """The sample's arrays as they are, by what they are called in a `Sample`.

        Raises:
            DataError: It is of no known form, or of another one than the first.
        """
        inputs, labels = sample, {}
        if isinstance(sample, tuple):
            if len(sample) != 2:
                raise DataError(f"Sample {index} of {self.name!r} is a tuple of {len(sample)}; {_FORMS}.")
            inputs, labels = sample[0], {LABELS_KEY: sample[1]}
        if not isinstance(inputs, Mapping):
            if len(self._graph.inputs) != 1:
                raise DataError(
                    f"Sample {index} of {self.name!r} is one array, and the model has {len(self._graph.inputs)} inputs "
                    f"({', '.join(self._graph.inputs)}); {_FORMS}."
                )
            inputs = {next(iter(self._graph.inputs)): inputs}
        given, keys = {**inputs, **labels}, self.convert.keys
        with telling(self.name, f"at sample {index}"):
            arrays = {keys[key]: np.asarray(value) for key, value in given.items() if key in keys}
        if LABELS_KEY in arrays:
            arrays[LABELS_KEY] = self.convert(LABELS_KEY, arrays[LABELS_KEY])
        form = {key: (value.shape, value.dtype) for key, value in arrays.items()}
        self._form = self._form or form
        if form != self._form:
            raise DataError(
                f"Sample {index} of {self.name!r} has {_spelled(form)}, and the first has {_spelled(self._form)}; make "
                "all of one form."
            )
        return arrays


def _spelled(form: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> str:
    return ", ".join(f"{key!r} {dtype} {shape}" for key, (shape, dtype) in form.items()) or "no known arrays"


class _SequenceSamples:
    """Samples of a user's sequence, asked for when they are needed."""

    def __init__(self, sequence: Sequence[Any], count: int, reader: _Reader) -> None:
        self._sequence = sequence
        self._count = count
        self._reader = reader

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        with telling(self._reader.name, f"at sample {index}"):
            sample = self._sequence[index]
        arrays = self._reader.arrays(sample, index)
        return {key: self._reader.convert(key, value[None], index)[0] for key, value in arrays.items()}


def _sequence(made: Sequence[Any], reader: _Reader, path: Path) -> Dataset:
    with telling(reader.name, "when its length was asked for"):
        length = len(made)
    samples = _SequenceSamples(made, length, reader)
    first = samples[0] if length else {}  # the form of this one is that of all others, whichever thread comes first
    targets = tuple(name for name, key in reader.convert.keys.items() if key in first and key != name)
    return Dataset(samples, LABELS_KEY in first, path.name, decode_threads=DECODE_THREADS, targets=targets)


def _read_once(made: Any, reader: _Reader) -> tuple[dict[str, MappedArray], str]:
    """All samples of something that can be iterated over, as arrays in files, and a hash of their values.

    Raises:
        DataError: There is none, or no room for them, or it cannot be iterated over.
    """
    logger.info("reading the samples of %s into a temporary file", reader.name)
    digest, number = hashlib.sha256(), 0
    form: dict[str, NDArray[Any]] = {}
    spools: dict[str, Spool] = {}
    for number, sample in enumerate(_one_by_one(made, reader.name), 1):
        arrays = reader.arrays(sample, number - 1)
        if number == 1:
            form = arrays
            spools = {key: Spool(f"{key!r} of the samples of {reader.name!r}") for key in arrays}
        for key, value in arrays.items():
            reader.convert(key, value[None], number - 1)  # refuses what is no number before its bytes are kept
            content = value.tobytes()
            spools[key].append(content)
            digest.update(content)
    if not form:
        raise DataError(f"The data {reader.name!r} is empty: it has no samples that the model's inputs are named in.")
    names = {key: name for name, key in reader.convert.keys.items()}
    mapped = {
        names[key]: MappedArray(spool.finish(), repr(reader.name), 0, form[key].dtype, (number, *form[key].shape), "C")
        for key, spool in spools.items()
    }
    return mapped, digest.hexdigest()


def _one_by_one(made: Any, name: str) -> Iterator[Any]:
    """What `made` gives, one by one; what goes wrong in it is told as the user's."""
    with telling(name, "when it was iterated over"):
        source = iter(made)
    for number in count():
        with telling(name, f"at sample {number}"):
            try:
                sample = next(source)
            except StopIteration:
                return
        yield sample


def _marked(dataset: Dataset) -> Dataset:
    """The data with a fingerprint; says whether samples are the same at every reading."""
    digests = [_digest(dataset.samples) for _ in range(2)]
    fixed = digests[0] == digests[1]
    return replace(dataset, fixed=fixed, fingerprint=digests[0] if fixed else f"{len(dataset.samples)} samples")


def _digest(samples: Samples) -> str:
    """A hash of how many samples there are and of some of them, the first and the last included."""
    digest = hashlib.sha256(f"{len(samples)}".encode())
    for index in np.unique(np.linspace(0, len(samples) - 1, _NUM_COMPARED).astype(int)) if len(samples) else ():
        for key, value in sorted(samples[int(index)].items()):
            digest.update(f"{key} {value.shape} {value.dtype}".encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
