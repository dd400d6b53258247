"""Accuracy, loss and agreement against plain numpy; verification that bites; files that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnx_dnscp import Evaluation, VerificationError, evaluate
from onnx_dnscp.cli.main import run
from onnx_dnscp.commands import prune_stages
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.errors import UsageError
from onnx_dnscp.measure.verify import relative_error, verify
from onnx_dnscp.system.atomic import write_bytes

VERIFICATION_FAILED = 6
MODEL_NAMES = ["digits-resnet", "digits-separable"]


def outputs_of(model: onnx.ModelProto | Path, images: NDArray[Any], extra: str | None = None) -> NDArray[Any]:
    """The only output (or an inner tensor), straight from ONNX Runtime and in double precision."""
    proto = onnx.load(model) if isinstance(model, Path) else model
    if extra is not None:
        proto.graph.output.append(onnx.ValueInfoProto(name=extra))
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    [result] = session.run([extra or session.get_outputs()[0].name], {"image": images})
    return np.asarray(result, dtype=np.float64)


def digits(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    with np.load(path) as arrays:
        return arrays["image"], arrays["labels"]


# --- evaluate ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_shipped_models_are_right_97_times_of_100(name: str, resnet_path: Path, test_data_path: Path) -> None:
    images, labels = digits(test_data_path)
    outputs = outputs_of(resnet_path.with_name(f"{name}.onnx"), images)
    assert (outputs.argmax(1) == labels).mean() >= 0.97


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_accuracy_and_loss_match_plain_numpy(name: str, resnet_path: Path, test_data_path: Path) -> None:
    """The last layer is run apart from the Softmax, and the sum over samples is written out."""
    path = resnet_path.with_name(f"{name}.onnx")
    images, labels = digits(test_data_path)
    last_layer = next(n for n in reversed(onnx.load(path).graph.node) if n.op_type == "Gemm")
    logits = outputs_of(path, images, extra=None if name == "digits-resnet" else last_layer.output[0])
    loss = 0.0
    for row, label in zip(logits, labels, strict=True):
        loss -= row[label] - np.log(np.exp(row).sum())
    found = evaluate(path, test_data_path)
    assert found.num_samples == 360
    assert found.accuracy == (logits.argmax(1) == labels).sum() / 360
    assert found.loss == pytest.approx(loss / 360, rel=1e-5)
    assert found.agreement is None
    assert found.max_relative_difference is None


def test_the_loss_looks_behind_a_saturated_softmax(tiny_model: onnx.ModelProto, tmp_path: Path) -> None:
    """Logits in the hundreds make probabilities of exactly 0, whose logarithm says nothing."""
    head = next(t for t in tiny_model.graph.initializer if t.name == "w3")
    head.CopyFrom(numpy_helper.from_array(np.array([[900, 0, 0, 0], [0, 0, 0, 0], [-900, 0, 0, 0]], np.float32), "w3"))
    tiny_model.graph.node.append(helper.make_node("Softmax", ["logits"], ["probabilities"], name="softmax", axis=1))
    tiny_model.graph.output[0].name = "probabilities"
    (tmp_path / "m.onnx").write_bytes(tiny_model.SerializeToString())
    images = np.abs(np.random.default_rng(0).standard_normal((40, 1, 8, 8))).astype(np.float32)
    labels = np.full(40, 2)
    np.savez(tmp_path / "d.npz", image=images, labels=labels)
    logits = outputs_of(tiny_model, images, extra="logits")
    expected = np.mean([np.logaddexp.reduce(row) - row[2] for row in logits])
    assert np.exp(-expected) == 0, "the probability cannot be told in double precision"
    assert evaluate(tmp_path / "m.onnx", tmp_path / "d.npz").loss == pytest.approx(expected, rel=1e-5)


def test_a_limit_counts_the_first_samples_only(resnet_path: Path, test_data_path: Path) -> None:
    images, labels = digits(test_data_path)
    wrong = np.flatnonzero(outputs_of(resnet_path, images).argmax(1) != labels)
    limit = int(wrong[0]) + 1
    found = evaluate(resnet_path, test_data_path, limit=limit)
    assert found.num_samples == limit
    assert found.accuracy == pytest.approx(1 - 1 / limit)


def test_data_without_labels_have_no_accuracy(resnet_path: Path, test_data_path: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", image=digits(test_data_path)[0])
    assert evaluate(resnet_path, tmp_path / "d.npz") == Evaluation(num_samples=360)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_model_agrees_with_itself(name: str, resnet_path: Path, test_data_path: Path) -> None:
    path = resnet_path.with_name(f"{name}.onnx")
    found = evaluate(path, test_data_path, reference=path)
    assert found.agreement == 1
    assert found.max_relative_difference == 0


def test_agreement_counts_equal_answers(resnet_path: Path, test_data_path: Path, tmp_path: Path) -> None:
    """Against a model that mixes up classes 3 and 5."""
    swapped = onnx.load(resnet_path)
    order = [0, 1, 2, 5, 4, 3, 6, 7, 8, 9]
    for tensor in swapped.graph.initializer:
        if tensor.name in ("fc.weight", "fc.bias"):
            values = numpy_helper.to_array(tensor)
            axis = values.shape.index(10)
            tensor.CopyFrom(numpy_helper.from_array(values.take(order, axis), tensor.name))
    onnx.save(swapped, tmp_path / "swapped.onnx")
    images, _ = digits(test_data_path)
    mine, theirs = outputs_of(resnet_path, images), outputs_of(swapped, images)
    agreement = (mine.argmax(1) == theirs.argmax(1)).mean()
    assert 0.7 < agreement < 0.9
    found = evaluate(resnet_path, test_data_path, reference=tmp_path / "swapped.onnx")
    assert found.agreement == pytest.approx(agreement)
    worst = max(
        np.abs(mine[i : i + 128] - theirs[i : i + 128]).max() / np.abs(theirs[i : i + 128]).max() for i in (0, 128, 256)
    )
    assert found.max_relative_difference == pytest.approx(worst, rel=1e-5)


def test_a_reference_may_name_its_inner_tensors_otherwise(
    separable_path: Path, test_data_path: Path, tmp_path: Path
) -> None:
    """Two exports of one network share the names of inputs and outputs only."""
    renamed = onnx.load(separable_path)
    old = renamed.graph.node[-1].input[0]
    for node in renamed.graph.node:
        for names in (node.input, node.output):
            names[:] = ["other_logits" if n == old else n for n in names]
    onnx.save(renamed, tmp_path / "renamed.onnx")
    found = evaluate(separable_path, test_data_path, reference=tmp_path / "renamed.onnx")
    assert found.agreement == 1
    assert found.max_relative_difference == 0


def test_a_fixed_batch_is_respected(tiny_model: onnx.ModelProto, tmp_path: Path) -> None:
    """A model that takes 4 at a time sees 8 of 10 samples."""
    for value in (*tiny_model.graph.input, *tiny_model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    (tmp_path / "m.onnx").write_bytes(tiny_model.SerializeToString())
    images = np.random.default_rng(0).standard_normal((10, 1, 8, 8)).astype(np.float32)
    answers = np.concatenate([outputs_of(tiny_model, images[i : i + 4]).argmax(1) for i in (0, 4)])
    labels = np.concatenate([answers[:7], [(answers[7] + 1) % 3], answers[:2]])
    np.savez(tmp_path / "d.npz", image=images, labels=labels)
    found = evaluate(tmp_path / "m.onnx", tmp_path / "d.npz")
    assert found.num_samples == 8
    assert found.accuracy == 7 / 8


# --- relative_error and verify ----------------------------------------------------------------------------------------

NAN, INF = np.nan, np.inf

RELATIVE_ERRORS = [
    ("equal", [1.0, -4.0], [1.0, -4.0], 0.0),
    ("by the largest", [1.0, -3.0], [1.5, -4.0], 0.25),
    ("all zero", [0.5, 0.0], [0.0, 0.0], 0.5),
    ("both nan", [NAN, 2.0], [NAN, 2.0], 0.0),
    ("nan in one", [NAN, 2.0], [1.0, 2.0], INF),
    ("nan in the other", [1.0, 2.0], [NAN, 2.0], INF),
    ("same infinity", [INF, 1.0], [INF, 2.0], 0.5),
    ("other infinity", [INF, 1.0], [-INF, 1.0], INF),
    ("infinity in one", [INF, 1.0], [3.0, 1.0], INF),
    ("shape", [1.0, 2.0], [1.0, 2.0, 3.0], INF),
    ("empty", [], [], 0.0),
]


@pytest.mark.parametrize(
    ("value", "expected", "error"), [c[1:] for c in RELATIVE_ERRORS], ids=[c[0] for c in RELATIVE_ERRORS]
)
def test_relative_error_of_hand_worked_pairs(value: list[float], expected: list[float], error: float) -> None:
    assert relative_error(np.array(value, np.float32), np.array(expected, np.float32)) == error


def test_relative_error_of_integers_does_not_wrap() -> None:
    assert relative_error(np.array([1, 250], np.uint8), np.array([2, 250], np.uint8)) == 1 / 250


def batches_for(path: Path) -> list[Batch]:
    images, _ = digits(path)
    return [Batch({"image": images[:32]}), Batch({"image": images[40:41]})]


def moved(model: onnx.ModelProto, name: str, index: tuple[int, ...], factor: float) -> onnx.ModelProto:
    """A copy in which one weight is `factor` times as large."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensor = next(t for t in copy.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values[index] *= factor
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    return copy


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_identical_models_verify(name: str, resnet_path: Path, test_data_path: Path) -> None:
    model = onnx.load(resnet_path.with_name(f"{name}.onnx"))
    checked = verify(model, model, batches_for(test_data_path))
    assert checked.max_relative_error == 0
    assert checked.num_samples == 33
    assert 0 < checked.tolerance <= 1e-3


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_one_weight_that_moves_by_one_percent_fails_verification(
    name: str, resnet_path: Path, test_data_path: Path
) -> None:
    model = onnx.load(resnet_path.with_name(f"{name}.onnx"))
    weight = numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "fc.weight"))
    largest = tuple(int(i) for i in np.unravel_index(np.abs(weight).argmax(), weight.shape))
    with pytest.raises(VerificationError, match=r"tensor '\w+' of the pruned model differs .* by \d\.\d\de-\d\d"):
        verify(moved(model, "fc.weight", largest, 1.01), model, batches_for(test_data_path))


def test_an_error_in_the_last_batch_only_fails_verification() -> None:
    """Clip at 5 and at 6 agree as long as no value is above 5."""

    def clip(limit: float) -> onnx.ModelProto:
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 2]) for n in ("x", "y")]
        bounds = [numpy_helper.from_array(np.float32(v), n) for n, v in (("low", -limit), ("high", limit))]
        node = helper.make_node("Clip", ["x", "low", "high"], ["y"])
        graph = helper.make_graph([node], "g", values[:1], values[1:], bounds)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    small, large = (Batch({"x": np.array([[v, 1.0]], np.float32)}) for v in (4.0, 9.0))
    assert verify(clip(5), clip(6), [small, small]).max_relative_error == 0
    with pytest.raises(VerificationError, match="tensor 'y'"):
        verify(clip(5), clip(6), [small, large])


def test_a_pruned_model_that_cannot_run_fails_verification(tiny_model: onnx.ModelProto) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(tiny_model)
    broken.graph.node[0].op_type = "Unknown"
    batch = Batch({"image": np.zeros((2, 1, 8, 8), np.float32)})
    with pytest.raises(VerificationError, match=r"nothing was saved: The pruned model cannot be loaded .*Unknown"):
        verify(broken, tiny_model, [batch])


def test_a_wrong_result_is_not_saved(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Surgery that gets one weight wrong is our bug; the user keeps what was there before."""
    real = prune_stages.apply_cuts

    def careless(*args: Any) -> onnx.ModelProto:
        return moved(real(*args), "w3", (0, 0), 1.01)

    monkeypatch.setattr(prune_stages, "apply_cuts", careless)
    out, plan, record = tmp_path / "out.onnx", tmp_path / "plan.json", tmp_path / "run"
    out.write_text("what was there before")
    call = ["prune", str(tiny_path), "-o", str(out), "--no-train", "--plan-out", str(plan), "--run-dir", str(record)]
    assert run(call) == VERIFICATION_FAILED
    err = capsys.readouterr().err.strip().splitlines()
    assert err[-1].startswith("Error: Verification failed, nothing was saved: tensor 'logits'")
    assert out.read_text() == "what was there before"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["out.onnx", "run", "tiny.onnx"]


def test_a_wrong_result_of_apply_is_not_saved(tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, plan = tmp_path / "out.onnx", tmp_path / "plan.json"
    assert run(["prune", str(tiny_path), "-o", str(out), "--no-train", "--plan-out", str(plan)]) == 0
    out.unlink()
    real = prune_stages.apply_cuts
    monkeypatch.setattr("onnx_dnscp.commands.apply.apply_cuts", lambda *a: moved(real(*a), "w3", (0, 0), 1.01))
    assert run(["apply", str(tiny_path), str(plan), "-o", str(out)]) == VERIFICATION_FAILED
    assert not out.exists()


# --- files ------------------------------------------------------------------------------------------------------------


def no_space(*args: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupted(*args: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("before", [None, b"the old file"])
def test_a_failed_write_leaves_the_old_file_whole(
    call: str, before: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    if before is not None:
        path.write_bytes(before)
    monkeypatch.setattr(os, call, no_space)
    with pytest.raises(UsageError, match=r"Cannot write .*model\.onnx': No space left on device"):
        write_bytes(path, b"new" * 1000)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({} if before is None else {"model.onnx": before})


def test_ctrl_c_while_writing_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "model.onnx", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_at_the_end_of_a_run_leaves_the_old_model(
    tiny_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.onnx"
    out.write_bytes(b"the old file")
    monkeypatch.setattr(os, "fsync", no_space)
    assert run(["prune", str(tiny_path), "-o", str(out), "--no-train"]) == 2
    assert "No space left on device" in capsys.readouterr().err.strip().splitlines()[-1]
    assert {p.name for p in tmp_path.iterdir()} == {"out.onnx", "tiny.onnx"}
    assert out.read_bytes() == b"the old file"


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    """Temporary files are private; what users get should be as readable as any other file of theirs."""
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", json.dumps({}).encode())
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "a").read_bytes() == b"{}"
