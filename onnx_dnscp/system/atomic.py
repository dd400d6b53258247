"""Files that appear whole or not at all: write beside the target, fsync, rename."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from onnx_dnscp.errors import StorageError, UsageError


def check_writable(path: Path) -> None:
    """Make sure a file can be created at `path`, before any long work starts.

    Raises:
        UsageError: The folder is missing or not writable, or `path` is a folder.
    """
    if path.is_dir():
        raise UsageError(f"Cannot write {str(path)!r}: it is a folder; give a file name.")
    if not path.parent.is_dir():
        raise UsageError(
            f"Cannot write {str(path)!r}: the folder {str(path.parent)!r} does not exist; create it first."
        )
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise StorageError(f"Cannot write {str(path)!r}: {error.strerror or error}; choose another place.") from error
    os.close(handle)
    os.unlink(name)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` so that `path` holds either its old bytes or all the new ones.

    Raises:
        StorageError: The operating system refuses (no space, no permission).
    """
    write_chunks(path, (content,))


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """The same for content that comes in pieces.

    Raises:
        StorageError: The operating system refuses (no space, no permission).
    """
    with atomic_file(path) as file:
        for chunk in chunks:
            file.write(chunk)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of `path` when the block ends well, and else leaves no trace.

    Raises:
        StorageError: The operating system refuses (no space, no permission).
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise StorageError(f"Cannot write {str(path)!r}: {error.strerror or error}.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~current_umask())
        os.replace(name, path)
    except BaseException as error:
        with suppress(OSError):  # it may be gone with its folder
            os.unlink(name)
        if isinstance(error, OSError):
            raise StorageError(f"Cannot write {str(path)!r}: {error.strerror or error}.") from error
        raise


def current_umask() -> int:
    """The process's umask; mkstemp makes private files, but what users get should follow their umask."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
