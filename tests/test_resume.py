"""Nothing lost: interrupted, killed and diverged runs go on and end where an undisturbed run ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnx_dnscp
from onnx_dnscp.cli import run
from onnx_dnscp.lock import locked
from onnx_dnscp.training.loop import Progress

pytestmark = pytest.mark.needs_training

MODELS = Path(__file__).parents[1] / "models"
RESNET = MODELS / "digits-resnet.onnx"
STEPS = 6  # of each phase
# Everything that has a state: momentum, moving masks that come back, warm-up, accumulated batches, running statistics.
OPTIONS: dict[str, Any] = {
    "ratio": 0.5, "epochs": 2, "finetune_epochs": 2, "batch_size": 8, "accumulate": 2, "learning_rate": 0.5,
    "c_rate": 0.0, "warmup": 2, "clip": 5.0, "seed": 3, "threads": 1, "checkpoint_every": 2, "gamma": 0.2,
    "loss": "cross-entropy",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(quick_latency: None) -> None:
    """Latency is measured briefly."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 digits: three steps of two batches of eight per epoch."""
    path = tmp_path_factory.mktemp("data") / "few.npz"
    with np.load(MODELS / "digits-train.npz") as arrays:
        np.savez(path, image=arrays["image"][:48], labels=arrays["labels"][:48])
    return path


class Result:
    """What a run left behind."""

    def __init__(self, folder: Path) -> None:
        self.model = (folder / "out.onnx").read_bytes()
        rows = [json.loads(line) for line in (folder / "run" / "steps.jsonl").read_text().splitlines()]
        self.steps = [{key: value for key, value in row.items() if key != "seconds_left"} for row in rows]
        self.masks = (folder / "run" / "masks.jsonl").read_text()
        self.plan = (folder / "run" / "plan.json").read_text()

    def assert_same(self, other: Result) -> None:
        """Every step, every drop and recovery, the plan, and the file byte for byte."""
        assert self.steps == other.steps
        assert self.masks == other.masks
        assert self.plan == other.plan
        assert self.model == other.model


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("undisturbed")
    report = onnx_dnscp.prune(RESNET, folder / "out.onnx", run_dir=folder / "run", data=data, **OPTIONS)
    assert report.recovered > 0, "the runs below are to restore masks that move both ways"
    result = Result(folder)
    assert len(result.steps) == 2 * STEPS
    return result


# --- killed -----------------------------------------------------------------------------------------------------------

# Runs `prune`, and kills its own process at the n-th call of a function whose last argument mentions some text.
KILLED = """
import io, json, os, signal, sys
import numpy as np
import onnx_dnscp
from onnx_dnscp import latency
from onnx_dnscp.training.optimizers import Optimizer

latency.ROUNDS, latency.SECONDS_PER_RUN = 1, 0.001
call, moment, left = json.loads(sys.argv[1]), json.loads(sys.argv[2]), [json.loads(sys.argv[2])["count"]]
owner, name = {"update": (Optimizer, "update"), "replace": (os, "replace"), "savez": (np, "savez")}[moment["call"]]
real = getattr(owner, name)

def deadly(*arguments, **keywords):
    if moment["text"] in str(arguments[-1] if moment["text"] else ""):
        left[0] -= 1
    if not left[0]:
        if name == "savez":  # die in the middle of the file
            whole = io.BytesIO()
            real(whole, **keywords)
            arguments[0].write(whole.getvalue()[: whole.tell() // 2])
            arguments[0].flush()
        os.kill(os.getpid(), getattr(signal, moment.get("signal", "SIGKILL")))
        if moment.get("twice"):
            os.kill(os.getpid(), signal.SIGINT)
    return real(*arguments, **keywords)

setattr(owner, name, deadly)
from onnx_dnscp.cli import main
main(call)
"""


def command(folder: Path, data: Path, *more: str | Path) -> list[str]:
    """The command line of the run."""
    spelled = {"learning_rate": "lr"}
    options = [f"--{spelled.get(name, name.replace('_', '-'))}={value}" for name, value in OPTIONS.items()]
    return ["prune", str(RESNET), "-o", str(folder / "out.onnx"), f"--data={data}", *options, *map(str, more)]


def disturbed(arguments: list[str], /, **moment: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that gets a signal at some moment."""
    moment.setdefault("text", "")
    whole = [sys.executable, "-c", KILLED, json.dumps(arguments), json.dumps(moment)]
    return subprocess.run(whole, capture_output=True, text=True, timeout=120, check=False)


# Updates are counted, of which each phase has six. Checkpoints are written after every second one.
MOMENTS = {
    "before the first checkpoint": {"call": "update", "count": 2},
    "between two checkpoints": {"call": "update", "count": 4},
    "in the middle of writing a checkpoint": {"call": "savez", "count": 3},
    "before a checkpoint gets its name": {"call": "replace", "count": 1, "text": "/train.npz"},
    "while fine-tuning": {"call": "update", "count": STEPS + 4},
    "when all is done but for the model": {"call": "replace", "count": 1, "text": "out.onnx"},
    "when all is done but for the report": {"call": "replace", "count": 1, "text": "report.json"},
}


@pytest.mark.parametrize("moment", list(MOMENTS))
def test_a_killed_run_ends_like_an_undisturbed_one(
    moment: str, data: Path, tmp_path: Path, undisturbed: Result
) -> None:
    """SIGKILL leaves no time for anything; on one thread the result is the same, bit by bit."""
    killed = disturbed(command(tmp_path, data, "--run-dir", tmp_path / "run"), **MOMENTS[moment])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    onnx_dnscp.resume(tmp_path / "run")
    Result(tmp_path).assert_same(undisturbed)
    kept = {"artifacts", "masks.jsonl", "options.json", "plan.json", "report.json", "steps.jsonl"}
    kept |= {"environment.json", "inspection.json", "report.html"}
    assert {p.name for p in (tmp_path / "run").iterdir()} == kept, "no checkpoint and no half-written file is left"


# --- interrupted ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_says_how_to_go_on(name: str, data: Path, tmp_path: Path, undisturbed: Result) -> None:
    """Without --run-dir a folder is made; the state is that of the very step that was going on."""
    stopped = disturbed(command(tmp_path, data), call="update", count=5, signal=name)
    assert stopped.returncode == 130, stopped.stderr
    folder = tmp_path / "out.run"
    last = stopped.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: Interrupted; no model was written.")
    assert last.endswith(f"onnx-dnscp prune --resume {folder}")
    assert len((folder / "steps.jsonl").read_text().splitlines()) == 5, "the fifth step was finished"
    assert run(["prune", "--resume", str(folder)]) == 0
    folder.rename(tmp_path / "run")
    Result(tmp_path).assert_same(undisturbed)


def test_a_second_signal_stops_at_once(data: Path, tmp_path: Path) -> None:
    """Half a step is never kept."""
    stopped = disturbed(command(tmp_path, data), call="update", count=5, signal="SIGINT", twice=True)
    assert stopped.returncode == 130
    assert stopped.stderr.strip().splitlines()[-1] == "Error: Interrupted; no model was written."
    assert list(tmp_path.iterdir()) == []


def interrupt_at(phase: str, step: int) -> Callable[[Progress], None]:
    """A listener that behaves like Ctrl-C."""

    def listener(progress: Progress) -> None:
        if (progress.phase, progress.step) == (phase, step):
            raise KeyboardInterrupt

    return listener


STATEFUL: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": "adamw", "learning_rate": 0.002},
    "taylor": {"method": "taylor", "schedule": "iterative"},
    "tf2": {"rule": "tf2"},
    "random": {"method": "random"},
    "frozen batch norm, distilled": {"batch_norm": "frozen", "loss": "distill"},
    "cached teacher": {"cache_teacher": True, "loss": "distill"},
}


@pytest.mark.parametrize("case", list(STATEFUL))
def test_every_optimiser_and_method_goes_on_where_it_was(case: str, data: Path, tmp_path: Path) -> None:
    """Interrupted twice in the first phase and once in the second."""
    options = {**OPTIONS, **STATEFUL[case]}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    onnx_dnscp.prune(RESNET, whole / "out.onnx", run_dir=whole / "run", data=data, **options)
    with pytest.raises(onnx_dnscp.Interrupted):
        onnx_dnscp.prune(
            RESNET, parts / "out.onnx", run_dir=parts / "run", data=data, listener=interrupt_at("train", 1), **options
        )
    for phase, step in (("train", 4), ("fine-tune", 3)):
        with pytest.raises(onnx_dnscp.Interrupted):
            onnx_dnscp.resume(parts / "run", listener=interrupt_at(phase, step))
    assert not (parts / "out.onnx").exists()
    onnx_dnscp.resume(parts / "run")
    Result(parts).assert_same(Result(whole))


def test_a_second_interrupted_run_leaves_the_first_alone(data: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(onnx_dnscp.Interrupted):
            onnx_dnscp.prune(RESNET, tmp_path / "out.onnx", data=data, listener=interrupt_at("fine-tune", 2), **OPTIONS)
    assert {p.name for p in tmp_path.iterdir()} == {"out.run", "out.run-2"}
    report = onnx_dnscp.resume(tmp_path / "out.run-2")
    assert report.seconds_training + report.seconds_fine_tuning < report.seconds
    assert report.output == str(tmp_path / "out.onnx")


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(data: Path, tmp_path: Path) -> Path:
    """A run that was interrupted, with copies of its model and data beside it."""
    model, samples = tmp_path / "net.onnx", tmp_path / "few.npz"
    shutil.copy(RESNET, model)
    shutil.copy(data, samples)
    with pytest.raises(onnx_dnscp.Interrupted):
        onnx_dnscp.prune(model, run_dir=tmp_path / "run", data=samples, listener=interrupt_at("train", 3), **OPTIONS)
    return tmp_path / "run"


Refuse = Callable[..., None]


@pytest.fixture
def refuse(stopped: Path, capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Resuming fails with one sentence, and the checkpoint stays as it was."""

    def check(code: int, *wanted: str, call: tuple[str | Path, ...] = ()) -> None:
        before = (stopped / "train.npz").read_bytes()
        assert run(["prune", *map(str, call or ("--resume", stopped))]) == code
        sentence = capsys.readouterr().err.strip().splitlines()[-1]
        for text in ("Error: ", *wanted):
            assert text in sentence, sentence
        assert (stopped / "train.npz").read_bytes() == before

    return check


def test_another_model_is_refused(stopped: Path, refuse: Refuse) -> None:
    model = onnx.load(stopped.parent / "net.onnx")
    model.doc_string = "changed"
    onnx.save(model, stopped.parent / "net.onnx")
    refuse(2, "net.onnx' has changed since the run in", "put the old one back")


def test_other_data_are_refused(stopped: Path, data: Path, refuse: Refuse) -> None:
    with np.load(data) as arrays:
        np.savez(stopped.parent / "few.npz", image=arrays["image"] * np.float32(1.001), labels=arrays["labels"])
    refuse(2, "few.npz' has changed since the run in")
    (stopped.parent / "few.npz").unlink()
    refuse(4, "few.npz", "No such file")


def test_a_run_directory_in_use_is_refused(stopped: Path, refuse: Refuse) -> None:
    with locked(stopped):
        refuse(2, "Another process is using the run directory")
        refuse(2, "Another process is using", call=(RESNET, "-o", stopped.parent / "new.onnx", "--run-dir", stopped))


def test_a_new_run_does_not_take_the_place_of_an_unfinished_one(stopped: Path, refuse: Refuse) -> None:
    refuse(2, "already holds a run", "--resume", call=(RESNET, "--no-train", "--run-dir", stopped))


def test_a_finished_run_has_nothing_to_resume(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx_dnscp.resume(stopped)
    assert run(["prune", "--resume", str(stopped)]) == 2
    assert "is done" in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(stopped: Path, refuse: Refuse) -> None:
    refuse(2, "is no run directory", call=("--resume", stopped.parent))
    (stopped / "options.json").write_text('{"ratio": "much"}')
    refuse(2, "options.json' does not say what this version")


def test_other_options_with_resume_are_refused(stopped: Path, refuse: Refuse) -> None:
    refuse(2, "leave out '--ratio'", call=("--resume", stopped, "--ratio", "0.2"))
    refuse(2, "leave out 'model'", call=(RESNET, "--resume", stopped))
    refuse(2, "Missing argument 'MODEL'", call=("--ratio", "0.2"))


def test_a_damaged_checkpoint_is_named(stopped: Path, refuse: Refuse) -> None:
    """A bit that fell over is found by the archive's checksum; an array of objects is not unpickled."""
    whole = (stopped / "train.npz").read_bytes()
    middle = len(whole) // 2
    (stopped / "train.npz").write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    refuse(2, "The checkpoint ", "train.npz' cannot be read")
    np.savez(stopped / "train.npz", header=np.array([{"format": "evil"}], dtype=object))
    refuse(2, "cannot be read", "pickle")


def test_a_checkpoint_of_other_weights_is_refused(stopped: Path, refuse: Refuse) -> None:
    with np.load(stopped / "train.npz") as archive:
        arrays = dict(archive)
    arrays["weights/stem.weight"] = arrays["weights/stem.weight"][1:]
    np.savez(stopped / "train.npz", **arrays)
    refuse(2, "The weights in the checkpoint are not those of this model's training graph")


def test_a_shortened_log_is_refused(stopped: Path, refuse: Refuse) -> None:
    (stopped / "steps.jsonl").write_text("")
    refuse(2, "steps.jsonl' has lost lines")


# --- diverged ---------------------------------------------------------------------------------------------------------


def test_a_diverged_run_goes_on_from_its_last_good_state(
    tiny_path: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rate overflows the network within a few steps; with a smaller one it ends well."""
    call = command(tmp_path, data, "--run-dir", tmp_path / "run", "--checkpoint-every", "1", "--clip", "0")
    call[1] = str(tiny_path)
    with np.load(data) as arrays:
        np.savez(tmp_path / "few.npz", image=arrays["image"], labels=arrays["labels"] % 3)
    call[4] = f"--data={tmp_path / 'few.npz'}"
    assert run([*call, "--lr", "1e18", "--warmup", "0.5"]) == 5
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Training diverged: the " in sentence
    assert f"go on with: onnx-dnscp prune --resume {tmp_path / 'run'} --lr RATE" in sentence
    assert not (tmp_path / "out.onnx").exists()
    assert run(["prune", "--resume", str(tmp_path / "run"), "--lr", "0.01"]) == 0
    assert json.loads((tmp_path / "run" / "options.json").read_text())["learning_rate"] == 0.01
    assert len((tmp_path / "run" / "steps.jsonl").read_text().splitlines()) == 2 * STEPS


def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Result
) -> None:
    """Exit code 2 by `UsageError`; with space again the run goes on."""
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 12:
            raise OSError(28, "No space left on device")
        real(handle)

    real = os.fsync
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(onnx_dnscp.UsageError, match="No space left on device"):
        onnx_dnscp.prune(RESNET, tmp_path / "out.onnx", run_dir=tmp_path / "run", data=data, **OPTIONS)
    onnx_dnscp.resume(tmp_path / "run")
    Result(tmp_path).assert_same(undisturbed)


# --- kept -------------------------------------------------------------------------------------------------------------


def test_options_say_everything_that_a_run_needs(stopped: Path) -> None:
    """Absolute paths, the model's hash and all options, defaults included."""
    written = json.loads((stopped / "options.json").read_text())
    assert set(onnx_dnscp.PruneOptions.model_fields) < set(written)
    assert written["model"] == str(stopped.parent / "net.onnx")
    assert written["output"] == str(stopped.parent / "net.pruned.onnx")
    assert written["model_sha256"] == written["fingerprints"][written["model"]]
    assert {name: written[name] for name in OPTIONS} == OPTIONS


def test_batches_can_be_taken_from_any_position(data: Path, tmp_path: Path) -> None:
    """Across the end of an epoch, without reading what lies before."""
    from onnx_dnscp.data.dataset import Dataset

    class Counted:
        read = 0

        def __len__(self) -> int:
            return 10

        def __getitem__(self, index: int) -> dict[str, Any]:
            Counted.read += 1
            return {"x": np.array([index])}

    dataset = Dataset(Counted(), False, "counted")
    source = dataset.training_batches(4, seed=2)
    expected = [next(source).inputs["x"].tolist() for _ in range(9)]
    Counted.read = 0
    later = dataset.training_batches(4, seed=2, start=6)
    assert [next(later).inputs["x"].tolist() for _ in range(3)] == expected[6:]
    assert Counted.read == 12
