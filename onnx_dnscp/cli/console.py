"""What people see: tables on stdout, progress and messages on stderr."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnx_dnscp.cli.live import Display
from onnx_dnscp.commands.apply import ApplyReport
from onnx_dnscp.commands.compare import Comparison
from onnx_dnscp.commands.report import ReportFile
from onnx_dnscp.measure.evaluation import Evaluation
from onnx_dnscp.runs.facts import ModelFacts
from onnx_dnscp.runs.inspection import Inspection
from onnx_dnscp.runs.prune_report import PruneReport
from onnx_dnscp.system.wording import change, count, duration, printable
from onnx_dnscp.training.progress import Listener, Progress

SECONDS_BETWEEN_LINES = 5.0  # of plain progress, where there is no terminal
_SHOWN_NAMES = 3  # consumers of a group in a table; the rest is counted

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def send_log_to_stderr() -> None:
    """Show the package's log messages, one plain line each."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            err.print(_plain(record.getMessage()), style="dim", soft_wrap=True)

    logger = logging.getLogger("onnx_dnscp")
    logger.handlers = [Handler()]
    logger.propagate = False  # onnxruntime's tools give the root logger a handler, which would print every line again
    logger.setLevel(logging.INFO)


@contextmanager
def progress_listener(*, quiet: bool = False) -> Iterator[Listener]:
    """A listener that draws on a terminal, prints plain lines elsewhere, and does nothing if it is to be quiet."""
    logger = logging.getLogger("onnx_dnscp")
    if quiet:
        logger.setLevel(logging.WARNING)
        yield lambda _: None
    elif not err.is_terminal or err.is_dumb_terminal:
        yield _PlainLines()
    else:
        with Display(err).shown(logger) as display:
            yield display


class _PlainLines:
    """Prints a line now and then."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.step not in (1, progress.num_steps) and now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        left = progress.seconds_left if progress.run_seconds_left is None else progress.run_seconds_left
        err.print(
            f"{progress.phase} step {progress.step}/{progress.num_steps} loss {progress.loss:.4f} "
            f"pruned {progress.ratio:.1%} recovered {progress.recovered} {duration(left)} left",
            soft_wrap=True,
        )


def _plain(text: str) -> str:
    return escape(printable(text))


def show_inspection(found: Inspection) -> None:
    """Groups, what is locked and why, and a summary line."""
    table = Table(title=f"Prunable groups of {_plain(found.model)}")
    for name in ("group", "width", "params", "MACs"):
        table.add_column(name, justify="right")
    table.add_column("read by")
    table.add_column("made by")
    for g in found.groups:
        shares = (f"{g.params_share:.1%}", f"{g.macs_share:.1%}")
        table.add_row(str(g.id), str(g.width), *shares, _names(g.consumers), _names(g.producers))
    out.print(table)
    if found.locked:
        locked = Table(title="Locked: these channels stay")
        locked.add_column("channels", justify="right")
        locked.add_column("tensors")
        locked.add_column("reason")
        for entry in found.locked:
            locked.add_row(str(entry.width), _names(entry.tensors), _plain("; ".join(entry.reasons)))
        out.print(locked)
    out.print(
        f"{found.prunable_convolution_channels} of {found.convolution_channels} convolution channels prunable "
        f"({found.prunable_channels} units in {len(found.groups)} groups); "
        f"{count(found.params)} params, {count(found.macs)} MACs.",
        soft_wrap=True,
    )


def show_prune(report: PruneReport) -> None:
    """The result of a run."""
    widths = Table(title="Channels kept")
    for name in ("group", "before", "after"):
        widths.add_column(name, justify="right")
    widths.add_column("read by")
    for g in report.groups:
        widths.add_row(str(g.id), str(g.width), str(g.kept), _names(g.consumers))
    out.print(widths)
    if report.max_drop is not None:
        _show_curve(report)
    what = "Measured" if report.before.accuracy is None else "Accuracy"
    title = None if report.accuracy_data is None else f"{what} on {_plain(report.accuracy_data)}"
    _show_facts(("before", "after"), report.before, report.after, title)
    if report.accuracy_after_surgery is not None:
        out.print(f"Accuracy after surgery, before fine-tuning: {report.accuracy_after_surgery:.2%}.")
    out.print(
        f"Removed {report.ratio:.2%} of {report.metric} (asked {report.ratio_asked:.2%}); "
        f"{report.dropped} channels fell and {report.recovered} came back while training.",
        soft_wrap=True,
    )
    out.print(
        f"Verified: differs from the masked model by {report.max_relative_error:.1e} of the largest output "
        f"(rounding allows {report.tolerance:.1e}).",
        soft_wrap=True,
    )
    for note in report.notes:
        out.print(f"Note: {_plain(note)}", soft_wrap=True)
    out.print(f"Saved {_plain(report.output)} in {duration(report.seconds)}.", soft_wrap=True)


def show_report(written: ReportFile) -> None:
    """Where a report went."""
    so_far = "" if written.done else " of a run that has not ended"
    out.print(f"Wrote the report{so_far} to {_plain(written.report)}.", soft_wrap=True)


def _show_curve(report: PruneReport) -> None:
    """What a search has seen."""
    table = Table(title=f"Cuts that were tried (at most {report.max_drop:g} points may be lost)")
    for name in ("removed", "MACs left", _plain(report.measure or ""), "change"):
        table.add_column(name, justify="right")
    for name in ("how", ""):
        table.add_column(name)
    for point in report.curve:
        share = f"{point.macs / report.before.macs:.1%}" if report.before.macs else ""
        is_saved = (point.ratio, point.trained) == (report.ratio, report.loss is not None)
        verdict = "saved" if is_saved else "" if point.within else "too much"
        numbers = (f"{point.ratio:.1%}", share, f"{point.value:.2%}", f"{0 - point.drop:+.2f} points")
        table.add_row(*numbers, "trained" if point.trained else "one-shot", verdict)
    out.print(table)


def show_apply(report: ApplyReport) -> None:
    """The result of applying a plan."""
    _show_facts(("before", "after"), report.before, report.after, None)
    out.print(
        f"Removed {report.removed_channels} channels; differs from the masked model by {report.max_relative_error:.1e} "
        f"of the largest output (rounding allows {report.tolerance:.1e}). Saved {_plain(report.output)}.",
        soft_wrap=True,
    )
    for note in report.notes:
        out.print(f"Note: {_plain(note)}", soft_wrap=True)


def show_comparison(result: Comparison) -> None:
    """Two models side by side."""
    _show_facts((result.first, result.second), *result.facts, None)
    difference = result.max_relative_difference
    said = "not comparable" if difference is None else f"up to {difference:.2e} of the largest value"
    out.print(f"Speed-up {result.speedup:.2f}x; outputs differ: {said}.", soft_wrap=True)


def show_evaluation(result: Evaluation) -> None:
    """What could be measured."""
    table = Table()
    table.add_column("measure")
    table.add_column("value", justify="right")
    for name, value in result.model_dump().items():
        if value is not None:
            table.add_row(name.replace("_", " "), f"{value:.4f}" if isinstance(value, float) else str(value))
    out.print(table)


def _show_facts(names: tuple[str, str], before: ModelFacts, after: ModelFacts, title: str | None) -> None:
    table = Table(title=title)
    table.add_column("")
    for name in names:
        table.add_column(_plain(name), justify="right")
    table.add_column("change", justify="right")
    if before.accuracy is not None and after.accuracy is not None:
        points = 100 * (after.accuracy - before.accuracy)
        table.add_row("accuracy", f"{before.accuracy:.2%}", f"{after.accuracy:.2%}", f"{points:+.2f} points")
    if after.agreement is not None:
        table.add_row("agreement with the original", "", f"{after.agreement:.2%}", "")
    if after.output_error is not None:
        table.add_row("difference from the original", "", f"{after.output_error:.2%}", "")
    if before.mean_squared_error is not None and after.mean_squared_error is not None:
        errors = before.mean_squared_error, after.mean_squared_error
        table.add_row("mean squared error", f"{errors[0]:.4g}", f"{errors[1]:.4g}", change(*errors))
    table.add_row("params", count(before.params), count(after.params), change(before.params, after.params))
    table.add_row("MACs", count(before.macs), count(after.macs), change(before.macs, after.macs))
    sizes = before.file_bytes, after.file_bytes
    table.add_row("file size", f"{sizes[0] / 1000:.1f} kB", f"{sizes[1] / 1000:.1f} kB", change(*sizes))
    if before.latency_ms is not None and after.latency_ms is not None:
        times = before.latency_ms, after.latency_ms
        faster = f"{times[0] / times[1]:.2f}x faster" if times[1] <= times[0] else f"{times[1] / times[0]:.2f}x slower"
        table.add_row("latency", f"{times[0]:.3f} ms", f"{times[1]:.3f} ms", faster)
    out.print(table)


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return _plain(shown + (f" and {more} more" if more > 0 else ""))
