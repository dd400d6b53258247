"""How much each group's channels matter to the network's outputs, measured by silencing some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.measure.damage import Damage
from onnx_dnscp.model.units import Mask, Units

Vector = NDArray[np.float64]

HALF_SPAN = 0.25  # of a group's channels, by which the two shares lie around what the target takes on average
LEAST, MOST = 0.1, 0.9  # of a group's channels
NUM_SAMPLES = 128
_LEAST_SHARE = 0.25  # of the damage at the second share, if the first did as much or more


def group_sensitivity(
    model: onnx.ModelProto,
    units: Units,
    importance: Vector,
    saved: Callable[[Mask], float],
    batches: Sequence[Batch],
    *,
    share: float,
    threads: int = 0,
) -> Vector:
    """Log of the damage that a group's less important channels do when they go, per share of the budget saved.

    The least important channels of one group at a time are silenced in the original, nothing is repaired: a smaller and
    a larger share of them, between which the damage rises. Damage is the mean over the outputs, before a final Softmax
    or Sigmoid, of `mean((masked - original)^2) / var(original)`.

    Source: Li et al. 2017, "Pruning Filters for Efficient ConvNets", section 3.1 and figure 2b: the accuracy with some
    filters of one layer gone shows how sensitive it is. Outputs take the place of accuracy, so no labels are needed.

    Args:
        model: The original.
        units: What discovery found in it.
        importance: (units,) within groups; less goes first.
        saved: Share of the budget that a mask saves.
        batches: Samples; the first `NUM_SAMPLES` count.
        share: Of the channels that the target takes on average: groups are to be compared where they will end.
        threads: Of ONNX Runtime; 0 leaves the choice to it.

    Returns:
        (groups,) with mean 0; 0 for groups that say nothing.

    Raises:
        ModelError: ONNX Runtime cannot run the model.
    """
    few = list(batches[: max(1, NUM_SAMPLES // max(1, batches[0].size))])
    everything = np.ones(units.num_units, dtype=bool)
    damage = Damage(model, units, few, threads)
    shares = np.clip([share - HALF_SPAN, share + HALF_SPAN], LEAST, MOST)
    found = np.full(len(units.groups), np.nan)
    for group in units.groups:
        masks = [_without(group.slice, gone, importance, everything) for gone in shares]
        costs = [saved(mask) for mask in masks]
        if costs[1] > costs[0]:
            small, large = (damage.of(mask) for mask in masks)
            rise = max(large - small, _LEAST_SHARE * large)
            found[group.id] = np.log(rise / (costs[1] - costs[0])) if rise > 0 else np.nan
    known = np.isfinite(found)
    return np.where(known, found - found[known].mean(), 0.0) if known.any() else np.zeros(len(units.groups))


def _without(own: slice, share: float, importance: Vector, everything: Mask) -> Mask:
    mask = everything.copy()
    order = np.argsort(importance[own], kind="stable")
    mask[own.start + order[: int(share * order.size)]] = False
    return mask
