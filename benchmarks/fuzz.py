"""Damaged files of every kind for the command line: nothing may crash, hang, fill the memory or come out wrong.

    python benchmarks/fuzz.py --kind model --count 20000 --log models.jsonl
    python benchmarks/fuzz.py --log models.jsonl --count 0          # the table again

Every case is a line of the log; with the same log, what is done is not done again. Cases run in a child process
(`fuzz_case.py`) that lives until it dies or has done its share, with 2 GiB of memory more than it needs by itself. What
kills it is given to the command line, which has to survive it and to say so ("survived").
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

KINDS = ("model", "plan", "config", "data")
CASES_PER_PROCESS = 400  # a new one then, so that leaks of the runtime do not add up
HANG = 10.0  # seconds of processor time for one command
LOST = 900.0  # seconds on the clock, for what hangs without working
GOOD = ("accepted", "refused", "survived")
MODEL = 3  # exit code of what is wrong with a model


class Worker:
    """The child process, started anew whenever it has died.

    Attributes:
        folder: Where the files of the last case are.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._cases = 0
        self._parent = tempfile.TemporaryDirectory()
        self.folder = Path(self._parent.name) / "case"

    def judge(self, kind: str, number: int, seed: int) -> dict[str, Any]:
        """The verdict on one case; a child that dies or hangs is one too."""
        if self._process is None or self._cases >= CASES_PER_PROCESS:
            self._stop()
            self._process = self._started()
            self._cases = 0
        process = self._process
        assert process.stdin is not None
        self._cases += 1
        process.stdin.write(json.dumps([kind, number, seed]).encode() + b"\n")
        row: dict[str, Any] = {}  # filled line by line, before each command and at the end
        while "outcome" not in row:
            line = _line_of(process)
            if line:
                row |= json.loads(line)
                continue
            row["outcome"] = "crash" if line == b"" else "hang"
            if line == b"":
                if self._survives(str(row.get("step"))):
                    row["outcome"] = "survived"
                code = row["code"] = process.wait()
                row["message"] = signal.Signals(-code).name if code < 0 else "the judge itself has failed"
            self._stop()
        return row

    def _survives(self, step: str) -> bool:
        """Whether the command line tells of the same crash: here it does not have the process to itself."""
        folder = self.folder
        arguments = {
            "inspect": ["inspect", str(folder / "fuzz.onnx")],
            "prune": ["prune", str(folder / "fuzz.onnx"), "--no-train", "-o", str(folder / "again.onnx"), "--quiet"],
        }
        if step not in arguments:
            return False
        command = [sys.executable, "-m", "onnx_dnscp", *arguments[step]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LOST)
        last = done.stderr.strip().splitlines()[-1:]
        return done.returncode in (0, MODEL) and (done.returncode == 0 or "".join(last).startswith("Error: "))

    def _started(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(Path(__file__).with_name("fuzz_case.py")), str(self.folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment, bufsize=0
        )
        assert process.stdout is not None
        while process.stdout.readline() not in (b"ready\n", b""):
            pass  # it imports everything and tries one case
        return process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def close(self) -> None:
        """End the child and remove its files."""
        self._stop()
        self._parent.cleanup()


def _line_of(process: subprocess.Popen[bytes]) -> bytes | None:
    """The next line; empty from a process that has ended, None from one that works for too long."""
    assert process.stdout is not None
    started, before = time.monotonic(), _processor_time(process.pid)
    while not select.select([process.stdout], [], [], 0.2)[0]:
        if _processor_time(process.pid) - before > HANG or time.monotonic() - started > LOST:
            return None
    return process.stdout.readline()


def _processor_time(pid: int) -> float:
    """Seconds that all threads of a process have worked."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def show_table(rows: list[dict[str, Any]]) -> None:
    """One line per kind of input, and what was found."""
    outcomes = list(dict.fromkeys([*GOOD, "traceback", "crash", "hang", "wrong", "unclear"]))
    print(" ".join(f"{name:>10}" for name in ("kind", "inputs", *outcomes, "checked", "peak MB")))
    for kind in KINDS:
        mine = [row for row in rows if row["kind"] == kind]
        count = Counter(row["outcome"] for row in mine)
        checked = sum(bool(row.get("checked")) for row in mine)
        peak = max((row.get("megabytes", 0) for row in mine), default=0)
        numbers = (len(mine), *(count[outcome] for outcome in outcomes), checked, peak)
        print(" ".join(f"{value:>10}" for value in (kind, *numbers)))
    for row in rows:
        if row["outcome"] not in GOOD:
            last = (row.get("message") or "").strip().splitlines()[-1:]
            print(f"{row['kind']} {row['number']} {row['seed']}: {row['outcome']} {row.get('how', '')} {last}")


@click.command()
@click.option("--kind", type=click.Choice(KINDS), default="model", show_default=True)
@click.option("--count", default=1000, show_default=True)
@click.option("--first", default=0, show_default=True, help="Number of the first case.")
@click.option("--seed", default=0, show_default=True)
@click.option("--log", type=click.Path(path_type=Path), default=Path("fuzz.jsonl"), show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the files of cases that went wrong.")
def main(kind: str, count: int, first: int, seed: int, log: Path, keep: Path | None) -> None:
    """Try many damaged inputs of one kind."""
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(row["kind"], row["number"], row["seed"]) for row in rows}
    worker = Worker()
    with log.open("a") as file:
        for number in range(first, first + count):
            if (kind, number, seed) not in done:
                row = {"kind": kind, "number": number, "seed": seed, **worker.judge(kind, number, seed)}
                rows.append(row)
                file.write(json.dumps(row) + "\n")
                file.flush()
                if keep is not None and row["outcome"] not in GOOD:
                    shutil.copytree(worker.folder, keep / f"{kind}-{number}-{seed}", dirs_exist_ok=True)
    worker.close()
    show_table(rows)


if __name__ == "__main__":
    main()
