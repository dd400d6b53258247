"""Kill runs at random moments with SIGKILL, resume them, and compare them with a run that nobody disturbed.

    python tests/kill.py                 # 20 runs on one thread, 6 of them killed within a write
    python tests/kill.py --threads 2

Each run is killed after a random share of the processor time that the undisturbed one took, from its first import to
its last write, or while it writes one of its checkpoints, and then resumed. One more run is killed again
and again. What is compared: the saved model byte for byte, every training step, every drop and recovery, and the plan.
The exit code is 1 if any differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

MODELS = Path(__file__).parents[1] / "models"
MODEL = MODELS / "digits-resnet.onnx"
BATCH = 64  # two shards of 32 where there are two threads
# Masks that move both ways, momentum, running statistics: everything that has to survive.
OPTIONS = ("--epochs=2", "--finetune-epochs=2", f"--batch-size={BATCH}", "--lr=0.1", "--c-rate=0", "--gamma=0.2",
           "--checkpoint-every=2", "--seed=3")  # fmt: skip
POLL = 0.0005  # seconds between two looks
DIED = 128  # and the number of the signal: the exit code of a command whose worker was killed


@dataclass(frozen=True)
class Moment:
    """When to kill: after `seconds` of processor time, or, where `write` is given, in that write of a checkpoint."""

    seconds: float = 0.0
    write: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a killed and resumed run compares with the undisturbed one.

    Attributes:
        where: What the run was doing when it was killed, as far as its folder tells.
        same_file: Whether the saved models are equal byte by byte.
        same_masks: Whether all drops, recoveries and the plan are.
        difference: Of the weights, relative to the largest one of each tensor; infinite where shapes differ.
    """

    where: str
    same_file: bool
    same_masks: bool
    difference: float


class Run:
    """One run in a folder of its own."""

    def __init__(self, folder: Path, data: Path, threads: int) -> None:
        self.folder, self.model = folder, folder / "out.onnx"
        folder.mkdir()
        self._directory = folder / "run"
        self._call = ["prune", str(MODEL), f"--output={self.model}", f"--data={data}", f"--run-dir={self._directory}"]
        self._call += [f"--threads={threads}", *OPTIONS]

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return (self._directory / "report.json").exists()

    def go_on(self, moment: Moment | None = None) -> None:
        """Begin or resume; end by itself, or by SIGKILL at a moment."""
        is_begun = (self._directory / "options.json").exists()
        call = ["prune", f"--resume={self._directory}"] if is_begun else self._call
        with (self.folder / "output.txt").open("a") as output:
            process = subprocess.Popen([sys.executable, "-m", "onnx_dnscp", *call], stdout=output, stderr=output)
            if moment is not None:
                self._wait(process, moment)
                for worker in _children(process.pid):  # the process itself only watches it
                    os.kill(worker, signal.SIGKILL)
        if process.wait() != 0 and not (moment and process.returncode == DIED + signal.SIGKILL):
            raise SystemExit(f"exit code {process.returncode}:\n{(self.folder / 'output.txt').read_text()[-2000:]}")

    def _wait(self, process: subprocess.Popen[bytes], moment: Moment) -> None:
        seen: set[Path] = set()
        while process.poll() is None:
            if moment.write is None:
                if _processor_seconds(process.pid) >= moment.seconds:
                    return
            else:
                seen.update(self.half_written())
                if len(seen) >= moment.write:
                    return
            time.sleep(POLL)

    def half_written(self) -> list[Path]:
        """Temporary files of checkpoints."""
        return list(self._directory.glob(".*.npz.*"))

    def where(self) -> str:
        """What a killed run had come to."""
        if self.is_done:
            return "after the end"
        if not self._log("steps.jsonl"):
            return "before the first checkpoint"
        last = json.loads(self._log("steps.jsonl")[-1])
        within = ", within a write" if self.half_written() else ""
        return f"{last['phase']}, step {last['step']} or later{within}"

    def compare(self, other: Run, where: str) -> Outcome:
        """Against the undisturbed run."""
        logs = [[self._steps(), self._log("masks.jsonl"), self._log("plan.json")] for self in (self, other)]
        same_file = self.model.read_bytes() == other.model.read_bytes() and logs[0] == logs[1]
        return Outcome(where, same_file, logs[0][1:] == logs[1][1:], _difference(self.model, other.model))

    def _log(self, name: str) -> list[str]:
        path = self._directory / name
        return path.read_text().splitlines() if path.exists() else []

    def _steps(self) -> list[object]:
        """All steps, without the time that was left."""
        return [{**json.loads(line), "seconds_left": None} for line in self._log("steps.jsonl")]


def _processor_seconds(pid: int) -> float:
    """Of a process and all its descendants; unlike the time of day, it says how far a run has come."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return 0.0
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(_processor_seconds, _children(pid)))


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _difference(first: Path, second: Path) -> float:
    one, two = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
        for path in (first, second)
    )
    if {name: value.shape for name, value in one.items()} != {name: value.shape for name, value in two.items()}:
        return float("inf")
    return max(float(np.abs(value - two[name]).max() / max(1e-30, np.abs(value).max())) for name, value in one.items())


def kill(scratch: Path, *, kills: int, writes: int, samples: int, lives: int, threads: int, seed: int) -> list[Outcome]:
    """All outcomes, printed as they come; the last is that of the run which was killed again and again, if any."""
    rng = random.Random(seed)
    data = scratch / "digits.npz"
    with np.load(MODELS / "digits-train.npz") as arrays:
        np.savez(data, **{name: arrays[name][:samples] for name in arrays.files})
    undisturbed = Run(scratch / "undisturbed", data, threads)
    undisturbed.go_on()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    duration = used.ru_utime + used.ru_stime
    print(f"undisturbed: {duration:.1f} s of processor time", flush=True)
    checkpoints = 4 * (samples // BATCH) // 2  # files; each but the last of a phase is written once
    moments = [[Moment(write=rng.randint(1, checkpoints))] for _ in range(writes)]
    moments += [[Moment(rng.uniform(0, duration))] for _ in range(kills - writes)]
    moments += [[Moment(rng.uniform(0.3, 1) * duration) for _ in range(lives)]] if lives else []
    outcomes = []
    for number, own in enumerate(moments):
        run = Run(scratch / f"{number}", data, threads)
        places = []
        for moment in own:
            if not run.is_done:
                run.go_on(moment)
                places.append(run.where())
        if not run.is_done:
            run.go_on()
        outcomes.append(run.compare(undisturbed, "; ".join(places)))
        print(outcomes[-1], flush=True)
    return outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, print what came of it, and say whether all is as it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--writes", type=int, default=6, help="how many of them within a write")
    parser.add_argument("--lives", type=int, default=8, help="kills of the run that is killed again and again")
    parser.add_argument("--samples", type=int, default=640)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        outcomes = kill(Path(scratch), **vars(given))
    summary = {
        "killed": len(outcomes),
        "times": sum(outcome.where.count(";") + 1 for outcome in outcomes),
        "within a write": sum(outcome.where.count("within a write") for outcome in outcomes),
        "same file": sum(outcome.same_file for outcome in outcomes),
        "same masks": sum(outcome.same_masks for outcome in outcomes),
        "largest difference": max(outcome.difference for outcome in outcomes),
    }
    print(json.dumps(summary))
    return 0 if summary["same file"] == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
