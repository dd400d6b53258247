"""From ids to units: connected components, rectangular cuts, locks, groups."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.discovery.balance import balancing_unions
from onnx_dnscp.discovery.numbers import number_locks
from onnx_dnscp.discovery.walk import Slot, Walk, walk_graph
from onnx_dnscp.errors import ModelError
from onnx_dnscp.model.fields import IdField, axis_rows, compact, connected_components, varying_axes
from onnx_dnscp.model.graph import Graph, Node, read_graph
from onnx_dnscp.model.load import LoadedModel
from onnx_dnscp.model.runtime import first_line
from onnx_dnscp.model.trace import Trace
from onnx_dnscp.model.units import FIXED, Consumer, Group, Locked, Slices, Units, with_fixed
from onnx_dnscp.ops.registry import Read
from onnx_dnscp.tracing.trace import trace

Ids = NDArray[np.int64]
_MISFITS = (ArithmeticError, LookupError, TypeError, ValueError)  # what rules raise on operators that cannot be


def discover(model: LoadedModel) -> Units:
    """Find every prunable unit of a model, and the reasons for everything that is not.

    Raises:
        ModelError: ONNX Runtime cannot load or run the model, or its sizes do not fit each other.
    """
    graph = read_graph(model.proto, model.private)
    try:
        return discover_units(graph, trace(graph, str(model)))
    except _MISFITS:  # inferred sizes do not fit each other; the runtime knows, or says why
        ran = trace(graph, str(model), run=True)
    try:
        return discover_units(graph, ran)
    except _MISFITS as error:
        raise ModelError(
            f"{model} has operators whose sizes do not fit each other ({first_line(error)}), although ONNX "
            "Runtime runs it; check it with onnx.checker, and report it if it is valid."
        ) from error


def discover_units(graph: Graph, trace: Trace) -> Units:
    """The same from a graph and its trace."""
    walk = walk_graph(graph, trace)
    roots = _rectangular_roots(walk)
    walk.locks += number_locks(graph, trace, walk, lambda ids: np.unique(roots[ids]).size > 1)
    _lock_what_no_weight_makes(walk, roots)
    prunable = _prunable_roots(walk, roots)
    _lock_whole_axes(walk, roots, prunable)
    free_roots = np.where(prunable[roots], roots, FIXED)
    walk.slots = [_without_blocks(slot, graph, free_roots) for slot in walk.slots]
    slices_axes, axis_index, position, slice_ids = _stored_slices(walk)

    slice_roots = roots[slice_ids]
    inside = prunable[slice_roots]
    passing_roots, passed = _passed_fields(walk, roots, prunable)
    unit_of_root, groups_of_axes = _number_units(
        np.concatenate([slice_roots[inside], passing_roots]),
        np.concatenate([axis_index[inside], passed + len(walk.slots)]),
        walk.num_ids,
    )
    unit_of_id = unit_of_root[roots]
    sizes = tuple(size for *_, size in walk.slots)
    slices = Slices(slices_axes, sizes, axis_index[inside], position[inside], unit_of_root[slice_roots[inside]])
    live = [(node, read) for node, read in walk.reads if (unit_of_id[read.channel_ids] != FIXED).any()]
    consumers = tuple(_consumer(node, read, walk, unit_of_id) for node, read in live)
    writers = [(node.label, unit_of_id[ids]) for node, ids in walk.writes]
    groups = _describe_groups(groups_of_axes, slices_axes, consumers, writers)
    seen_fields = _Once(lambda ids: compact(unit_of_id[ids]))
    fields = {
        name: tuple([f for f in map(seen_fields, value.fields) if varying_axes(f)]) if value.fields else ()
        for name, value in walk.values.items()
    }
    return Units(graph, trace, groups, consumers, _locked_channels(walk, roots), slices, fields)


class _Once:
    """A function of arrays that answers once for each array object: most tensors share their fields."""

    def __init__(self, function: Callable[[Ids], Ids]) -> None:
        self._function = function
        self._answers: dict[int, Ids] = {}

    def __call__(self, ids: Ids) -> Ids:
        if id(ids) not in self._answers:
            self._answers[id(ids)] = self._function(ids)
        return self._answers[id(ids)]


def _rectangular_roots(walk: Walk) -> Ids:
    """Roots of all ids, after uniting what a cut of whole slices could not separate.

    Removing positions must leave every tensor a box. A field that varies along several axes (a Reshape that
    splits the channels into groups) is made to vary along its longest axis only. The groups of a
    convolution must keep equal counts; its weight alone may be cut differently in each block of rows.
    """
    pairs = list(walk.unions)
    in_blocks = {id(ids) for ids in walk.in_blocks}
    fields = {id(f): f for value in walk.values.values() for f in value.fields if id(f) not in in_blocks}
    boxes = [ids for ids in fields.values() if len(varying_axes(ids)) > 1]
    while True:
        roots = connected_components(walk.num_ids, pairs)
        more = [pair for ids in boxes for pair in _flatten_box(roots[ids])]
        more = more or balancing_unions(walk.balanced, roots, ~_prunable_roots(walk, roots))
        if not more:
            return roots
        pairs += more


def _flatten_box(field: IdField) -> list[tuple[IdField, IdField]]:
    field = compact(field)
    axes = varying_axes(field)
    if len(axes) < 2:
        return []
    # Of equals, the axis along which ids differ most, so that every layout of one tensor chooses the same.
    longest = max(axes, key=lambda axis: (field.shape[axis], abs(int(field.take(1, axis).flat[0] - field.flat[0]))))
    rows = axis_rows(field, longest)
    return [(rows[:, :1], rows)]


def _without_blocks(slot: Slot, graph: Graph, free_roots: Ids) -> Slot:
    """The slot of a grouped weight's axis as a plain one, if all groups lose the same positions after all."""
    name, axis, first, size = slot
    stored = graph.stored.shape(name)[axis]
    if size == stored:
        return slot
    rows = free_roots[first : first + size].reshape(-1, stored)
    return (name, axis, first, stored) if (rows == rows[:1]).all() else slot


def _stored_slices(walk: Walk) -> tuple[tuple[tuple[str, int], ...], Ids, Ids, Ids]:
    """Every (tensor, axis) pair, and for each slice: pair number, position, id."""
    sizes = np.array([size for *_, size in walk.slots], dtype=np.int64)
    firsts = np.array([first for _, _, first, _ in walk.slots], dtype=np.int64)
    axis_index = np.repeat(np.arange(len(walk.slots)), sizes)
    starts = np.cumsum(sizes) - sizes
    position = np.arange(axis_index.size) - starts[axis_index]
    return tuple((name, axis) for name, axis, _, _ in walk.slots), axis_index, position, firsts[axis_index] + position


def _passed_fields(walk: Walk, roots: Ids, prunable: NDArray[np.bool_]) -> tuple[Ids, Ids]:
    """Every prunable root in every distinct field of a computed tensor: (root, number of the field).

    Units that run through different tensors are different groups, so that no tensor can lose all of its channels
    while its group keeps some elsewhere (two halves of a Split that end in one weight).
    """
    stored = {name for name, *_ in walk.slots}
    fields = {id(f): f for name, value in walk.values.items() if name not in stored for f in value.fields}
    members = [roots[f].ravel() for f in fields.values()]
    members = [m[prunable[m]] for m in members]
    numbers = np.repeat(np.arange(len(members)), [m.size for m in members])
    return np.concatenate([*members, np.zeros(0, dtype=np.int64)]), numbers


def _roots_of(id_arrays: list[IdField], roots: Ids) -> Ids:
    return roots[np.concatenate([ids.ravel() for ids in id_arrays])] if id_arrays else roots[:0]


def _prunable_roots(walk: Walk, roots: Ids) -> NDArray[np.bool_]:
    """(ids,) True for the roots that some weight reads and nothing locks."""
    prunable = np.zeros(walk.num_ids, dtype=bool)
    prunable[_roots_of([read.channel_ids for _, read in walk.reads], roots)] = True
    prunable[_roots_of([ids for ids, _ in walk.locks], roots)] = False
    return prunable


def _lock_what_no_weight_makes(walk: Walk, roots: Ids) -> None:
    """Lock, in `walk`, copies of the image and other channels that are read without having been made by a weight."""
    made = np.zeros(walk.num_ids, dtype=bool)
    made[_roots_of([ids for _, ids in walk.writes], roots)] = True
    for node, read in walk.reads:
        unmade = read.channel_ids[~made[roots[read.channel_ids]]]
        if unmade.size:
            walk.locks.append((unmade, f"{node} reads channels that no weight makes"))


def _lock_whole_axes(walk: Walk, roots: Ids, prunable: NDArray[np.bool_]) -> None:
    """Lock, in `walk` and `prunable`, what fills an axis alone: without it nothing would be left of the tensor."""
    seen: set[int] = set()  # field objects; most tensors share theirs
    for value in walk.values.values():
        for ids in value.fields:
            root = roots[ids.flat[0]] if ids.size > 1 and id(ids) not in seen else FIXED
            seen.add(id(ids))
            if root != FIXED and prunable[root] and (roots[ids] == root).all():
                walk.locks.append((ids, f"all channels of {value.name!r} go or stay together"))
                prunable[root] = False


def _number_units(slice_roots: Ids, axis_index: Ids, num_ids: int) -> tuple[Ids, list[tuple[tuple[int, ...], int]]]:
    """Number the units so that each group's are consecutive, in the order of their first slices.

    Args:
        slice_roots: Root of each slice.
        axis_index: Number of the tensor axis that each slice is on.
        num_ids: Ids handed out.

    Returns:
        unit_of_root: (ids,) unit of each root, FIXED elsewhere.
        groups: per group, the axis numbers it occupies and its width.
    """
    unit_of_root = np.full(num_ids, FIXED, dtype=np.int64)
    if not slice_roots.size:
        return unit_of_root, []
    num_axes = int(axis_index.max()) + 1
    keys = np.sort(slice_roots * num_axes + axis_index)
    keys = keys[np.append(True, keys[1:] != keys[:-1])]
    pairs = np.stack(np.divmod(keys, num_axes), axis=1)
    unit_roots, starts = np.unique(pairs[:, 0], return_index=True)
    # One random 64-bit word per axis; a unit's signature is the sum over its axes, so equal sets sum equally.
    words = np.random.default_rng(0).integers(0, 2**63, size=num_axes, dtype=np.uint64)
    signatures = np.add.reduceat(words[pairs[:, 1]], starts)
    _, first_unit, group = np.unique(signatures, return_index=True, return_inverse=True)
    rank = np.empty_like(first_unit)
    rank[np.argsort(first_unit)] = np.arange(first_unit.size)  # groups in order of appearance
    group = rank[group]
    order = np.argsort(group, kind="stable")
    unit_of_root[unit_roots[order]] = np.arange(order.size)
    ends = np.append(starts[1:], len(pairs))
    widths = np.bincount(group)
    members = [tuple(int(a) for a in pairs[starts[u] : ends[u], 1]) for u in np.sort(first_unit)]
    return unit_of_root, [(axes, int(width)) for axes, width in zip(members, widths, strict=True)]


def _consumer(node: Node, read: Read, walk: Walk, unit_of_id: Ids) -> Consumer:
    """Express a rule's read in units, in the operand's space and in the stored tensor's."""
    some_id = int(read.weight_ids.flat[0])
    name, axis, first, size = walk.slots[bisect_right(walk.slots, some_id, key=lambda slot: slot[2]) - 1]
    return Consumer(
        node=node.label,
        output=node.result,
        operand=read.operand,
        weight=name,
        axis=axis,
        channel_units=unit_of_id[read.channel_ids],
        operand_units=unit_of_id[read.weight_ids],
        stored_units=unit_of_id[first : first + size],
    )


def _describe_groups(
    found: list[tuple[tuple[int, ...], int]],
    axes: tuple[tuple[str, int], ...],
    consumers: tuple[Consumer, ...],
    writers: list[tuple[str, Ids]],
) -> tuple[Group, ...]:
    widths = np.array([width for _, width in found], dtype=np.int64)
    group_of = with_fixed(np.repeat(np.arange(len(found)), widths), FIXED)
    readers = _labels_by_number(group_of, [(c.node, c.channel_units) for c in consumers])
    makers = _labels_by_number(group_of, writers)
    firsts = np.cumsum(widths) - widths
    return tuple(
        Group(
            i,
            int(firsts[i]),
            width,
            tuple(axes[a] for a in members if a < len(axes)),
            tuple(readers[i]),
            tuple(makers[i]),
        )
        for i, (members, width) in enumerate(found)
    )


def _labels_by_number(numbers: Ids, users: Sequence[tuple[str, Ids]]) -> defaultdict[int, list[str]]:
    """For each of the `numbers`, the labels of the nodes that have something of that number."""
    labels: defaultdict[int, list[str]] = defaultdict(list)
    for label, members in users:
        for number in np.unique(numbers[members]):
            labels[int(number)].append(label)
    return labels


def _locked_channels(walk: Walk, roots: Ids) -> tuple[Locked, ...]:
    """Locked components that weights make or read as channels, merged when tensors and reasons agree."""
    channels = np.zeros(walk.num_ids, dtype=bool)
    channels[_roots_of([ids for _, ids in walk.writes] + [read.channel_ids for _, read in walk.reads], roots)] = True
    texts = list(dict.fromkeys(reason for _, reason in walk.locks))
    number = {reason: i for i, reason in enumerate(texts)}
    why = _pairs([(roots[ids].ravel(), number[reason]) for ids, reason in walk.locks], channels)
    tensors = list(dict.fromkeys(name for name, *_ in walk.slots))
    place = {name: i for i, name in enumerate(tensors)}
    stored = [(roots[first : first + size], place[name]) for name, _, first, size in walk.slots]
    where = _pairs(stored, channels & np.isin(np.arange(walk.num_ids), why[:, 0]))
    why = why[np.isin(why[:, 0], where[:, 0])]  # what no tensor stores is no channel of the file
    words = np.random.default_rng(0).integers(0, 2**63, size=len(texts) + len(tensors), dtype=np.uint64)
    signatures = np.zeros(walk.num_ids, dtype=np.uint64)  # equal sets of reasons and tensors sum equally
    np.add.at(signatures, why[:, 0], words[why[:, 1]])
    np.add.at(signatures, where[:, 0], words[len(texts) + where[:, 1]])
    locked = np.unique(why[:, 0])
    _, first_of, entry, widths = np.unique(
        signatures[locked], return_index=True, return_inverse=True, return_counts=True
    )
    entry_of = np.full(walk.num_ids, FIXED)
    entry_of[locked] = entry
    readers = _labels_by_number(entry_of[roots], [(node.label, read.channel_ids) for node, read in walk.reads])
    makers = _labels_by_number(entry_of[roots], [(node.label, ids) for node, ids in walk.writes])
    found = []
    for i in np.argsort(first_of):
        root = locked[first_of[i]]
        names = tuple(sorted(tensors[t] for t in where[where[:, 0] == root, 1]))
        reasons = tuple(texts[t] for t in why[why[:, 0] == root, 1])
        found.append(Locked(int(widths[i]), names, reasons, tuple(readers[i]), tuple(makers[i])))
    return tuple(found)


def _pairs(sets: list[tuple[Ids, int]], wanted: NDArray[np.bool_]) -> Ids:
    """(pairs, 2) every wanted root with the number of each set it is in, ordered and once."""
    members = [root[wanted[root]] for root, _ in sets]
    numbers = np.repeat([number for _, number in sets], [m.size for m in members])
    both = np.stack([np.concatenate([*members, np.zeros(0, np.int64)]), numbers.astype(np.int64)], axis=1)
    return np.unique(both, axis=0)
