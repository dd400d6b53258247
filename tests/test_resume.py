"""Nothing lost: interrupted and killed runs go on and end where an undisturbed run ends."""

from __future__ import annotations

import json
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
from disturbed import OPTIONS, RESNET, STEPS, Result, spelled

import onnx_dnscp
from onnx_dnscp.cli.main import run
from onnx_dnscp.system.lock import locked
from onnx_dnscp.training.progress import Progress

pytestmark = pytest.mark.needs_training


# --- killed -----------------------------------------------------------------------------------------------------------

# Runs `prune`, and kills its own process at the n-th call of a function whose last argument mentions some text.
KILLED = """
import io, json, os, signal, sys
import numpy as np
import onnx_dnscp
from onnx_dnscp.measure import latency
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
from onnx_dnscp.cli.main import main
main(call)
"""


def command(folder: Path, data: Path, *more: str | Path) -> list[str]:
    """The command line of the run."""
    output = ["-o", str(folder / "out.onnx")]
    return ["prune", str(RESNET), *output, f"--data={data}", *spelled(OPTIONS), *map(str, more)]


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
    moment: str, few_digits: Path, tmp_path: Path, undisturbed: Result
) -> None:
    """SIGKILL leaves no time for anything; on one thread the result is the same, bit by bit."""
    killed = disturbed(command(tmp_path, few_digits, "--run-dir", tmp_path / "run"), **MOMENTS[moment])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    onnx_dnscp.resume(tmp_path / "run")
    Result(tmp_path).assert_same(undisturbed)
    kept = {"artifacts", "masks.jsonl", "options.json", "plan.json", "report.json", "steps.jsonl"}
    kept |= {"environment.json", "inspection.json", "report.html"}
    assert {p.name for p in (tmp_path / "run").iterdir()} == kept, "no checkpoint and no half-written file is left"


# --- interrupted ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_says_how_to_go_on(name: str, few_digits: Path, tmp_path: Path, undisturbed: Result) -> None:
    """Without --run-dir a folder is made; the state is that of the very step that was going on."""
    stopped = disturbed(command(tmp_path, few_digits), call="update", count=5, signal=name)
    assert stopped.returncode == 130, stopped.stderr
    folder = tmp_path / "out.run"
    last = stopped.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: Interrupted; no model was written.")
    assert last.endswith(f"onnx-dnscp prune --resume {folder}")
    assert len((folder / "steps.jsonl").read_text().splitlines()) == 5, "the fifth step was finished"
    assert run(["prune", "--resume", str(folder)]) == 0
    folder.rename(tmp_path / "run")
    Result(tmp_path).assert_same(undisturbed)


def test_a_second_signal_stops_at_once(few_digits: Path, tmp_path: Path) -> None:
    """Half a step is never kept."""
    stopped = disturbed(command(tmp_path, few_digits), call="update", count=5, signal="SIGINT", twice=True)
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
    "adamw": {"optimizer": "adamw", "lr": 0.002},
    "taylor": {"method": "taylor", "schedule": "iterative"},
    "tf2": {"rule": "tf2"},
    "random": {"method": "random"},
    "frozen batch norm, distilled": {"batch_norm": "frozen", "loss": "distill"},
    "cached teacher": {"cache_teacher": True, "loss": "distill"},
}


@pytest.mark.no_cover
@pytest.mark.parametrize("case", list(STATEFUL))
def test_every_optimiser_and_method_goes_on_where_it_was(case: str, few_digits: Path, tmp_path: Path) -> None:
    """Interrupted twice in the first phase and once in the second."""
    options = {**OPTIONS, **STATEFUL[case]}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    onnx_dnscp.prune(RESNET, whole / "out.onnx", run_dir=whole / "run", data=few_digits, **options)
    with pytest.raises(onnx_dnscp.Interrupted):
        onnx_dnscp.prune(
            RESNET,
            parts / "out.onnx",
            run_dir=parts / "run",
            data=few_digits,
            listener=interrupt_at("train", 1),
            **options,
        )
    for phase, step in (("train", 4), ("fine-tune", 3)):
        with pytest.raises(onnx_dnscp.Interrupted):
            onnx_dnscp.resume(parts / "run", listener=interrupt_at(phase, step))
    assert not (parts / "out.onnx").exists()
    onnx_dnscp.resume(parts / "run")
    Result(parts).assert_same(Result(whole))


def test_a_second_interrupted_run_leaves_the_first_alone(few_digits: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(onnx_dnscp.Interrupted):
            onnx_dnscp.prune(
                RESNET, tmp_path / "out.onnx", data=few_digits, listener=interrupt_at("fine-tune", 2), **OPTIONS
            )
    assert {p.name for p in tmp_path.iterdir()} == {"out.run", "out.run-2"}
    report = onnx_dnscp.resume(tmp_path / "out.run-2")
    assert report.seconds_training + report.seconds_fine_tuning < report.seconds
    assert report.output == str(tmp_path / "out.onnx")


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Where a run was interrupted, with copies of its model and data, and a copy of it all."""
    folder, copy = tmp_path_factory.mktemp("stopped"), tmp_path_factory.mktemp("copies") / "stopped"
    model, samples = folder / "net.onnx", folder / "few.npz"
    shutil.copy(RESNET, model)
    shutil.copy(few_digits, samples)
    with pytest.raises(onnx_dnscp.Interrupted):
        onnx_dnscp.prune(model, run_dir=folder / "run", data=samples, listener=interrupt_at("train", 3), **OPTIONS)
    shutil.copytree(folder, copy)
    return folder, copy


@pytest.fixture
def stopped(saved: tuple[Path, Path]) -> Path:
    """A run that was interrupted, with its model and data beside it, as it was: tests damage it."""
    folder, copy = saved
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    return folder / "run"


Refuse = Callable[..., None]


@pytest.fixture
def assert_refused(stopped: Path, capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Resuming fails with one sentence, and the checkpoint stays as it was."""

    def check(code: int, *wanted: str, call: tuple[str | Path, ...] = ()) -> None:
        before = (stopped / "train.npz").read_bytes()
        assert run(["prune", *map(str, call or ("--resume", stopped))]) == code
        sentence = capsys.readouterr().err.strip().splitlines()[-1]
        for text in ("Error: ", *wanted):
            assert text in sentence, sentence
        assert (stopped / "train.npz").read_bytes() == before

    return check


def test_another_model_is_refused(stopped: Path, assert_refused: Refuse) -> None:
    model = onnx.load(stopped.parent / "net.onnx")
    model.doc_string = "changed"
    onnx.save(model, stopped.parent / "net.onnx")
    assert_refused(2, "net.onnx' has changed since the run in", "put the old one back")


def test_other_data_are_refused(stopped: Path, few_digits: Path, assert_refused: Refuse) -> None:
    with np.load(few_digits) as arrays:
        np.savez(stopped.parent / "few.npz", image=arrays["image"] * np.float32(1.001), labels=arrays["labels"])
    assert_refused(2, "few.npz' has changed since the run in")
    (stopped.parent / "few.npz").unlink()
    assert_refused(4, "few.npz", "No such file")


def test_a_run_directory_in_use_is_refused(stopped: Path, assert_refused: Refuse) -> None:
    with locked(stopped):
        assert_refused(2, "Another process is using the run directory")
        assert_refused(
            2, "Another process is using", call=(RESNET, "-o", stopped.parent / "new.onnx", "--run-dir", stopped)
        )


def test_a_new_run_does_not_take_the_place_of_an_unfinished_one(stopped: Path, assert_refused: Refuse) -> None:
    assert_refused(2, "already holds a run", "--resume", call=(RESNET, "--no-train", "--run-dir", stopped))


def test_a_finished_run_has_nothing_to_resume(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx_dnscp.resume(stopped)
    assert run(["prune", "--resume", str(stopped)]) == 2
    assert "is done" in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(stopped: Path, assert_refused: Refuse) -> None:
    assert_refused(2, "is no run directory", call=("--resume", stopped.parent))
    (stopped / "options.json").write_text('{"ratio": "much"}')
    assert_refused(2, "options.json' does not say what this version")


def test_other_options_with_resume_are_refused(stopped: Path, assert_refused: Refuse) -> None:
    assert_refused(2, "leave out '--ratio'", call=("--resume", stopped, "--ratio", "0.2"))
    assert_refused(2, "leave out 'model'", call=(RESNET, "--resume", stopped))
    assert_refused(2, "Missing argument 'MODEL'", call=("--ratio", "0.2"))


def test_a_damaged_checkpoint_is_named(stopped: Path, assert_refused: Refuse) -> None:
    """A bit that fell over is found by the archive's checksum; an array of objects is not unpickled."""
    whole = (stopped / "train.npz").read_bytes()
    middle = len(whole) // 2
    (stopped / "train.npz").write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    assert_refused(2, "The checkpoint ", "train.npz' cannot be read")
    np.savez(stopped / "train.npz", header=np.array([{"format": "evil"}], dtype=object))
    assert_refused(2, "cannot be read", "pickle")


def test_a_checkpoint_of_other_weights_is_refused(stopped: Path, assert_refused: Refuse) -> None:
    with np.load(stopped / "train.npz") as archive:
        arrays = dict(archive)
    arrays["weights/stem.weight"] = arrays["weights/stem.weight"][1:]
    np.savez(stopped / "train.npz", **arrays)
    assert_refused(2, "The weights in the checkpoint are not those of this model's training graph")


def test_a_shortened_log_is_refused(stopped: Path, assert_refused: Refuse) -> None:
    (stopped / "steps.jsonl").write_text("")
    assert_refused(2, "steps.jsonl' has lost lines")


# --- kept -------------------------------------------------------------------------------------------------------------


def test_options_say_everything_that_a_run_needs(stopped: Path) -> None:
    """Absolute paths, the model's hash and all options, defaults included."""
    written = json.loads((stopped / "options.json").read_text())
    assert set(onnx_dnscp.PruneOptions.model_fields) < set(written)
    assert written["model"] == str(stopped.parent / "net.onnx")
    assert written["output"] == str(stopped.parent / "net.pruned.onnx")
    assert written["model_sha256"] == written["fingerprints"][written["model"]]
    assert {name: written[name] for name in OPTIONS} == OPTIONS


def test_batches_can_be_taken_from_any_position(few_digits: Path, tmp_path: Path) -> None:
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
