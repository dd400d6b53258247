"""Whom self-distillation asks what a network should say: the original model, at every step or once for all samples."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.errors import RequestError
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.system.memory import free_memory
from onnx_dnscp.training.passes.float32 import as_float32

logger = logging.getLogger("onnx_dnscp")

_OPTION = "--cache-teacher"
_SHARE = 0.8  # of the free memory; training needs some, too
_SAME = 1e-4  # of an output's largest value; two batches with the same samples differ by rounding alone
_MIB = 1 << 20


class Teacher(Protocol):
    """Knows what a batch's outputs should be."""

    def answers(self, batch: Batch, taps: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Tensors of the original model for the batch, floats in float32."""


class LiveTeacher:
    """Runs the original model on every batch.

    Args:
        original: The model; stays as it is.
        threads: Inside one operator; 0 leaves the choice to the runtime.
    """

    def __init__(self, original: onnx.ModelProto, threads: int = 0) -> None:
        self._original = original
        self._threads = threads
        self._session: Session | None = None
        self._known: frozenset[str] = frozenset()

    def answers(self, batch: Batch, taps: Sequence[str]) -> dict[str, NDArray[Any]]:
        """See `Teacher.answers`."""
        if self._session is None or not self._known.issuperset(taps):
            self._known = frozenset(taps)
            self._session = Session(self._original, more_outputs=taps, threads=self._threads, what="The original model")
        return as_float32(self._session.run(batch.inputs, taps))


class CachedTeacher:
    """Runs the original model on all samples of a dataset when it is first asked, and looks its answers up ever after.

    Answers are the same as a `LiveTeacher`'s up to rounding: the runtime sees each sample among other ones, in a batch
    of the same size.

    Args:
        original: The model; stays as it is.
        dataset: Where all batches come from.
        batch_size: Samples that the model is given at a time.
        threads: Inside one operator; 0 leaves the choice to the runtime.

    Raises:
        RequestError: When it is first asked: the answers do not fit into the free memory, or what the model says of a
            sample depends on the others in its batch.
    """

    def __init__(self, original: onnx.ModelProto, dataset: Dataset, batch_size: int, threads: int = 0) -> None:
        self._original = original
        self._dataset = dataset
        self._batch_size = batch_size
        self._threads = threads
        self._rows: dict[str, NDArray[Any]] = {}  # tensor to (samples, rows of one sample, ...)

    def answers(self, batch: Batch, taps: Sequence[str]) -> dict[str, NDArray[Any]]:
        """See `Teacher.answers`."""
        missing = [tap for tap in taps if tap not in self._rows]
        if missing:
            self._rows |= self._everything(missing)
        assert batch.indices is not None, "batches of a dataset know their samples"
        found = {tap: self._rows[tap][batch.indices] for tap in taps}
        return {tap: v.reshape(v.shape[0] * v.shape[1], *v.shape[2:]) for tap, v in found.items()}

    def _everything(self, taps: Sequence[str]) -> dict[str, NDArray[Any]]:
        teacher = LiveTeacher(self._original, self._threads)
        rows: dict[str, NDArray[Any]] = {}
        for batch in self._dataset.batches(self._batch_size):
            answers = _by_sample(teacher.answers(_filled_up(batch, self._batch_size), taps), self._batch_size)
            if not rows:
                _check_alone(batch, answers, teacher)
                rows = self._allocate(answers)
            for tap, value in answers.items():
                if value.shape[1:] != rows[tap].shape[1:]:
                    raise _unfit(tap)
                rows[tap][batch.indices] = value[: batch.size]
        return rows

    def _allocate(self, first: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Room for the answers to all samples, once it is known to be there."""
        count = len(self._dataset.samples)
        needed = sum(count * value[0].nbytes for value in first.values())
        free = free_memory()
        if free is not None and needed > _SHARE * free:
            raise RequestError(
                f"{_OPTION} needs {_mib(needed)} for the original's answers to {count} samples, and {_mib(free)} of "
                "memory are free; leave it out, or train on fewer samples."
            )
        logger.info("keeping the original's answers to %d samples in memory: %s", count, _mib(needed))
        return {tap: np.empty((count, *value.shape[1:]), value.dtype) for tap, value in first.items()}


def _filled_up(batch: Batch, size: int) -> Batch:
    """A last, smaller batch with its last sample repeated: the model may be fixed to a size, and kernels follow it."""
    missing = size - batch.size
    if not missing:
        return batch
    return Batch({name: np.concatenate([value, value[-1:].repeat(missing, 0)]) for name, value in batch.inputs.items()})


def _by_sample(answers: Mapping[str, NDArray[Any]], size: int) -> dict[str, NDArray[Any]]:
    """(size * rows, ...) as (size, rows, ...)."""
    result = {}
    for tap, value in answers.items():
        if value.ndim == 0 or len(value) % size:
            raise _unfit(tap)
        result[tap] = value.reshape(size, len(value) // size, *value.shape[1:])
    return result


def _check_alone(batch: Batch, answers: Mapping[str, NDArray[Any]], teacher: LiveTeacher) -> None:
    """Make sure that samples have the same answers at other places and among other samples."""
    order = np.arange(batch.size)[::-1] // 2
    mixed = Batch({name: value[order] for name, value in batch.inputs.items()})
    for tap, value in _by_sample(teacher.answers(mixed, list(answers)), batch.size).items():
        expected = answers[tap][order]
        scale = float(np.abs(expected).max(initial=0.0))
        if value.shape != expected.shape or not np.allclose(value, expected, rtol=0, atol=_SAME * scale):
            raise _unfit(tap)


def _unfit(tap: str) -> RequestError:
    return RequestError(
        f"{_OPTION} cannot keep {tap!r}, which the model does not compute for each sample on its own; leave it out."
    )


def _mib(size: int) -> str:
    return f"{size / _MIB:.1f} MiB"
