"""Losses on outputs with known values: where the data says them, what they compute, and what is told of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import onnx_dnscp
from models import filled, run
from onnx_dnscp.cli.main import run as command
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.open import open_dataset
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import DataError, RequestError
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.losses.regression import Distance, Regression
from onnx_dnscp.training.view import build_view

COUNT = 96
# A value per sample behind a Sigmoid, a map, and numbers that are no floats.
NET = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 2, 6, 6] x) => (float[N, 1] y, float[N, 2, 6, 6] map, int64[N, 1] best)
<float[8, 2, 3, 3] w, float[2, 8, 1, 1] u, float[1, 8] v> {
  a = Conv<pads = [1, 1, 1, 1]>(x, w)  t = Tanh(a)  map = Conv(t, u)
  p = GlobalAveragePool(t)  f = Flatten(p)  z = Gemm<transB = 1>(f, v)  y = Sigmoid(z)
  best = Cast<to = 7>(z) }"""

Arrays = dict[str, NDArray[Any]]


def arrays(**changed: NDArray[Any]) -> Arrays:
    """Inputs, and values that a network can learn; those under `changed` are others."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((COUNT, 2, 6, 6)).astype(np.float32)
    known: Arrays = {"x": x, "y": x.mean((1, 2, 3))[:, None].astype(np.float64), "map": x[:, ::-1] / 2}
    return {**known, **changed}


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    onnx.save(filled(NET), str(tmp_path / "net.onnx"))
    return tmp_path / "net.onnx"


def saved(folder: Path, values: Arrays) -> Path:
    np.savez(folder / "data.npz", **values)  # type: ignore[arg-type]
    return folder / "data.npz"


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.needs_training
@pytest.mark.parametrize("distance", ["mse", "l1"])
@pytest.mark.parametrize("outputs", [("y",), ("y", "map")])
def test_the_loss_is_the_mean_distance_of_the_outputs_as_they_are(distance: Distance, outputs: tuple[str, ...]) -> None:
    """Behind the final Sigmoid, each output alike however large; gradients against differences in weights."""
    model, known = filled(NET), arrays()
    batch = Batch({"x": known["x"][:8]}, None, {name: known[name][:8].astype(np.float32) for name in outputs})
    view = build_view(model, {"x": (8, 2, 6, 6)}, squashed=True)
    loss = Regression(distance, batch)
    loss.attach(view)
    engine = OrtEngine(view, threads=1)
    feeds = {**batch.inputs, **loss.feeds(batch)}

    def expected() -> float:
        moved = onnx.ModelProto()
        moved.CopyFrom(model)
        for tensor in moved.graph.initializer:
            if tensor.name in engine.parameters:
                tensor.CopyFrom(onnx.numpy_helper.from_array(engine.parameters[tensor.name], tensor.name))
        found = run(moved, dict(batch.inputs))
        each = [np.float64(found[name]) - batch.targets[name] for name in outputs]
        return float(np.mean([np.square(d).mean() if distance == "mse" else np.abs(d).mean() for d in each]))

    value, gradients = engine.gradients(feeds)
    assert value == pytest.approx(expected(), rel=1e-5)
    for name in ("w", "v"):
        direction = np.sign(gradients[name])
        sides = []
        for sign in (1, -1):
            engine.parameters.write({name: engine.parameters[name] + np.float32(sign * 1e-3) * direction})
            sides.append(expected())
            engine.parameters.write({name: engine.parameters[name] - np.float32(sign * 1e-3) * direction})
        assert (sides[0] - sides[1]) / 2e-3 == pytest.approx(float(np.abs(gradients[name]).sum()), rel=0.01)


@pytest.mark.needs_training
def test_an_output_that_gradients_do_not_reach_is_refused() -> None:
    """What stands before a Cast to integers is no value of the output."""
    view = build_view(filled(NET), {"x": (8, 2, 6, 6)}, squashed=True)
    with pytest.raises(RequestError, match=r"Gradients do not reach the output 'best'; use --loss distill"):
        Regression("mse", Batch({}, None, {"best": np.zeros((8, 1), np.float32)})).attach(view)


# --- the data ---------------------------------------------------------------------------------------------------------


def test_arrays_named_like_float_outputs_are_targets(model_path: Path, tmp_path: Path) -> None:
    """In float32, with their samples; an array named like an output of integers means nothing, as before."""
    known = arrays(best=np.array(["a", "b"]))
    graph = read_graph(onnx.load(str(model_path)))
    dataset = open_dataset(saved(tmp_path, known), graph, Preprocess(), None)
    assert dataset.targets == ("y", "map")
    assert dataset.input_shapes(3) == {"x": (3, 2, 6, 6)}
    batch = next(dataset.training_batches(16, seed=0))
    assert batch.indices is not None
    for name in ("y", "map"):
        np.testing.assert_array_equal(batch.targets[name], known[name][batch.indices].astype(np.float32), strict=True)
    np.testing.assert_array_equal(batch.inputs["x"], known["x"][batch.indices])


BAD: dict[str, tuple[Arrays, str]] = {
    "text": ({"y": np.array(["1"] * COUNT)}, r"'y' in .* has type <U1; targets of an output are numbers"),
    "not a number": ({"y": np.full((COUNT, 1), np.nan)}, r"'y' in .* has NaN or infinity in sample 0"),
    "too large": ({"y": np.full((COUNT, 1), 1e300)}, r"'y' in .* has NaN or infinity in sample 0"),
    "too few": ({"y": np.zeros((5, 1))}, r"different numbers of samples: x 96, .*y 5"),
    "no axis of size 1": ({"y": np.zeros(COUNT)}, r"'y' of the data has shape \(1,\) .* output of that name \(1, 1\)"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_values_that_do_not_fit_are_refused_before_training(case: str, model_path: Path, tmp_path: Path) -> None:
    """One sentence that names the array, also where only `evaluate` or test data has it."""
    changed, message = BAD[case]
    data = saved(tmp_path, arrays(**changed))
    with pytest.raises(DataError, match=message):
        onnx_dnscp.prune(model_path, tmp_path / "out.onnx", test_data=data, train=False)
    with pytest.raises(DataError, match=message.replace(r"\(1,", r"\(\d+,").replace("(1, 1", r"(\d+, 1")):
        onnx_dnscp.evaluate(model_path, data)


@pytest.mark.needs_training
def test_a_loss_without_values_is_refused(model_path: Path, tmp_path: Path) -> None:
    """The sentence lists the names that arrays may have."""
    data = saved(tmp_path, {"x": arrays()["x"]})
    with pytest.raises(DataError, match=r"--loss l1 needs an array named like .* \(y, map, best\)"):
        onnx_dnscp.prune(model_path, tmp_path / "out.onnx", data=data, loss="l1")


# --- whole runs -------------------------------------------------------------------------------------------------------


def error_of(path: Path, values: Arrays) -> tuple[float, float]:
    """Mean squared and mean absolute error by plain numpy."""
    found = run(onnx.load(str(path)), {"x": values["x"]})
    each = [np.float64(found[name]) - values[name] for name in ("y", "map")]
    return float(np.mean([np.square(d).mean() for d in each])), float(np.mean([np.abs(d).mean() for d in each]))


@pytest.mark.needs_training
@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_a_run_learns_the_values_and_reports_the_error(loss: str, model_path: Path, tmp_path: Path) -> None:
    """Fewer channels, half the error; report and `evaluate` agree with plain numpy; there is no accuracy."""
    known = arrays()
    data = saved(tmp_path, known)
    report = onnx_dnscp.prune(
        model_path, tmp_path / "out.onnx", data=data, loss=loss, epochs=10, finetune_epochs=10, batch_size=16,
        learning_rate=0.2, ratio=0.25, threads=1,
    )  # fmt: skip
    before, after = error_of(model_path, known), error_of(tmp_path / "out.onnx", known)
    assert after[0] < 0.5 * before[0]
    assert report.loss == loss
    assert report.before.accuracy is None
    assert report.before.mean_squared_error == pytest.approx(before[0], rel=1e-4)
    assert report.after.mean_squared_error == pytest.approx(after[0], rel=1e-4)
    result = onnx_dnscp.evaluate(tmp_path / "out.onnx", data, reference=model_path, limit=COUNT)
    assert result.accuracy is None
    assert result.mean_squared_error == pytest.approx(after[0], rel=1e-4)
    assert result.mean_absolute_error == pytest.approx(after[1], rel=1e-4)


@pytest.mark.needs_training
def test_values_change_no_loss_that_does_not_ask_for_them(model_path: Path, tmp_path: Path) -> None:
    """Without --loss mse or l1, the network goes on learning what the original says."""
    data = saved(tmp_path, arrays())
    report = onnx_dnscp.prune(model_path, tmp_path / "out.onnx", data=data, epochs=1, finetune_epochs=0, threads=1)
    assert report.loss == "distill"


def test_the_error_is_shown(model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`compare` with a table row, `evaluate` with two fields of its JSON."""
    data = str(saved(tmp_path, arrays()))
    assert command(["compare", str(model_path), str(model_path), "--data", data]) == 0
    assert "mean squared error" in capsys.readouterr().out
    assert command(["evaluate", str(model_path), "--data", data, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["mean_squared_error"], found["mean_absolute_error"]) == pytest.approx(
        error_of(model_path, arrays()), rel=1e-4
    )
