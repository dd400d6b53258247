"""How the pruned ratio goes to its target over the dynamic phase."""

from __future__ import annotations

RAMP_SHARE = 0.7  # of the dynamic phase; the rest holds the target, so that late recoveries can swap channels


def ramp(progress: float) -> float:
    """Smooth way from 0 to 1 while `progress` goes from 0 to 1: fast at first, flat at the end (cubic)."""
    return 1.0 - (1.0 - min(1.0, max(0.0, progress))) ** 3
