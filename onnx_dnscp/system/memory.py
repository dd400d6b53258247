"""How much memory and how many cores there are for this process."""

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


def usable_cores() -> int:
    """As many as this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
