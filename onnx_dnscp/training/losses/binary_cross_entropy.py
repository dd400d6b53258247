"""Binary cross-entropy: every class is a yes or no of its own, as behind a final Sigmoid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.errors import DataError
from onnx_dnscp.training.losses.cross_entropy import scores_of
from onnx_dnscp.training.view import LOSS, TrainingView

TARGETS = "dnscp//targets"


class BinaryCrossEntropy:
    """Mean over classes of `-t log sigmoid(z) - (1 - t) log(1 - sigmoid(z))`, on the output z before a final Sigmoid.

    It is computed as max(z, 0) - z t + log(1 + exp(-|z|)), which no z overflows; log(sigmoid(z)) is -infinity at -200.

    Args:
        logits_shape: Shape of that output, (batch, classes).
    """

    name = "binary cross-entropy"

    def __init__(self, logits_shape: tuple[int, int]) -> None:
        self._shape = logits_shape

    def attach(self, view: TrainingView, result: str = LOSS) -> None:
        """Add the formula; raises `RequestError` where gradients do not reach the classifier's scores."""
        logits = scores_of(view)
        view.add_input(TARGETS, TensorProto.FLOAT, self._shape)
        base = "dnscp//bce"
        positive = view.add_node("Relu", [logits], f"{base}/positive")
        product = view.add_node("Mul", [logits, TARGETS], f"{base}/product")
        linear = view.add_node("Sub", [positive, product], f"{base}/linear")
        size = view.add_node("Abs", [logits], f"{base}/size")
        power = view.add_node("Exp", [view.add_node("Neg", [size], f"{base}/negative")], f"{base}/power")
        one = view.add_constant(f"{base}/one", np.array(1, dtype=np.float32))
        rest = view.add_node("Log", [view.add_node("Add", [power, one], f"{base}/sum")], f"{base}/rest")
        losses = view.add_node("Add", [linear, rest], f"{base}/losses")
        view.add_node("ReduceMean", [losses], result, keepdims=0)

    def feeds(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """1 for the class that is a sample's label, 0 for the others."""
        if batch.labels is None:
            raise DataError("The bce loss needs labels, and the data has none; use --loss distill.")
        classes = np.arange(self._shape[1])
        return {TARGETS: (np.asarray(batch.labels)[:, None] == classes).astype(np.float32)}
