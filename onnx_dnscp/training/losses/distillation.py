"""Self-distillation: the network learns to say what the original said. Needs no labels and no task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.errors import RequestError
from onnx_dnscp.model.units import Removal
from onnx_dnscp.training.losses.teacher import Teacher
from onnx_dnscp.training.view import LOSS, TrainingView


class Distillation:
    """Mean over all tapped tensors of `mean((student - teacher)^2) / var(teacher)`.

    Outputs are compared before a final Softmax or Sigmoid, or before what gradients cannot pass (`TrainingView.taps`).
    Dividing by the teacher's variance (of the first batch) makes outputs of different size count alike: 1 means no
    better than a constant.

    Args:
        teacher: Knows what the original says.
        first: A batch to measure the variances on.
        removal: What surgery took, if the student is a pruned network: a tensor inside it has lost channels, and the
            teacher's others are left out of the comparison.
        hints: Tensors inside the network that are compared likewise; those that the view has not are passed over.
        hint_weight: Of their mean, beside that of the outputs. Source: Romero et al. 2015, "FitNets: Hints for Thin
            Deep Nets", equation 3; no regressor is needed, because channels are those of the original.

    Raises:
        RequestError: There is nothing to compare.
    """

    name = "distillation"

    def __init__(
        self,
        teacher: Teacher,
        first: Batch,
        removal: Removal | None = None,
        hints: Sequence[str] = (),
        hint_weight: float = 0.0,
    ) -> None:
        self._teacher = teacher
        self._first = first
        self._removal = removal
        self._hints = hints if hint_weight else ()
        self._hint_weight = hint_weight
        self._taps: list[str] = []
        self._targets_prefix = ""

    def attach(self, view: TrainingView, result: str = LOSS) -> None:
        """Add one difference per tapped tensor and their mean.

        Targets are named after the result, so that several teachers of one view have their own.
        """
        self._targets_prefix = f"{result}/teacher"
        outputs = list(dict.fromkeys(tap for taps in view.taps.values() for tap in taps))
        made = {name for node in view.model.graph.node for name in node.output}
        hints = [name for name in self._hints if name in made and name not in outputs]
        self._taps = [*outputs, *hints]
        targets = {name: value for name, value in self._targets(self._first).items() if value.size}
        if not any(name in targets for name in outputs):
            raise RequestError(
                f"Self-distillation has nothing to compare: {', '.join(outputs)} has no elements; use --no-train."
            )
        self._taps = list(targets)
        num_hints = sum(name in hints for name in targets)
        num_outputs = len(targets) - num_hints
        shares = {tap: self._hint_weight / num_hints if tap in hints else 1.0 / num_outputs for tap in targets}
        terms = [
            self._add_term(view, tap, value, shares[tap], f"{result}/distil/{number}")
            for number, (tap, value) in enumerate(targets.items())
        ]
        view.add_sum(terms, result)

    def _add_term(self, view: TrainingView, tap: str, first: NDArray[Any], share: float, base: str) -> str:
        """Add the difference of one tensor from the teacher's, of which `first` is one; names begin with `base`."""
        view.add_input(self._target_name(tap), TensorProto.FLOAT, first.shape)
        difference = view.add_node("Sub", [tap, self._target_name(tap)], f"{base}/difference")
        square = view.add_node("Mul", [difference, difference], f"{base}/square")
        mean = view.add_node("ReduceMean", [square], f"{base}/mean", keepdims=0)
        variance = float(np.var(first, dtype=np.float64)) or 1.0
        weight = view.add_constant(f"{base}/weight", np.array(share / variance, dtype=np.float32))
        return view.add_node("Mul", [mean, weight], f"{base}/term")

    def feeds(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """The teacher's outputs for this batch."""
        return {self._target_name(tap): value for tap, value in self._targets(batch).items()}

    def _targets(self, batch: Batch) -> dict[str, NDArray[Any]]:
        answers = self._teacher.answers(batch, self._taps)
        return {tap: self._what_is_left(tap, value) for tap, value in answers.items()}

    def _what_is_left(self, tap: str, value: NDArray[Any]) -> NDArray[Any]:
        if self._removal is None:
            return value
        for axis in range(value.ndim):
            keep = self._removal.axis_keep(tap, axis)
            if keep is not None:
                value = value.compress(keep, axis)
        return value

    def _target_name(self, tap: str) -> str:
        return f"{self._targets_prefix}/{tap}"
