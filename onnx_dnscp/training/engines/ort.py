"""The default engine: ONNX Runtime builds the training graph, which is plain ONNX and runs in a plain session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

    Args:
        view: The view with its loss attached.
        threads: Threads inside one operator; 0 leaves the choice to the runtime.

    Raises:
        RequestError: The installed runtime cannot train, or cannot differentiate this model.
    """

    def __init__(self, view: TrainingView, *, threads: int = 0) -> None:
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
        self._inputs = {i.name for i in self._session.get_inputs()}

    def step(self, feeds: Mapping[str, NDArray[Any]]) -> tuple[float, dict[str, NDArray[Any]]]:
        """Loss and gradients for one batch; see `Engine.step`."""
        everything = {name: value for name, value in {**self.weights, **feeds}.items() if name in self._inputs}
        try:
            results = dict(zip(self._wanted, self._session.run(self._wanted, everything), strict=True))
        except Exception as error:
            raise RequestError(f"ONNX Runtime cannot train this model: {first_line(error)}. Use --no-train.") from error
        for old, new in self._statistics.items():
            self.weights[old][...] = results[new]
        return float(results[LOSS]), {name: results[f"{name}_grad"] for name in self.trainable}


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
