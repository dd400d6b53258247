"""External data: values that a model keeps in files beside itself, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath

from onnx import TensorProto
from onnx.external_data_helper import uses_external_data

from onnx_dnscp.errors import ModelError


def load_external_data(tensors: Iterable[TensorProto], model: Path) -> tuple[Path, ...]:
    """Read the values of external tensors in place, and return the files they were in.

    A model from the web must not read other files of this machine, so its data lies in its own folder or below, by its
    own name.

    Raises:
        ModelError: A file is missing, too short or elsewhere.
    """
    folder = model.resolve().parent
    files: set[Path] = set()
    for tensor in tensors:
        if not uses_external_data(tensor):
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if not all(isinstance(text, str) for text in (*entries, *entries.values())):  # protobuf gives bytes
            raise ModelError(
                f"Tensor {tensor.name!r} of {str(model)!r} says where its data is in words that are no UTF-8."
            )
        location = entries.get("location", "")
        where = f"Tensor {tensor.name!r} of {str(model)!r} keeps its data at {location!r}"
        try:
            file = _data_file(location, folder, where)
            tensor.raw_data = _content(file, entries, where)
        except (OSError, ValueError) as error:  # ValueError: a name with a null byte, a number that is none
            raise ModelError(f"{where}, which cannot be read: {getattr(error, 'strerror', None) or error}.") from error
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        files.add(file)
    return tuple(sorted(files))


def _data_file(location: str, folder: Path, where: str) -> Path:
    file = folder / location
    target = file.resolve()
    named_inside = location and not PurePath(location).is_absolute() and ".." not in PurePath(location).parts
    if not named_inside or not target.is_relative_to(folder):
        raise ModelError(f"{where}, outside the model's folder; move the data file beside the model.")
    if target != file:
        raise ModelError(f"{where}, which is a symbolic link; put the data file itself beside the model.")
    if not file.exists():
        raise ModelError(
            f"{where.replace('keeps its data at', 'needs the external data file')}, which is missing; put it beside "
            "the model."
        )
    if not file.is_file():
        raise ModelError(f"{where}, which is no file; put the data file beside the model.")
    return file


def _content(file: Path, entries: dict[str, str], where: str) -> bytes:
    """The bytes of one tensor."""
    size = file.stat().st_size
    offset = int(entries.get("offset") or 0)
    length = int(entries["length"]) if entries.get("length") else size - offset
    if offset < 0 or length < 0 or offset + length > size:
        raise ModelError(
            f"{where}, as {length} bytes from position {offset}, and that file has {size}; copy or export it again."
        )
    with file.open("rb") as stream:
        stream.seek(offset)
        return stream.read(length)
