"""A lock on a folder that the operating system lets go of when its process ends, however it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onnx_dnscp.errors import UsageError

LOCK_FILE = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder` while the block runs.

    Raises:
        UsageError: Another process holds it, or the folder cannot be written to.
    """
    path = folder / LOCK_FILE
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UsageError(f"Cannot write {str(path)!r}: {error.strerror or error}; choose another place.") from error
    try:
        if not _take(handle) or _is_gone(path, handle):
            raise UsageError(
                f"Another process is using the run directory {str(folder)!r}; wait until it is done, or give another "
                "one."
            )
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no file that is open; it may stay
                path.unlink()
    finally:
        os.close(handle)


def _is_gone(path: Path, handle: int) -> bool:
    """Whether the file was removed by its last holder after it was opened here."""
    try:
        return not os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return True


if sys.platform == "win32":
    import msvcrt

    def _take(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _take(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
