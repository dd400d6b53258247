"""The display of a run on a terminal: what is going on, how far it is, and how wide every group is over the steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.spinner import Spinner
from rich.table import Table

from onnx_dnscp.system.wording import duration, printable
from onnx_dnscp.training.progress import LiveWidth, Progress

_PER_SECOND = 4  # pictures; more would take time from the training
_COLUMNS = 32  # of a group's line; each stands for equally many steps
_LEVELS = " ▁▂▃▄▅▆▇█"
_UNSEEN = "·"  # steps before a run was resumed
_MOST_LINES = 12  # of groups; those that move most
_OTHER_LINES = 9  # of a terminal: what is no group


class Display(logging.Handler):
    """Listens to a run and to what it logs, and draws both.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console
        self._bars = Bars(
            TextColumn("{task.description:>9}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(
                "loss {task.fields[loss]:.4f}  pruned {task.fields[ratio]:.1%}  recovered {task.fields[recovered]}"
            ),
            TextColumn("{task.fields[left]}"),
            console=console,
            auto_refresh=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._widths = WidthLines()
        self._stage: _Stage | None = None

    @contextmanager
    def shown(self, logger: logging.Logger) -> Iterator[Display]:
        """Draw while the block runs, and take the place of the logger's handlers."""
        handlers, logger.handlers = logger.handlers, [self]
        try:
            with Live(get_renderable=self.picture, console=self._console, refresh_per_second=_PER_SECOND):
                yield self
                self._end_stage()
                self._end_phases()
        finally:
            logger.handlers = handlers

    def emit(self, record: logging.LogRecord) -> None:
        """A message says what begins now; a warning is said and changes nothing."""
        text = escape(printable(record.getMessage()))
        if record.levelno > logging.INFO:
            self._console.print(text, style="yellow", soft_wrap=True)
            return
        self._end_stage()
        self._stage = _Stage(text)

    def __call__(self, progress: Progress) -> None:
        """A step was done."""
        left = progress.seconds_left if progress.run_seconds_left is None else progress.run_seconds_left
        fields: dict[str, Any] = {
            "loss": progress.loss,
            "ratio": progress.ratio,
            "recovered": progress.recovered,
            "left": f"{duration(left)} left",
        }
        task = self._tasks.get(progress.phase)
        if task is None:
            self._end_phases()
            task = self._tasks[progress.phase] = self._bars.add_task(progress.phase, total=progress.num_steps, **fields)
        elif progress.step == 1 or progress.num_steps != self._bars.tasks[task].total:  # of the next run of a search
            self._bars.reset(task, total=progress.num_steps, **fields)
        self._bars.update(task, completed=progress.step, **fields)
        self._widths.add(progress)

    def picture(self) -> Group:
        """Everything that moves."""
        parts: list[Any] = [self._widths, self._bars.get_renderable()] if self._tasks else []
        return Group(*parts, *([] if self._stage is None else [self._stage]))

    def _end_phases(self) -> None:
        for task in self._tasks.values():
            self._bars.update(task, left="")

    def _end_stage(self) -> None:
        if self._stage is not None:
            self._console.print(f"{self._stage.text}  {duration(self._stage.seconds)}", style="dim", soft_wrap=True)
        self._stage = None


@dataclass
class _Stage:
    """What is going on."""

    text: str
    begun: float = field(default_factory=time.monotonic)
    spinner: Spinner = field(default_factory=lambda: Spinner("dots"))

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.begun

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        row = Table.grid(padding=(0, 1))
        row.add_column()
        row.add_column(no_wrap=True, overflow="ellipsis")
        row.add_column(no_wrap=True)
        row.add_row("*" if options.ascii_only else self.spinner, self.text, duration(self.seconds))
        yield row


@dataclass
class _Line:
    """The width of one group over the steps.

    Attributes:
        levels: Share that was on at the end of every column, so far; None before the first step that was seen.
        moves: By how many channels the width changed, up and down.
    """

    group: LiveWidth
    levels: list[float | None] = field(default_factory=list)
    moves: int = 0

    def add(self, group: LiveWidth, column: int) -> None:
        """The width after a step; columns that no step falls into look like the one before."""
        self.moves += abs(group.kept - self.group.kept)
        self.group = group
        last = self.levels[-1] if self.levels else None
        self.levels[column:] = []
        self.levels += [last] * (column - len(self.levels)) + [group.kept / group.width]

    def picture(self) -> str:
        """One character per column; an empty group is blank, and no other is."""
        return "".join(_UNSEEN if level is None else _LEVELS[_height(level)] for level in self.levels)


def _height(level: float) -> int:
    return 0 if level == 0 else max(1, round(level * (len(_LEVELS) - 1)))


class WidthLines:
    """One line per group, or of those that move most where there are too many."""

    def __init__(self) -> None:
        self._lines: list[_Line] = []

    def add(self, progress: Progress) -> None:
        """Take the widths after a step, if it says any."""
        if not progress.groups:
            return
        column = (progress.step - 1) * _COLUMNS // progress.num_steps
        if len(self._lines) != len(progress.groups) or column + 1 < len(self._lines[0].levels):  # another run
            self._lines = [_Line(group) for group in progress.groups]
        for line, group in zip(self._lines, progress.groups, strict=True):
            line.add(group, column)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(1, min(_MOST_LINES, (options.height or console.height) - _OTHER_LINES))
        lines = list(self._lines)
        if not lines:
            return
        shown = sorted(sorted(lines, key=lambda line: -line.moves)[:room], key=lambda line: line.group.id)
        table = Table.grid(padding=(0, 1))
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=24, style="dim")
        if not options.ascii_only:
            table.add_column(no_wrap=True, width=_COLUMNS)
        table.add_column(justify="right", no_wrap=True)
        for line in shown:
            g = line.group
            drawing = [] if options.ascii_only else [line.picture()]
            table.add_row(str(g.id), escape(printable(g.name)), *drawing, f"{g.kept}/{g.width}")
        yield table
        if len(shown) < len(lines):
            yield f"[dim]and {len(lines) - len(shown)} groups that move less[/dim]"
