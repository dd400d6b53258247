"""Keeps what a run has done: in memory, in checkpoints now and then, and when it cannot go on."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from onnx_dnscp.discovery.choose import frozen_units
from onnx_dnscp.errors import StorageError
from onnx_dnscp.model.load import LoadedModel
from onnx_dnscp.model.units import Units
from onnx_dnscp.runs.inspection import describe_units
from onnx_dnscp.runs.options import named_functions
from onnx_dnscp.runs.run_directory import RunDirectory, RunLog, RunRecord
from onnx_dnscp.system.interruption import stop_requests
from onnx_dnscp.training.checkpoint import PhaseState
from onnx_dnscp.training.loop import Observer
from onnx_dnscp.training.progress import Listener, Progress
from onnx_dnscp.training.stage import StageId


@dataclass(frozen=True)
class Opening:
    """What a run directory says from the beginning on.

    Attributes:
        record: What the run was asked for.
        loaded: The model.
        units: What discovery found in it.
    """

    record: RunRecord
    loaded: LoadedModel
    units: Units

    def write(self, directory: RunDirectory) -> None:
        """Write it; from then on the run can be resumed."""
        frozen = frozen_units(self.units, self.record.exclude, self.record.only)
        directory.describe(describe_units(self.loaded, self.units, frozen))
        directory.start(self.record)


@dataclass
class Keeper:
    """Watches over the states of one run.

    Attributes:
        opening: What the run was asked for and what it works on.
        directory: Where checkpoints go; None keeps everything in memory until the run is interrupted.
        fallback: Where a run goes that was given no directory and cannot go on.
        listener: Hears about every step.
        resumed_by: The folder to resume if it is not `directory`: that of a search, to which this run belongs.
        log: What happened so far.
        states: The last state of every stage so far.
        earlier_seconds: Training time of the processes that this one resumes.
    """

    opening: Opening
    directory: RunDirectory | None
    fallback: Path
    listener: Listener
    resumed_by: Path | None = None
    log: RunLog = field(default_factory=RunLog)
    states: dict[StageId, PhaseState] = field(default_factory=dict)
    earlier_seconds: float = 0.0
    _copies: dict[bool, PhaseState] = field(default_factory=dict, init=False)  # in memory; by whether it is proven
    _stages: Sequence[StageId] = field(default=(), init=False)

    def restore(self, stages: Sequence[StageId]) -> None:
        """Go on from what the directory holds of the stages that train, in the order of the run."""
        assert self.directory is not None, "only a run with a directory is resumed"
        self._stages = stages
        self.states = self.directory.restore(self.log, stages)
        self.earlier_seconds = sum(state.seconds for state in self.states.values())

    @contextmanager
    def watching(
        self,
        state: PhaseState,
        epochs: int,
        accuracy: Callable[[PhaseState], float | None],
        later: Callable[[float], float],
    ) -> Iterator[Observer]:
        """An observer for the phase that starts with `state`; Ctrl-C and SIGTERM wait until its step is done.

        Args:
            state: Of the phase.
            epochs: Of the phase; where there is a directory, `accuracy` is asked after each but the last, whose result
                is measured anyway.
            accuracy: Of the network as a state has it.
            later: What comes after the phase takes about so many seconds, if a step takes so many.

        Raises:
            KeyboardInterrupt: There was such a signal.
        """
        self.states[state.stage] = state
        with stop_requests() as is_asked:

            def observe(state: PhaseState, progress: Progress) -> None:
                is_epoch = state.step % max(1, state.num_steps // epochs) == 0
                if self.directory is not None and is_epoch and not state.is_done:
                    progress = replace(progress, accuracy=accuracy(state))
                self.log.steps.append(progress)
                left = progress.seconds_left + later(state.seconds / state.step)
                self.listener(replace(progress, run_seconds_left=left))
                if state.is_sound:
                    self._keep(state)
                if is_asked():
                    raise KeyboardInterrupt

            yield observe
        state.optimizer = {}  # a phase that is over needs none
        self._copies.clear()

    def _keep(self, state: PhaseState) -> None:
        """Write a checkpoint if it is time, or remember one; the last one counts from now on, because a step went well.

        Raises:
            StorageError: It cannot be written.
        """
        is_due = state.step % self.opening.record.checkpoint_every == 0 or state.is_done
        if self.directory is None:
            if False in self._copies:
                self._copies[True] = self._copies.pop(False)
            if is_due and not state.is_done:  # a state that is done changes no more
                self._copies[False] = state.copy()
            return
        self.directory.prove(state.stage)
        if is_due:
            self.directory.save(state, self.log, proven=state.is_done)

    def keep(self) -> str:
        """Keep what can be kept of a run that cannot go on, and say how to take it up again, if it can be."""
        sound = [state for state in self.states.values() if state.is_sound and state.step]
        if self.directory is not None and self.directory.is_there:
            if sound and len(sound) == len(self.states):  # else the last checkpoint is as good
                with suppress(StorageError):
                    self.directory.save(sound[-1], self.log)
        elif not self._make_directory(sound):
            return "Its state could not be kept." if sound else ""
        assert self.directory is not None, "there is one by now"
        if not self.directory.has_checkpoint:
            return f"Nothing was trained yet; begin anew with: {self._command()}"
        return f"What was done up to the last checkpoint is kept; go on with: {self._command()}"

    def roll_back(self, learning_rate: float) -> str:
        """Go back to the last good state of a run that diverged, and say how to go on with a smaller learning rate."""
        try:
            if self.directory is not None:
                self.states = self.directory.restore(self.log, self._stages or tuple(self.states))
            elif not self._make_directory(self._good()):
                return "Nothing was saved; --run-dir keeps checkpoints."
        except StorageError as error:
            return str(error)
        *_, last = [None, *self.states.values()]
        where = "its beginning" if last is None else f"step {last.step} of the {last.stage} phase"
        command = self._command("--lr", f"{learning_rate / 10:.1g}")
        return f"The run is back at {where}, where all was well; go on from there, for example with: {command}"

    def _good(self) -> list[PhaseState]:
        """Without a directory: phases that are done, and the last good state of one that is not."""
        done = [state for state in self.states.values() if state.is_done and state.is_sound]
        return [*done, *(copy for is_proven, copy in self._copies.items() if is_proven)]

    def _make_directory(self, states: list[PhaseState]) -> bool:
        """Put the states and what led to them where a run goes that has no directory; False if that is not possible."""
        if not states:
            return False
        self.states = {state.stage: state for state in states}
        last = {str(state.stage): state.step for state in states}
        moved = {state.stage.round: state.step for state in states if state.stage.kind == "train"}
        self.log.steps[:] = [row for row in self.log.steps if row.step <= last.get(row.phase, 0)]
        events = self.log.history.events
        events[:] = [event for event in events if event.step <= moved.get(event.round, -1)]
        path = free_folder(self.fallback)
        try:
            with RunDirectory.new(path) as directory:
                self.opening.write(directory)
                for state in states:
                    directory.save(state, self.log)
        except StorageError:
            shutil.rmtree(path, ignore_errors=True)
            return False
        self.directory, self.resumed_by = directory, None
        return True

    def _command(self, *more: str) -> str:
        """The command that goes on with the run."""
        assert self.directory is not None, "there is something to go on with"
        folder = str(self.resumed_by or self.directory.path)
        repeated = [word for option in named_functions(self.opening.record).items() for word in option]
        return shlex.join(["onnx-dnscp", "prune", "--resume", folder, *repeated, *more])


def free_folder(path: Path) -> Path:
    """`path`, or the first of `path-2`, `path-3` ... that is not there yet."""
    names = (path if number == 1 else path.with_name(f"{path.name}-{number}") for number in count(1))
    return next(candidate for candidate in names if not candidate.exists())
