"""What outputs may replace: regular files, behind links too, and nothing else, whoever asks."""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onnx_dnscp.cli.main import run
from onnx_dnscp.errors import UsageError
from onnx_dnscp.system.atomic import check_writable, write_bytes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
Refuse = Callable[..., None]


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    own = socket.socket(socket.AF_UNIX)
    own.bind(str(path))
    own.close()


def device(path: Path) -> None:
    """The same as /dev/null, where that is allowed."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except OSError as error:
        pytest.skip(f"no device can be made: {error}")


def folder(path: Path) -> None:
    path.mkdir()


MAKERS = {"a pipe": pipe, "a socket": unix_socket, "a device": device, "a folder": folder}


@pytest.fixture
def assert_refused(capfd: pytest.CaptureFixture[str]) -> Refuse:
    """Run a command that is wrong usage, and look at its one sentence."""

    def check(arguments: list[str | Path], message: str) -> None:
        assert run([str(argument) for argument in arguments]) == 2
        last = capfd.readouterr().err.strip().splitlines()[-1]
        assert last.startswith("Error: Cannot write ")
        assert message in last

    return check


@pytest.fixture(params=list(MAKERS))
def something(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """What is no file, and where; it has to be there afterwards."""
    path = tmp_path / "x"
    MAKERS[request.param](path)
    before = stat.S_IFMT(path.stat().st_mode), path.stat().st_ino
    yield request.param, path
    assert (stat.S_IFMT(path.stat().st_mode), path.stat().st_ino) == before


def test_what_is_no_file_is_never_replaced(something: tuple[str, Path], tmp_path: Path) -> None:
    """Neither itself nor behind a link; nothing else appears beside it."""
    what, path = something
    link = tmp_path / "link"
    link.symlink_to(path)
    for given in (path, link):
        for write in (check_writable, lambda p: write_bytes(p, b"new")):
            with pytest.raises(UsageError, match=rf"Cannot write '.*{given.name}': it is {what}; give a file name"):
                write(given)
    assert sorted(tmp_path.iterdir()) == [link, path]


@pytest.mark.parametrize("command", ["prune", "plan", "apply", "report"])
def test_commands_refuse_it_before_any_work(
    command: str, something: tuple[str, Path], tiny_path: Path, tmp_path: Path, assert_refused: Refuse
) -> None:
    """With the exit code of wrong usage, and without a folder or a file left behind."""
    what, path = something
    out = tmp_path / "out.onnx"
    prune = ["prune", tiny_path, "--no-train"]
    assert (
        run([*map(str, prune), "-o", str(out), f"--plan-out={tmp_path / 'plan.json'}", f"--run-dir={tmp_path}/run"])
        == 0
    )
    known = sorted(tmp_path.iterdir())
    calls = {
        "prune": [*prune, "-o", path],
        "plan": [*prune, "-o", out, "--plan-out", path],
        "apply": ["apply", tiny_path, tmp_path / "plan.json", "-o", path],
        "report": ["report", tmp_path / "run", "-o", path],
    }
    assert_refused(calls[command], f"it is {what}; give a file name")
    assert sorted(tmp_path.iterdir()) == known


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_name_that_is_no_file_is_wrong_usage(name: str, tiny_path: Path, assert_refused: Refuse) -> None:
    assert_refused(["prune", tiny_path, "--no-train", "-o", name], "it is a folder; give a file name")


def test_links_are_followed(tmp_path: Path) -> None:
    """The file that a link leads to is written, also through several and where there is none yet; the links stay."""
    (tmp_path / "there").mkdir()
    target, first, second = tmp_path / "there" / "file", tmp_path / "first", tmp_path / "second"
    first.symlink_to(target)
    second.symlink_to(first)
    for content in (b"new", b"newer"):
        check_writable(second)
        write_bytes(second, content)
        assert target.read_bytes() == content
    assert first.is_symlink()
    assert second.is_symlink()
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_links_that_lead_nowhere_are_said(tmp_path: Path) -> None:
    """In a circle, or into a folder that does not exist."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.symlink_to(two)
    two.symlink_to(one)
    with pytest.raises(UsageError, match=r"Cannot write '.*one': .*; give another name"):
        check_writable(one)
    gone = tmp_path / "gone"
    gone.symlink_to(tmp_path / "no" / "file")
    with pytest.raises(UsageError, match=r"the folder '.*no' does not exist"):
        check_writable(gone)
