"""When channels fell and came back: a map of groups over steps."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import accumulate

from onnx_dnscp.report.groups import Row
from onnx_dnscp.report.record import RunFiles
from onnx_dnscp.training.loop import moving_steps
from onnx_dnscp.training.method import MaskEvent

MAX_COLUMNS = 110  # narrower cells could not be told apart on a phone
BAR = 19.0  # height of the highest bar of all groups together
LEVELS = (0.02, 0.05, 0.15)  # shares of a group between the shades of a cell


@dataclass
class Cell:
    """What happened to one group during some steps.

    Attributes:
        column: Position on the time axis.
        fell: Drops by the method's rule.
        came_back: Recoveries by the rule.
        settled: Channels that went when the target was met exactly.
        returned: Channels that came back then.
    """

    column: int
    fell: int = 0
    came_back: int = 0
    settled: int = 0
    returned: int = 0


@dataclass(frozen=True)
class Lane:
    """One group over the whole phase; cells are there only where something happened."""

    row: Row
    cells: list[Cell]

    def shade(self, number: int) -> int:
        """1 for few channels of the group's width to 4 for many."""
        return 1 + sum(number > level * self.row.width for level in LEVELS)


@dataclass(frozen=True)
class MoveMap:
    """All groups over the phases in which masks move.

    Attributes:
        lanes: Groups in order.
        totals: Cells of all groups together.
        columns: On the time axis.
        steps: Training steps of these phases.
        per_column: Steps of one column.
        frozen: Column from which on masks do not move any more; None where nothing was trained.
        highest: Most drops or recoveries of all groups in one column.
    """

    lanes: list[Lane]
    totals: list[Cell]
    columns: int
    steps: int
    per_column: int
    frozen: int | None
    fell: int
    came_back: int
    highest: int = field(default=1)

    def bar(self, number: int) -> float:
        """Height of a bar that stands for so many channels; the root keeps single ones visible beside many."""
        return BAR * math.sqrt(number / self.highest)

    def span(self, column: int) -> str:
        """The steps of a column, in words."""
        first = column * self.per_column
        last = min(self.steps, first + self.per_column - 1)
        text = f"step {first}" if last <= first else f"steps {first} to {last}"
        return f"{text} (the start)" if first == 0 and last <= first else text


def make_moves(run: RunFiles, rows: list[Row]) -> MoveMap | None:
    """The map, or None for a run in which no mask ever moved."""
    events = run.log.history.events
    if not events:
        return None
    rounds = {step.phase: step.num_steps for step in run.log.steps if step.phase.startswith("train")}
    events = _one_after_the_other(events, list(rounds.values()))
    steps = max([event.step for event in events] + [sum(rounds.values())])
    per_column = -(-(steps + 1) // MAX_COLUMNS)
    *earlier, last = [0, *rounds.values()]
    by_group: defaultdict[int, list[MaskEvent]] = defaultdict(list)
    for event in events:
        by_group[event.group].append(event)
    groups = {f"g{number}": number for number in by_group}
    lanes = [Lane(row, _cells(by_group.get(groups.get(row.key, -1), []), per_column)) for row in rows if row.is_group]
    totals = _cells(events, per_column)
    return MoveMap(
        lanes,
        totals,
        columns=steps // per_column + 1,
        steps=steps,
        per_column=per_column,
        frozen=(sum(earlier) + moving_steps(last)) // per_column + 1 if rounds else None,
        fell=run.log.history.num_dropped,
        came_back=run.log.history.num_recovered,
        highest=max(max(cell.fell + cell.settled, cell.came_back + cell.returned) for cell in totals),
    )


def _one_after_the_other(events: list[MaskEvent], lengths: list[int]) -> list[MaskEvent]:
    """Events whose steps count on from round to round, which have so many."""
    before = [0, *accumulate(lengths)]
    return [replace(event, step=event.step + before[event.round - 1]) for event in events]


def _cells(events: list[MaskEvent], per_column: int) -> list[Cell]:
    cells: dict[int, Cell] = {}
    for event in events:
        cell = cells.setdefault(event.step // per_column, Cell(event.step // per_column))
        if event.settling:
            cell.settled += len(event.dropped)
            cell.returned += len(event.recovered)
        else:
            cell.fell += len(event.dropped)
            cell.came_back += len(event.recovered)
    return sorted(cells.values(), key=lambda cell: cell.column)
