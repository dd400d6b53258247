"""The network as sets of channels: boxes in the order of the graph, joined by the weights between them.

A weight reads one set of channels and makes another. Residual networks come back to a set that they have read already,
so the sets are no acyclic graph; they stand below each other in the order in which the graph makes them first, and arcs
beside them go down, or up where a weight adds to a set that is there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from onnx_dnscp.report.groups import Row, few
from onnx_dnscp.report.record import RunFiles

ROW = 62  # pixels of one box with its gap; the style sheet says the same
LANE = 9  # pixels between two arcs side by side
MAX_LANES = 12  # arcs beyond that share the outermost
FAR = 4  # boxes; in a crowded network longer arcs are shown only for the chosen box
CROWDED = 3  # arcs per box


@dataclass(frozen=True)
class Arc:
    """The weights that read one box and make another.

    Attributes:
        source: Position of the box that they read.
        target: Position of the box that they make.
        nodes: Their labels.
        lane: How far out it is drawn.
        is_far: Whether it waits until one of its boxes is chosen.
    """

    source: int
    target: int
    nodes: tuple[str, ...]
    lane: int = 0
    is_far: bool = False

    @property
    def goes_up(self) -> bool:
        """Whether it comes back to a box above."""
        return self.target < self.source

    @property
    def path(self) -> str:
        """SVG path data, in pixels; it leaves a box below its middle and arrives above it."""
        start, end = self.source * ROW + ROW / 2 + 6, self.target * ROW + ROW / 2 - 6
        out = 14 + LANE * self.lane
        turn = min(7.0, abs(end - start) / 2)
        sign = 1 if end > start else -1
        return (
            f"M0 {start:g}H{out - turn:g}Q{out} {start:g} {out} {start + sign * turn:g}"
            f"V{end - sign * turn:g}Q{out} {end:g} {out - turn:g} {end:g}H5"
        )

    @property
    def head(self) -> str:
        """The arrow's head, as SVG path data."""
        end = self.target * ROW + ROW / 2 - 6
        return f"M0 {end:g}l7 -3.5v7z"


@dataclass(frozen=True)
class Network:
    """Boxes from the inputs to the outputs, and arcs between them.

    Attributes:
        hidden: How many arcs wait until a box is chosen.
        lanes: How many arcs stand side by side.
    """

    boxes: list[Row]
    arcs: list[Arc]
    hidden: int
    lanes: int

    @property
    def height(self) -> int:
        """Of the drawing, in pixels."""
        return ROW * len(self.boxes)

    @property
    def width(self) -> int:
        """Of the column of arcs, in pixels."""
        return 14 + LANE * self.lanes + 6


def make_network(run: RunFiles, rows: Sequence[Row]) -> Network | None:
    """The drawing, or None where nothing is known of the network."""
    if run.inspection is None or not rows:
        return None
    place = {label: i for i, label in enumerate(run.inspection.weight_nodes)}
    boxes = sorted(rows, key=lambda row: _first_place(row, place))
    boxes = [*_inputs(boxes, place), *boxes]
    joined = _joined(boxes, run.inspection.weight_nodes)
    arcs = _in_lanes([Arc(*ends, tuple(nodes)) for ends, nodes in joined.items()], len(boxes))
    lanes = 1 + max((arc.lane for arc in arcs), default=0)
    return Network(boxes, arcs, sum(arc.is_far for arc in arcs), lanes)


def _joined(boxes: Sequence[Row], nodes: Iterable[str]) -> dict[tuple[int, int], list[str]]:
    """The nodes that read one box and make another, by the numbers of the two."""
    joined: dict[tuple[int, int], list[str]] = {}
    for node in nodes:
        sources = [i for i, box in enumerate(boxes) if node in box.consumers]
        targets = [i for i, box in enumerate(boxes) if node in box.producers]
        for ends in product(sources, targets):
            if ends[0] != ends[1]:
                joined.setdefault(ends, []).append(node)
    return joined


def _first_place(row: Row, place: Mapping[str, int]) -> tuple[float, bool]:
    """Where the graph first makes these channels; what only is read stands just before its first reader."""
    made = min((place[node] for node in row.producers if node in place), default=None)
    read = min((place[node] for node in row.consumers if node in place), default=len(place))
    return (read - 0.5 if made is None else float(made), row.is_locked)


def _inputs(boxes: Sequence[Row], place: Mapping[str, int]) -> list[Row]:
    """A box for what enters the network, where weights read what no box makes.

    A depthwise convolution reads no box either, but it is never the first to make its channels.
    """
    read = {node for box in boxes for node in box.consumers}
    makers = [[node for node in box.producers if node in place] for box in boxes]
    first = [min(own, key=lambda node: place[node]) for own in makers if own]
    first = [node for node in first if node not in read]
    if not first:
        return []
    nodes = tuple(dict.fromkeys(first))
    reason = "what enters the network is never pruned"
    return [Row("in", "Inputs", few(nodes), False, 0, None, nodes, (), reasons=(reason,))]


def _in_lanes(arcs: Sequence[Arc], num_boxes: int) -> list[Arc]:
    """Short arcs inside, longer ones around them, so that none lies on another."""
    is_crowded = len(arcs) > CROWDED * num_boxes
    taken: list[list[tuple[int, int]]] = []
    placed = []
    for arc in sorted(arcs, key=lambda a: (abs(a.target - a.source), a.source, a.target)):
        low, high = sorted((arc.source, arc.target))
        is_far = is_crowded and high - low > FAR
        free = (i for i, lane in enumerate(taken) if all(high <= a or low >= b for a, b in lane))
        lane = min(next(free, len(taken)), MAX_LANES - 1)
        if lane == len(taken):
            taken.append([])
        taken[lane].append((low, high))
        placed.append(replace(arc, lane=lane, is_far=is_far))
    return placed
