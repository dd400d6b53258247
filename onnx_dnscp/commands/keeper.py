"""Keeps what a run has done: in memory, in checkpoints now and then, and when it is interrupted."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from onnx_dnscp.commands.run_directory import RunDirectory, RunLog
from onnx_dnscp.interruption import stop_requests
from onnx_dnscp.training.checkpoint import PhaseName, PhaseState
from onnx_dnscp.training.loop import Listener, Observer, Progress


@dataclass
class Keeper:
    """Watches over the states of one run.

    Attributes:
        directory: Where checkpoints go; None keeps everything in memory until the run is interrupted.
        fallback: Where an interrupted run goes that was given no directory.
        every: Steps between two checkpoints.
        listener: Hears about every step.
        begin: Writes what the run was asked for and what it works on.
        log: What happened so far.
        states: The last state of every phase so far.
        earlier_seconds: Training time of the processes that this one resumes.
        resumed_by: The folder to resume if it is not `directory`: that of a search, to which this run belongs.
    """

    directory: RunDirectory | None
    fallback: Path
    every: int
    listener: Listener
    begin: Callable[[RunDirectory], None]
    log: RunLog = field(default_factory=RunLog)
    states: dict[PhaseName, PhaseState] = field(default_factory=dict)
    earlier_seconds: float = 0.0
    resumed_by: Path | None = None

    def restore(self) -> None:
        """Go on from what the directory holds."""
        assert self.directory is not None, "only a run with a directory is resumed"
        self.states = self.directory.restore(self.log)
        self.earlier_seconds = sum(state.seconds for state in self.states.values())

    @contextmanager
    def watching(
        self, state: PhaseState, epochs: int, accuracy: Callable[[PhaseState], float | None]
    ) -> Iterator[Observer]:
        """An observer for the phase that starts with `state`; Ctrl-C and SIGTERM wait until its step is done.

        Where there is a directory, `accuracy` is asked after each of the phase's `epochs` but the last, whose result is
        measured anyway.

        Raises:
            KeyboardInterrupt: There was such a signal.
        """
        self.states[state.name] = state
        with stop_requests() as is_asked:

            def observe(state: PhaseState, progress: Progress) -> None:
                is_epoch = state.step % max(1, state.num_steps // epochs) == 0
                if self.directory is not None and is_epoch and not state.is_done:
                    progress = replace(progress, accuracy=accuracy(state))
                self.log.steps.append(progress)
                self.listener(progress)
                if self.directory is not None:
                    self.directory.prove(state.name)  # a step from there has gone well
                    if state.step % self.every == 0 or state.is_done:
                        self.directory.save(state, self.log, proven=state.is_done)
                if is_asked():
                    raise KeyboardInterrupt

            yield observe
        state.optimizer = {}  # a phase that is over needs none

    def interrupted(self) -> str:
        """Keep what can be kept, and say how to go on."""
        whole = [state for state in self.states.values() if state.whole and state.step]
        if self.directory is None:
            if not whole:
                return "Interrupted; no model was written."
            phases = [state.name for state in whole]
            self.log.steps[:] = [progress for progress in self.log.steps if progress.phase in phases]
            with RunDirectory.new(free_folder(self.fallback)) as directory:
                self.begin(directory)
                for state in whole:
                    directory.save(state, self.log)
                self.directory = directory
        elif whole and len(whole) == len(self.states):  # else the last checkpoint is as good
            self.directory.save(whole[-1], self.log)
        return f"Interrupted; no model was written. {self.way_on()}"

    def way_on(self, *more: str) -> str:
        """What is kept, and the command that goes on from there with `more` options."""
        if self.directory is None:
            return "Nothing was saved; --run-dir keeps checkpoints."
        command = shlex.join(["onnx-dnscp", "prune", "--resume", str(self.resumed_by or self.directory.path)])
        return f"What was done up to the last checkpoint is kept; go on with: {' '.join([command, *more])}"


def free_folder(path: Path) -> Path:
    """`path`, or the first of `path-2`, `path-3` ... that is not there yet."""
    names = (path if number == 1 else path.with_name(f"{path.name}-{number}") for number in count(1))
    return next(candidate for candidate in names if not candidate.exists())
