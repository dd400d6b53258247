"""Id fields: integer arrays that broadcast to a tensor's shape and name what each position belongs to.

A field has the tensor's rank; its size on an axis is the tensor's size, or 1 where the ids do not depend
on that axis. A tensor carries several fields when several of its axes can be pruned on their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

IdField = NDArray[np.int64]


def varying_axes(field: IdField) -> tuple[int, ...]:
    """Axes along which the field has more than one position."""
    return _longer_than_one(field.shape)


@lru_cache(maxsize=1 << 12)  # asked several times for every tensor, and tensors of a network share few shapes
def _longer_than_one(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axis for axis, size in enumerate(shape) if size > 1)


def align(field: IdField, rank: int) -> IdField:
    """The field of a tensor that broadcasts to `rank` axes (size-1 axes are added in front)."""
    return field.reshape((1,) * (rank - field.ndim) + field.shape)


def compact(field: IdField) -> IdField:
    """Shrink to size 1 every axis along which all ids are equal."""
    for axis in varying_axes(field):
        first = field.take([0], axis=axis)
        if (field == first).all():
            field = first
    return field


def collapse(field: IdField, axes: Collection[int]) -> IdField:
    """The field at the first position of some axes, which then have size 1."""
    return field[tuple(slice(1) if axis in axes else slice(None) for axis in range(field.ndim))]


def axis_rows(field: IdField, axis: int) -> IdField:
    """The field as (size of axis, everything else)."""
    size = field.shape[axis]
    return field.reshape(size, 1) if field.size == size else np.moveaxis(field, axis, 0).reshape(size, -1)


def on_axis(ids: IdField, axis: int, rank: int) -> IdField:
    """A vector of ids as the field of a rank-`rank` tensor that varies along `axis` only."""
    shape = [1] * rank
    shape[axis] = ids.size
    return ids.reshape(shape)


def reshape_field(field: IdField, old_shape: Sequence[int], new_shape: Sequence[int]) -> IdField:
    """Apply a tensor's reshape to its field, expanding only the axes that really mix.

    The two shapes are cut into the finest blocks of axes with equal element counts; a block the field does
    not vary in stays size 1, so a flattened batch or image costs nothing.
    """
    pieces: list[tuple[tuple[int, ...], tuple[int, ...]]] = []  # per block: expanded old sizes, new sizes
    for old_axes, new_axes in reshape_blocks(old_shape, new_shape):
        new_sizes = tuple(new_shape[a] for a in new_axes)
        if all(field.shape[a] == 1 for a in old_axes):
            pieces.append(((1,) * len(old_axes), (1,) * len(new_axes)))
        else:
            pieces.append((tuple(old_shape[a] for a in old_axes), new_sizes))
    expanded = np.broadcast_to(field, [size for old, _ in pieces for size in old])
    return compact(expanded.reshape([size for _, new in pieces for size in new]))


def reshape_blocks(old: Sequence[int], new: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Finest blocks of (old axes, new axes) with equal products; sizes must be positive and totals equal."""
    blocks: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        old_axes, new_axes = [], []
        left = right = 1
        if i < len(old):
            old_axes, left, i = [i], old[i], i + 1
        if j < len(new):
            new_axes, right, j = [j], new[j], j + 1
        while left != right:
            if left < right:
                old_axes.append(i)
                left, i = left * old[i], i + 1
            else:
                new_axes.append(j)
                right, j = right * new[j], j + 1
        blocks.append((tuple(old_axes), tuple(new_axes)))
    return blocks


def connected_components(size: int, pairs: Iterable[tuple[IdField, IdField]]) -> NDArray[np.int64]:
    """Smallest id of each id's component, for ids 0 .. size-1 joined by broadcastable pairs of arrays.

    Vectorised union-find: every root that has a smaller neighbour hooks onto it, then paths are halved until
    flat; repeated until no pair joins two components. About log(size) rounds of numpy work.
    """
    lefts, rights = [], []
    for left, right in pairs:
        a, b = np.broadcast_arrays(left, right)
        lefts.append(a.ravel())
        rights.append(b.ravel())
    parent = np.arange(size, dtype=np.int64)
    if not lefts:
        return parent
    left_ids, right_ids = np.concatenate(lefts), np.concatenate(rights)
    while True:
        a, b = parent[left_ids], parent[right_ids]
        open_pairs = a != b
        if not open_pairs.any():
            return parent
        left_ids, right_ids, a, b = (x[open_pairs] for x in (left_ids, right_ids, a, b))
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while True:
            grandparent = parent[parent]
            if (grandparent == parent).all():
                break
            parent = grandparent
