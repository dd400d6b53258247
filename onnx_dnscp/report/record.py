"""What a run directory holds, whether the run has ended or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from onnx_dnscp.errors import UsageError
from onnx_dnscp.runs.environment import Environment
from onnx_dnscp.runs.inspection import Inspection
from onnx_dnscp.runs.prune_report import PruneReport
from onnx_dnscp.runs.run_directory import (
    ENVIRONMENT,
    INSPECTION,
    OPTIONS,
    REPORT,
    RunDirectory,
    RunLog,
    RunRecord,
    read_log,
)

Value = TypeVar("Value")


@dataclass(frozen=True)
class RunFiles:
    """One run as its directory tells it.

    Attributes:
        record: What it was asked for.
        inspection: Groups and locked channels; None in a directory of an older version.
        environment: Versions; None likewise.
        log: Steps, drops and recoveries. Of a search, those of the run whose result was saved, or of its last one.
        report: The result; None while there is none.
    """

    record: RunRecord
    inspection: Inspection | None
    environment: Environment | None
    log: RunLog
    report: PruneReport | None

    @cached_property
    def kept(self) -> dict[int, int]:
        """Group to its channels that are left: in the end, or so far."""
        if self.report is not None:
            return {group.id: group.kept for group in self.report.groups}
        kept = {group.id: group.width for group in self.inspection.groups} if self.inspection else {}
        for event in self.log.history.events:
            kept[event.group] = kept.get(event.group, 0) + len(event.recovered) - len(event.dropped)
        return kept


def read_run(path: Path) -> RunFiles:
    """Everything that a run directory tells; it may belong to a run that goes on.

    Raises:
        UsageError: It is no run directory, or something in it cannot be read.
    """
    if not (path / OPTIONS).is_file():
        raise UsageError(f"{str(path)!r} is no run directory: it has no {OPTIONS}.")
    report = _parsed(path / REPORT, PruneReport.model_validate_json)
    record = RunDirectory(path).record()
    logged = path if record.max_drop is None else _folder_of_search(path, report)
    try:
        log = read_log(logged)
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise UsageError(f"The log in {str(logged)!r} is damaged, or of another version of onnx-dnscp.") from error
    inspection = _parsed(path / INSPECTION, Inspection.model_validate_json)
    environment = _parsed(path / ENVIRONMENT, Environment.model_validate_json)
    return RunFiles(record, inspection, environment, log, report)


def _parsed(path: Path, parse: Callable[[bytes], Value]) -> Value | None:
    """The value in a file, if there is one."""
    if not path.exists():
        return None
    try:
        return parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(path)!r} cannot be read, or is of another version of onnx-dnscp.") from error


def _folder_of_search(path: Path, report: PruneReport | None) -> Path:
    """The folder of the run that a search has saved, or of the last one that it has begun."""
    tries = sorted(path.glob("try-*"), key=lambda folder: (len(folder.name), folder.name))
    if report is None:
        return tries[-1] if tries else path
    for folder in tries:
        found = _parsed(folder / REPORT, PruneReport.model_validate_json)
        if found is not None and (found.ratio, found.after) == (report.ratio, report.after):
            return folder
    return path
