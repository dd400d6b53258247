"""The command line from outside: exit codes, one JSON object on stdout, tables, progress, and the record of a run."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

import onnx_dnscp
from onnx_dnscp.cli import console
from onnx_dnscp.cli.main import run
from onnx_dnscp.training.progress import Progress

TRAIN_SAMPLES, BATCH, STEPS = 128, 8, 32  # steps of each phase: two epochs
SETTINGS = {"epochs": 2, "finetune_epochs": 2, "c_rate": 0.0, "seed": 3}  # without a band channels come back early
LEARNING_RATE = 0.02
COMMANDS = ["inspect", "prune", "apply", "evaluate", "compare"]


@dataclass(frozen=True)
class Called:
    """What one call of the command line left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout; anything else there is an error."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


def call(*arguments: object) -> Called:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = run([str(a) for a in arguments])
    return Called(code, out.getvalue(), err.getvalue())


def weight_elements(path: Path) -> int:
    return sum(int(np.prod(t.dims)) for t in onnx.load(path).graph.initializer if t.data_type == onnx.TensorProto.FLOAT)


def answers(path: Path, images: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": images})[0]).argmax(1)


@pytest.fixture(scope="module")
def train_slice(train_data_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first digits of the training data."""
    path = tmp_path_factory.mktemp("data") / "few.npz"
    with np.load(train_data_path) as arrays:
        np.savez(path, image=arrays["image"][:TRAIN_SAMPLES], labels=arrays["labels"][:TRAIN_SAMPLES])
    return path


@dataclass(frozen=True)
class Trained:
    """One pruning run with training, and where it wrote to."""

    called: Called
    folder: Path

    @property
    def report(self) -> dict[str, Any]:
        return self.called.json

    @property
    def plan(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "plan.json").read_text()))


@pytest.fixture(scope="module")
def trained(
    resnet_path: Path, train_slice: Path, test_data_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """Two epochs with masks and two of fine-tuning on a few digits, down to half the channels."""
    folder = tmp_path_factory.mktemp("trained")
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    called = call(
        "prune", resnet_path, "-o", folder / "small.onnx", "--data", train_slice, "--test-data", test_data_path,
        "--batch-size", BATCH, "--lr", LEARNING_RATE, *options, "--json",
        "--plan-out", folder / "plan.json", "--run-dir", folder / "run",
    )  # fmt: skip
    assert called.code == 0, called.err
    return Trained(called, folder)


# --- inspect ----------------------------------------------------------------------------------------------------------


def test_inspect_reports_groups_and_locks_as_json(resnet_path: Path) -> None:
    """Widths as in models/make_models.py: two stages of 32 and 64 channels, 10 classes."""
    called = call("inspect", resnet_path, "--json")
    assert called.code == 0
    assert called.err == ""
    found = called.json
    assert sorted(g["width"] for g in found["groups"]) == [32, 32, 64, 64, 64]
    assert found["prunable_channels"] == 256
    assert found["locked_channels"] == 10
    assert found["params"] == weight_elements(resnet_path)
    assert found["locked"][0]["reasons"] == ["graph output 'logits'"]
    stem = next(g for g in found["groups"] if "stem.conv" in g["producers"])
    assert set(stem["consumers"]) == {"a1.conv", "b1.conv", "bs.conv"}
    assert all(0 < g["params_share"] < 1 and 0 < g["macs_share"] < 1 for g in found["groups"])


def test_inspect_prints_a_table(separable_path: Path) -> None:
    called = call("inspect", separable_path)
    assert called.code == 0
    counted = "416 of 416 convolution channels prunable (256 units in 5 groups)"
    for wanted in ("Prunable groups of", "pw1.conv", "Locked: these channels stay", "softmax", counted):
        assert wanted in called.out


def test_names_from_a_model_cannot_steer_the_terminal(tiny_model: onnx.ModelProto, tmp_path: Path) -> None:
    """Markup is shown as it is written; an escape character would let a model repaint the screen."""
    tiny_model.graph.node[2].name = "[red]a[/red]\x1b[2Jb"
    (tmp_path / "m.onnx").write_bytes(tiny_model.SerializeToString())
    called = call("inspect", tmp_path / "m.onnx")
    assert called.code == 0
    assert "\x1b" not in called.out
    assert "[red]a[/red]\\x1b[2Jb" in called.out
    failed = call("inspect", tmp_path / "none\x1b[2J.onnx")
    assert "\x1b" not in failed.err


# --- prune ------------------------------------------------------------------------------------------------------------


def test_pruning_without_training_needs_no_data(resnet_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    called = call("prune", resnet_path, "-o", out, "--no-train", "--ratio", "0.3", "--json")
    assert called.code == 0
    report = called.json
    assert report["output"] == str(out)
    assert report["ratio"] == pytest.approx(77 / 256)  # the first count of 256 that reaches 0.3
    assert sum(g["width"] - g["kept"] for g in report["groups"]) == 77
    assert all(g["kept"] >= 1 for g in report["groups"])
    assert report["loss"] is None
    assert report["before"]["params"] == weight_elements(resnet_path)
    assert report["after"]["params"] == weight_elements(out)
    assert report["after"]["file_bytes"] == out.stat().st_size
    assert report["before"]["file_bytes"] == resnet_path.stat().st_size
    assert report["after"]["macs"] < report["before"]["macs"]
    assert report["max_relative_error"] <= report["tolerance"] < 1e-3
    onnx.checker.check_model(onnx.load(out), full_check=True)


@pytest.mark.needs_training
def test_only_whole_progress_and_log_lines_go_to_stderr_with_json(trained: Trained) -> None:
    assert trained.report["metric"] == "channels"
    assert trained.called.out.count("\n}") == 1
    assert "{" not in trained.called.err


def test_log_lines_appear_once(resnet_path: Path, tmp_path: Path) -> None:
    """ONNX Runtime's tools install a handler of their own on the root logger."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(heard := io.StringIO())])
        called = call("prune", resnet_path, "-o", tmp_path / "out.onnx", "--no-train")
    assert called.code == 0
    assert called.err.count("discovering channels in") == 1
    assert heard.getvalue() == ""


@pytest.mark.needs_training
def test_progress_is_plain_lines_where_there_is_no_terminal(trained: Trained) -> None:
    """The first and last step of each phase, at least."""
    line = r"loss \d+\.\d{4} pruned (\d+\.\d)% recovered \d+ \d+s left"
    err = trained.called.err
    assert re.search(rf"^train step 1/{STEPS} {line}$", err, re.M)
    last = re.search(rf"^train step {STEPS}/{STEPS} {line}$", err, re.M)
    tuning = re.search(rf"^fine-tune step {STEPS}/{STEPS} {line}$", err, re.M)
    assert last is not None
    assert tuning is not None
    assert float(tuning[1]) == 50.0
    assert "\x1b" not in err, "no colours or cursor movements in a log file"


@pytest.mark.needs_training
def test_the_report_of_a_trained_run_matches_its_files(
    trained: Trained, resnet_path: Path, test_data_path: Path
) -> None:
    report, out = trained.report, trained.folder / "small.onnx"
    assert report["ratio_asked"] == 0.5
    assert report["ratio"] == 0.5
    assert sum(g["kept"] for g in report["groups"]) == 128
    assert report["loss"] == "cross-entropy"
    assert report["after"]["params"] == weight_elements(out)
    with np.load(test_data_path) as arrays:
        images, labels = arrays["image"], arrays["labels"]
    before, after = answers(resnet_path, images), answers(out, images)
    assert report["before"]["accuracy"] == pytest.approx((before == labels).mean())
    assert report["after"]["accuracy"] == pytest.approx((after == labels).mean())
    assert report["after"]["agreement"] == pytest.approx((after == before).mean())
    assert report["after"]["accuracy"] > 0.5, "a few short epochs keep far more than chance"
    assert report["accuracy_data"] == "digits-test.npz"
    assert report["speedup"] == pytest.approx(report["before"]["latency_ms"] / report["after"]["latency_ms"])
    assert 0 < report["seconds_training"] + report["seconds_fine_tuning"] < report["seconds"]


@pytest.mark.needs_training
def test_the_plan_silences_what_surgery_removed(trained: Trained, resnet_path: Path) -> None:
    """The plan's consumers are the input channels that are gone from the saved weights."""
    before = {t.name: t for t in onnx.load(resnet_path).graph.initializer}
    after = {t.name: t for t in onnx.load(trained.folder / "small.onnx").graph.initializer}
    assert trained.plan["model_sha256"] == trained.report["model_sha256"]
    for consumer in trained.plan["consumers"].values():
        name, gone = consumer["weight"], len(consumer["input_channels"])
        axis = 1 if len(before[name].dims) == 4 else list(before[name].dims).index(64)
        assert after[name].dims[axis] == before[name].dims[axis] - gone


@pytest.mark.needs_training
def test_the_run_directory_is_complete_and_its_events_replay_to_the_plan(trained: Trained) -> None:
    """All channels on, then every drop and recovery in order, ends at the plan's removed channels."""
    folder = trained.folder / "run"
    assert sorted(p.name for p in folder.iterdir()) == [
        "artifacts", "environment.json", "inspection.json", "masks.jsonl", "options.json", "plan.json", "report.html",
        "report.json", "steps.jsonl",
    ]  # fmt: skip
    options = json.loads((folder / "options.json").read_text())
    assert (options["ratio"], options["epochs"], options["seed"], options["batch_size"]) == (0.5, 2, 3, BATCH)
    assert json.loads((folder / "plan.json").read_text()) == trained.plan
    assert json.loads((folder / "report.json").read_text()) == trained.report

    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    assert [(s["phase"], s["step"]) for s in steps] == [
        *(("train", i + 1) for i in range(STEPS)),
        *(("fine-tune", i + 1) for i in range(STEPS)),
    ]
    assert all(np.isfinite(s["loss"]) and 0 <= s["ratio"] <= 0.6 for s in steps)

    alive = {g["id"]: set(range(g["width"])) for g in trained.plan["groups"]}
    widths = {g["id"]: g["width"] for g in trained.plan["groups"]}
    last_step, dropped, recovered = 0, 0, 0
    for event in map(json.loads, (folder / "masks.jsonl").read_text().splitlines()):
        assert event["step"] >= last_step, "events are in order"
        last_step = event["step"]
        units = alive[event["group"]]
        assert units.issuperset(event["dropped"]), "what drops was on"
        assert units.isdisjoint(event["recovered"]), "what recovers was off"
        units -= set(event["dropped"])
        units |= set(event["recovered"])
        if not event["settling"]:
            dropped += len(event["dropped"])
            recovered += len(event["recovered"])
    for group in trained.plan["groups"]:
        assert set(group["removed"]) == set(range(widths[group["id"]])) - alive[group["id"]]
    assert sum(len(g["removed"]) for g in trained.plan["groups"]) == 128
    assert (trained.report["dropped"], trained.report["recovered"]) == (dropped, recovered)
    assert recovered > 0, "this run is meant to show channels that come back"


@pytest.mark.needs_training
def test_training_without_data_says_so(separable_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Self-distillation on synthetic inputs needs neither samples nor labels."""
    monkeypatch.setattr("onnx_dnscp.data.synthetic.NUM_SAMPLES", 64)
    call_ = ["prune", separable_path, "-o", tmp_path / "s.onnx", "--epochs", 1, "--finetune-epochs", 0, "--json"]
    called = call(*call_)
    assert called.code == 0, called.err
    assert called.json["loss"] == "distill"
    assert "No data was given" in called.json["notes"][0]
    assert called.json["before"]["accuracy"] is None


def test_prune_prints_tables(resnet_path: Path, train_slice: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.onnx"
    called = call(
        "prune", resnet_path, "-o", out, "--no-train", "--data", train_slice, "--metric", "macs", "--align", 8
    )
    assert called.code == 0, called.err
    for wanted in ("Channels kept", "Accuracy on few.npz", "params", "MACs", "latency", "of macs (asked 50.00%)"):
        assert wanted in called.out
    assert "Verified: differs from the masked model by" in called.out
    assert "give --test-data for honest ones" in called.out.replace("\n", " ")
    assert f"Saved {out}" in called.out


def test_the_default_output_lies_beside_the_model(tiny_path: Path, tmp_path: Path) -> None:
    assert call("prune", tiny_path, "--no-train").code == 0
    assert {p.name for p in tmp_path.iterdir()} == {"tiny.onnx", "tiny.pruned.onnx"}


@pytest.mark.no_cover
@pytest.mark.needs_training
def test_pruning_twice_gives_the_same_file(separable_path: Path, train_slice: Path, tmp_path: Path) -> None:
    """The same inputs, seed and thread count; another seed gives another file."""
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        options = ["--epochs", 1, "--finetune-epochs", 1, "--threads", 1, "--seed", seed]
        assert call("prune", separable_path, "-o", tmp_path / name, "--data", train_slice, *options).code == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


# --- apply, evaluate, compare -----------------------------------------------------------------------------------------


@pytest.mark.needs_training
def test_apply_cuts_what_the_plan_names(trained: Trained, resnet_path: Path, tmp_path: Path) -> None:
    """Surgery on the original weights: every kept slice is bit for bit the original's."""
    out = tmp_path / "applied.onnx"
    called = call("apply", resnet_path, trained.folder / "plan.json", "-o", out, "--json")
    assert called.code == 0, called.err
    assert called.json["removed_channels"] == 128
    assert called.json["after"]["params"] == weight_elements(out) == trained.report["after"]["params"]
    assert called.json["after"]["file_bytes"] == out.stat().st_size
    consumer = trained.plan["consumers"]["a2.conv"]
    weights = [
        {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer} for path in (resnet_path, out)
    ]
    name = consumer["weight"]
    rows = next(
        [int(u) for u in g["removed"]]
        for g in trained.plan["groups"]
        if any(s["tensor"] == name and s["axis"] == 0 for s in g["slices"])
    )
    expected = np.delete(np.delete(weights[0][name], consumer["input_channels"], axis=1), rows, axis=0)
    np.testing.assert_array_equal(weights[1][name], expected)


@pytest.mark.needs_training
def test_apply_prints_a_table(trained: Trained, resnet_path: Path, tmp_path: Path) -> None:
    called = call("apply", resnet_path, trained.folder / "plan.json", "-o", tmp_path / "x.onnx")
    assert called.code == 0
    assert "file size" in called.out
    assert "Removed 128 channels" in called.out


@pytest.mark.needs_training
def test_evaluate_with_a_reference(trained: Trained, resnet_path: Path, test_data_path: Path) -> None:
    small = trained.folder / "small.onnx"
    called = call("evaluate", small, "--data", test_data_path, "--reference", resnet_path, "--json")
    assert called.code == 0
    assert called.err == ""
    assert called.json["num_samples"] == 360
    assert called.json["accuracy"] == trained.report["after"]["accuracy"]
    assert called.json["agreement"] == trained.report["after"]["agreement"]
    assert called.json["max_relative_difference"] > 0
    table = call("evaluate", small, "--data", test_data_path, "--limit", 10)
    assert table.code == 0
    assert re.search(r"num samples .* 10 ", table.out)
    assert "accuracy" in table.out
    assert "agreement" not in table.out


def test_evaluate_prepares_samples_as_told(resnet_path: Path, test_data_path: Path, tmp_path: Path) -> None:
    """Digits as 0..255 integers, undone by --scale, and shifted ones, undone by --mean and --std."""
    with np.load(test_data_path) as arrays:
        image, labels = arrays["image"], arrays["labels"]
    np.savez(tmp_path / "raw.npz", image=np.round(image * 160).astype(np.uint8), labels=labels)
    np.savez(tmp_path / "shifted.npz", image=image * 4 + 3, labels=labels)
    expected = call("evaluate", resnet_path, "--data", test_data_path, "--json").json
    raw = call("evaluate", resnet_path, "--data", tmp_path / "raw.npz", "--scale", 1 / 160, "--json").json
    shifted = tmp_path / "shifted.npz"
    undone = call("evaluate", resnet_path, "--data", shifted, "--mean", 3, "--std", 4, "--json").json
    left = call("evaluate", resnet_path, "--data", shifted, "--json").json
    assert raw["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    assert undone["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    assert left["loss"] > 2 * expected["loss"]


@pytest.mark.needs_training
def test_compare_puts_two_models_side_by_side(trained: Trained, resnet_path: Path, test_data_path: Path) -> None:
    small = trained.folder / "small.onnx"
    called = call("compare", resnet_path, small, "--data", test_data_path, "--json")
    assert called.code == 0
    first, second = called.json["facts"]
    assert (first["params"], second["params"]) == (weight_elements(resnet_path), weight_elements(small))
    assert (first["file_bytes"], second["file_bytes"]) == (resnet_path.stat().st_size, small.stat().st_size)
    assert first["accuracy"] == trained.report["before"]["accuracy"]
    assert second["accuracy"] == trained.report["after"]["accuracy"]
    assert called.json["speedup"] == pytest.approx(first["latency_ms"] / second["latency_ms"])
    with np.load(test_data_path) as arrays:
        images = [arrays["image"][:32], arrays["image"][32:64], arrays["image"][:1]]
    worst = 0.0
    for batch in images:
        old, new = (
            ort.InferenceSession(p, providers=["CPUExecutionProvider"])
            .run(None, {"image": batch})[0]
            .astype(np.float64)
            for p in (resnet_path, small)
        )
        worst = max(worst, np.abs(new - old).max() / np.abs(old).max())
    assert called.json["max_relative_difference"] == pytest.approx(worst, rel=1e-4)
    table = call("compare", resnet_path, resnet_path)
    assert table.code == 0
    assert "outputs differ: up to 0.00e+00" in table.out


def test_models_with_other_outputs_are_not_comparable(resnet_path: Path, separable_path: Path) -> None:
    called = call("compare", resnet_path, separable_path, "--json")
    assert called.code == 0
    assert called.json["max_relative_difference"] is None


# --- the rest of the surface ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [None, *COMMANDS])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_explains_itself(command: str | None, flag: str) -> None:
    called = call(*([command] if command else []), flag)
    assert called.code == 0
    assert called.err == ""
    assert called.out.startswith("Usage: onnx-dnscp")
    wanted = COMMANDS if command is None else ["--json"]
    assert all(word in called.out for word in wanted)


def test_every_option_of_prune_has_its_default_in_the_help() -> None:
    out = call("prune", "--help-all").out
    for option, default in (("--ratio", "0.5"), ("--epochs", "5"), ("--c-rate", "0.1"), ("--seed", "0")):
        assert re.search(rf"{option}\b[^\[]*\[default:\s+{re.escape(default)}", out, re.S), option


def test_a_live_line_is_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    terminal = console.Console(file=screen, force_terminal=True, width=120, highlight=False)
    monkeypatch.setattr(console, "err", terminal)
    with console.progress_listener() as listener:
        for step in (1, 2):
            listener(Progress("train", step, 2, 0.25, 0.375, 4, 61.0, 0.01, 1.5))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert "train" in shown
    assert "2/2 loss 0.2500  pruned 37.5%  recovered 4" in shown


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1234, "1.23 k"), (5e6, "5 M"), (7.25e9, "7.25 G")]
)
def test_counts_have_three_digits_and_a_prefix(number: float, text: str) -> None:
    assert console.count(number) == text


@pytest.mark.needs_training
def test_the_python_functions_give_the_numbers_of_the_command_line(
    trained: Trained, resnet_path: Path, train_slice: Path, test_data_path: Path, tmp_path: Path
) -> None:
    """The command line adds nothing of its own."""
    assert onnx_dnscp.inspect(resnet_path).model_dump(mode="json") == call("inspect", resnet_path, "--json").json
    small = trained.folder / "small.onnx"
    evaluation = onnx_dnscp.evaluate(small, test_data_path, reference=resnet_path)
    told = call("evaluate", small, "--data", test_data_path, "--reference", resnet_path, "--json").json
    assert evaluation.model_dump(mode="json") == told

    report = onnx_dnscp.prune(
        resnet_path,
        tmp_path / "again.onnx",
        data=train_slice,
        test_data=test_data_path,
        batch_size=BATCH,
        lr=LEARNING_RATE,
        **SETTINGS,
    )
    same = ("ratio", "groups", "dropped", "recovered", "loss", "model_sha256")
    found = report.model_dump(mode="json")
    assert {k: found[k] for k in same} == {k: trained.report[k] for k in same}
    assert (tmp_path / "again.onnx").read_bytes() == small.read_bytes()

    plan = onnx_dnscp.Plan.model_validate_json((trained.folder / "plan.json").read_text())
    applied = onnx_dnscp.apply(resnet_path, plan, tmp_path / "applied.onnx")
    assert applied.after.params == found["after"]["params"]
    compared = onnx_dnscp.compare(resnet_path, small)
    assert [f.macs for f in compared.facts] == [found["before"]["macs"], found["after"]["macs"]]
    assert (
        compared.max_relative_difference
        == call("compare", resnet_path, small, "--json").json["max_relative_difference"]
    )


def test_the_python_functions_raise_what_the_command_line_reports(tiny_path: Path, tmp_path: Path) -> None:
    with pytest.raises(onnx_dnscp.ModelError, match="No such file"):
        onnx_dnscp.inspect(tmp_path / "none.onnx")
    with pytest.raises(onnx_dnscp.RequestError, match="out of reach"):
        onnx_dnscp.prune(tiny_path, train=False, ratio=0.99)
    with pytest.raises(onnx_dnscp.UsageError, match="less than 1"):
        onnx_dnscp.prune(tiny_path, train=False, ratio=1.5)


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "onnx_dnscp", "--version"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert re.fullmatch(r"onnx-dnscp, version \d+\.\d+\.\d+\n", done.stdout)
    assert done.stderr == ""


def test_importing_the_package_does_not_import_heavy_ones() -> None:
    """Starting the command line must stay quick, and torch is not needed at all."""
    heavy = ["torch", "jax", "matplotlib", "grain", "tensorflow", "sklearn"]
    code = f"import sys, onnx_dnscp.cli.main; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_arrays_that_nobody_uses_are_said(
    kind: str, tiny_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With what they were probably meant to be, before the work; those that are used are not mentioned."""
    arrays = {"image": np.zeros((4, 1, 8, 8), np.float32), "label": np.zeros(4, np.int64), "other": np.zeros(4)}
    data = tmp_path / f"data.{kind}"
    if kind == "npz":
        np.savez(data, **arrays)
    else:
        data.mkdir()
        for name, array in arrays.items():
            np.save(data / f"{name}.npy", array)
    assert run(["evaluate", str(tiny_path), "--data", str(data)]) == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if "is not used" in line]
    assert len(lines) == 2
    assert "the array 'label' of" in lines[0]
    assert "did you mean 'labels'?" in lines[0]
    assert "the array 'other' of" in lines[1]
    assert "those are image, labels, logits" in lines[1]
