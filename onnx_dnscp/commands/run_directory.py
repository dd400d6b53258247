"""The record of one run, as files that outlive it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from onnx_dnscp.atomic import check_writable, write_bytes
from onnx_dnscp.errors import UsageError
from onnx_dnscp.masks.method import MaskHistory
from onnx_dnscp.options import PruneOptions
from onnx_dnscp.training.loop import Progress


class RunDirectory:
    """A folder that a run writes its record into.

    Files: `options.json`, `plan.json`, `masks.jsonl` (every drop and recovery, per group and step),
    `steps.jsonl` (every training step), `report.json`.

    Raises:
        UsageError: The folder cannot be made or written to, or already holds a run.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"Cannot make the run directory {str(path)!r}: {error.strerror or error}.") from error
        if (path / "report.json").exists():
            raise UsageError(f"The run directory {str(path)!r} already holds a run; give another one.")
        check_writable(path / "report.json")
        self._path = path
        self._steps: list[str] = []

    def log(self, progress: Progress) -> None:
        """Remember one training step."""
        self._steps.append(json.dumps(asdict(progress)))

    def finish(self, options: PruneOptions, plan: bytes, history: MaskHistory, report: bytes) -> None:
        """Write everything, the report last."""
        write_bytes(self._path / "options.json", options.model_dump_json(indent=1).encode())
        write_bytes(self._path / "plan.json", plan)
        write_bytes(self._path / "masks.jsonl", _lines([json.dumps(asdict(event)) for event in history.events]))
        write_bytes(self._path / "steps.jsonl", _lines(self._steps))
        write_bytes(self._path / "report.json", report)


def _lines(rows: list[str]) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()
