"""The value that stages hand on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx

from onnx_dnscp.measure.verify import Verification
from onnx_dnscp.model.units import Mask, Units


@dataclass(frozen=True)
class Pruning:
    """A network on its way to fewer channels.

    `reference` with the channels outside of `mask` multiplied by 0 computes what `model` computes, once they are cut.

    Attributes:
        model: The network as it is: full-size until the first cut.
        units: What discovery found in the full-size network.
        reference: The full-size network, with the weights of `model`.
        mask: (units,) True for the units that stay.
        notes: What the user should know.
        checked: How exactly `model` computes that; None where that was not looked at.
    """

    model: onnx.ModelProto
    units: Units
    reference: onnx.ModelProto
    mask: Mask
    notes: tuple[str, ...] = ()
    checked: Verification | None = None

    @classmethod
    def begin(cls, model: onnx.ModelProto, units: Units, notes: tuple[str, ...] = ()) -> Pruning:
        """A network from which nothing has gone yet."""
        return cls(model, units, model, np.ones(units.num_units, dtype=bool), notes)

    @property
    def is_whole(self) -> bool:
        """Whether nothing has been cut."""
        return self.model is self.reference

    def noted(self, *notes: str) -> Pruning:
        """The same with more notes."""
        return replace(self, notes=(*self.notes, *notes))
