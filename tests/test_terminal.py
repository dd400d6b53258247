"""What a run shows: a display on a terminal, plain lines elsewhere, nothing if it is to be quiet."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from onnx_dnscp.cli import console, live
from onnx_dnscp.cli.main import run
from onnx_dnscp.training.progress import LiveWidth, Progress

logger = logging.getLogger("onnx_dnscp")
HOSTILE = "a[bold]\x1b[2J"


def step(number: int, widths: list[tuple[int, int]], *, of: int = live._COLUMNS, left: float | None = 75.0) -> Progress:
    """A step of the phase with masks; widths are (all, kept)."""
    groups = tuple(LiveWidth(i, f"{HOSTILE}{i}", *width) for i, width in enumerate(widths))
    return Progress("train", number, of, 0.25, 0.375, 4, 5.0, 0.01, 1.5, groups=groups, run_seconds_left=left)


class Terminal:
    """A made-up terminal that `console` writes to."""

    def __init__(
        self, patch: pytest.MonkeyPatch, *, height: int = 24, width: int = 100, encoding: str = "utf-8"
    ) -> None:
        self._bytes = io.BytesIO()
        file = io.TextIOWrapper(self._bytes, encoding=encoding, errors="backslashreplace", write_through=True)
        self.console = Console(file=file, force_terminal=True, width=width, height=height, highlight=False)
        patch.setattr(console, "err", self.console)

    @property
    def raw(self) -> str:
        return self._bytes.getvalue().decode("utf-8", "backslashreplace")

    @property
    def text(self) -> str:
        """Without colours and cursor movements."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.raw).replace("\r", "\n")

    @property
    def last(self) -> list[str]:
        """The last picture, from its first group on."""
        lines = [line.rstrip() for line in self.text.splitlines()]
        return lines[max(i for i, line in enumerate(lines) if re.match(r" *0 a\[bold\]", line)) :]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(monkeypatch)


def test_a_group_has_a_line_that_grows_with_the_steps(terminal: Terminal) -> None:
    """From eight of eight channels over four to one, and back to two; the other one goes and its line becomes blank."""
    with console.progress_listener() as listener:
        for number, kept in enumerate((8, 4, 1, 2), 1):
            listener(step(number, [(8, kept), (16, 16 if kept == 8 else 0)]))
    first, second = terminal.last[:2]
    assert re.fullmatch(r" ?0 a\[bold\]\\x1b\[2J0 █▄▁▂ +2/8", first)
    assert re.fullmatch(r" ?1 a\[bold\]\\x1b\[2J1 █ +0/16", second)
    assert "\x1b[2J" not in terminal.raw, "a name cannot clear the screen"


def test_steps_share_a_column_or_skip_some(terminal: Terminal) -> None:
    """A picture is as wide as the phase is long; what happened before a run was resumed is not known."""
    with console.progress_listener() as listener:
        for number in range(3, 5):
            listener(step(number, [(8, number)], of=4))
    [line] = [part for part in terminal.last[0].split() if "·" in part]
    assert line == "·" * 16 + "▃" * 8 + "▄", "a column of the last quarter is yet to come"


def test_the_groups_that_move_most_fit_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, height=12)
    with console.progress_listener() as listener:
        listener(step(1, [(8, 8)] * 20))
        listener(step(2, [(8, 8 - (i in (0, 7, 19))) for i in range(20)]))
    shown = [line.split()[0] for line in terminal.last if HOSTILE[:5] in line]
    assert shown == ["0", "7", "19"]
    assert "and 17 groups that move less" in terminal.text


def test_phases_have_bars_and_one_time_that_is_left(terminal: Terminal) -> None:
    """It is the time to the end of the run, where that is known, and gone when the run is over."""
    with console.progress_listener() as listener:
        listener(step(live._COLUMNS, [(8, 4)]))
        assert isinstance(listener, live.Display)
        terminal.console.print(listener.picture())
        assert "recovered 4 1m 15s left" in terminal.text
        listener(Progress("fine-tune", 1, 2, 0.5, 0.375, 4, 9.0, 0.01, 1.5))
        logger.info("measuring")
    lines = [line for line in terminal.text.splitlines() if "━" in line][-2:]
    assert re.match(r" +train ━+ 32/32 loss 0.2500  pruned 37.5%  recovered 4 *$", lines[0])
    assert re.match(r"fine-tune [━╸╺ ]+1/2 +loss 0.5000  pruned 37.5%  recovered 4 *$", lines[1])


def test_stages_are_told_with_their_times_and_warnings_stay_apart(terminal: Terminal) -> None:
    before = logger.handlers
    with console.progress_listener():
        logger.setLevel(logging.INFO)
        logger.info("repairing [b]weights")
        logger.warning("beware of %s", "[i]")
        logger.info("cutting")
    assert re.search(r"^beware of \[i\]$", terminal.text, re.M)
    assert re.search(r"^repairing \[b\]weights  0s$", terminal.text, re.M)
    assert re.search(r"^cutting  0s$", terminal.text, re.M)
    assert logger.handlers == before


def test_a_terminal_without_unicode_gets_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, encoding="ascii")
    with console.progress_listener() as listener:
        listener(step(1, [(8, 8)]))
        logger.info("cutting")
    assert "8/8" in terminal.text
    assert "█" not in terminal.text
    assert "\\u" not in terminal.text


@pytest.mark.parametrize("variable", ["NO_COLOR", "TERM"])
def test_a_terminal_may_have_no_colours_or_no_cursor(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR keeps the display and takes its colours; a dumb terminal gets plain lines."""
    monkeypatch.setenv(variable, {"NO_COLOR": "1", "TERM": "dumb"}[variable])
    terminal = Terminal(monkeypatch)
    with console.progress_listener() as listener:
        listener(step(1, [(8, 8)]))
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", terminal.raw), "no colour"
    if variable == "TERM":
        assert terminal.raw == "train step 1/32 loss 0.2500 pruned 37.5% recovered 4 1m 15s left\n"
    else:
        assert "█" in terminal.text


# --- the command ------------------------------------------------------------------------------------------------------


def test_quiet_prints_nothing_but_what_json_asks_for(tiny_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["prune", str(tiny_path), "--no-train"]
    assert run([*call, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert run([*call, "--quiet", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["ratio"] == 0.5
    assert said.err == ""
    assert run([*call, "-q", "--ratio=0.99"]) == 5
    said = capsys.readouterr()
    assert said.err.startswith("Error: ")
    assert said.err.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_on_a_terminal_the_result_of_json_is_clean(tiny_path: Path) -> None:
    """The display goes to the terminal, the result to a pipe."""
    import pty

    ours, theirs = pty.openpty()
    call = [sys.executable, "-m", "onnx_dnscp", "prune", str(tiny_path), "--no-train", "--json"]
    drawn = b""
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=theirs) as process, os.fdopen(ours, "rb", 0) as screen:
        os.close(theirs)
        with suppress(OSError):  # how Linux says that nobody writes any more
            while part := screen.read(4096):
                drawn += part
        assert process.stdout is not None
        result = process.stdout.read()
    assert process.returncode == 0
    assert json.loads(result)["ratio"] == 0.5
    assert b"\x1b[" in drawn
    assert b"surgery: 5 of 10 channels go" in drawn
