"""The graph editor: what is edited, what stays, and what is moved rather than copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import pytest
from cases import CASES, Case
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from models import all_nodes, assert_same, copied, filled, inputs_at, run
from onnx_dnscp.model.editor import (
    FreshNames,
    add_constant,
    attributes,
    insert_after,
    insert_before,
    keep_needed,
    names_read,
    replace_nodes,
    set_attribute,
    set_elements,
    sort_nodes,
)
from onnx_dnscp.model.structure import all_graphs

# Every node reads up to three tensors made before it, the last of them from inside a sub-graph.
RECIPES = st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=3), min_size=1, max_size=12)
WITH_BODIES = [case for case in CASES if not {"If", "Loop", "Scan"}.isdisjoint(case.covers)]


def graph_of(recipe: Sequence[Sequence[int]]) -> onnx.GraphProto:
    """A graph of stored tensors w0 and w1 and nodes t0, t1 ...; every third one reads its last operand in a body."""
    graph = onnx.GraphProto(name="net")
    for name in ("w0", "w1"):
        graph.initializer.add(name=name, data_type=TensorProto.FLOAT)
    for number, reads in enumerate(recipe):
        there = ["x", "w0", "w1", *(f"t{i}" for i in range(number))]
        names = [there[i % len(there)] for i in reads]
        node = graph.node.add(op_type="Sum", output=[f"t{number}"])
        if number % 3 == 2:
            body = helper.make_graph(
                [helper.make_node("Neg", [names.pop()], [f"b{number}"])],
                "body",
                [],
                [onnx.ValueInfoProto(name=f"b{number}")],
            )
            node.attribute.append(helper.make_attribute("body", body))
        node.input.extend(names)
    return graph


def needed_by(graph: onnx.GraphProto, wanted: set[str]) -> set[str]:
    """All tensors that some depend on, by asking again until nothing is added."""
    found: set[str] = set()
    while wanted - found:
        found |= wanted
        for node in graph.node:
            if not found.isdisjoint(node.output):
                inner = [name for a in node.attribute for n in a.g.node for name in n.input]
                wanted |= {*node.input, *inner}
    return found


@given(RECIPES, st.sets(st.integers(0, 14), max_size=3))
def test_what_is_needed_stays_and_nothing_else(recipe: list[list[int]], asked: set[int]) -> None:
    """Nodes and initializers that wanted tensors depend on, also through sub-graphs, in their order."""
    graph = graph_of(recipe)
    names = [node.output[0] for node in graph.node]
    wanted = {[*names, "w0", "x"][number % (len(names) + 2)] for number in asked}
    expected = needed_by(graph, set(wanted))
    keep_needed(graph, wanted)
    assert [node.output[0] for node in graph.node] == [name for name in names if name in expected]
    assert [tensor.name for tensor in graph.initializer] == [name for name in ("w0", "w1") if name in expected]


@given(st.permutations(range(6)), st.integers(0, 6), st.integers(0, 2))
def test_elements_are_moved_and_new_ones_copied(order: list[int], kept: int, added: int) -> None:
    """What stays is the same object afterwards; what is new, or named again, is a copy; the order is the one given."""
    graph = onnx.GraphProto()
    graph.node.extend(onnx.NodeProto(op_type=str(number)) for number in range(6))
    nodes = list(graph.node)
    chosen = [nodes[number] for number in order[:kept]]
    new = [onnx.NodeProto(op_type=f"new {number}") for number in range(added)]
    again = chosen[:1]
    set_elements(graph.node, [*new, *chosen, *again])
    assert [n.op_type for n in graph.node] == [n.op_type for n in (*new, *chosen, *again)]
    assert all(found is node for found, node in zip(graph.node[added:], chosen, strict=False))
    assert all(found is not node for found, node in zip(graph.node, new, strict=False))
    for node in graph.node:
        node.name = node.op_type  # the wrappers write to the graph, not to something left behind
    copy = onnx.GraphProto.FromString(graph.SerializeToString())
    assert [n.name for n in copy.node] == [n.op_type for n in (*new, *chosen, *again)]


@given(st.lists(st.sampled_from(["gone", "stays", "twice"]), max_size=8))
def test_replacing_keeps_the_order(fates: list[str]) -> None:
    """What replaces a node stands in its place."""
    graph = onnx.GraphProto()
    graph.node.extend(onnx.NodeProto(op_type=fate, name=str(number)) for number, fate in enumerate(fates))

    def rule(node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        if node.op_type == "stays":
            return None
        return [onnx.NodeProto(name=f"{node.name}{part}") for part in "ab"] if node.op_type == "twice" else []

    replace_nodes(graph, rule)
    ends = {"gone": [], "stays": [""], "twice": ["a", "b"]}
    expected = [f"{number}{end}" for number, fate in enumerate(fates) for end in ends[fate]]
    assert [node.name for node in graph.node] == expected


def test_nodes_are_inserted_where_tensors_are_made() -> None:
    """In front of the node and behind it; an omitted output, which has no name, is no place."""
    graph = onnx.GraphProto()
    graph.node.extend([helper.make_node("A", ["x"], ["a"]), helper.make_node("B", ["a"], ["", "b"])])
    insert_before(graph, {"b": [helper.make_node("C", [], ["c"]), helper.make_node("D", [], ["d"])]})
    insert_after(graph, {"a": [helper.make_node("E", [], ["e"])], "nowhere": [helper.make_node("F", [], ["f"])]})
    assert [node.op_type for node in graph.node] == ["A", "E", "C", "D", "B"]


@pytest.mark.parametrize("case", WITH_BODIES, ids=str)
def test_a_model_without_what_it_does_not_need_computes_the_same(case: Case) -> None:
    """Real sub-graphs: junk beside the network goes, and everything that its bodies read stays."""
    model = copied(case.model)
    junk = [helper.make_node("Neg", [model.graph.input[0].name], ["junk"]), helper.make_node("Abs", ["junk"], ["more"])]
    model.graph.node.extend(junk)
    add_constant(model.graph, "unread", np.zeros(3, dtype=np.float32))
    keep_needed(model.graph, [output.name for output in model.graph.output])
    assert {"junk", "more"}.isdisjoint(name for node in model.graph.node for name in node.output)
    assert "unread" not in [tensor.name for tensor in model.graph.initializer]
    feeds = inputs_at(case.model, 2, 8)
    assert_same(run(model, feeds), run(case.model, feeds), tol=0)


def names_in(model: onnx.ModelProto) -> Iterator[str]:
    for graph in all_graphs(model.graph):
        yield from (entry.name for entry in (*graph.input, *graph.initializer))
        yield from (name for node in graph.node for name in node.output)


@pytest.mark.parametrize("case", [*WITH_BODIES[:5], *CASES[:3]], ids=str)
def test_fresh_names_never_clash(case: Case) -> None:
    """Not with tensors of the graph, those in sub-graphs included, and not with each other."""
    taken, names = set(names_in(case.model)), FreshNames(case.model.graph)
    for base in (*sorted(taken), "new", *sorted(taken), "new", "new"):
        name = names.fresh(base)
        assert name not in taken
        assert name.startswith(base)
        taken.add(name)
    assert FreshNames(case.model.graph).fresh("untouched") == "untouched"


def test_names_read_include_what_bodies_take_from_outside() -> None:
    """Operands first; what a body makes itself is not among them."""
    model = filled("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[2] x, bool flag) => (float[2] y) {
          a = Neg(x)
          y = If(flag)<then_branch = yes () => (float[2] t) { p = Abs(a) t = Add(p, x) },
                       else_branch = no () => (float[2] e) { e = Identity(x) }>
        }""")
    assert names_read(model.graph.node[1]) == ["flag", "a", "x", "x"]


VALUES = {
    "text": "SAME_UPPER",
    "number": 3,
    "real": 0.5,
    "numbers": [1, 2],
    "reals": [0.5, 2.0],
    "texts": ["Tanh", "Sigmoid"],
    "tensor": np.arange(4, dtype=np.int64),
}


def test_attributes_are_decoded_once_and_for_all() -> None:
    """Strings as text, tensors as arrays, lists as lists; sub-graphs are left out."""
    spelled = {n: numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v for n, v in VALUES.items()}
    body = helper.make_graph([], "body", [], [])
    node = helper.make_node("Op", [], [], body=body, **spelled)
    found = attributes(node)
    np.testing.assert_array_equal(found.pop("tensor"), VALUES["tensor"])
    assert found == {name: value for name, value in VALUES.items() if name != "tensor"}


def test_an_attribute_is_set_where_it_stands() -> None:
    """The order of attributes is the user's; a new one comes last, and None removes one or does nothing."""
    node = onnx.NodeProto()
    node.attribute.extend(helper.make_attribute(name, 1) for name in ("a", "b", "c"))
    set_attribute(node, "b", [2, 3])
    set_attribute(node, "d", "new")
    set_attribute(node, "a", None)
    set_attribute(node, "not there", None)
    assert [a.name for a in node.attribute] == ["b", "c", "d"]
    assert attributes(node) == {"b": [2, 3], "c": 1, "d": "new"}


def test_constants_keep_shape_and_type() -> None:
    """A number stays a number without axes, and an array that lies otherwise in memory is stored row by row."""
    graph = onnx.GraphProto()
    for name, values in (("scalar", np.float32(2)), ("turned", np.arange(6, dtype=np.int64).reshape(2, 3).T)):
        assert add_constant(graph, name, values) == name
        stored = numpy_helper.to_array(graph.initializer[-1])
        assert (stored.shape, stored.dtype) == (values.shape, values.dtype)
        np.testing.assert_array_equal(stored, values)


@given(recipe=RECIPES, seed=st.integers(0, 1000))
def test_sorted_nodes_come_behind_what_they_read(recipe: list[list[int]], seed: int) -> None:
    """Whatever the order before; sub-graphs count by what they take from outside. What is in order does not move."""
    graph = graph_of(recipe)
    before = onnx.GraphProto()
    before.CopyFrom(graph)
    sort_nodes(graph)
    assert graph == before
    order = np.random.default_rng(seed).permutation(len(graph.node))
    set_elements(graph.node, [graph.node[index] for index in order])
    sort_nodes(graph)
    known = {"x", "w0", "w1"}
    for node in graph.node:
        assert known.issuperset(filter(None, names_read(node)))
        known.update(node.output)
    assert sorted(n.output[0] for n in graph.node) == sorted(n.output[0] for n in before.node)


@pytest.mark.parametrize("case", WITH_BODIES[::3], ids=str)
def test_a_shuffled_model_computes_the_same_once_it_is_sorted(case: Case) -> None:
    """The bodies of branches and loops are shuffled, too."""
    model = copied(case.model)
    rng = np.random.default_rng(1)
    for graph in all_graphs(model.graph):
        set_elements(graph.node, [graph.node[index] for index in rng.permutation(len(graph.node))])
    sort_nodes(model.graph)
    feeds = inputs_at(case.model, 2, 8)
    assert_same(run(model, feeds), run(case.model, feeds), tol=0)


def test_nodes_in_a_circle_keep_their_order_at_the_end() -> None:
    """There is no right order; whoever checks the graph says so."""
    graph = onnx.GraphProto()
    for name, read in (("a", "b"), ("b", "a"), ("c", "x")):
        graph.node.append(helper.make_node("Relu", [read], [name]))
    sort_nodes(graph)
    assert [node.output[0] for node in graph.node] == ["c", "a", "b"]


def test_there_are_cases_with_bodies() -> None:
    """The cases chosen by the operators that they cover are those with sub-graphs."""
    assert WITH_BODIES
    assert all(len(all_nodes(case.model)) > len(case.model.graph.node) for case in WITH_BODIES)
