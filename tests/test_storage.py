"""Places that cannot be written to, at the start or later: one clear sentence, and the last good state is kept."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from disturbed import OPTIONS, RESNET, Result

import onnx_dnscp
from onnx_dnscp.cli.main import run
from onnx_dnscp.errors import StorageError, UsageError
from onnx_dnscp.runs.run_directory import RunDirectory, RunLog
from onnx_dnscp.system.atomic import write_bytes, write_chunks
from onnx_dnscp.system.lock import locked
from onnx_dnscp.training.progress import Progress

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="the operating system has no such limits")
with_root = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not shutil.which("mount"), reason="needs to mount file systems"
)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own in `folder`; skips the test where only the superuser may make one."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a file system: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def limit_files(size: int) -> None:
    """Files cannot become larger than that many bytes; -1: any size is fine again."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


# --- single files -----------------------------------------------------------------------------------------------------


@with_root
def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    with small_disk(tmp_path, "64k"):
        path = tmp_path / "file"
        write_bytes(path, b"old")
        with pytest.raises(StorageError, match=r"Cannot write '.*file': No space left on device"):
            write_bytes(path, bytes(100_000))
        assert path.read_bytes() == b"old"
        assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        with pytest.raises(StorageError, match="Read-only file system"):
            write_bytes(path, b"new")
        assert path.read_bytes() == b"old"


def test_a_file_whose_folder_vanishes_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    def chunks() -> Iterator[bytes]:
        yield b"new"
        shutil.rmtree(folder)

    with pytest.raises(StorageError, match="Cannot write"):
        write_chunks(folder / "file", chunks())


@on_posix
def test_a_log_that_was_written_in_part_is_mended_by_the_next_attempt(tmp_path: Path) -> None:
    """Two lines went well, the next ones do not fit; later they do."""
    log = RunLog([Progress("train", number, 9, 1.0, 0.5, 0, 1.0, 0.1, 1.0) for number in range(9)])
    with RunDirectory.new(tmp_path / "run") as directory:
        whole = log.lines("steps.jsonl", 0)
        directory.finish(b"", RunLog(log.steps[:2]))
        limit_files(3 * len(whole[0]))
        try:
            with pytest.raises(StorageError, match=r"steps.jsonl': File too large"):
                directory.finish(b"", log)
        finally:
            limit_files(-1)
        directory.finish(b"", log)
        assert (tmp_path / "run" / "steps.jsonl").read_text().splitlines() == whole
        (tmp_path / "run" / "steps.jsonl").write_text("")
        with pytest.raises(StorageError, match=r"steps.jsonl' has lost lines"):
            directory.finish(b"", log)


def test_a_lock_belongs_to_its_process_and_ends_with_it(tmp_path: Path) -> None:
    """However that ends."""
    code = (
        "import sys, pathlib, time\nfrom onnx_dnscp.system.lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(100)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    with other.stdout:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="Another process is using the run directory"), locked(tmp_path):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
    with locked(tmp_path):
        pass


# --- at the start -----------------------------------------------------------------------------------------------------


@with_root
def test_a_read_only_folder_is_refused_before_any_work(
    tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, "1m"):
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        for options in (["-o", folder / "out.onnx"], ["-o", tmp_path / "out.onnx", "--run-dir", folder / "run"]):
            assert run(["prune", str(tiny_path), "--no-train", *map(str, options)]) == 2
            assert "Read-only file system" in capsys.readouterr().err


def test_a_file_in_the_place_of_a_folder_is_refused(
    tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert run(["prune", str(tiny_path), "--no-train", "--run-dir", str(tmp_path / "file")]) == 2
    assert "Cannot make the run directory" in capsys.readouterr().err
    assert not (tmp_path / "tiny.pruned.onnx").exists()


# --- while a run goes on ----------------------------------------------------------------------------------------------


def fill(folder: Path) -> None:
    """Something else takes what is left of the disk."""
    with (folder / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def make_read_only(folder: Path) -> None:
    """As systems do with a disk that fails: whatever is open stays open, nothing new is written."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)


def make_writable(folder: Path) -> None:
    """Take it back."""
    subprocess.run(["umount", str(folder)], check=True)


@dataclass(frozen=True)
class Trouble:
    """What happens to the folder of a run, what ends it, what is said, and where the state is kept."""

    begin: Callable[[Path], object]
    end: Callable[[Path], object]
    reason: str
    kept: str = "run"
    needs_disk: bool = False


TROUBLE = {
    "full disk": Trouble(fill, lambda folder: (folder / "filler").unlink(), "No space left on device", needs_disk=True),
    "read-only": Trouble(make_read_only, make_writable, "Read-only file system", needs_disk=True),
    "limited": Trouble(lambda _: limit_files(100_000), lambda _: limit_files(-1), "File too large"),
    "vanished": Trouble(
        lambda folder: shutil.rmtree(folder / "run"), lambda _: None, "No such file or directory", kept="out.run"
    ),
}


@pytest.mark.needs_training
@on_posix
@pytest.mark.parametrize("name", list(TROUBLE))
def test_a_run_that_cannot_write_stops_and_goes_on_later(
    name: str, few_digits: Path, tmp_path: Path, undisturbed: Result
) -> None:
    """Trouble comes after the first checkpoint; when it is over, the run ends as it would have ended without."""
    trouble = TROUBLE[name]

    def listener(progress: Progress) -> None:
        if (progress.phase, progress.step) == ("train", 4):
            trouble.begin(tmp_path)

    with small_disk(tmp_path, "8m") if trouble.needs_disk else nullcontext():
        try:
            with pytest.raises(StorageError) as failure:
                onnx_dnscp.prune(
                    RESNET, tmp_path / "out.onnx", run_dir=tmp_path / "run", data=few_digits, listener=listener,
                    **OPTIONS,
                )  # fmt: skip
        finally:
            trouble.end(tmp_path)
        assert str(failure.value).startswith("Cannot write ")
        assert trouble.reason in str(failure.value)
        assert str(failure.value).endswith(f"is kept; go on with: onnx-dnscp prune --resume {tmp_path / trouble.kept}")
        assert failure.value.exit_code == 2
        assert {path.name for path in tmp_path.iterdir()} == {trouble.kept}
        onnx_dnscp.resume(tmp_path / trouble.kept)
        (tmp_path / trouble.kept).rename(tmp_path / "run")
        Result(tmp_path).assert_same(undisturbed)


@pytest.mark.needs_training
def test_a_model_that_cannot_be_written_costs_no_training(
    few_digits: Path, tmp_path: Path, undisturbed: Result
) -> None:
    """The folder of the output is gone in the end, and there is no run directory."""
    folder = tmp_path / "folder"
    folder.mkdir()

    def listener(progress: Progress) -> None:
        if progress.phase == "fine-tune" and progress.step == progress.num_steps:
            shutil.rmtree(folder)

    with pytest.raises(StorageError, match="No such file or directory") as failure:
        onnx_dnscp.prune(RESNET, folder / "out.onnx", data=few_digits, listener=listener, **OPTIONS)
    assert str(failure.value).endswith(f"--resume {folder / 'out.run'}")
    onnx_dnscp.resume(folder / "out.run")
    (folder / "out.run").rename(folder / "run")
    Result(folder).assert_same(undisturbed)
