"""Where a loss can look: the last tensors that gradients reach on the way to the outputs.

A long recurrent layer, non-maximum suppression, the body of a Loop or an integer kernel has no gradient, and the
runtime refuses a graph that has one between a weight and the loss. What lies before it can still learn: the loss is
taken there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import onnx

from onnx_dnscp.model.editor import names_read
from onnx_dnscp.model.graph import Graph
from onnx_dnscp.model.taps import behind_squashing
from onnx_dnscp.training.abilities import Abilities, Passage
from onnx_dnscp.training.differentiable import ORT_ABILITIES


@dataclass(frozen=True)
class Frontier:
    """Where to take the loss.

    Attributes:
        taps: Graph output to the tensors to look at: the one behind its final squashing, or those before the nodes that
            stop its gradients. Empty where nothing that an output depends on learns.
        stops: Outputs that no gradient leaves, to what messages call the nodes that stop it.
    """

    taps: dict[str, tuple[str, ...]]
    stops: dict[str, tuple[str, ...]]

    def notes(self) -> list[str]:
        """What a user should know, a sentence per place that no other output's loss covers."""
        covered = {tap for output, taps in self.taps.items() if output not in self.stops for tap in taps}
        moved = {(why, self.taps[name]): None for name, why in self.stops.items() if not covered >= {*self.taps[name]}}
        return [
            f"Gradients cannot pass {listed(stops)}; the loss is taken before, at {listed(map(repr, taps))}, and "
            "weights behind that do not learn."
            for stops, taps in moved
        ]


def find_frontier(
    model: onnx.ModelProto,
    graph: Graph,
    inputs: Collection[str],
    learned: Collection[str],
    known: Collection[str],
    *,
    abilities: Abilities = ORT_ABILITIES,
    squashed: bool = False,
) -> Frontier:
    """Walk from the outputs back to the first tensors that gradients reach.

    Args:
        model: The training view, whose learned weights are graph inputs.
        graph: The same before operators were decomposed, where squashing can still be seen.
        inputs: Graph inputs that hold data.
        learned: Those that learn.
        known: Tensors that the original has too, so that a teacher can be asked for them.
        abilities: Of the engine that is to train.
        squashed: Whether to look at outputs as they are, and not behind a final squashing.
    """
    reach = _Reach(model, inputs, learned, abilities)
    taps: dict[str, tuple[str, ...]] = {}
    stops: dict[str, tuple[str, ...]] = {}
    for output in graph.outputs:
        taps[output], passed = _walk_back(reach, graph, output, known, squashed=squashed)
        if passed:
            stops[output] = passed
    return Frontier(taps, stops)


def _walk_back(
    reach: _Reach, graph: Graph, output: str, known: Collection[str], *, squashed: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The first tensors before an output that a loss can look at, and the nodes on the way that stop gradients."""
    found: dict[str, None] = {}
    passed: dict[str, None] = {}
    pending, seen = [output], {output}
    while pending:
        name = pending.pop()
        places = (name,) if squashed else (behind_squashing(graph, name), name)
        tap = next((n for n in places if n in reach.carrying and n in known), None)
        if tap is not None:
            found[tap] = None
            continue
        if name in reach.stops:
            passed[reach.stops[name]] = None
        following = [n for n in dict.fromkeys(reach.operands(name)) if n in reach.varying and n not in seen]
        seen.update(following)
        pending += reversed(following)
    return tuple(found), tuple(passed)


class _Reach:
    """Which tensors depend on data and on learned weights, and which of them carry a gradient to a learned weight.

    Attributes:
        varying: Tensors that depend on both.
        carrying: Those among them that a loss can look at.
        stops: Output of a node that gradients reach and do not pass, to what messages call the node.
    """

    def __init__(
        self, model: onnx.ModelProto, inputs: Collection[str], learned: Collection[str], abilities: Abilities
    ) -> None:
        self._producer = {name: node for node in model.graph.node for name in node.output if name}
        read = {o.name for o in model.graph.output}.union(*map(names_read, model.graph.node))
        fed, moved, passed = set(inputs), set(learned), set(learned)
        lost: set[str] = set()  # what no gradient passes, and all that is computed from it
        self.stops: dict[str, str] = {}
        for node in model.graph.node:
            operands, results = names_read(node), [name for name in node.output if name]
            if not fed.isdisjoint(operands):
                fed.update(results)
            if moved.isdisjoint(operands):
                continue
            moved.update(results)
            passage = _passage(node, operands, moved, read, abilities)
            if passage is None and not passed.isdisjoint(operands):
                self.stops |= dict.fromkeys(results, f"{node.op_type} node {node.name or results[0]!r}")
            if passage is None or not lost.isdisjoint(operands):
                lost.update(results)
            elif not passed.isdisjoint(_way_through(passage, operands)):
                passed.update(results[: passage.results])
        self.varying = moved & fed
        self.carrying = passed & fed

    def operands(self, name: str) -> list[str]:
        """What the node that makes a tensor reads."""
        return names_read(self._producer[name]) if name in self._producer else []


def _passage(
    node: onnx.NodeProto,
    operands: Sequence[str],
    moved: Collection[str],
    read: Collection[str],
    abilities: Abilities,
) -> Passage | None:
    """How gradients pass a node some of whose operands move; None if they do not."""
    if node.op_type == "TopK" and node.output[1] in read:
        return None  # student and teacher would be compared at different positions
    passage = abilities.passage(node)
    if passage is None or any(name in moved and not passage.lets_vary(i) for i, name in enumerate(operands)):
        return None
    return passage


def _way_through(passage: Passage, operands: Sequence[str]) -> Sequence[str]:
    return operands if passage.through is None else [operands[i] for i in passage.through if i < len(operands)]


def listed(names: Iterable[str]) -> str:
    """Names as a sentence enumerates them."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
