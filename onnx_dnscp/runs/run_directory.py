"""The record of one run, as files that outlive it, and the checkpoints from which it can go on."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import StorageError, UsageError
from onnx_dnscp.runs.environment import describe_environment
from onnx_dnscp.runs.inspection import Inspection
from onnx_dnscp.runs.options import PruneOptions
from onnx_dnscp.system.atomic import check_writable, write_bytes
from onnx_dnscp.system.lock import locked
from onnx_dnscp.training.checkpoint import PhaseState, load_state, save_state
from onnx_dnscp.training.method import MaskEvent, MaskHistory
from onnx_dnscp.training.progress import Progress
from onnx_dnscp.training.stage import StageId, StageKind

OPTIONS, PLAN, REPORT = "options.json", "plan.json", "report.json"
INSPECTION, ENVIRONMENT = "inspection.json", "environment.json"
_LOGS = _STEPS, _MASKS = "steps.jsonl", "masks.jsonl"
ARTIFACTS = "artifacts"
_TEMPORARY = ".*.????????"  # what a process leaves behind that is killed while it writes a file
_STATES, _UNPROVEN = ".npz", ".unproven.npz"  # checkpoints, after the name of a stage
_CHECKPOINT = re.compile(rf"({'|'.join(get_args(StageKind))})(-\d+)?(\.unproven)?\.npz")


class RunRecord(PruneOptions):
    """What a run was asked for, complete enough to go on with it anywhere on this machine.

    Attributes:
        model: The file, as an absolute path, like all others here.
        model_sha256: Of its bytes.
        output: Where the result goes.
        plan_out: Where the plan goes, if anywhere.
        fingerprints: Of every file that the run reads.
    """

    model: Path
    model_sha256: str
    output: Path
    plan_out: Path | None = None
    fingerprints: dict[str, str]

    @property
    def options(self) -> PruneOptions:
        """The options alone."""
        return PruneOptions(**{name: getattr(self, name) for name in PruneOptions.model_fields})


@dataclass
class RunLog:
    """What happened in a run.

    Attributes:
        steps: Every training step.
        history: Every drop and recovery.
    """

    steps: list[Progress] = field(default_factory=list)
    history: MaskHistory = field(default_factory=MaskHistory)

    def lines(self, name: str, start: int) -> list[str]:
        """The lines of the file `name` from number `start` on, as JSON."""
        if name == _STEPS:
            return [json.dumps(step.recorded()) for step in islice(self.steps, start, None)]
        return [json.dumps(asdict(event)) for event in islice(self.history.events, start, None)]


class RunDirectory:
    """A folder that one run writes its record into.

    Files: `options.json` (with the model and the data), `inspection.json` (groups, and what is locked and why),
    `environment.json` (versions), `plan.json`, `masks.jsonl` (every drop and recovery, per group and step),
    `steps.jsonl` (every training step), `artifacts/` (see `training/artifacts.py`), and last of all `report.json`,
    which `report.html` shows. Until then there is a checkpoint of each stage that trains, such as
    `train.npz` and `fine-tune.npz`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = dict.fromkeys(_LOGS, 0)  # lines
        self._ends = dict.fromkeys(_LOGS, 0)  # bytes

    @property
    def is_there(self) -> bool:
        """Whether there is a run to go on with; somebody may have removed the folder."""
        return (self.path / OPTIONS).exists()

    @property
    def has_checkpoint(self) -> bool:
        """Whether something that was trained can be gone on from."""
        names = [path.name for path in self.path.iterdir()]
        return any(_CHECKPOINT.fullmatch(name) and not name.endswith(_UNPROVEN) for name in names)

    @classmethod
    @contextmanager
    def new(cls, path: Path) -> Iterator[RunDirectory]:
        """A folder for a new run, held against other processes while the block runs.

        Raises:
            UsageError: It cannot be made or written to, holds a run already, or is in use.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"Cannot make the run directory {str(path)!r}: {error.strerror or error}.") from error
        with locked(path):
            if (path / REPORT).exists():
                raise UsageError(f"The run directory {str(path)!r} already holds a run; give another one.")
            if (path / OPTIONS).exists():
                raise UsageError(
                    f"The run directory {str(path)!r} already holds a run, which did not end; go on with it by "
                    "--resume, or give another one."
                )
            check_writable(path / REPORT)
            yield cls(path)

    @classmethod
    @contextmanager
    def existing(cls, path: Path) -> Iterator[RunDirectory]:
        """The folder of a run that did not end, held against other processes while the block runs.

        Raises:
            UsageError: It holds no such run, or is in use.
        """
        if not (path / OPTIONS).is_file():
            raise UsageError(f"{str(path)!r} is no run directory: it has no {OPTIONS}.")
        with locked(path):
            if (path / REPORT).exists():
                raise UsageError(f"The run in {str(path)!r} is done; see {str(path / REPORT)!r}.")
            for half_written in path.glob(_TEMPORARY):
                if half_written.is_dir():
                    shutil.rmtree(half_written, ignore_errors=True)
                else:
                    half_written.unlink(missing_ok=True)
            yield cls(path)

    def describe(self, found: Inspection) -> None:
        """Write what the run works on and where it was begun."""
        write_bytes(self.path / INSPECTION, found.model_dump_json(indent=1).encode())
        write_bytes(self.path / ENVIRONMENT, describe_environment().model_dump_json(indent=1).encode())

    def start(self, record: RunRecord) -> None:
        """Write what the run was asked for; from then on it can be resumed."""
        write_bytes(self.path / OPTIONS, record.model_dump_json(indent=1).encode())

    def record(self) -> RunRecord:
        """What the run was asked for.

        Raises:
            UsageError: The file was changed or written by another version.
        """
        path = self.path / OPTIONS
        if not path.is_file():
            raise UsageError(f"{str(self.path)!r} is no run directory: it has no {OPTIONS}.")
        try:
            return RunRecord.model_validate_json(path.read_bytes())
        except (OSError, ValidationError, UsageError) as error:
            raise UsageError(f"{str(path)!r} does not say what this version of onnx-dnscp can go on with.") from error

    def save(self, state: PhaseState, log: RunLog, *, proven: bool = True) -> None:
        """Write a checkpoint, and before it the log up to this step.

        Without `proven`, the last one stays in force until `prove` says that training goes on well from this one.
        """
        self._append(log)
        save_state(self._checkpoint(state.stage, proven=proven), state, self._written)
        if proven:
            self._checkpoint(state.stage, proven=False).unlink(missing_ok=True)

    def prove(self, stage: StageId) -> None:
        """Let a checkpoint that was not proven, if there is one, take the place of the last one.

        Raises:
            StorageError: The operating system refuses.
        """
        path = self._checkpoint(stage)
        try:
            if (unproven := self._checkpoint(stage, proven=False)).exists():
                os.replace(unproven, path)
        except OSError as error:
            raise StorageError(f"Cannot write {str(path)!r}: {error.strerror or error}.") from error

    def _checkpoint(self, stage: StageId, *, proven: bool = True) -> Path:
        return self.path / f"{stage}{_STATES if proven else _UNPROVEN}"

    def restore(self, log: RunLog, stages: Sequence[StageId]) -> dict[StageId, PhaseState]:
        """The last good state of every stage that has one; `log`, and the files of it, become what they were then.

        Args:
            log: Of the run.
            stages: Those that train, in the order of the run.
        """
        states: dict[StageId, PhaseState] = {}
        self._written = dict.fromkeys(self._written, 0)
        for stage in stages:
            with suppress(OSError):  # not there, or on a disk that fails
                self._checkpoint(stage, proven=False).unlink()
            path = self._checkpoint(stage)
            if path.exists():
                states[stage], self._written = load_state(path)
        kept = {name: self._first_lines(name, count) for name, count in self._written.items()}
        log.steps[:] = [Progress(**json.loads(line)) for line in kept[_STEPS]]
        log.history.events[:] = [_event(line) for line in kept[_MASKS]]
        return states

    def finish(self, plan: bytes, log: RunLog) -> None:
        """Write what is left of the record, except the report."""
        write_bytes(self.path / PLAN, plan)
        self._append(log)

    def close(self, report: bytes) -> None:
        """Write the report, after which the run is done, and remove the checkpoints."""
        write_bytes(self.path / REPORT, report)
        for checkpoint in self.path.iterdir():
            if _CHECKPOINT.fullmatch(checkpoint.name):  # anything else in the folder is somebody's
                checkpoint.unlink(missing_ok=True)

    def _append(self, log: RunLog) -> None:
        for name in self._written:
            path, lines = self.path / name, log.lines(name, self._written[name])
            try:
                with path.open("ab") as file:
                    if file.tell() < self._ends[name]:
                        raise StorageError(f"{str(path)!r} has lost lines that were written to it.")
                    file.truncate(self._ends[name])  # an earlier attempt may have failed half-way
                    file.writelines(f"{line}\n".encode() for line in lines)
                    file.flush()
                    os.fsync(file.fileno())
                    end = file.tell()
            except OSError as error:
                raise StorageError(f"Cannot write {str(path)!r}: {error.strerror or error}.") from error
            self._written[name] += len(lines)
            self._ends[name] = end

    def _first_lines(self, name: str, count: int) -> list[str]:
        """The first lines of a file, which loses all others: they are of steps after the checkpoint."""
        path = self.path / name
        lines = path.read_text(encoding="utf-8").splitlines()[:count] if path.exists() else []
        if len(lines) < count:
            raise UsageError(f"{str(path)!r} has lost lines since the checkpoint was written; the run cannot go on.")
        content = "".join(f"{line}\n" for line in lines).encode()
        write_bytes(path, content)
        self._ends[name] = len(content)
        return lines


def preprocess_of(path: Path) -> Preprocess:
    """How the run in the directory `path` prepares its samples, whether it has ended or not.

    Raises:
        UsageError: It is no run directory, or of another version.
    """
    return RunDirectory(path).record().preprocess


def read_log(path: Path) -> RunLog:
    """The log in the run directory `path`, as far as whole lines of it were written."""
    lines = {name: (path / name).read_text(encoding="utf-8") if (path / name).exists() else "" for name in _LOGS}
    steps, masks = (lines[name][: lines[name].rfind("\n") + 1].splitlines() for name in _LOGS)
    return RunLog([Progress(**json.loads(line)) for line in steps], MaskHistory([_event(line) for line in masks]))


def _event(line: str) -> MaskEvent:
    values = json.loads(line)
    return MaskEvent(**{**values, "dropped": tuple(values["dropped"]), "recovered": tuple(values["recovered"])})
