"""The commands that a Markdown page tells its readers to type, and what it says they print.

A fence of `sh` holds commands, and a fence of `text` after it what they print; in it, `...` stands for anything.
Comments that readers do not see, on lines of their own before a fence, say what is not plain:

    <!-- exit 5 -->            the commands end with that exit code
    <!-- numbers vary -->      of what is printed, the words count and the numbers do not
    <!-- keeps running -->     the command does not end; the next one comes once it has printed what the page says
    <!-- file: NAME -->        the fence is a file, which readers save under that name
    <!-- not run: REASON -->   nobody runs this
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 240  # seconds until a command counts as hanging
_FENCE = re.compile(
    r"(?P<comments>(?:^<!--[^\n]*-->\n+)*)^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
_COMMENT = re.compile(r"<!-- (.*?) -->")
# Installing takes a network and minutes, and `.ci/run` does it with the same words; the tests are what runs now.
_INSTALLS = re.compile(r"(\S*python3? -m venv|\S*pip install|\S*python -m pytest)\b.*")
_NUMBER = re.compile(r"[+-]?\d[\d.,]*(e[+-]?\d+)?")
_DURATION = re.compile(r"(\d+(h|m|s|ms)\b ?)+")
_DRAWN = re.compile(r"([\u2500-\u257f])\1+")  # lines of a table, as long as what stands in it


@dataclass(frozen=True)
class Step:
    """Commands, a script or a file of a page.

    Attributes:
        line: Where it stands.
        language: Of the fence.
        body: What is in it.
        remarks: The comments before it.
        output: Lines that it prints; None where the page does not say.
        numbers_vary: Whether their numbers say nothing.
    """

    line: int
    language: str
    body: str
    remarks: tuple[str, ...]
    output: tuple[str, ...] | None = None
    numbers_vary: bool = False

    def remark(self, start: str) -> str | None:
        """What follows `start` in a comment that begins with it."""
        return next((r.removeprefix(start).strip() for r in self.remarks if r.startswith(start)), None)


def steps(text: str) -> list[Step]:
    """The steps of a page, in its order."""
    found: list[Step] = []
    for fence in _FENCE.finditer(text):
        line = text.count("\n", 0, fence.start("language")) + 1
        remarks = tuple(_COMMENT.findall(fence["comments"]))
        if fence["language"] != "text":
            found.append(Step(line, fence["language"], fence["body"], remarks))
        elif found and found[-1].language == "sh" and found[-1].output is None:
            last = found.pop()
            said = tuple(fence["body"].splitlines())
            found.append(Step(last.line, "sh", last.body, last.remarks, said, "numbers vary" in remarks))
    return found


def run_page(page: Path, folder: Path, *, replace: Mapping[str, str] | None = None) -> int:
    """Do in `folder` what a page says.

    Args:
        page: The Markdown file.
        folder: Where to be; files that the page takes for granted are there already.
        replace: Words of the page that mean something else here.

    Returns:
        How many steps were run.

    Raises:
        AssertionError: Something ended otherwise or printed something else than the page says.
    """
    text = page.read_text("utf-8")
    for word, own in (replace or {}).items():
        text = text.replace(word, own)
    running: list[subprocess.Popen[bytes]] = []
    count = 0
    try:
        for step in steps(text):
            if step.remark("not run:") is not None:
                continue
            if (name := step.remark("file:")) is not None:
                (folder / name).write_text(step.body, "utf-8")
            elif step.language in ("sh", "python"):
                running.append(_start(step, folder))
                _follow(step, running[-1], f"{page.name}:{step.line}", _log(step, folder))
                count += 1
    finally:
        for process in running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return count


def _start(step: Step, folder: Path) -> subprocess.Popen[bytes]:
    """Start the commands, in a process group of their own so that nothing of them is left over."""
    command = _shell(step.body) if step.language == "sh" else [sys.executable, "-c", step.body]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with _log(step, folder).open("wb") as file:
        return subprocess.Popen(
            command, cwd=folder, env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def _log(step: Step, folder: Path) -> Path:
    return folder / f".line-{step.line}.log"


def _follow(step: Step, process: subprocess.Popen[bytes], place: str, log: Path) -> None:
    """Wait until the commands have ended, or where they keep running have printed what the page says."""
    deadline = time.monotonic() + PATIENCE
    ends = "keeps running" not in step.remarks
    while process.poll() is None and (ends or missing_line(step, log.read_text("utf-8")) is not None):
        assert time.monotonic() < deadline, f"{place} hangs, and prints:\n{log.read_text('utf-8')}"
        time.sleep(0.02)
    printed, wanted = log.read_text("utf-8"), int(step.remark("exit") or 0) if ends else None
    code = process.poll()
    assert code == wanted, f"{place} ends with exit code {code}, not {wanted}, and prints:\n{printed}"
    missing = missing_line(step, printed)
    assert missing is None, f"{place} does not print {missing!r}; it prints:\n{printed}"


def _shell(commands: str) -> list[str]:
    """A call of bash without what installs; tools of the page's own environment are those of this one."""
    lines = commands.replace("\\\n", " ").splitlines()
    kept = (" && ".join(p for p in line.split(" && ") if not _INSTALLS.fullmatch(p)) for line in lines)
    return ["bash", "-euc", "\n".join(kept).replace(".venv/bin/", "")]


def missing_line(step: Step, printed: str) -> str | None:
    """The first line the page promises that is not printed after the ones before it; None if all are."""
    lines = iter([_comparable(line, step.numbers_vary) for line in printed.splitlines()])
    for said in step.output or ():
        wanted = re.escape(_comparable(said, step.numbers_vary)).replace(r"\.\.\.", ".*")
        if not any(re.fullmatch(wanted, line) for line in lines):
            return said
    return None


def _comparable(line: str, numbers_vary: bool) -> str:
    """A line without what depends on the width of table cells, and on request without numbers."""
    if numbers_vary:
        line = _NUMBER.sub("#", _DURATION.sub("#", line)).replace("x slower", "x faster")
    return " ".join(_DRAWN.sub(r"\1", line).split())
