"""How far a network's outputs are from the original's once channels are silent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.model.taps import output_taps
from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.surgery.masked import mask_model


class Damage:
    """Compares a masked network with the original, which runs once.

    Outputs are taken before a final Softmax or Sigmoid, so no labels are needed and saturation hides nothing.

    Args:
        model: The original.
        units: What discovery found in it.
        batches: Samples.
        threads: Of ONNX Runtime; 0 leaves the choice to it.

    Raises:
        ModelError: ONNX Runtime cannot run the model.
    """

    def __init__(self, model: onnx.ModelProto, units: Units, batches: Sequence[Batch], threads: int = 0) -> None:
        self._model = model
        self._units = units
        self._batches = batches
        self._threads = threads
        self._taps = list(dict.fromkeys(output_taps(read_graph(model)).values()))
        self._original = self._outputs(model)

    def of(self, mask: Mask, model: onnx.ModelProto | None = None) -> float:
        """Mean over the outputs of `mean((masked - original)^2) / var(original)`; NaN where none can be compared.

        Outputs whose size has changed, or that are not finite in the original, are left out.

        Args:
            mask: (units,) True for the units that stay.
            model: What is masked: the original, or it with other weights.
        """
        masked = mask_model(model or self._model, self._units, mask)
        pairs = zip(self._outputs(masked), self._original, strict=True)
        errors = [
            float(np.mean((now - before) ** 2) / (np.var(before) or 1.0))
            for now, before in pairs
            if now.size == before.size and now.size and np.isfinite(before).all()
        ]
        return float(np.mean(errors)) if errors else float("nan")

    def _outputs(self, model: onnx.ModelProto) -> list[NDArray[np.float64]]:
        session = Session(model, more_outputs=self._taps, threads=self._threads)
        seen = [session.run(batch.inputs, self._taps) for batch in self._batches]
        return [np.concatenate([one[tap].ravel() for one in seen]).astype(np.float64) for tap in self._taps]
