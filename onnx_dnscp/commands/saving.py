"""Where results go, checked before the work and written whole after it."""

from __future__ import annotations

from pathlib import Path

import onnx

from onnx_dnscp.atomic import check_writable, write_bytes
from onnx_dnscp.errors import UsageError

MAX_FILE = 2**31 - 1  # bytes; protobuf's limit for one message


def output_path(model: Path, output: str | Path | None) -> Path:
    """The file to write, checked: `<stem>.pruned.onnx` beside the model unless given.

    Raises:
        UsageError: It is the input itself, or cannot be written.
    """
    path = model.with_name(f"{model.stem}.pruned.onnx") if output is None else Path(output)
    if path.exists() and path.resolve() == model.resolve():
        raise UsageError(f"The output {str(path)!r} is the input itself; give another name with -o.")
    check_writable(path)
    return path


def serialize(model: onnx.ModelProto) -> bytes:
    """The bytes of the file to save.

    Raises:
        UsageError: The result is too large for one ONNX file.
    """
    if model.ByteSize() > MAX_FILE:
        raise UsageError("The pruned model is over 2 GB, which one ONNX file cannot hold; prune more of it.")
    return bytes(model.SerializeToString(deterministic=True))


def save(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    write_bytes(path, content)
