"""Cases in a child process (`judge.py`) that lives until it dies or has done its share.

It has 2 GiB of memory more than it needs by itself. What kills it is given to the command line, which has to survive it
and to say so ("survived").
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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
        command = [sys.executable, "-m", "fuzzing.judge", str(self.folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PYTHONPATH": _search_path()}
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


def _search_path() -> str:
    """Where the child finds this package, and what the environment says already."""
    return os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])


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
