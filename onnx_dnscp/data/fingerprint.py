"""Whether data is still what it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
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
        for piece in _names_and_sizes(path) if path.is_dir() else _contents(with_labels(path)):
            digest.update(piece)
    except OSError as error:
        raise DataError(f"Cannot read the data {str(path)!r}: {error.strerror or error}.") from error
    return digest.hexdigest()


def _names_and_sizes(folder: Path) -> Iterator[bytes]:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0".encode()


def _contents(files: Iterable[Path]) -> Iterator[bytes]:
    for file in files:
        with file.open("rb") as content:
            while chunk := content.read(_CHUNK):
                yield chunk
