"""Distance of outputs from known values: mean squared error and mean absolute error."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.errors import RequestError
from onnx_dnscp.training.view import LOSS, TrainingView

Distance = Literal["mse", "l1"]


class Regression:
    """Mean over all outputs with known values of `mean((output - value)^2)`, or of `mean(|output - value|)`.

    Outputs are taken as they are, a final Softmax or Sigmoid included; the view must have been built so.

    Args:
        distance: "mse" or "l1".
        first: A batch of the view's size.
    """

    def __init__(self, distance: Distance, first: Batch) -> None:
        self.name: str = distance
        self._shapes = {name: target.shape for name, target in first.targets.items()}

    def attach(self, view: TrainingView, result: str = LOSS) -> None:
        """Add one distance per output and their mean.

        Raises:
            RequestError: Gradients do not reach one of the outputs.
        """
        distances = []
        for number, (output, shape) in enumerate(self._shapes.items()):
            if view.taps.get(output) != (output,):
                raise RequestError(f"Gradients do not reach the output {output!r}; use --loss distill.")
            base = f"dnscp//regression/{number}"
            view.add_input(_target_name(output), TensorProto.FLOAT, shape)
            difference = view.add_node("Sub", [output, _target_name(output)], f"{base}/difference")
            operands = [difference] if self.name == "l1" else [difference, difference]
            each = view.add_node("Abs" if self.name == "l1" else "Mul", operands, f"{base}/each")
            distances.append(view.add_node("ReduceMean", [each], f"{base}/mean", keepdims=0))
        total = view.add_sum(distances, "dnscp//regression/total")
        share = view.add_constant("dnscp//regression/share", np.array(1 / len(distances), dtype=np.float32))
        view.add_node("Mul", [total, share], result)

    def feeds(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """The known values."""
        return {_target_name(output): batch.targets[output] for output in self._shapes}


def _target_name(output: str) -> str:
    return f"dnscp//target/{output}"
