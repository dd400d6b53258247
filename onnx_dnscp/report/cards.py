"""The figures at the top of the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onnx_dnscp.report.record import RunFiles
from onnx_dnscp.runs.facts import ModelFacts
from onnx_dnscp.runs.prune_report import PruneReport
from onnx_dnscp.system.wording import change, count

Tone = Literal["good", "bad", "plain"]

_NOTICEABLE = 0.05  # points of accuracy; less reads as no change


@dataclass(frozen=True)
class Card:
    """One figure.

    Attributes:
        value: What it is now.
        was: What it was in the original; empty if that says nothing.
        change: From there to here, in words.
        tone: Whether the change is welcome.
        left: Share of the original that is left, for a bar; None without one.
        note: What else to know.
    """

    label: str
    value: str
    was: str = ""
    change: str = ""
    tone: Tone = "plain"
    left: float | None = None
    note: str = ""


def make_cards(run: RunFiles) -> list[Card]:
    """The figures of a run that has ended, or those that are known so far."""
    return _result(run.report) if run.report is not None else _so_far(run)


def _result(report: PruneReport) -> list[Card]:
    before, after = report.before, report.after
    cards = [*_quality(report)]
    cards += [_size("Params", before.params, after.params), _size("MACs", before.macs, after.macs)]
    cards.append(_size("File size", before.file_bytes, after.file_bytes, "B"))
    if before.latency_ms is not None and after.latency_ms is not None:
        faster = after.latency_ms <= before.latency_ms
        words = f"{report.speedup:.2f}x faster" if faster else f"{1 / report.speedup:.2f}x slower"
        times = f"{after.latency_ms:.3g} ms", f"{before.latency_ms:.3g} ms"
        left = min(1.0, after.latency_ms / before.latency_ms)
        cards.append(Card("Latency", *times, words, "good" if faster else "bad", left, "one call, this machine"))
    allowed = f"rounding allows {report.tolerance:.1e}"
    error = f"{report.max_relative_error:.1e}"
    cards.append(Card("Verification error", error, "", "verified", "good", None, f"of the largest output; {allowed}"))
    return cards


def _quality(report: PruneReport) -> list[Card]:
    """What the network is worth: accuracy where there are labels, else how close it is to the original."""
    before, after = report.before, report.after
    note = "" if report.accuracy_data is None else f"on {report.accuracy_data}"
    if before.accuracy is not None and after.accuracy is not None:
        points = 100 * (after.accuracy - before.accuracy)
        tone: Tone = "plain" if abs(points) < _NOTICEABLE else "good" if points > 0 else "bad"
        values = f"{after.accuracy:.2%}", f"{before.accuracy:.2%}", f"{points:+.2f} points"
        more = "" if after.agreement is None else f"; {after.agreement:.2%} of the answers are the original's"
        return [Card("Accuracy", *values, tone, None, note + more)]
    cards = [*_squared_error(before, after, note)]
    if after.agreement is not None:
        cards.append(Card("Agreement with the original", f"{after.agreement:.2%}", note=note))
    elif after.output_error is not None:
        cards.append(Card("Difference from the original", f"{after.output_error:.2%}", note=note))
    return cards


def _squared_error(before: ModelFacts, after: ModelFacts, note: str) -> list[Card]:
    if before.mean_squared_error is None or after.mean_squared_error is None:
        return []
    errors = before.mean_squared_error, after.mean_squared_error
    tone: Tone = "good" if errors[1] <= errors[0] else "bad"
    return [Card("Mean squared error", f"{errors[1]:.4g}", f"{errors[0]:.4g}", change(*errors), tone, None, note)]


def _size(label: str, before: int, after: int, unit: str = "") -> Card:
    tone: Tone = "good" if after < before else "plain"
    values = count(after) + unit, count(before) + unit, change(before, after)
    return Card(label, *values, tone, after / before if before else None)


def _so_far(run: RunFiles) -> list[Card]:
    """What can be said before there is a result."""
    cards = []
    if run.log.steps:
        last = run.log.steps[-1]
        asked = f"{run.record.ratio:.1%} of {metric_name(run.record.metric)} asked"
        cards.append(Card("Pruned so far", f"{last.ratio:.1%}", note=asked))
        cards.append(Card("Loss", f"{last.loss:.4g}", note=f"{last.phase} step {last.step} of {last.num_steps}"))
        history = run.log.history
        cards.append(Card("Fell", str(history.num_dropped), note="channels, as often as they fell"))
        cards.append(Card("Came back", str(history.num_recovered), note="channels, as often as they came back"))
    if run.inspection is not None:
        cards.append(Card("Params of the original", count(run.inspection.params)))
        cards.append(Card("MACs of the original", count(run.inspection.macs)))
    return cards


def metric_name(metric: str) -> str:
    """What the option `--metric` counts, in a sentence."""
    return "MACs" if metric == "macs" else metric
