"""How good a mask is, by trial: what is left of the outputs' error after a quick repair, on samples it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.measure.damage import Damage
from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.repair.repair import Repairs, repair
from onnx_dnscp.surgery.weights import copy_with_weights

FITTED_SHARE = 0.25  # of the batches; the others judge
QUICK = Repairs(max_features=1024, rows_per_feature=10, min_rows=10_000)


class Trial:
    """Tries masks of one model on the same samples. Neither training nor labels are needed.

    Args:
        model: The original.
        units: What discovery found in it.
        batches: A few hundred samples.
        threads: Of ONNX Runtime; 0 leaves the choice to it.

    Raises:
        ModelError: ONNX Runtime cannot run the model.
    """

    def __init__(self, model: onnx.ModelProto, units: Units, batches: Sequence[Batch], threads: int = 0) -> None:
        count = max(1, round(FITTED_SHARE * len(batches)))
        self._model = model
        self._units = units
        self._fitted = batches[:count]
        self._damage = Damage(model, units, batches[count:] or batches, threads)
        self._threads = threads

    def error(self, mask: Mask) -> float:
        """Error of the outputs (`Damage.of`) with `mask` (units,), True for the units that stay, and weights fitted."""
        weights = repair(self._model, self._units, mask, self._fitted, QUICK, self._threads)
        return self._damage.of(mask, copy_with_weights(self._model, weights))


def walk_down(values: Sequence[float], start: int, error: Callable[[float], float]) -> float:
    """The value with the least error between neighbours that have more; each is asked for once at most.

    Args:
        values: In order.
        start: Position to begin at.
        error: Of a value; taken to fall to one minimum and to rise behind it.
    """
    at, least = start, error(values[start])
    for direction in (1, -1):
        while 0 <= at + direction < len(values) and (found := error(values[at + direction])) < least:
            at, least = at + direction, found
        if at != start:
            break
    return values[at]
