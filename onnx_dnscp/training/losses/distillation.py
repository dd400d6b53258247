"""Self-distillation: the network learns to say what the original said. Needs no labels and no task."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.errors import RequestError
from onnx_dnscp.graph import read_graph
from onnx_dnscp.runtime import Session
from onnx_dnscp.taps import output_taps
from onnx_dnscp.training.view import LOSS, TrainingView


class Distillation:
    """Mean over all floating-point outputs of `mean((student - teacher)^2) / var(teacher)`.

    Outputs are compared before a final Softmax or Sigmoid. Dividing by the teacher's variance (of the first
    batch) makes outputs of different size count alike: 1 means no better than a constant.

    Args:
        original: The teacher, which stays as it is.
        first: A batch to measure the variances on.

    Raises:
        RequestError: The model has no floating-point output to compare.
    """

    name = "distillation"

    def __init__(self, original: onnx.ModelProto, first: Batch) -> None:
        taps = output_taps(read_graph(original))
        self._teacher = Session(original, more_outputs=taps.values(), what="The original model")
        outputs = self._teacher.run(first.inputs, list(dict.fromkeys(taps.values())))
        self._targets = {name: value for name, value in outputs.items() if value.dtype == np.float32 and value.size}
        if not self._targets:
            raise RequestError("Self-distillation needs a float32 output, and the model has none; use --no-train.")

    def attach(self, view: TrainingView) -> None:
        """Add one difference per output and their mean."""
        terms = []
        for number, (tap, value) in enumerate(self._targets.items()):
            base = f"dnscp//distil/{number}"
            view.add_input(_target_name(tap), TensorProto.FLOAT, value.shape)
            difference = view.add_node("Sub", [tap, _target_name(tap)], f"{base}/difference")
            square = view.add_node("Mul", [difference, difference], f"{base}/square")
            mean = view.add_node("ReduceMean", [square], f"{base}/mean", keepdims=0)
            variance = float(np.var(value, dtype=np.float64)) or 1.0
            weight = np.array(1.0 / (variance * len(self._targets)), dtype=np.float32)
            terms.append(view.add_node("Mul", [mean, view.add_constant(f"{base}/weight", weight)], f"{base}/term"))
        total = terms[0]
        for number, term in enumerate(terms[1:]):
            total = view.add_node("Add", [total, term], f"dnscp//distil/total/{number}")
        view.add_node("Identity", [total], LOSS)

    def feeds(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """The teacher's outputs for this batch."""
        outputs = self._teacher.run(batch.inputs, list(self._targets))
        return {_target_name(tap): value for tap, value in outputs.items()}


def _target_name(tap: str) -> str:
    return f"dnscp//teacher/{tap}"
