"""Discovery: which channels live and die together, and why the others stay."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import onnx
import pytest
from cases import CASES, ENDS, Case, case
from cases.newer import NEWER_NOT_RUN
from cases.recurrent import RECURRENT_NOT_RUN
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper, shape_inference

from models import all_nodes, filled, load
from onnx_dnscp.discovery.discover import discover, discover_units
from onnx_dnscp.model.fields import compact, connected_components, reshape_blocks, reshape_field
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.trace import Trace
from onnx_dnscp.model.units import FIXED, Units
from onnx_dnscp.ops.registry import ruled_operators

NOT_RUN = [  # operators that the installed ONNX Runtime has no kernel for; traced by ONNX's shape inference instead
    case("Swish", "Swish", "a = Conv(x, w1) b = Swish(a) y = Conv(b, w2)", (4,), ENDS,
         inputs="float[1, 3, 6, 6] x", outputs="float[1, 2, 6, 6] y", opset=24),
    case("Add-opset-6", "Add", "a = Conv(x, w1) b = Add<axis = 1, broadcast = 1>(a, c) y = Conv(b, w2)", (),
         ENDS + ", float[4] c", inputs="float[1, 3, 6, 6] x", outputs="float[1, 2, 6, 6] y", opset=6, ir=4,
         reason="in the manner of opset 6 or older"),
    *RECURRENT_NOT_RUN,
    *NEWER_NOT_RUN,
]  # fmt: skip


def inferred_trace(model: onnx.ModelProto) -> Trace:
    """What a run would show, for a model with static shapes and no computed integers."""
    graph = shape_inference.infer_shapes(model).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for info in (*graph.input, *graph.output, *graph.value_info):
        shapes[info.name] = tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return Trace(shapes, {name: array for name, array in stored.items() if array.dtype.kind in "ib"}, 1)


def discover_case(case: Case) -> Units:
    if case in NOT_RUN:
        return discover_units(read_graph(case.model), inferred_trace(case.model))
    return discover(load(case.model))


@pytest.mark.parametrize("case", [*CASES, *NOT_RUN], ids=str)
def test_groups_and_reasons(case: Case) -> None:
    """Widths are those worked out by hand, and what is locked says why."""
    assert_groups_and_reasons(case)


def assert_groups_and_reasons(case: Case) -> None:
    """What the case says of itself."""
    units = discover_case(case)
    assert tuple(sorted(group.width for group in units.groups)) == case.widths
    reasons = [reason for locked in units.locked for reason in locked.reasons]
    expected = case.reason or "^graph output"
    assert any(re.search(expected, reason) for reason in reasons), reasons
    if not case.reason:
        assert all(reason.startswith("graph output") for reason in reasons), reasons
    assert all(locked.reasons and locked.tensors and locked.width > 0 for locked in units.locked)


@pytest.mark.no_cover
@pytest.mark.parametrize("case", [case for case in CASES if case.widths], ids=str)
def test_units_are_numbered_without_gaps_and_read_by_someone(case: Case) -> None:
    """Groups follow each other; every unit has slices in its group's tensors and a consumer that reads it."""
    units = discover_case(case)
    assert [group.id for group in units.groups] == list(range(len(units.groups)))
    assert [group.first for group in units.groups] == [
        sum(g.width for g in units.groups[:i]) for i in range(len(units.groups))
    ]
    read = {int(unit) for consumer in units.consumers for unit in consumer.channel_units}
    assert read - {FIXED} == set(range(units.num_units))
    labels = {node.name or next(filter(None, node.output)) for node in all_nodes(case.model)}
    for group in units.groups:
        assert set(group.consumers) | set(group.producers) <= labels
        assert group.consumers
        assert group.producers
        for unit in range(group.first, group.first + group.width):
            on = {units.slices.axes[i] for i in units.slices.axis_index[units.slices.unit == unit]}
            assert on == set(group.axes)


def test_every_operator_with_a_rule_has_a_case() -> None:
    """A rule without a model that uses it is a guess."""
    nodes = [(node, case) for case in (*CASES, *NOT_RUN) for node in case.model.graph.node]
    covered = {(node.domain, node.op_type) for node, case in nodes if node.op_type in case.covers}
    assert set(ruled_operators()) - covered == set()


@pytest.mark.parametrize("case", [*CASES, *NOT_RUN], ids=str)
def test_cases_use_the_operators_they_say(case: Case) -> None:
    assert set(case.covers) <= {node.op_type for node in case.model.graph.node}


def test_case_names_are_unique() -> None:
    names = [case.name for case in (*CASES, *NOT_RUN)]
    assert len(names) == len(set(names))


def test_tensor_axes_of_a_group() -> None:
    """A residual block by hand: the skip joins w1, wf and every reader; the inner channels are on their own."""
    residual = next(case for case in CASES if case.name == "residual-chain")
    outer, inner = sorted(discover_case(residual).groups, key=lambda group: group.width)
    assert set(outer.axes) == {("w1", 0), ("wc", 1), ("wf", 0), ("w2", 1)}
    assert set(inner.axes) == {("wc", 0), ("s", 0), ("t", 0), ("m", 0), ("pos_v", 0), ("wf", 1)}
    assert set(outer.consumers) == {"c", "y"}
    assert set(outer.producers) == {"a0", "f"}


def test_a_channel_shuffle_is_followed_position_by_position() -> None:
    """8 channels seen as 2 x 4: channels k and k + 4 go together, and are read at 2k and 2k + 1."""
    shuffle = next(case for case in CASES if case.name == "Reshape-channel-shuffle")
    units = discover_case(shuffle)
    made = {int(units.slices.position[i]): int(units.slices.unit[i]) for i in on_axis(units, ("w1", 0))}
    assert [made[k] == made[k + 4] for k in range(4)] == [True] * 4
    (consumer,) = units.consumers
    assert [int(u) for u in consumer.channel_units] == [made[k] for pair in range(4) for k in (pair, pair + 4)]


def on_axis(units: Units, axis: tuple[str, int]) -> Sequence[int]:
    return [int(i) for i in np.flatnonzero(units.slices.axis_index == units.slices.axes.index(axis))]


def test_batch_statistics_put_out_by_a_training_batch_norm_are_followed() -> None:
    """A running mean that is a graph output keeps its channels."""
    training = case(
        "training", "BatchNormalization",
        "a = Conv(x, w1) b, mean, var = BatchNormalization<training_mode = 1>(a, s, t, m, pos_v) y = Conv(b, w2)", (),
        ENDS + ", float[4] s, float[4] t, float[4] m, float[4] pos_v", outputs="float[N, 2, P, Q] y, float[4] mean",
        reason="graph output 'mean'",
    )  # fmt: skip
    assert_groups_and_reasons(training)


def test_channels_read_by_a_sparse_weight_are_locked() -> None:
    """ONNX Runtime runs sparse initializers; surgery does not cut them."""
    model = filled(next(case for case in CASES if case.name == "Gemm").text)
    dense = next(tensor for tensor in model.graph.initializer if tensor.name == "w2")
    values = numpy_helper.to_array(dense)
    model.graph.initializer.remove(dense)
    indices = numpy_helper.from_array(np.arange(values.size), "at")
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(values.ravel(), "w2"), indices, list(values.shape))
    model.graph.sparse_initializer.append(sparse)
    units = discover(load(model))
    assert not units.groups
    assert any("sparse tensor 'w2'" in reason for locked in units.locked for reason in locked.reasons)


def test_channels_of_a_sparse_depthwise_weight_are_locked() -> None:
    """It passes channels on and cannot be cut, so another reader of the same channels must not free them."""
    model = filled(next(case for case in CASES if case.name == "Conv-depthwise-and-another-reader").text)
    dense = next(tensor for tensor in model.graph.initializer if tensor.name == "wd")
    values = numpy_helper.to_array(dense)
    model.graph.initializer.remove(dense)
    indices = numpy_helper.from_array(np.arange(values.size), "at")
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(values.ravel(), "wd"), indices, list(values.shape))
    model.graph.sparse_initializer.append(sparse)
    units = discover(load(model))
    assert not units.groups
    assert any("read by sparse tensor 'wd'" in reason for locked in units.locked for reason in locked.reasons)


def test_discovery_does_not_modify_the_model() -> None:
    model = filled(CASES[0].text)
    before = model.SerializeToString(deterministic=True)
    discover(load(model))
    assert model.SerializeToString(deterministic=True) == before


@given(st.data())
def test_connected_components_agree_with_a_plain_union_find(data: st.DataObject) -> None:
    """Each id's component is named by its smallest id."""
    size = data.draw(st.integers(1, 30))
    ids = st.integers(0, size - 1)
    lists = data.draw(st.lists(st.tuples(ids, st.lists(ids, min_size=1, max_size=4)), max_size=20))
    found = connected_components(size, [(np.array([one]), np.array(many)) for one, many in lists])
    parent = list(range(size))
    changed = True
    while changed:
        changed = False
        for one, many in lists:
            for other in many:
                low = min(parent[one], parent[other])
                changed |= parent[one] != low or parent[other] != low
                parent[one] = parent[other] = low
    assert found.tolist() == parent


def test_connected_components_of_a_long_chain() -> None:
    """2000 ids joined in a shuffled chain are one component."""
    order = np.random.default_rng(0).permutation(2000)
    pairs = [(np.array(a), np.array(b)) for a, b in pairwise(order)]
    assert (connected_components(2000, pairs) == 0).all()
    assert len(np.unique(connected_components(2000, pairs[1:]))) == 2


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes with the same number of elements."""
    factors = draw(st.lists(st.sampled_from([1, 2, 2, 3]), max_size=6))
    return draw_shape(draw, factors), draw_shape(draw, draw(st.permutations(factors)))


def draw_shape(draw: st.DrawFn, factors: Sequence[int]) -> tuple[int, ...]:
    cuts = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=4)))
    return tuple(int(np.prod(factors[a:b])) for a, b in pairwise([0, *cuts, len(factors)]))


@given(reshapes(), st.data())
@settings(max_examples=200)
def test_reshaping_a_field_is_reshaping_the_full_array(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject
) -> None:
    """The small array of ids, broadcast, equals the broadcast ids moved by numpy."""
    old, new = shapes
    kept = data.draw(st.tuples(*(st.booleans() for _ in old)))
    sizes = tuple(size if keep else 1 for size, keep in zip(old, kept, strict=True))
    field = np.arange(np.prod(sizes, dtype=int)).reshape(sizes)
    moved = reshape_field(field, old, new)
    assert moved.ndim == len(new)
    np.testing.assert_array_equal(np.broadcast_to(moved, new), np.broadcast_to(field, old).reshape(new))
    assert compact(moved).shape == moved.shape


@given(reshapes())
@settings(max_examples=200)
def test_reshape_blocks_cover_all_axes_in_order_with_equal_products(
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    old, new = shapes
    blocks = reshape_blocks(old, new)
    assert [axis for left, _ in blocks for axis in left] == list(range(len(old)))
    assert [axis for _, right in blocks for axis in right] == list(range(len(new)))
    assert all(np.prod([old[a] for a in left]) == np.prod([new[a] for a in right]) for left, right in blocks)


@pytest.mark.parametrize(
    ("old", "new", "blocks"),
    [
        ((2, 8, 6, 6), (2, 2, 4, 6, 6), [((0,), (0,)), ((1,), (1, 2)), ((2,), (3,)), ((3,), (4,))]),
        ((2, 8, 6, 6), (2, 288), [((0,), (0,)), ((1, 2, 3), (1,))]),
        ((2, 8), (16,), [((0, 1), (0,))]),
        ((4, 3), (3, 4), [((0, 1), (0, 1))]),
    ],
)
def test_reshape_blocks_are_the_finest(
    old: tuple[int, ...], new: tuple[int, ...], blocks: list[tuple[tuple[int, ...], tuple[int, ...]]]
) -> None:
    """A channel shuffle splits the channel axis alone; a flatten mixes what it must."""
    assert reshape_blocks(old, new) == blocks


def test_a_flatten_does_not_expand_the_batch() -> None:
    """The field of a huge flattened batch stays as long as its channels."""
    field = np.arange(4).reshape(1, 4, 1)
    assert reshape_field(field, (1000, 4, 9), (1000, 36)).shape == (1, 36)
