"""Stage 1, load: a file becomes a checked `LoadedModel`, or one clear sentence says why not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from onnx_dnscp.errors import ModelError
from onnx_dnscp.structure import all_graphs

FLOAT_TYPES = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
)


@dataclass(frozen=True)
class LoadedModel:
    """An ONNX file in memory.

    Attributes:
        path: Where it was read from.
        proto: The model with its external data, if any, loaded.
        sha256: Hash of the .onnx file's bytes; plans name their model by it.
        size: Bytes of the .onnx file plus its external data.
        private: Stored tensors that came out of model-local functions, where a plan cannot name them.
        inlined: Whether calls of model-local functions were replaced by the functions' nodes.
        data_files: Where its external data was read from.
    """

    path: Path
    proto: onnx.ModelProto
    sha256: str
    size: int
    private: frozenset[str] = frozenset()
    inlined: bool = False
    data_files: tuple[Path, ...] = ()

    def __str__(self) -> str:
        """How messages call the model."""
        return f"The model {str(self.path)!r}"


def load_model(path: str | Path) -> LoadedModel:
    """Read and check an ONNX file.

    Raises:
        ModelError: Missing, empty, not ONNX, truncated, without nodes, with a dangling input, with
            external data that is missing or outside the model's folder, with a damaged tensor or NaN weights.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"Cannot read the model {str(path)!r}: {error.strerror or error}.") from error
    if not content:
        raise ModelError(f"The model {str(path)!r} is empty (0 bytes); export it again.")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        raise ModelError(
            f"{str(path)!r} is not an ONNX model or is truncated ({len(content)} bytes do not parse); "
            "export or download it again."
        ) from error
    if not proto.graph.node:
        raise ModelError(f"{str(path)!r} holds no graph with nodes; it is not an ONNX network.")
    sha256, size = hashlib.sha256(content).hexdigest(), len(content)
    del content
    num_functions, private = len(proto.functions), frozenset[str]()
    if num_functions:
        known = set(_stored_names(proto))
        proto = _inline_functions(proto, path)
        private = frozenset(_stored_names(proto)) - known
    inlined = len(proto.functions) < num_functions
    data_files = _load_external_data(proto, path)
    size += sum(file.stat().st_size for file in data_files)
    _check_names(proto.graph, path)
    _check_tensors(proto, path)
    return LoadedModel(path, proto, sha256, size, private, inlined, data_files)


def _inline_functions(proto: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Replace calls of model-local functions by their nodes, because two calls may end with different widths.

    Functions of another opset than the model's stay; discovery leaves alone what runs through them.
    """
    try:
        return onnx.inliner.inline_local_functions(proto)
    except Exception as error:
        raise ModelError(f"The model-local functions of {str(path)!r} cannot be inlined: {error}.") from error


def _stored_names(proto: onnx.ModelProto) -> Iterator[str]:
    for graph in all_graphs(proto.graph):
        yield from (tensor.name for tensor in graph.initializer)
        yield from (node.output[0] for node in graph.node if node.op_type == "Constant")


def _load_external_data(proto: onnx.ModelProto, path: Path) -> tuple[Path, ...]:
    """Load external tensors in place and return the files they were in."""
    folder = path.resolve().parent
    files: set[Path] = set()
    for tensor in _stored_tensors(proto.graph):
        if not uses_external_data(tensor):
            continue
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        target = (folder / location).resolve()
        if not location or not target.is_relative_to(folder):
            raise ModelError(
                f"Tensor {tensor.name!r} of {str(path)!r} keeps its data at {location!r}, outside the model's "
                "folder; move the data file beside the model."
            )
        if not target.is_file():
            raise ModelError(
                f"Tensor {tensor.name!r} of {str(path)!r} needs the external data file {location!r}, which is "
                "missing; put it beside the model."
            )
        files.add(target)
    if not files:
        return ()
    try:
        load_external_data_for_model(proto, str(folder))
    except Exception as error:  # onnx raises several unrelated classes here
        raise ModelError(f"The external data of {str(path)!r} cannot be read: {error}.") from error
    return tuple(sorted(files))


def _stored_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Initializers and Constant values of a graph, sub-graphs included."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == onnx.AttributeProto.GRAPH:
                yield from _stored_tensors(attribute.g)


def _check_names(graph: onnx.GraphProto, path: Path) -> None:
    known = {i.name for i in graph.input} | {i.name for i in graph.initializer}
    known |= {i.values.name for i in graph.sparse_initializer}
    for number, node in enumerate(graph.node):
        label = f"Node {node.name or next(filter(None, node.output), number)!r} ({node.op_type}) of {str(path)!r}"
        if not all(isinstance(name, str) for name in (node.name, *node.input, *node.output)):  # protobuf gives bytes
            raise ModelError(f"{label} has a name that is not UTF-8 text; the file is damaged.")
        for name in node.input:
            if name and name not in known:
                raise ModelError(
                    f"{label} reads tensor {name!r}, which nothing before it makes; the file is damaged or its nodes "
                    "are not in order."
                )
        if not any(node.output):
            raise ModelError(f"{label} has no output; the file is damaged.")
        known.update(node.output)
    for output in graph.output:
        if output.name not in known:
            raise ModelError(f"Output {output.name!r} of {str(path)!r} is made by no node; the file is damaged.")


def _check_tensors(proto: onnx.ModelProto, path: Path) -> None:
    for tensor in _stored_tensors(proto.graph):
        try:
            values = numpy_helper.to_array(tensor)
        except Exception as error:
            raise ModelError(
                f"Tensor {tensor.name!r} of {str(path)!r} is damaged: its data does not fit its shape "
                f"{tuple(tensor.dims)}."
            ) from error
        if tensor.data_type in FLOAT_TYPES and values.size and np.isnan(np.min(values)):  # min passes NaN on
            raise ModelError(
                f"Weight {tensor.name!r} of {str(path)!r} contains NaN; the training that made it has diverged."
            )
