"""What a target ratio can count, and the register of it by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.ops.table import Table


@dataclass(frozen=True)
class Cost:
    """What a target ratio counts.

    Attributes:
        name: For messages; the one it is registered under.
        saved: Share of what is counted that goes with a mask (units,), at most 1; 0 where all units stay.
        blocks: Multiples of kept channels that suit it, the largest first. The first with which a target is well in
            reach is taken where the user asks for none.
        dip: The most by which the share may fall while units go: the masks that leave whole blocks of channels may
            save more than masks that leave fewer. 0 if it never falls, infinity if nothing is known, which takes many
            more calls of `saved`.
    """

    name: str
    saved: Callable[[Mask], float]
    blocks: tuple[int, ...] = ()
    dip: float = 0.0


@dataclass(frozen=True)
class CostInputs:
    """What a cost is made from.

    Attributes:
        units: What discovery found; their graph and trace are the model and the input sizes.
        frozen: (units,) True for those that stay in any case; None if there are none.
        threads: Of ONNX Runtime, for costs that are measured; 0 leaves the choice to it.
    """

    units: Units
    frozen: Mask | None = None
    threads: int = 0


CostFactory = Callable[[CostInputs], Cost]

COSTS: Table[str, CostFactory] = Table("cost")


def cost(name: str) -> Callable[[CostFactory], CostFactory]:
    """Register the function below as the maker of the cost `name`."""

    def register(make: CostFactory) -> CostFactory:
        COSTS.add(name, make)
        return make

    return register
