"""Where results go, checked before the work, and what they are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import numpy_helper

from onnx_dnscp.errors import UsageError
from onnx_dnscp.model.structure import copy_structure, is_big, tensor_dtype
from onnx_dnscp.system.atomic import check_writable, write_bytes, write_chunks

MAX_FILE = 2**31 - 1  # bytes; protobuf's limit for one message
_HEADERS = 64  # bytes at most of what protobuf writes around one tensor's values


def output_path(model: Path, output: str | Path | None, *others: Path) -> Path:
    """The model file to write, checked: `<stem>.pruned.onnx` beside the model unless given.

    Raises:
        UsageError: It, or the data file of a large model beside it, is the model or one of the `others` that the
            command reads, or it cannot be written.
    """
    path = model.with_name(f"{model.stem}.pruned.onnx") if output is None else Path(output)
    if not path.name:  # "", "." and "/" have none, and neither has a data file beside them
        raise UsageError(f"Cannot write {str(output)!r}: it is a folder; give a file name.")
    if data_path(path).resolve() in [other.resolve() for other in (model, *others)]:
        raise UsageError(
            f"The output {str(path)!r} keeps its weights in {str(data_path(path))!r} when it is large, and that is an "
            "input; give another name."
        )
    return free_path(path, model, *others)


def free_path(path: Path, *taken: Path) -> Path:
    """`path`, checked: nothing else is there that this command reads or writes, and it can be written.

    Raises:
        UsageError: It is one of `taken`, or cannot be written.
    """
    for other in taken:
        if path.resolve() == other.resolve():
            what = "is the input itself" if other.exists() else f"would also be {str(other)!r}"
            raise UsageError(f"The output {str(path)!r} {what}; give another name.")
    check_writable(path)
    return path


@dataclass(frozen=True)
class ModelFile:
    """A model on its way to disk: one file, or two where one cannot hold it.

    Attributes:
        content: Bytes of the .onnx file.
        tensors: Tensors whose values go to `<name>.data` beside it, in order; empty if everything fits into one file.
        size: Bytes of all files.
    """

    content: bytes
    tensors: tuple[onnx.TensorProto, ...]
    size: int

    def write(self, path: Path) -> None:
        """Write the data first, then the model, each whole or not at all.

        Raises:
            UsageError: A file cannot be written.
        """
        if self.tensors:
            write_chunks(data_path(path), (_raw(tensor) for tensor in self.tensors))
        write_bytes(path, self.content)


def data_path(path: Path) -> Path:
    """Where the values of a model go that is too large for one file."""
    return path.with_name(f"{path.name}.data")


def model_file(model: onnx.ModelProto, path: Path, limit: int = MAX_FILE) -> ModelFile:
    """What to write to `path`: one file, or beyond `limit` bytes the structure and a file with the big tensors."""
    big = [t for t in model.graph.initializer if is_big(t)]
    names = {tensor.name for tensor in big}
    structure = copy_structure(model, lambda name, _: name in names)
    sizes = [math.prod(tensor.dims) * tensor_dtype(tensor).itemsize for tensor in big]
    if structure.ByteSize() + sum(sizes) < limit - _HEADERS * len(big):
        content = bytes(model.SerializeToString(deterministic=True))
        return ModelFile(content, (), len(content))
    offset = 0
    for tensor, size in zip([t for t in structure.graph.initializer if t.name in names], sizes, strict=True):
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", data_path(path).name), ("offset", offset), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
        offset += size
    content = bytes(structure.SerializeToString(deterministic=True))
    return ModelFile(content, tuple(big), len(content) + offset)


def _raw(tensor: onnx.TensorProto) -> bytes:
    """A tensor's values as external data files hold them: little-endian, in order."""
    if tensor.HasField("raw_data"):
        return bytes(tensor.raw_data)
    return bytes(numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data)
