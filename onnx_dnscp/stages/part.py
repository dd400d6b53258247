"""What a round has to do with: the network as earlier rounds left it, in the terms of the original."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnx_dnscp.discovery.choose import frozen_units
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.masks.budget import Budget
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.units import FIXED, Mask, Units, with_fixed
from onnx_dnscp.stages.job import Job
from onnx_dnscp.stages.pruning import Pruning
from onnx_dnscp.surgery.cuts import embed_array, plan_cuts
from onnx_dnscp.surgery.weights import copy_with_weights


@dataclass(frozen=True)
class Part:
    """A network from which some of the original's units have gone.

    Attributes:
        units: What discovery finds in it.
        whole: What it found in the original.
        mask: (units of the original,) True for those that are left.
        origin: (pairs, 2) unit here and unit of the original that it is, or is part of.
        frozen: (units here,) True for those that stay: because the user says so, or because they are no units of the
            original.
    """

    units: Units
    whole: Units
    mask: Mask
    origin: NDArray[np.int64]
    frozen: Mask

    def lift(self, mask: Mask) -> Mask:
        """(units of the original,) what is left of the original with `mask` (units here,)."""
        lifted = self.mask.copy()
        here, there = self.origin.T
        lifted[there[~mask[here]]] = False
        return lifted


def part_of(job: Job, pruning: Pruning) -> Part:
    """The network as it is now: the original itself in the first round."""
    units = pruning.units
    excluded = frozen_units(units, job.options.exclude, job.options.only)
    if pruning.is_whole:
        every = np.arange(units.num_units)
        return Part(units, units, pruning.mask, np.stack([every, every], axis=1), excluded)
    found = discover(replace(job.loaded, proto=pruning.model))
    pairs = np.unique(np.array(list(_pairs(found, units, pruning.mask)), dtype=np.int64).reshape(-1, 2), axis=0)
    here, there = pairs.T
    # A unit of the original that lies in several here cannot go with one of them.
    stays = excluded | (np.bincount(there[there != FIXED], minlength=units.num_units) > 1)
    unclear = with_fixed(stays, True)[there]
    frozen = np.ones(found.num_units, dtype=bool)
    frozen[here] = False
    frozen[here[unclear]] = True
    return Part(found, units, pruning.mask, pairs[~frozen[here]], frozen)


def budget_of(job: Job, part: Part, ratio: float) -> Budget:
    """The budget of a round that is to end with `ratio` of the original removed."""
    if part.units is part.whole and ratio == job.budget.target:
        return job.budget
    whole = job.budget.cost
    cost = replace(whole, saved=lambda mask: whole.saved(part.lift(mask)))
    return Budget(part.units, cost, ratio, align=job.budget.align, frozen=part.frozen)


def embedded(pruning: Pruning, weights: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """The full-size network with tensors of the one that was cut in the place of what is left of them."""
    full, keeps = read_graph(pruning.reference).stored, plan_cuts(pruning.units, pruning.mask).keeps
    known = {name: value for name, value in weights.items() if name in full}
    return copy_with_weights(
        pruning.reference, {name: embed_array(full[name], v, keeps.get(name, {})) for name, v in known.items()}
    )


def _pairs(units: Units, whole: Units, mask: Mask) -> Iterator[tuple[int, int]]:
    """Unit here and unit of the original (or FIXED) on every slice whose place in the original is plain to see.

    Axis 1 of a grouped weight may have other positions in every block of rows; other axes of the same units tell.
    """
    keeps = plan_cuts(whole, mask).keeps
    owners: dict[tuple[str, int], NDArray[np.int64]] = {}
    for index, position, unit in whole.slices.by_axis(np.ones(whole.slices.unit.size, dtype=bool)):
        name, axis = whole.slices.axes[index]
        if whole.slices.sizes[index] == whole.graph.stored.shape(name)[axis]:
            owners[name, axis] = np.full(whole.slices.sizes[index], FIXED, dtype=np.int64)
            owners[name, axis][position] = unit
    for index, position, unit in units.slices.by_axis(np.ones(units.slices.unit.size, dtype=bool)):
        name, axis = units.slices.axes[index]
        known = owners.get((name, axis))
        if known is None or units.slices.sizes[index] != units.graph.stored.shape(name)[axis]:
            continue
        keep = keeps.get(name, {}).get(axis, np.arange(known.size))
        if keep.ndim == 1:
            yield from zip(unit.tolist(), known[keep[position]].tolist(), strict=True)
