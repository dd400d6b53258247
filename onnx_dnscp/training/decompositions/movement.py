"""Data movement: spellings of it whose gradient is missing or crashes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.training.decompositions.axis_maps import take
from onnx_dnscp.training.decompositions.registry import Site, decomposition

_MOST_ROUNDS = 16  # updates of one place that are written one after the other
_COMBINE = {"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}


@decomposition("Transpose")
def transpose(site: Site) -> str | None:
    """With the order of the axes written out; without it the runtime's gradient crashes."""
    if site.attribute("perm"):
        return None
    return site.emit("Transpose", site.operand(0), perm=list(reversed(range(len(site.shape())))))


@decomposition("Concat")
def concat(site: Site) -> str | None:
    """What gradients reach, padded with zeros, plus the rest, joined with zeros.

    The runtime's gradient goes to all operands, also to those that need none: if two nodes join the same tensor (or
    equal constants, which it merges) it writes that tensor's gradient twice and refuses the graph.
    """
    names = list(site.node.input)
    if all(name in site.moving for name in names):
        return None
    axis = site.attribute("axis") % len(site.shape())
    sizes = [site.shape(position)[axis] for position in range(len(names))]
    still, total = [], ""
    for position, name in enumerate(names):
        if name not in site.moving:
            still.append(name)
            continue
        still.append(site.constant(np.zeros(site.shape(position))))
        counts = np.zeros((2, len(site.shape())), dtype=np.int64)
        counts[:, axis] = sum(sizes[:position]), sum(sizes[position + 1 :])
        padded = site.emit("Pad", name, site.integers(counts.reshape(-1)))
        total = site.emit("Add", total, padded) if total else padded
    return site.emit("Add", total, site.emit("Concat", *still, axis=axis))


@decomposition("Slice")
def slice_backwards(site: Site) -> str | None:
    """Positions instead of a negative step; None for other steps, or if a bound is computed from data."""
    steps = site.value(4)
    starts, ends = site.value(1), site.value(2)
    if steps is None or steps.min() > 0 or starts is None or ends is None:
        return None
    x, shape = site.operand(0), site.shape()
    listed = site.value(3)
    axes = np.arange(len(starts)) if listed is None else listed
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        positions = np.arange(shape[axis])[int(start) : int(end) : int(step)]
        x = take(site, x, shape[axis], int(axis) % len(shape), positions)
    return x


@decomposition("Compress")
def compress(site: Site) -> str | None:
    """Chosen positions of one axis, or of all elements; None if the choice is computed from data."""
    chosen = site.value(1)
    if chosen is None:
        return None
    axis = site.attribute("axis")
    positions = np.flatnonzero(chosen)
    if axis is None:
        return take(site, site.reshape(site.operand(0), (-1,)), int(np.prod(site.shape())), 0, positions)
    return take(site, site.operand(0), site.shape()[axis], axis % len(site.shape()), positions)


@decomposition("ReverseSequence")
def reverse_sequence(site: Site) -> str | None:
    """A position for every element; None if the lengths are computed from data."""
    lengths = site.value(1)
    if lengths is None:
        return None
    shape = site.shape()
    positions = np.arange(np.prod(shape)).reshape(shape)
    sequences = np.moveaxis(positions, (site.attribute("batch_axis", 1), site.attribute("time_axis", 0)), (0, 1))
    for sequence, length in zip(sequences, lengths, strict=True):
        sequence[:length] = sequence[:length][::-1].copy()
    flat = site.reshape(site.operand(0), (-1,))
    return site.reshape(take(site, flat, positions.size, 0, positions.reshape(-1)), shape)


@decomposition("ScatterND")
def scatter_nd(site: Site) -> str | None:
    """With a reduction, whose gradient is silently wrong; None without one, or if places are computed from data."""
    indices = site.value(1)
    if site.attribute("reduction", "none") == "none" or indices is None:
        return None
    places = np.arange(np.prod(site.shape())).reshape(site.shape())
    return _combine(site, places[tuple(np.moveaxis(indices, -1, 0))])


@decomposition("ScatterElements")
def scatter_elements(site: Site) -> str | None:
    """As `scatter_nd`."""
    indices = site.value(1)
    if site.attribute("reduction", "none") == "none" or indices is None:
        return None
    places = np.arange(np.prod(site.shape())).reshape(site.shape())
    at = list(np.indices(indices.shape))
    at[site.attribute("axis", 0)] = indices
    return _combine(site, places[tuple(at)])


def _combine(site: Site, places: NDArray[np.int64]) -> str | None:
    """Write `flat[places[k]] = combine(flat[places[k]], updates[k])`, every place at most once per round."""
    flat, updates = (site.reshape(site.operand(position), (-1,)) for position in (0, 2))
    places = places.reshape(-1)
    order = np.argsort(places, kind="stable")
    _, first, counts = np.unique(places[order], return_index=True, return_counts=True)
    rounds = np.empty_like(places)
    rounds[order] = np.arange(places.size) - np.repeat(first, counts)
    if counts.max(initial=0) > _MOST_ROUNDS:
        return None
    operator = _COMBINE[site.attribute("reduction")]
    for number in range(counts.max(initial=0)):
        these = np.flatnonzero(rounds == number)
        where = site.integers(places[these])
        old = site.emit("Gather", flat, where, axis=0)
        new = site.emit(operator, old, take(site, updates, places.size, 0, these))
        flat = site.emit("ScatterElements", flat, where, new, axis=0)
    return site.reshape(flat, site.shape())
