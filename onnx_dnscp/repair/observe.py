"""Run a part of a model and look at tensors inside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.model.graph import captured_names
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.model.structure import bodies

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
    part = onnx.ModelProto()
    part.CopyFrom(model)
    needed, nodes = set(tensors), []
    for node in reversed(part.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
            needed.update(name for body in bodies(node) for name in captured_names(body))
    kept = onnx.GraphProto()
    kept.node.extend(reversed(nodes))
    del part.graph.node[:], part.graph.output[:]
    part.graph.node.extend(kept.node)
    stored = [tensor for tensor in part.graph.initializer if tensor.name in needed]
    kept.initializer.extend(stored)
    del part.graph.initializer[:]
    part.graph.initializer.extend(kept.initializer)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    return part
