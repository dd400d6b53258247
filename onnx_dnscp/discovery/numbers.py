"""Channel counts that the graph uses as numbers: an attention scale 1 / sqrt(C), a mean as sum / C.

Such a number would change with the count, so the channels it counts must stay. Counts that only say how large a tensor
is follow the cut, or are corrected by surgery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.discovery.walk import Walk
from onnx_dnscp.model.fields import IdField
from onnx_dnscp.model.graph import Graph, Node
from onnx_dnscp.model.trace import Trace
from onnx_dnscp.ops.resize import is_size
from onnx_dnscp.tracing.sizes import follow_shapes

_FACTORS = (2, 3)  # by which a count is changed to see whether a number depends on it


def number_locks(
    graph: Graph, trace: Trace, walk: Walk, is_free: Callable[[IdField], bool]
) -> Iterator[tuple[IdField, str]]:
    """Ids that must stay because their count is used as a number, with the reason.

    Args:
        graph: The graph.
        trace: Its trace.
        walk: What the rules said.
        is_free: Whether some positions of a field can go without the others.
    """
    for node, operand, name in _numbers(graph, walk):
        for source in _sizes_behind(graph, name):
            for ids, axis in _free_axes(walk, source, is_free):
                if _depends(graph, trace, node, operand, source, axis, has_ids=bool(walk.values[name].fields)):
                    yield ids, f"{node} uses the size of {source!r} as a number"


def _numbers(graph: Graph, walk: Walk) -> Iterator[tuple[Node, int, str]]:
    """Operands that are numbers computed from sizes: node, position and tensor."""
    for node in graph.nodes:
        for operand, name in enumerate(node.inputs):
            if _is_number(walk, node, name) and not is_size(node, operand):
                yield node, operand, name


def _is_number(walk: Walk, node: Node, name: str) -> bool:
    """Whether an operand is computed from sizes and the node is not itself one step of that computation."""
    value = walk.values.get(name)
    if value is None or not value.known or value.constant:
        return False
    return not all(o in walk.values and walk.values[o].known for o in node.outputs if o)


def _sizes_behind(graph: Graph, name: str) -> Iterator[str]:
    """Tensors whose `Shape` or `Size` an operand is computed from."""
    stack, visited = [name], {name}
    while stack:
        node = graph.producer.get(stack.pop())
        if node is None:
            continue
        if node.op_type in ("Shape", "Size"):
            yield node.inputs[0]
            continue
        for source in node.inputs:
            if source and source not in visited:
                visited.add(source)
                stack.append(source)


def _free_axes(walk: Walk, name: str, is_free: Callable[[IdField], bool]) -> Iterator[tuple[IdField, int]]:
    for ids in walk.values[name].fields:
        for axis in range(ids.ndim):
            if ids.shape[axis] > 1 and is_free(np.moveaxis(ids, axis, 0).reshape(ids.shape[axis], -1)[:, 0]):
                yield ids, axis


def _depends(graph: Graph, trace: Trace, node: Node, operand: int, source: str, axis: int, *, has_ids: bool) -> bool:
    """Whether an operand changes with one size of a tensor; what cannot be evaluated is taken to.

    An operand that carries ids itself shrinks with the channels, and does not fit a changed size alone.
    """
    shape = trace.shapes[source]
    values = []
    for factor in (1, *_FACTORS):
        changed = (*shape[:axis], factor * shape[axis], *shape[axis + 1 :])
        try:
            found = follow_shapes(graph, trace, [(node, operand)], {source: (shape, changed)})
        except Exception:  # the changed size does not fit what the arithmetic combines it with
            return not has_ids
        values.append(found[node.index, operand])
    return not all(_same_numbers(values[0], other) for other in values[1:])


def _same_numbers(before: NDArray[Any], after: NDArray[Any]) -> bool:
    """Whether nothing but the shape differs: a constant that is repeated as often as there are channels is the same."""
    if before.shape != after.shape:
        before, after = np.unique(before), np.unique(after)
    return np.array_equal(before, after)
