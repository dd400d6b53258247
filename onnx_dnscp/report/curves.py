"""Loss, learning rate, pruned share and accuracy over the steps of all phases."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from onnx_dnscp.report.cards import metric_name
from onnx_dnscp.report.record import RunFiles
from onnx_dnscp.training.progress import Progress

MAX_POINTS = 400  # of a curve; more steps are averaged
SMOOTHING = 0.05  # share of the points that a smoothed value looks back over
WIDTH, HEIGHT = 1000.0, 100.0  # of the plane that curves are drawn in; the page stretches it

Point = tuple[float, float]


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, as a share of its length."""

    at: float
    label: str


@dataclass(frozen=True)
class Curve:
    """One chart.

    Attributes:
        title: What it shows.
        latest: The last value, in words.
        points: (step, value) pairs.
        ticks: Of the value axis.
        low: Value at the bottom.
        high: Value at the top.
        smooth: The same points, averaged over their neighbourhood; empty where that adds nothing.
        marks: Points that were measured one by one; a place across, a place up and their description.
        percent: Whether values are shares.
    """

    key: str
    title: str
    latest: str
    points: list[Point]
    ticks: list[Tick]
    low: float
    high: float
    steps: int
    smooth: list[Point] = field(default_factory=list)
    marks: list[tuple[float, float, str]] = field(default_factory=list)
    percent: bool = False

    def path(self, points: Sequence[Point]) -> str:
        """SVG path data in the plane of `WIDTH` by `HEIGHT`."""
        return "M" + "L".join(
            f"{WIDTH * self.across(x):.1f} {HEIGHT * (1 - self.up(y)):.2f}" for x, y in points if math.isfinite(y)
        )

    def across(self, step: float) -> float:
        """Place of a step on the time axis, 0..1."""
        return step / max(1, self.steps)

    def up(self, value: float) -> float:
        """Place of a value on the value axis, 0..1."""
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Curves:
    """All charts over one time axis.

    Attributes:
        steps: Of all phases, as far as planned.
        surgeries: Places on the time axis where channels were cut out, as far as known.
        ticks: Of the time axis.
    """

    charts: list[Curve]
    steps: int
    surgeries: list[float]
    ticks: list[Tick]


def make_curves(run: RunFiles) -> Curves | None:
    """The charts, or None for a run without training."""
    log = run.log.steps
    if not log:
        return None
    lengths: dict[str, int] = {}
    for step in log:
        lengths[step.phase] = max(step.num_steps, lengths.get(step.phase, 0))
    ends = dict(zip(lengths, accumulate(lengths.values()), strict=True))
    steps = sum(lengths.values())
    xs = [float(step.step + ends[step.phase] - lengths[step.phase]) for step in log]
    cuts = [end for (phase, end), _ in pairwise(ends.items()) if phase.startswith("train")]

    def chart(key: str, title: str, value: Callable[[Progress], float], shown: str, percent: bool = False) -> Curve:
        points = [(x, y) for x, y in zip(xs, map(value, log), strict=True) if math.isfinite(y)]
        points = averaged(points)
        return _chart(key, title, points, steps, shown, percent)

    charts = [
        chart("loss", "Loss", lambda step: step.loss, ".4g"),
        chart(
            "pruned", f"Pruned share of {metric_name(run.record.metric)}", lambda step: step.ratio, ".1%", percent=True
        ),
        *_accuracy(run, xs, cuts[-1] if cuts else steps, steps),
        chart("rate", "Learning rate", lambda step: step.learning_rate, ".3g"),
    ]
    return Curves(
        charts,
        steps,
        [cut / steps for cut in cuts],
        [Tick(x / steps, f"{x:g}") for x in nice_ticks(0, steps, 4) if x <= steps],
    )


def _chart(key: str, title: str, points: list[Point], steps: int, shown: str, percent: bool) -> Curve:
    values = [y for _, y in points]
    low, high, ticks = _axis(values, percent)
    labels = [Tick((y - low) / (high - low), f"{y:.0%}" if percent else f"{y:g}") for y in ticks]
    latest = format(values[-1], shown) if values else ""
    smooth = smoothed(points) if key == "loss" else []
    return Curve(key, title, latest, points, labels, low, high, steps, smooth, percent=percent)


def _axis(values: Sequence[float], percent: bool, *, from_zero: bool = True) -> tuple[float, float, list[float]]:
    """Ends of a value axis, and its ticks."""
    low = min([0.0, *values]) if from_zero else min(values)
    high = max(values, default=1.0)
    if percent:
        high = min(1.0, high + 0.05 * max(high - low, 0.01))
    if high <= low:
        high = low + 1.0
    ticks = nice_ticks(low, high, 3)
    return min(low, ticks[0]), max(high, ticks[-1]), ticks


def _measured(run: RunFiles, xs: Sequence[float], last_cut: int, steps: int) -> list[tuple[float, float, str]]:
    """Where the accuracy was measured, what it was, and at which moment."""
    found = [(x, step.accuracy, f"step {x:g}") for x, step in zip(xs, run.log.steps, strict=True)]
    if run.report is not None:
        found.insert(0, (0.0, run.report.before.accuracy, "original"))
        found.append((float(last_cut), run.report.accuracy_after_surgery, "after surgery"))
        found.append((float(steps), run.report.after.accuracy, "result"))
    marks = [(x, accuracy, when) for x, accuracy, when in found if accuracy is not None]
    return sorted(marks, key=lambda mark: mark[0])


def _accuracy(run: RunFiles, xs: Sequence[float], last_cut: int, steps: int) -> Iterator[Curve]:
    """What was measured of the accuracy: before, while training, behind the cut, and in the end."""
    marks = _measured(run, xs, last_cut, steps)
    if not marks:
        return
    values = [y for _, y, _ in marks]
    spread = max(max(values) - min(values), 0.02)
    low = max(0.0, min(values) - 0.15 * spread)
    bottom, top, ticks = _axis([low, min(1.0, max(values) + 0.15 * spread)], True, from_zero=False)
    digits = 0 if all(abs(100 * t - round(100 * t)) < 1e-6 for t in ticks) else 1
    yield Curve(
        "accuracy",
        "Accuracy",
        f"{values[-1]:.2%}",
        [(x, y) for x, y, _ in marks],
        [Tick((y - bottom) / (top - bottom), f"{y:.{digits}%}") for y in ticks],
        bottom,
        top,
        steps,
        marks=marks,
        percent=True,
    )


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round values that lie in the range or just outside."""
    rough = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough)
    first = math.ceil(low / step - 1e-9)
    ticks = []
    while first * step <= high * (1 + 1e-9):
        ticks.append(float(f"{first * step:.10g}"))
        first += 1
    return ticks


def averaged(points: Sequence[Point]) -> list[Point]:
    """At most `MAX_POINTS` points, each the mean of its neighbours."""
    size = -(-len(points) // MAX_POINTS)
    parts = [points[i : i + size] for i in range(0, len(points), size)] if size else []
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def smoothed(points: Sequence[Point]) -> list[Point]:
    """Each value as the mean of those around it."""
    reach = max(1, round(SMOOTHING * len(points) / 2))
    result = []
    for i, (x, _) in enumerate(points):
        near = points[max(0, i - reach) : i + reach + 1]
        result.append((x, sum(y for _, y in near) / len(near)))
    return result
