"""Stage 1, load: a file becomes a checked `LoadedModel`, or one clear sentence says why not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError

from onnx_dnscp.errors import ModelError
from onnx_dnscp.model.checks import all_tensors, check_functions, check_model
from onnx_dnscp.model.editor import sort_nodes
from onnx_dnscp.model.external import load_external_data
from onnx_dnscp.model.structure import all_graphs
from onnx_dnscp.system.supervisor import working_on


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
            external data that is missing or outside the model's folder, with a damaged tensor, NaN weights, or anything
            else that `check_model` refuses.
    """
    path = Path(path)
    working_on(path)
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
        check_functions(proto, path)
        known = set(_stored_names(proto))
        proto = _inline_functions(proto, path)
        private = frozenset(_stored_names(proto)) - known
    inlined = len(proto.functions) < num_functions
    data_files = load_external_data(all_tensors(proto.graph), path)
    size += sum(file.stat().st_size for file in data_files)
    sort_nodes(proto.graph)  # the runtime's own conversion to half precision appends casts at the end
    check_model(proto, path)
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
        yield from (node.output[0] for node in graph.node if node.op_type == "Constant" and node.output)
