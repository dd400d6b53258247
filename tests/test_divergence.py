"""Training that loses its way: it stops, goes back to where all was well, and says so."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from onnx_dnscp.cli.main import run
from onnx_dnscp.errors import DivergenceError
from onnx_dnscp.training import loop
from onnx_dnscp.training.checkpoint import PhaseState, load_state
from onnx_dnscp.training.divergence import check_sound
from onnx_dnscp.training.stage import StageId

OK = 1.5
CASES = {
    "finite": ([OK, 900.0, 0.1], None),
    "high from the start": ([1e6, 9e8, 1e6, 1e6], None),
    "one step far off": ([OK, 1e9, OK, 1e9, 1e9, OK], None),
    "negative": ([-5.0, -4000.0], None),
    "not a number": ([OK, OK, math.nan], "the loss became nan at step 3"),
    "not a number at once": ([math.nan], "the loss became nan at step 1"),
    "infinite": ([OK, math.inf], "the loss became inf at step 2"),
    "exploded": ([OK, OK, 1600.0, 1e4, 1e5], r"the loss rose from 1.5 to 1e\+05 at step 5"),
    "exploded from nearly nothing": ([1e-9, 1001.0, 1001.0, 1001.0], "the loss rose from 1e-09 to 1e\\+03 at step 4"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_loss_diverges_when_it_is_no_number_or_out_of_all_proportion(case: str) -> None:
    losses, message = CASES[case]

    def train() -> None:
        state = PhaseState(StageId(1, "train"), len(losses))
        for loss in losses:
            check_sound(loss, 1.0, state)
            state.step += 1

    if message is None:
        train()
    else:
        with pytest.raises(DivergenceError, match=f"{message} of the train phase; try a smaller --lr"):
            train()


def test_a_gradient_without_a_norm_diverges() -> None:
    with pytest.raises(DivergenceError, match="the gradient's norm became inf at step 1"):
        check_sound(1.0, math.inf, PhaseState(StageId(1, "train"), 1))


# --- whole runs -------------------------------------------------------------------------------------------------------

STEPS = 6  # of each phase


@pytest.fixture
def call(tiny_path: Path, few_digits: Path, tmp_path: Path) -> list[str]:
    """A run of six steps per phase, on samples of three classes."""
    samples = tmp_path / "three.npz"
    with np.load(few_digits) as arrays:
        np.savez(samples, image=arrays["image"], labels=arrays["labels"] % 3)
    options = ["--ratio=0.5", "--batch-size=8", "--epochs=1", "--finetune-epochs=1", "--threads=1"]
    return ["prune", str(tiny_path), f"--data={samples}", "--checkpoint-every=2", *options]


@pytest.mark.needs_training
def test_a_diverged_run_goes_back_to_its_last_good_state_and_on_from_there(
    call: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a run directory, and without one, which is then made: both go on to where they would have come anyway.

    From its fourth loss on a phase goes wrong. The state of step 2 is good, as the third loss shows.
    """
    files = []
    for phase, factor, given in (("train", math.nan, True), ("fine-tune", 1e7, False)):
        output = tmp_path / f"{phase}.onnx"
        directory = tmp_path / ("given" if given else f"{phase}.run")

        def check(loss: float, norm: float, state: PhaseState, phase: str = phase, factor: float = factor) -> None:
            check_sound(loss * factor if state.stage.kind == phase and state.step >= 3 else loss, norm, state)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "check_sound", check)
            assert run([*call, f"--output={output}", *([f"--run-dir={directory}"] if given else [])]) == 5
        sentence = capsys.readouterr().err.strip().splitlines()[-1]
        assert sentence.startswith("Error: Training diverged: the loss ")
        assert f"The run is back at step 2 of the {phase} phase, where all was well" in sentence
        assert sentence.endswith(f"with: onnx-dnscp prune --resume {directory} --lr 0.001")
        assert not output.exists()
        assert load_state(directory / f"{phase}.npz")[0].step == 2
        steps = 2 if phase == "train" else STEPS + 2
        assert len((directory / "steps.jsonl").read_text().splitlines()) == steps
        assert not list(directory.glob("*unproven*"))
        assert run(["prune", "--resume", str(directory)]) == 0
        assert len((directory / "steps.jsonl").read_text().splitlines()) == 2 * STEPS
        files.append(output.read_bytes())
    assert files[0] == files[1]


@pytest.mark.needs_training
def test_a_run_that_overflows_at_once_has_nothing_to_go_back_to(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a smaller learning rate it begins again, and ends well."""
    directory = tmp_path / "run"
    assert run([*call, f"--run-dir={directory}", "--lr=1e18", "--clip=0"]) == 5
    assert "The run is back at its beginning, where all was well" in capsys.readouterr().err
    assert run(["prune", "--resume", str(directory), "--lr=0.01"]) == 0
    assert json.loads((directory / "options.json").read_text())["lr"] == 0.01
