"""Run a part of a model and look at tensors inside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.model.editor import keep_needed, needed_for
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.model.structure import copy_structure

Seen = dict[str, NDArray[Any]]


def observe(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    batches: Sequence[Batch],
    threads: int = 0,
    *,
    optimize: bool = True,
) -> Iterator[Seen]:
    """The named tensors for each batch, half precision as float32; only the nodes that they need run.

    Raises:
        ModelError: ONNX Runtime cannot run the model.
    """
    session = Session(part_for(model, tensors), threads=threads, optimize=optimize)
    for batch in batches:
        seen = session.run(batch.inputs, tensors)
        yield {name: value.astype(np.float32) if value.dtype.itemsize == 2 else value for name, value in seen.items()}


def part_for(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """A copy of `model` with the named tensors as outputs and without the nodes that they do not need."""
    needed = needed_for(model.graph, tensors)
    part = copy_structure(model, lambda name, _: name not in needed)  # the values of what goes are not even copied
    keep_needed(part.graph, tensors)
    del part.graph.output[:]
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    return part
