"""Cross-entropy with class labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.errors import DataError, RequestError
from onnx_dnscp.training.view import LOSS, TrainingView

LABELS = "dnscp//labels"
LOG_PROBABILITIES = "dnscp//log_probabilities"


def scores_of(view: TrainingView) -> str:
    """The scores of a classifier, before a final Softmax or Sigmoid.

    Raises:
        RequestError: Gradients do not reach them.
    """
    if view.notes:
        raise RequestError(f"Cross-entropy needs the classifier's scores. {view.notes[0]} Use --loss distill.")
    ((scores, *_), *_) = view.taps.values()
    return scores


class CrossEntropy:
    """Mean of -log softmax(logits)[label], on the first output before a final Softmax.

    Args:
        logits_shape: Shape of that output, (batch, classes, ...).
    """

    name = "cross-entropy"

    def __init__(self, logits_shape: tuple[int, ...]) -> None:
        self._shape = logits_shape

    def attach(self, view: TrainingView, result: str = LOSS) -> None:
        """Add `SoftmaxCrossEntropyLoss`.

        Raises:
            RequestError: Gradients do not reach the classifier's scores.
        """
        logits = scores_of(view)
        view.add_input(LABELS, TensorProto.INT64, (self._shape[0], *self._shape[2:]))
        # The gradient reads the second output, which the runtime adds by itself only to some graphs.
        view.add_node("SoftmaxCrossEntropyLoss", [logits, LABELS], [result, LOG_PROBABILITIES], reduction="mean")

    def feeds(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """The labels as int64."""
        if batch.labels is None:
            raise DataError("The cross-entropy loss needs labels, and the data has none; use --loss distill.")
        return {LABELS: np.asarray(batch.labels, dtype=np.int64)}
