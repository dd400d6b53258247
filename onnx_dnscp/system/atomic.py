"""Files that appear whole or not at all: write beside the target, fsync, rename.

Links are followed, so that what they lead to is replaced and they stay. Nothing but a regular file ever is replaced.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from onnx_dnscp.errors import StorageError, UsageError


def check_writable(path: Path) -> None:
    """Make sure a file can be created at `path`, before any long work starts.

    Raises:
        UsageError: The folder is missing or not writable, or something else than a file is there.
    """
    target = _target(path)
    if not target.parent.is_dir():
        raise UsageError(
            f"Cannot write {str(path)!r}: the folder {str(target.parent)!r} does not exist; create it first."
        )
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise StorageError(f"Cannot write {str(path)!r}: {error.strerror or error}; choose another place.") from error
    os.close(handle)
    os.unlink(name)


def _target(path: Path) -> Path:
    """Where a file at `path` lies, behind all links.

    Raises:
        UsageError: Something else than a regular file is there.
    """
    try:
        target = path.resolve()
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    except (
        OSError,
        RuntimeError,
    ) as error:  # Python 3.12 and older raise the latter for links in a circle
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"Cannot write {str(path)!r}: {why}; give another name.") from error
    if stat.S_ISREG(mode):
        return target
    found = next((what for is_so, what in _NO_FILES if is_so(mode)), "no regular file")
    raise UsageError(f"Cannot write {str(path)!r}: it is {found}; give a file name.")


_NO_FILES = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


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
        UsageError: Something else than a file is at `path`.
        StorageError: The operating system refuses (no space, no permission).
    """
    target = _target(path)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise StorageError(f"Cannot write {str(path)!r}: {error.strerror or error}.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~current_umask())
        os.replace(name, _target(path))  # asked again: it may have become something else meanwhile
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
