"""Where results go, checked before the work, and what they are made of."""

from __future__ import annotations

from pathlib import Path

import onnx

from onnx_dnscp.atomic import check_writable
from onnx_dnscp.errors import UsageError

MAX_FILE = 2**31 - 1  # bytes; protobuf's limit for one message


def output_path(model: Path, output: str | Path | None, *others: Path) -> Path:
    """The model file to write, checked: `<stem>.pruned.onnx` beside the model unless given.

    Raises:
        UsageError: It is the model or one of the `others` that the command reads, or cannot be written.
    """
    path = model.with_name(f"{model.stem}.pruned.onnx") if output is None else Path(output)
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


def serialize(model: onnx.ModelProto) -> bytes:
    """The bytes of the file to save.

    Raises:
        UsageError: The result is too large for one ONNX file.
    """
    if model.ByteSize() > MAX_FILE:
        raise UsageError("The pruned model is over 2 GB, which one ONNX file cannot hold; prune more of it.")
    return bytes(model.SerializeToString(deterministic=True))
