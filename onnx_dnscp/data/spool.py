"""A temporary file for what can be read only once and in order, so that it can be read again and in any order."""

from __future__ import annotations

import shutil
import tempfile
from typing import IO

from onnx_dnscp.errors import DataError

_SHARE = 0.9  # of the room on the disk; other programs need some, too
_BETWEEN_LOOKS = 1 << 26  # bytes written until the room that is left is asked for again


class Spool:
    """Bytes in a file without a name, which is gone when nobody uses it any more.

    Args:
        what: Whose bytes they are, for messages.
        expected: How many there will be at least, if that is known.

    Raises:
        DataError: There is no room for them.
    """

    def __init__(self, what: str, expected: int = 0) -> None:
        self._what = what
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as this)
        self._size = 0
        self._next_look = _BETWEEN_LOOKS
        self._reserve = (1 - _SHARE) * _room()
        if _room() - expected < self._reserve:
            raise self._full(expected)

    def append(self, content: bytes) -> int:
        """Write at the end, and return where that is now.

        Raises:
            DataError: There is no room left.
        """
        self._size += len(content)
        if self._size > self._next_look:
            self._next_look = self._size + _BETWEEN_LOOKS
            if _room() < self._reserve:
                raise self._full(self._size)
        try:
            self._file.write(content)
        except OSError as error:
            raise self._full(self._size) from error
        return self._size

    def finish(self) -> IO[bytes]:
        """The file, with every byte where a mapping sees it.

        Raises:
            DataError: There is no room left.
        """
        try:
            self._file.flush()
        except OSError as error:
            raise self._full(self._size) from error
        return self._file

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def _full(self, size: int) -> DataError:
        return DataError(
            f"{self._what} takes at least {size / 1e6:,.0f} MB in a temporary file, and {tempfile.gettempdir()!r} has "
            "no room for that; make room there, or name another folder by the environment variable TMPDIR."
        )


def _room() -> int:
    """Bytes that can be written to temporary files."""
    return shutil.disk_usage(tempfile.gettempdir()).free
