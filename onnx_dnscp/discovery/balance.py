"""Grouped convolutions: weights that are cut block by block, and channels that go together to keep counts equal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.model.fields import IdField, connected_components
from onnx_dnscp.model.graph import Graph
from onnx_dnscp.ops.conv import BLOCKED, groups_go_whole

_ATTEMPTS = 8  # of the search for sets; more find a few sets more
_WINDOWS = (1, 2, 4)  # arrays that are searched at a time
_PASSES = 20
_MOST_ARRAYS = 40  # that are searched in more ways than one
_MOST_WORK = 1 << 26  # components * kinds of them * rows of one attempt; a few seconds in all


def grouped_weights(graph: Graph) -> dict[str, int]:
    """Stored weights that may lose other input channels in each group, with their number of groups.

    Everybody who reads such a weight must be a convolution with the same groups; on the way there it may be converted
    but not moved.
    """
    groups: dict[str, set[int]] = defaultdict(set)
    for name in {n.inputs[1] for n in graph.nodes if n.op_type in BLOCKED and int(n.attributes.get("group", 1)) > 1}:
        source = name
        while source not in graph.stored:
            maker = graph.producer.get(source)
            if maker is None or maker.op_type not in ("Identity", "Cast"):
                break
            source = maker.inputs[0]
        else:
            groups[source] = _groups_of_readers(graph, source)
    return {
        name: next(iter(found))
        for name, found in groups.items()
        if len(found) == 1 and not groups_go_whole(next(iter(found)), graph.stored.shape(name)[1])
    }


def _groups_of_readers(graph: Graph, name: str) -> set[int]:
    """Groups of all convolutions that read a weight; 0 stands for any other reader."""
    found = set()
    for node, position in graph.readers.get(name, ()):
        if node.op_type in BLOCKED and position == 1:
            found.add(int(node.attributes.get("group", 1)))
        elif node.op_type in ("Identity", "Cast"):
            found |= _groups_of_readers(graph, node.outputs[0])
        else:
            found.add(0)
    return found | ({0} if name in graph.outputs else set())


def balancing_unions(
    balanced: Sequence[IdField], roots: NDArray[np.int64], stuck: NDArray[np.bool_]
) -> list[tuple[IdField, IdField]]:
    """Pairs to unite so that every component takes equally many positions of each row, in all arrays.

    Components that do already stay apart. The others are put together, as few at a time as can be found: what one has
    more of in some rows, another has less of. Single channels of one convolution pair by rank, which is "equal
    positions"; behind a channel shuffle, or where a Concat crosses the groups, the sets are less regular.

    Args:
        balanced: Arrays of ids (groups, channels per group), one per side of each grouped convolution.
        roots: (ids,) component of every id.
        stuck: (ids,) True for components that stay in any case, by root.
    """
    arrays = _saying_something([roots[ids] for ids in balanced])
    if not arrays:
        return []
    # Arrays that share components are balanced together, others on their own.
    own = [(np.full(array.size, roots.size + i), array.ravel()) for i, array in enumerate(arrays)]
    linked = connected_components(roots.size + len(arrays), own)[roots.size :]
    pairs: list[tuple[IdField, IdField]] = []
    for link in np.unique(linked):
        together = [array for array, at in zip(arrays, linked, strict=True) if at == link]
        if len(together) == 1 and _takes_equal_positions(together[0], stuck):
            pairs.append((together[0][:1], together[0]))
            continue
        widths = _WINDOWS[:1] if len(together) > _MOST_ARRAYS else (*_WINDOWS, len(together))
        sets = max((_in_windows(together, stuck, width) for width in widths), key=len)
        pairs += [(members[:1], members) for members in sets if members.size > 1]
    return pairs


def _takes_equal_positions(array: IdField, stuck: NDArray[np.bool_]) -> bool:
    """Whether every component has a single position and may go, so that the columns are the smallest sets."""
    return np.unique(array).size == array.size and not stuck[array].any()


def _in_windows(arrays: Sequence[IdField], stuck: NDArray[np.bool_], width: int) -> list[IdField]:
    """Sets of components whose counts are even in all arrays, found for `width` arrays at a time.

    A few arrays are searched better than many, but what suits them need not suit those that come after.
    """
    label = np.arange(stuck.size)
    now = list(arrays)
    for _ in range(_PASSES):
        changed = False
        for first in range(0, max(1, len(arrays) - width + 1)):
            window = _saying_something(now[first : first + width])
            step = np.arange(stuck.size)
            for members in _balance(window, stuck) if window else ():
                step[members] = members[0]
                changed |= members.size > 1
            label = step[label]
            now = [step[array] for array in now]
        if not changed:
            break
    members = np.unique(np.concatenate([array.ravel() for array in arrays]))
    order = np.argsort(label[members], kind="stable")
    ends = np.flatnonzero(np.diff(label[members][order])) + 1
    return np.split(members[order], ends)


def _saying_something(arrays: Sequence[IdField]) -> list[IdField]:
    """The arrays whose rows are not even anyway, each once."""
    found: dict[bytes, IdField] = {}
    for array in arrays:
        ordered = np.sort(array, axis=1)
        if (ordered != ordered[:1]).any():
            found.setdefault(ordered.tobytes(), array)
    return list(found.values())


def _balance(arrays: Sequence[IdField], stuck: NDArray[np.bool_]) -> list[IdField]:
    """Sets of components whose counts are even in all arrays; those that are even by themselves are left out."""
    groups = np.array([len(array) for array in arrays])
    starts = np.cumsum(groups) - groups
    rows = np.concatenate([np.repeat(s + np.arange(len(a)), a.shape[1]) for s, a in zip(starts, arrays, strict=True)])
    position = np.concatenate([np.tile(np.arange(array.shape[1]), len(array)) for array in arrays])
    members, first, inverse = np.unique(
        np.concatenate([array.ravel() for array in arrays]), return_index=True, return_inverse=True
    )
    counts = np.zeros((members.size, groups.sum()), dtype=np.int64)
    np.add.at(counts, (inverse, rows), 1)
    means = np.add.reduceat(counts, starts, axis=1) / groups
    uneven = np.flatnonzero((counts != np.repeat(means, groups, axis=1)).any(axis=1))
    uneven = uneven[np.lexsort((first[uneven], position[first[uneven]]))]  # by position in its group
    alike: dict[bytes, list[int]] = defaultdict(list)
    for member in uneven[~stuck[members[uneven]]]:
        alike[counts[member].tobytes()].append(int(member))
    if len(arrays) > 1 and uneven.size * len(alike) * groups.sum() > _MOST_WORK:
        return _balance(arrays[:1], stuck)  # leaves fewer components for the next call
    sets, rest = _even_sets(alike, starts, groups)
    rest += uneven[stuck[members[uneven]]].tolist()
    return [members[together] for together in (*sets, rest) if together]


def _even_sets(
    alike: Mapping[bytes, Sequence[int]], starts: NDArray[np.int64], groups: NDArray[np.int64]
) -> tuple[list[list[int]], list[int]]:
    """Put components, by their counts per row, into sets with even counts; the second value is what is left over.

    Several attempts, of which the one with the most sets counts: the first in order, the others in seeded random ones.
    """
    best: tuple[list[list[int]], list[int]] = ([], [])
    kinds = np.stack([np.frombuffer(key, dtype=np.int64) for key in alike]) if alike else np.zeros((0, groups.sum()))
    for attempt in range(_ATTEMPTS if len(alike) > groups.max(initial=0) else 1):
        rng = np.random.default_rng(attempt) if attempt else None
        found = _fill(kinds, list(alike.values()), starts, groups, rng)
        if not best[0] or len(found[0]) > len(best[0]):
            best = found
    return best


def _fill(
    kinds: NDArray[np.int64],
    alike: Sequence[Sequence[int]],
    starts: NDArray[np.int64],
    groups: NDArray[np.int64],
    rng: np.random.Generator | None,
) -> tuple[list[list[int]], list[int]]:
    """One attempt: whoever leaves the fewest places to fill joins; of equals, the kind of which the most is left.

    A place is missing where a row of an array has less than the fullest row of that array.
    """
    sets: list[list[int]] = []
    together: list[int] = []
    chosen: list[int] = []  # their kinds
    size = np.array([len(members) for members in alike], dtype=np.int64)
    left = size.copy()
    total = np.zeros(kinds.shape[1], dtype=np.int64)
    while left.any():
        open_kinds = np.flatnonzero(left)
        sums = total + kinds[open_kinds]
        missing = np.maximum.reduceat(sums, starts, axis=1) * groups - np.add.reduceat(sums, starts, axis=1)
        share = left[open_kinds] / size[open_kinds]
        if rng is not None:
            share = share + 0.3 * rng.random(share.size)
        score = missing.sum(axis=1) if together else np.zeros(open_kinds.size)
        pick = int(np.lexsort((-share, score))[0])
        kind = open_kinds[pick]
        together.append(alike[kind][size[kind] - left[kind]])
        chosen.append(int(kind))
        left[kind] -= 1
        total = sums[pick]
        if not missing[pick].any():
            sets.append(together)
            needed = np.bincount(chosen, minlength=size.size)
            # What is common is taken again right away, what is rare is left for later sets that may need it.
            for _ in range(int((left[needed > 0] // needed[needed > 0]).min()) // 2):
                sets.append([])
                for again in chosen:
                    sets[-1].append(alike[again][size[again] - left[again]])
                    left[again] -= 1
            together, chosen, total = [], [], np.zeros_like(total)
    return sets, together
