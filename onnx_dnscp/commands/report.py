"""`report`: the picture of a run, from what its directory holds."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import BaseModel

from onnx_dnscp.errors import UsageError
from onnx_dnscp.report.page import make_page
from onnx_dnscp.report.record import read_run
from onnx_dnscp.report.render import render
from onnx_dnscp.system.atomic import write_bytes

logger = logging.getLogger("onnx_dnscp")

PICTURE = "report.html"


class ReportFile(BaseModel):
    """A report that was written.

    Attributes:
        done: Whether the run has ended; else the report shows what is known so far.
    """

    report: str
    done: bool


def report(run_dir: str | Path, output: str | Path | None = None) -> ReportFile:
    """Write a run's report: one HTML file that needs nothing else.

    Args:
        run_dir: The run's directory; the run may be unfinished, or going on.
        output: Where to write; `report.html` in that directory by default.

    Raises:
        UsageError: It is no run directory, something in it cannot be read, or the file cannot be written.
    """
    run = read_run(Path(run_dir))
    path = Path(run_dir) / PICTURE if output is None else Path(output)
    write_bytes(path, render(make_page(run)).encode())
    return ReportFile(report=str(path), done=run.report is not None)


def leave_picture(run_dir: Path) -> None:
    """Write the report of a run that has just ended; the model is saved, so nothing here makes the run fail."""
    try:
        report(run_dir)
    except UsageError as error:
        logger.warning("warning: the run has no %s (%s); 'onnx-dnscp report' makes it again", PICTURE, error)
