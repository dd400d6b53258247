"""What a search sees of a cut, and how it comes closer to the deepest one that is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable

from pydantic import BaseModel

RESOLUTION = 0.01  # of the ratio, below which a search does not go on


class CurvePoint(BaseModel):
    """One cut that a search looked at.

    Attributes:
        ratio_asked: Share to remove, in the report's `metric`.
        ratio: Share removed.
        macs: Left.
        trained: Whether the network was trained; else weights that stay were repaired at most.
        value: Accuracy, agreement with the original or output error, as the report's `measure` says.
        drop: Percentage points lost.
        within: Whether that is allowed.
    """

    ratio_asked: float
    ratio: float
    macs: int
    trained: bool
    value: float
    drop: float
    within: bool


def bisect(passes: Callable[[float], bool], low: float, high: float, tries: int) -> tuple[float, float]:
    """Halve a bracket as often as `tries` allows, or until it is narrower than `RESOLUTION`.

    Args:
        passes: Asked about ratios between; taken to hold up to some ratio and nowhere above.
        low: A ratio at which it holds.
        high: One at which it does not, or which is not wanted.
        tries: Ratios that may be asked about.
    """
    for _ in range(tries):
        if high - low < RESOLUTION:
            break
        middle = (low + high) / 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low, high


def points_lost(
    before: float | None, after: float | None, agreement: float | None, error: float | None
) -> tuple[str, float, float]:
    """What quality is measured by, its value, and the percentage points that were lost.

    Args:
        before: Accuracy of the original, 0..1; None without labels.
        after: Accuracy of the pruned model; likewise.
        agreement: Share of equal answers; None without classes.
        error: Mean difference of outputs over their magnitude; None where it is not finite.
    """
    if before is not None and after is not None:
        return "accuracy", after, 100 * (before - after)
    if agreement is not None:
        return "agreement with the original", agreement, 100 * (1 - agreement)
    error = math.inf if error is None else error
    return "difference from the original", error, 100 * error
