"""`--max-drop`: the deepest cut that loses no more than allowed, within a budget of runs, and the curve on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnx_dnscp
from onnx_dnscp.cli.main import run
from onnx_dnscp.commands.prune_search import PROBES
from onnx_dnscp.data.arrays import ArraySamples
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.data.split import hold_out
from onnx_dnscp.runs.curve import RESOLUTION, bisect, points_lost
from onnx_dnscp.training.progress import Progress

SHORT: dict[str, Any] = {"epochs": 1, "finetune_epochs": 1, "batch_size": 16, "learning_rate": 0.02, "threads": 1}


@pytest.fixture(scope="module")
def few(train_data_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 digits with labels, in a folder of their own."""
    path = tmp_path_factory.mktemp("data") / "few.npz"
    with np.load(train_data_path) as arrays:
        np.savez(path, image=arrays["image"][:60], labels=arrays["labels"][:60])
    return path


@pytest.fixture
def unlabelled(train_data_path: Path, tmp_path: Path) -> Path:
    """60 digits without labels."""
    with np.load(train_data_path) as arrays:
        np.savez(tmp_path / "unlabelled.npz", image=arrays["image"][:60])
    return tmp_path / "unlabelled.npz"


# --- the parts --------------------------------------------------------------------------------------------------------


def test_a_bracket_is_halved_until_the_tries_are_used_up() -> None:
    asked: list[float] = []

    def passes(ratio: float) -> bool:
        asked.append(ratio)
        return ratio <= 0.31

    assert bisect(passes, 0.0, 0.8, tries=3) == pytest.approx((0.3, 0.4)), "0.4 no, 0.2 yes, 0.3 yes"
    assert asked == pytest.approx([0.4, 0.2, 0.3])
    low, high = bisect(passes, 0.0, 0.8, tries=100)
    assert low <= 0.31 < high
    assert RESOLUTION / 2 < high - low < RESOLUTION


def test_what_is_lost_is_measured_by_what_is_known() -> None:
    assert points_lost(0.9, 0.85, 0.7, 0.2) == ("accuracy", 0.85, pytest.approx(5))
    assert points_lost(0.9, 0.95, 0.7, 0.2)[2] == pytest.approx(-5), "better than before"
    assert points_lost(None, None, 0.7, 0.2) == ("agreement with the original", 0.7, pytest.approx(30))
    assert points_lost(None, None, None, 0.2) == ("difference from the original", 0.2, pytest.approx(20))
    assert points_lost(None, None, None, None)[2] == float("inf"), "outputs that cannot be compared"


def test_held_out_samples_are_not_trained_on() -> None:
    whole = Dataset(ArraySamples({"x": np.arange(50)}), False, "numbers.npz")
    rest, held = hold_out(whole, 0.2, seed=1)
    parts = [[int(part.samples[i]["x"]) for i in range(len(part.samples))] for part in (rest, held)]
    assert [len(part) for part in parts] == [40, 10]
    assert sorted(parts[0] + parts[1]) == list(range(50))
    again = hold_out(whole, 0.2, seed=1)[1]
    assert [int(again.samples[i]["x"]) for i in range(10)] == parts[1]
    with pytest.raises(onnx_dnscp.DataError, match="holds 50 sample"):
        hold_out(whole, 0.2, seed=1, at_least=26)


# --- one-shot ---------------------------------------------------------------------------------------------------------


def test_the_deepest_cut_within_the_floor_is_saved(
    separable_path: Path, few: Path, test_data_path: Path, tmp_path: Path
) -> None:
    """What is reported is what an outside measurement finds; cuts that are deeper lost too much."""
    out, plan = tmp_path / "out.onnx", tmp_path / "plan.json"
    report = onnx_dnscp.prune(
        separable_path,
        out,
        plan_out=plan,
        data=few,
        test_data=test_data_path,
        max_drop=10,
        train=False,
        threads=1,
    )
    before, after = (onnx_dnscp.evaluate(path, test_data_path).accuracy for path in (separable_path, out))
    assert before is not None
    assert after is not None
    assert 100 * (before - after) <= 10
    saved, *_ = [point for point in report.curve if point.ratio == report.ratio]  # two tries may end at one mask
    assert saved.value == after == report.after.accuracy
    assert saved.drop == pytest.approx(100 * (before - after))
    assert saved.macs == report.after.macs
    deeper = [point for point in report.curve if point.ratio > saved.ratio]
    assert deeper
    assert all(not point.within and point.drop > 10 for point in deeper)
    assert len(report.curve) == PROBES + 1
    assert sum(point.within for point in report.curve) > 1
    assert [point.macs for point in report.curve] == sorted((point.macs for point in report.curve), reverse=True)
    assert (report.metric, report.measure, report.max_drop) == ("macs", "accuracy", 10)
    assert 0.2 < report.ratio < 0.9
    assert json.loads(plan.read_text())["model_sha256"] == report.model_sha256
    assert {path.name for path in tmp_path.iterdir()} == {"out.onnx", "plan.json"}, "nothing else is left"


@pytest.mark.no_cover
def test_without_labels_agreement_counts_on_samples_that_are_held_out(
    resnet_path: Path, unlabelled: Path, tmp_path: Path
) -> None:
    report = onnx_dnscp.prune(
        resnet_path, tmp_path / "out.onnx", data=unlabelled, max_drop=10, train=False, threads=1, metric="channels"
    )
    assert report.measure == "agreement with the original"
    assert report.accuracy_data == "12 samples of unlabelled.npz that were held out"
    assert report.after.agreement is not None
    assert report.after.agreement >= 0.9
    assert report.metric == "channels"
    assert any("fitted to the original's activations on 48 samples" in note for note in report.notes)


def test_without_classes_the_difference_of_outputs_counts(
    tiny_model: onnx.ModelProto, unlabelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No cut of random weights leaves the outputs as they were, so with nothing to lose nothing is saved."""
    graph = tiny_model.graph
    del graph.node[-2:]
    graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("p", onnx.TensorProto.FLOAT, ["N", 4, 1, 1]))
    onnx.save(tiny_model, tmp_path / "tiny.onnx")
    call = ["prune", str(tmp_path / "tiny.onnx"), "--data", str(unlabelled), "--no-train", "--no-repair"]
    before = {path.name for path in tmp_path.iterdir()}
    assert run([*call, "--max-drop", "0"]) == 5
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence.startswith("Error: No cut stays within --max-drop 0, nothing was saved: of 7 that were tried")
    assert "points of difference from the original" in sentence
    assert {path.name for path in tmp_path.iterdir()} == before
    assert run([*call, "--max-drop", "100", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["after"]["output_error"] <= 1
    found = onnx_dnscp.evaluate(tmp_path / "tiny.pruned.onnx", unlabelled, reference=tmp_path / "tiny.onnx")
    assert found.mean_relative_difference is not None
    assert 0 < found.mean_relative_difference <= 1


@pytest.mark.parametrize(
    ("more", "code", "wanted"),
    [
        ([], 2, "--max-drop 1 needs samples to measure on"),
        (
            ["--data", "{data}", "--test-data", "{data}", "--hold-out", "0.1"],
            2,
            "--hold-out 0.1 takes a part of --data",
        ),
        (["--data", "{data}", "--hold-out", "0.999"], 4, "too few to train on some"),
    ],
)
def test_a_search_that_cannot_measure_is_refused(
    resnet_path: Path,
    few: Path,
    tmp_path: Path,
    more: list[str],
    code: int,
    wanted: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = [part.format(data=few) for part in more]
    assert run(["prune", str(resnet_path), "-o", str(tmp_path / "out.onnx"), "--max-drop", "1", *options]) == code
    assert wanted in capsys.readouterr().err.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir())


# --- with training ----------------------------------------------------------------------------------------------------


@pytest.mark.needs_training
def test_the_ratio_is_a_bound_and_tried_first(resnet_path: Path, few: Path, tmp_path: Path) -> None:
    """It passes, so no other run is needed."""
    report = onnx_dnscp.prune(
        resnet_path, tmp_path / "out.onnx", data=few, ratio=0.3, max_drop=100, max_runs=2, align=1, **SHORT
    )
    assert [point.trained for point in report.curve if point.ratio_asked == 0.3] == [False, True]
    assert [point.trained for point in report.curve].count(True) == 1
    assert 0.3 <= report.ratio < 0.33
    assert report.seconds_training > 0
    assert report.output == str(tmp_path / "out.onnx")


# Gradients rank here, so that there is no one-shot cut to begin with.
SEARCH = {**SHORT, "method": "taylor", "max_drop": 40.0, "max_runs": 3, "align": 1, "checkpoint_every": 1}


@pytest.fixture(scope="module")
def undisturbed(
    resnet_path: Path, few: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, onnx_dnscp.PruneReport]:
    """A search that nothing interrupts, without a folder of its own."""
    out = tmp_path_factory.mktemp("undisturbed") / "out.onnx"
    report = onnx_dnscp.prune(resnet_path, out, data=few, **SEARCH)
    assert [path.name for path in out.parent.iterdir()] == ["out.onnx"], "the folder beside it is gone"
    return out, report


@pytest.mark.needs_training
def test_each_run_halves_what_is_left(undisturbed: tuple[Path, onnx_dnscp.PruneReport]) -> None:
    _, report = undisturbed
    assert [point.trained for point in report.curve] == [True] * 3
    ratios = sorted(point.ratio_asked for point in report.curve)
    assert ratios[-1] - ratios[0] > 0.1
    assert report.ratio == max(point.ratio for point in report.curve if point.within)
    assert report.seconds > report.seconds_training + report.seconds_fine_tuning


@pytest.mark.needs_training
@pytest.mark.no_cover
@pytest.mark.parametrize("has_folder", [True, False])
def test_an_interrupted_search_goes_on_where_it_was(
    has_folder: bool, resnet_path: Path, few: Path, tmp_path: Path, undisturbed: tuple[Path, onnx_dnscp.PruneReport]
) -> None:
    """The run that was going on goes on from its checkpoint, the one before is not repeated; the file is the same."""
    steps = 0

    def listener(progress: Progress) -> None:
        nonlocal steps
        steps += 1
        if steps == 8:  # the second of six steps of the second run
            raise KeyboardInterrupt

    folder = tmp_path / ("run" if has_folder else "out.run")
    given = folder if has_folder else None
    with pytest.raises(onnx_dnscp.Interrupted, match=rf"prune --resume {folder}$"):
        onnx_dnscp.prune(resnet_path, tmp_path / "out.onnx", run_dir=given, listener=listener, data=few, **SEARCH)
    assert not (tmp_path / "out.onnx").exists()
    first = (folder / "try-1" / "report.json").read_bytes()
    seen: list[Progress] = []
    report = onnx_dnscp.resume(folder, listener=seen.append)
    assert len(seen) == 3 * 6 - 8
    assert (folder / "try-1" / "report.json").read_bytes() == first
    assert report.curve == undisturbed[1].curve
    assert (tmp_path / "out.onnx").read_bytes() == undisturbed[0].read_bytes()
    assert json.loads((folder / "report.json").read_text())["output"] == str(tmp_path / "out.onnx")
    with pytest.raises(onnx_dnscp.UsageError, match="is done"):
        onnx_dnscp.resume(folder)
