"""The default engine: ONNX Runtime builds the training graph, which is plain ONNX and runs in a plain session."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnx_dnscp.errors import RequestError
from onnx_dnscp.runtime import can_train, first_line, installed_packages
from onnx_dnscp.training.passes.names import name_nodes
from onnx_dnscp.training.passes.relu_grad import replace_relu_grad
from onnx_dnscp.training.passes.straight_through import pass_gradients_through_masks
from onnx_dnscp.training.view import LOSS, TrainingView

_ERRORS_ONLY = 3  # log level: the builder reports every optimisation at the default level
_SILENT = 4


class OrtEngine:
    """Runs the gradient graph of one view in an inference session.

    Most backward kernels of the runtime use one core. So a batch can be cut into shards that run side by side, with
    gradients, losses and running statistics averaged; batch norm then normalises by the shard.

    Args:
        view: The view with its loss attached, for one shard.
        threads: Threads inside one operator; 0 leaves the choice to the runtime.
        shards: Parts of a batch that run at the same time.

    Raises:
        RequestError: The installed runtime cannot train, or cannot differentiate this model.
    """

    def __init__(self, view: TrainingView, *, threads: int = 0, shards: int = 1) -> None:
        if not can_train():
            raise RequestError(
                "Training needs the package 'onnxruntime-training-cpu', which Python 3.10 to 3.12 can install; this "
                f"environment runs {', '.join(installed_packages()) or 'ONNX Runtime'} without training. "
                "Prune with --no-train, or use such a Python."
            )
        gradient_graph = build_gradient_graph(view)
        outputs = {output.name for output in gradient_graph.graph.output}
        self.trainable = tuple(name for name in view.trainable if f"{name}_grad" in outputs)
        if not self.trainable:
            raise RequestError("No weight of the model receives a gradient, so it cannot be trained; use --no-train.")
        self.weights = {name: value.copy() for name, value in view.values.items()}
        self._statistics = {old: new for old, new in view.statistics.items() if new in outputs}
        self._wanted = [LOSS, *(f"{name}_grad" for name in self.trainable), *self._statistics.values()]
        options = ort.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = threads
        self._session = ort.InferenceSession(
            gradient_graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._lengths: dict[str, int] = {i.name: i.shape[0] if i.shape else 0 for i in self._session.get_inputs()}
        self._shards = shards
        self._pool = ThreadPoolExecutor(shards)

    def step(self, feeds: Mapping[str, NDArray[Any]]) -> tuple[float, dict[str, NDArray[Any]]]:
        """Loss and gradients for one batch; see `Engine.step`."""
        everything = {name: value for name, value in {**self.weights, **feeds}.items() if name in self._lengths}
        try:
            runs = list(self._pool.map(lambda i: self._run(everything, i), range(self._shards)))
        except Exception as error:
            raise RequestError(f"ONNX Runtime cannot train this model: {first_line(error)}. Use --no-train.") from error
        results = {name: _mean([run[i] for run in runs]) for i, name in enumerate(self._wanted)}
        for old, new in self._statistics.items():
            self.weights[old][...] = results[new]
        return float(results[LOSS]), {name: results[f"{name}_grad"] for name in self.trainable}

    def _run(self, feeds: Mapping[str, NDArray[Any]], shard: int) -> list[NDArray[Any]]:
        """All wanted tensors for one shard; inputs of the full batch's length are cut, all others are shared."""
        own = {}
        for name, value in feeds.items():
            length = self._lengths[name]
            is_cut = length > 0 and self._shards > 1 and len(value) == length * self._shards
            own[name] = value[shard * length : (shard + 1) * length] if is_cut else value
        results: list[NDArray[Any]] = self._session.run(self._wanted, own)
        return results


def _mean(values: list[NDArray[Any]]) -> NDArray[Any]:
    """Mean of equally shaped arrays, always summed in the same order."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total if len(values) == 1 else total * np.float32(1 / len(values))


def build_gradient_graph(view: TrainingView) -> onnx.ModelProto:
    """The forward and backward graph of a view, with gradients passed straight through its masks.

    Outputs are the loss, `<name>_grad` for each trainable tensor that the loss depends on, and the view's own.

    Raises:
        RequestError: ONNX Runtime has no gradient for some operator.
    """
    from onnxruntime.capi import _pybind_state as native

    model = onnx.ModelProto()
    model.CopyFrom(view.model)
    model.graph.output.insert(0, helper.make_tensor_value_info(LOSS, TensorProto.FLOAT, []))
    name_nodes(model)
    trainable = set(view.trainable)
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    try:
        optimized = native.get_optimized_model(model.SerializeToString(), trainable, options)
        builder = native.GradientGraphBuilder(optimized, {LOSS}, trainable, LOSS, options)
        builder.build()
        built = onnx.load_model_from_string(builder.get_model())
    except Exception as error:  # the bindings raise RuntimeError and their own classes
        raise RequestError(
            f"ONNX Runtime cannot differentiate this model: {first_line(error)}. Prune it with --no-train."
        ) from error
    pass_gradients_through_masks(built, set(view.masks))
    replace_relu_grad(built)
    name_nodes(built)
    return built
