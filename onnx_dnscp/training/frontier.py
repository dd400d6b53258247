"""Where a loss can look: the last tensors that gradients reach on the way to the outputs.

A long recurrent layer, non-maximum suppression, the body of a Loop or an integer kernel has no gradient, and the
runtime refuses a graph that has one between a weight and the loss. What lies before it can still learn: the loss is
taken there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
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
        taps[output] = tuple(found)
        if passed:
            stops[output] = tuple(passed)
    return Frontier(taps, stops)


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
        self._abilities = abilities
        self._producer = {name: node for node in model.graph.node for name in node.output if name}
        self._read = {name for node in model.graph.node for name in names_read(node)}
        self._read.update(output.name for output in model.graph.output)
        self._moved, self._passed = set(learned), set(learned)
        self._lost: set[str] = set()  # what no gradient passes, and all that is computed from it
        self.stops: dict[str, str] = {}
        fed = set(inputs)
        for node in model.graph.node:
            operands, results = names_read(node), [name for name in node.output if name]
            if not fed.isdisjoint(operands):
                fed.update(results)
            if not self._moved.isdisjoint(operands):
                self._moved.update(results)
                self._pass(node, operands, results)
        self.varying = self._moved & fed
        self.carrying = self._passed & fed

    def _pass(self, node: onnx.NodeProto, operands: list[str], results: list[str]) -> None:
        """Note what gradients do at a node that reads what learns."""
        rule = self._rule(node, operands)
        if rule is None:
            self._lost.update(results)
            if not self._passed.isdisjoint(operands):
                self.stops |= dict.fromkeys(results, f"{node.op_type} node {node.name or results[0]!r}")
        elif not self._lost.isdisjoint(operands):
            self._lost.update(results)
        else:
            through = operands if rule.through is None else [operands[i] for i in rule.through if i < len(operands)]
            self._passed.update(results[: rule.results] if not self._passed.isdisjoint(through) else ())

    def _rule(self, node: onnx.NodeProto, operands: list[str]) -> Passage | None:
        """How gradients pass a node, or None if they cannot pass it as it stands here."""
        rule = self._abilities.passage(node)
        if node.op_type == "TopK" and node.output[1] in self._read:
            return None  # student and teacher would be compared at different positions
        if rule is not None and all(rule.lets_vary(i) for i, name in enumerate(operands) if name in self._moved):
            return rule
        return None

    def operands(self, name: str) -> list[str]:
        """What the node that makes a tensor reads."""
        return names_read(self._producer[name]) if name in self._producer else []


def listed(names: Iterable[str]) -> str:
    """Names as a sentence enumerates them."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
