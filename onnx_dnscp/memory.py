"""How much memory the machine has left."""

from __future__ import annotations

import os
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_AVAILABLE = "MemAvailable:"  # in KiB; what counts as free in `sysconf` leaves out caches that would make room


def free_memory() -> int | None:
    """Bytes that can be taken without swapping; None where the system does not say."""
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith(_AVAILABLE):
                return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):  # no Linux
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf, macOS not this value
        return None
