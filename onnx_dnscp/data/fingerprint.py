"""Whether data is still what it was."""

from __future__ import annotations

import hashlib
from pathlib import Path

from onnx_dnscp.data.npy import with_labels
from onnx_dnscp.errors import DataError

_CHUNK = 1 << 20  # bytes


def fingerprint(path: Path) -> str:
    """A hash of a file's content, with what belongs to it, or of the names and sizes of all files in a folder.

    Raises:
        DataError: It cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.is_file():
                    digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        else:
            for part in with_labels(path):
                with part.open("rb") as content:
                    while chunk := content.read(_CHUNK):
                        digest.update(chunk)
    except OSError as error:
        raise DataError(f"Cannot read the data {str(path)!r}: {error.strerror or error}.") from error
    return digest.hexdigest()
