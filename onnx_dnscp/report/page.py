"""Everything that the page shows, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnx_dnscp.report.cards import Card, make_cards, metric_name
from onnx_dnscp.report.command import command_line, short_names
from onnx_dnscp.report.curves import Curves, make_curves
from onnx_dnscp.report.groups import Row, make_rows
from onnx_dnscp.report.moves import MoveMap, make_moves
from onnx_dnscp.report.network import Network, make_network
from onnx_dnscp.report.record import RunFiles
from onnx_dnscp.runs.curve import CurvePoint
from onnx_dnscp.runs.environment import Environment
from onnx_dnscp.system.wording import count, duration


@dataclass(frozen=True)
class Page:
    """The view model of one run.

    Attributes:
        title: Name of the model's file.
        state: Whether the run has ended, in a few words.
        summary: What it did, in a sentence or two.
        curve: Cuts that a search has looked at.
        hashes: File name to sha256 (or the fingerprint of a folder).
        seed: Of everything that was drawn.
    """

    title: str
    state: str
    is_done: bool
    summary: str
    cards: list[Card]
    rows: list[Row]
    moves: MoveMap | None
    curves: Curves | None
    network: Network | None
    curve: list[CurvePoint]
    measure: str
    macs: int
    max_drop: float | None
    notes: list[str]
    command: str
    environment: Environment | None
    hashes: dict[str, str]
    seed: int


def make_page(run: RunFiles) -> Page:
    """The view model of a run."""
    rows = make_rows(run)
    report = run.report
    short = short_names(Path(path) for path in run.record.fingerprints)
    return Page(
        title=run.record.model.name,
        state=_state(run),
        is_done=report is not None,
        summary=_summary(run, rows),
        cards=make_cards(run),
        rows=rows,
        moves=make_moves(run, rows),
        curves=make_curves(run),
        network=make_network(run, rows),
        curve=report.curve if report is not None else [],
        measure=(report.measure if report is not None else None) or "",
        macs=report.before.macs if report is not None else 0,
        max_drop=run.record.max_drop,
        notes=report.notes if report is not None else [],
        command=command_line(run.record),
        environment=run.environment,
        hashes={short[Path(path)]: digest for path, digest in run.record.fingerprints.items()},
        seed=run.record.seed,
    )


def _state(run: RunFiles) -> str:
    if run.report is not None:
        return f"Done and verified in {duration(run.report.seconds)}"
    if not run.log.steps:
        return "Not finished; nothing was trained yet"
    last = run.log.steps[-1]
    phase = "training with masks" if last.phase.startswith("train") else "fine-tuning"
    return f"Not finished; {phase}, step {last.step} of {last.num_steps} is kept"


def _summary(run: RunFiles, rows: list[Row]) -> str:
    report = run.report
    groups = [row for row in rows if row.is_group]
    channels = f"{sum(row.width for row in groups):,} channels in {len(groups)} groups"
    if report is None:
        return f"The network has {channels} that may go; this is what is known of the run so far."
    gone = sum(row.width - (row.width if row.kept is None else row.kept) for row in groups)
    metric = metric_name(report.metric)
    asked = f"{report.ratio:.1%} of the {metric} ({report.ratio_asked:.1%} asked)"
    if report.max_drop is not None:
        asked = f"{report.ratio:.1%} of the {metric}, as many as cost at most {report.max_drop:g} points"
    return (
        f"Of {channels}, {gone:,} were removed: {asked}. The network now takes {count(report.after.macs)} "
        f"multiply-accumulates instead of {count(report.before.macs)}, and the saved file was checked against the "
        "masked network before it was written."
    )
