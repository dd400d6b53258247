"""The rules of DNS-CP: when a channel falls, when it comes back, and what its thresholds are made of.

Three descriptions of the algorithm exist and differ in detail; all are kept by name (docs/sources.md lists them):

- `doc`: the DNS-CP note. A band around the layer's mean; a controller shifts it to the target.
- `patent`: US 12,393,844 B2, claims 2 to 5. The same band, never shifted; every layer is updated after
  every step; once the pruned ratio has reached the target, the masks stay. Its "variance" is read as the
  deviation and its means as those of magnitudes, like in the note: with signed values the lower threshold is below
  zero wherever the layer's mean is near it, and nothing would ever fall.
- `tf2`: the code that Inspur published (TF2-Engine/TF2, TransForm_Kit/DnsChannelpruning). One threshold with factors
  0.95 and 1.05 instead of a band, statistics of the first weights only, counts rounded to multiples of 16.

Without a controller a target is a stop, not a goal: the masks move until the target is reached, and at the end of the
dynamic phase whatever is missing or too much is settled in the rule's own order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.masks.statistics import WeightStatistics
from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.training.weights import Vector

RuleName = Literal["doc", "patent", "tf2"]

DEFAULT_C_RATE = 0.1  # half the width of the band in layer deviations; the note's usual value
DEFAULT_GAMMA = 1e-4  # decay of the update probability: after 10,000 steps half of the draws still update
DEFAULT_POWER = 1.0

TF2_DROP, TF2_RECOVER = 0.95, 1.05  # factors of tf2's one threshold
TF2_MULTIPLE = 16  # channels


def thresholds(statistics: WeightStatistics, c_rate: float, shift: float = 0.0) -> tuple[Vector, Vector]:
    """Lower and upper threshold a, b of every unit, in the unit of the weights.

    a = max(0, mu - (c - s) * std), b = max(0, mu + (c + s) * std); with s = 0 this is equation 4 of the note.

    Args:
        statistics: Of the current weights.
        c_rate: Half width c of the band, in layer deviations.
        shift: The controller's s, in layer deviations, common to all layers.
    """
    lower = statistics.layer_mean - (c_rate - shift) * statistics.layer_std
    upper = statistics.layer_mean + (c_rate + shift) * statistics.layer_std
    return np.maximum(0, lower), np.maximum(0, upper)


def update_mask(mask: Mask, unit_mean: Vector, lower: Vector, upper: Vector) -> Mask:
    """The next mask: off below `lower`, on above `upper`, unchanged between (equation 3 of the note).

    All arguments have shape (units,); `mask` is True for units that are on and is not modified.
    """
    return (mask & (unit_mean >= lower)) | (unit_mean > upper)


def standardised(statistics: WeightStatistics) -> Vector:
    """(mu_k - mu) / std of every unit: its weight mean in layer deviations; 0 in a layer of equal weights."""
    std = np.where(statistics.layer_std > 0, statistics.layer_std, 1.0)
    return np.asarray((statistics.unit_mean - statistics.layer_mean) / std)


def raised(points: Vector, offsets: Vector, standard: Vector, group_of: NDArray[np.int64]) -> Vector:
    """Points of units, raised by their groups' offsets, so that they can be compared across groups.

    Offsets count deviations of `standard` over the units of a group: where units are alike, a little takes or keeps
    them all. Groups whose units are all equal count in layer deviations.

    Args:
        points: (units,) in layer deviations.
        offsets: (groups,) in deviations of the group's units.
        standard: (units,) in layer deviations, at the time that deviations are taken from.
        group_of: (units,) group of each unit.
    """
    count = np.bincount(group_of)
    mean = np.bincount(group_of, weights=standard) / count
    spread = np.sqrt(np.bincount(group_of, weights=(standard - mean[group_of]) ** 2) / count)
    return np.asarray(points + np.where(spread > 0, spread, 1.0)[group_of] * offsets[group_of])


def turning_points(statistics: WeightStatistics, mask: Mask, c_rate: float) -> Vector:
    """The shift s at which each unit turns off when s rises past it.

    A unit that is on falls when mu_k < mu - (c - s) std, so at z + c; one that is off returns when
    mu_k > mu + (c + s) std, so below z - c. Sorting by these points orders units as the rule would take them.
    """
    return standardised(statistics) + np.where(mask, c_rate, -c_rate)


class Rule(Protocol):
    """One way of comparing channels with thresholds."""

    @property
    def controlled(self) -> bool:
        """Whether a controller shifts the thresholds to the target.

        Otherwise they are fixed, and the masks stop once the target is reached.
        """

    @property
    def drawn(self) -> bool:
        """Whether layers update with the probability sigma(iter); otherwise at every step."""

    @property
    def fixed_statistics(self) -> bool:
        """Whether mu and std of the layers are those of the first weights for good."""

    def update(self, mask: Mask, statistics: WeightStatistics, shift: float = 0.0) -> Mask:
        """The next mask."""

    def turning_points(self, statistics: WeightStatistics, mask: Mask) -> Vector:
        """The shift at which each unit turns off, which orders them."""

    def rounded(self, mask: Mask, units: Units) -> Mask:
        """The mask with the counts that the rule wants."""


@dataclass(frozen=True)
class Band:
    """`doc` and `patent`: a band around the mean of the layer.

    Attributes:
        c_rate: Half width of the band, in layer deviations.
    """

    c_rate: float
    controlled: bool
    drawn: bool
    fixed_statistics: bool = False

    def update(self, mask: Mask, statistics: WeightStatistics, shift: float = 0.0) -> Mask:
        """Off below the band, on above it, unchanged inside."""
        return update_mask(mask, statistics.unit_mean, *thresholds(statistics, self.c_rate, shift))

    def turning_points(self, statistics: WeightStatistics, mask: Mask) -> Vector:
        """See the function of this name."""
        return turning_points(statistics, mask, self.c_rate)

    def rounded(self, mask: Mask, units: Units) -> Mask:
        """Any count will do."""
        return mask


@dataclass(frozen=True)
class Tf2:
    """`tf2`: off at or below 0.95 (mu + c std), on above 1.05 of it."""

    c_rate: float
    controlled: bool = False
    drawn: bool = True
    fixed_statistics: bool = True

    def update(self, mask: Mask, statistics: WeightStatistics, shift: float = 0.0) -> Mask:
        """One threshold with two factors."""
        threshold = thresholds(statistics, self.c_rate, shift)[1]
        falls = statistics.unit_mean <= TF2_DROP * threshold
        returns = statistics.unit_mean > TF2_RECOVER * threshold
        return np.where(mask, ~falls, returns)

    def turning_points(self, statistics: WeightStatistics, mask: Mask) -> Vector:
        """(mu_k / factor - mu) / std - c, with the factor that counts for the unit's state."""
        means = statistics.unit_mean / np.where(mask, TF2_DROP, TF2_RECOVER)
        return standardised(WeightStatistics(means, statistics.layer_mean, statistics.layer_std)) - self.c_rate

    def rounded(self, mask: Mask, units: Units) -> Mask:
        """Every count becomes the nearest multiple of 16, at least 16; the first channels of the layer switch."""
        result = mask.copy()
        for group in units.groups:
            own = result[group.slice]
            kept = int(own.sum())
            wanted = min(max(1, round(kept / TF2_MULTIPLE)) * TF2_MULTIPLE, group.width)
            candidates = np.flatnonzero(~own if wanted > kept else own)
            own[candidates[: abs(wanted - kept)]] = wanted > kept
        return result


def make_rule(name: RuleName, c_rate: float) -> Rule:
    """The rule of this name."""
    if name == "tf2":
        return Tf2(c_rate)
    return Band(c_rate, controlled=name == "doc", drawn=name == "doc")


def rule_align(name: RuleName) -> int | None:
    """The multiple that counts are rounded to by the rule, if by any."""
    return TF2_MULTIPLE if name == "tf2" else None
