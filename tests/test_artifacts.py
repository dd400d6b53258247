"""The artifacts in a run directory load in `onnxruntime.training.api`, and training goes on from there."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from training_cases import BATCH, batch, feeds, make_loss, network, some_mask

import onnx_dnscp
from onnx_dnscp.discovery.discover import discover_units
from onnx_dnscp.errors import RequestError
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.model.units import Units
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.tracing.trace import trace
from onnx_dnscp.training.artifacts import CHECKPOINT, EVAL_MODEL, OPTIMIZER_MODEL, TRAINING_MODEL, write_artifacts
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.losses.base import Loss
from onnx_dnscp.training.optimizers import OptimizerName, OptimizerSettings, make_optimizer
from onnx_dnscp.training.view import MASK_INPUT, TrainingView, build_view

pytestmark = pytest.mark.needs_training

NAME = "residual with batch norm"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`onnxruntime.training.api`, whose package imports torch, which `api` itself does not need."""
    package = types.ModuleType("onnxruntime.training")
    package.__path__ = [str(Path(onnxruntime.__file__).parent / "training")]
    monkeypatch.setitem(sys.modules, "onnxruntime.training", package)
    import onnxruntime.training.api as found

    yield found
    for name in [n for n in sys.modules if n.startswith("onnxruntime.training.")]:
        del sys.modules[name]


class Loaded:
    """Artifacts as a user opens them."""

    def __init__(self, api: Any, folder: Path) -> None:
        self.state = api.CheckpointState.load_checkpoint(str(folder / CHECKPOINT))
        self.module = api.Module(str(folder / TRAINING_MODEL), self.state, str(folder / EVAL_MODEL))
        self.optimizer = api.Optimizer(str(folder / OPTIMIZER_MODEL), self.module)

    def values(self) -> dict[str, NDArray[Any]]:
        return {name: parameter.data.copy() for name, parameter in self.state.parameters}

    def evaluate(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        self.module.eval()
        outputs = [np.asarray(value) for value in self.module(*inputs)]
        self.module.train()
        return outputs


def masked_view(loss_name: str, batch_norm: Any) -> tuple[onnx.ModelProto, Units, Loss, TrainingView]:
    model, units = network(NAME)
    loss = make_loss(loss_name, model)
    view = build_view(model, {"x": (BATCH, 2, 6, 6)}, units=units, batch_norm=batch_norm)
    loss.attach(view)
    return model, units, loss, view


def inputs_of(loaded: Loaded, given: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    return [given[name] for name in loaded.module.input_names()]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
@pytest.mark.parametrize("loss_name", ["cross-entropy", "distillation"])
def test_a_step_is_that_of_the_engine(
    api: Any, tmp_path: Path, loss_name: str, batch_norm: Any, optimizer: OptimizerName
) -> None:
    """Loss, straight-through gradients, running statistics and update equal the engine's and numpy's."""
    _, units, loss, view = masked_view(loss_name, batch_norm)
    mask = some_mask(units)
    engine = OrtEngine(view, threads=1)
    write_artifacts(tmp_path / "artifacts", view, engine.parameters, mask, optimizer)
    loaded = Loaded(api, tmp_path / "artifacts")
    assert set(loaded.values()) == {*engine.parameters, MASK_INPUT}
    np.testing.assert_array_equal(loaded.values()[MASK_INPUT], [*mask, 1])
    given = feeds(loss, batch(), mask)
    expected_loss, gradients = engine.gradients(given)
    value, outputs = loaded.module(*inputs_of(loaded, given))
    assert float(value) == pytest.approx(expected_loss, rel=1e-6)
    assert outputs.shape == (BATCH, 3)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(loaded.state.parameters[name].grad, gradient, rtol=1e-5, atol=1e-7)
    loaded.optimizer.set_learning_rate(0.01)
    loaded.optimizer.step()
    make_optimizer(OptimizerSettings(optimizer, 0.9 if optimizer == "adamw" else 0.0, 0.0)).update(
        engine.parameters, gradients, 0.01
    )
    for name, expected in engine.parameters.items():
        np.testing.assert_allclose(loaded.values()[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)
    if batch_norm == "train":
        assert np.abs(loaded.values()["m0"] - view.values["m0"]).max() > 1e-3, "running statistics move"


@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_training_goes_on_and_a_masked_channel_stays_out_of_sight(api: Any, tmp_path: Path, batch_norm: Any) -> None:
    """The loss falls; a silenced channel's weights move, yet at 99 no output sees them until the mask is lifted."""
    model, units, loss, view = masked_view("cross-entropy", batch_norm)
    mask = np.ones(units.num_units, dtype=bool)
    consumer = units.consumers[0]
    mask[consumer.stored_units[2]] = False
    write_artifacts(tmp_path / "artifacts", view, view.values, mask, "sgd")
    loaded = Loaded(api, tmp_path / "artifacts")
    given = inputs_of(loaded, feeds(loss, batch()))
    start = loaded.values()
    loaded.optimizer.set_learning_rate(0.1)
    losses = []
    for _ in range(40):
        losses.append(float(loaded.module(*given)[0]))
        loaded.optimizer.step()
        loaded.module.lazy_reset_grad()
    assert losses[-1] < 0.8 * losses[0]
    values = loaded.values()
    asleep = np.moveaxis(values[consumer.weight], consumer.axis, 0)[2]
    assert np.abs(asleep - np.moveaxis(start[consumer.weight], consumer.axis, 0)[2]).max() > 1e-5

    trained = copy_with_weights(model, {n: v for n, v in values.items() if n != MASK_INPUT})
    expected = Session(mask_model(trained, units, mask)).run(batch().inputs)
    value, outputs = loaded.evaluate(*given)
    np.testing.assert_allclose(outputs, expected["y"], rtol=1e-4, atol=1e-5)

    asleep[...] = 99  # a view of `values`
    loaded.state.parameters[consumer.weight].data = values[consumer.weight]
    again, same = loaded.evaluate(*given)
    assert (float(value), outputs.tolist()) == (float(again), same.tolist())
    loaded.state.parameters[MASK_INPUT].data = np.ones(units.num_units + 1, dtype=np.float32)
    assert np.abs(loaded.evaluate(*given)[1] - outputs).max() > 1


def test_prune_leaves_them_in_the_run_directory(
    api: Any,
    separable_path: Path,
    train_data_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The evaluation model computes the network masked by the run's plan; the working directory stays clean."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with np.load(train_data_path) as arrays:
        images, labels = arrays["image"][:64], arrays["labels"][:64]
    np.savez(tmp_path / "few.npz", image=images, labels=labels)
    onnx_dnscp.prune(
        separable_path, tmp_path / "out.onnx", run_dir=tmp_path / "run", data=tmp_path / "few.npz", epochs=2,
        finetune_epochs=0, batch_size=16, threads=1,
    )  # fmt: skip
    assert list(elsewhere.iterdir()) == []
    loaded = Loaded(api, tmp_path / "run" / "artifacts")
    model = onnx.load(separable_path)
    graph = read_graph(model)
    units = discover_units(graph, trace(graph))
    mask = np.ones(units.num_units, dtype=bool)
    for group in json.loads((tmp_path / "run" / "plan.json").read_text())["groups"]:
        mask[units.groups[group["id"]].first + np.array(group["removed"], dtype=int)] = False
    values = {name: value for name, value in loaded.values().items() if name != MASK_INPUT}
    expected = Session(mask_model(copy_with_weights(model, values), units, mask)).run({"image": images[:16]})
    loss, logits = loaded.evaluate(images[:16], labels[:16].astype(np.int64))
    odds = np.exp(logits.astype(np.float64))  # the view ends before the Softmax
    np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), expected["probabilities"], rtol=1e-4, atol=1e-6)
    answers = expected["probabilities"][np.arange(16), labels[:16]]
    assert float(loss) == pytest.approx(-np.log(answers.astype(np.float64)).mean(), rel=1e-4)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files or none."""
    from onnxruntime.capi import _pybind_state as native

    def no_space(*arguments: Any) -> None:
        raise RuntimeError("no space left\nstack")

    _, units, _, view = masked_view("cross-entropy", "frozen")
    monkeypatch.setattr(native, "save_checkpoint", no_space)
    with pytest.raises(RequestError, match=r"^no space left\.$"):
        write_artifacts(tmp_path / "artifacts", view, view.values, some_mask(units), "sgd")
    assert list(tmp_path.iterdir()) == []
