"""Properties of discovery, surgery and plans that hold for every valid network, tried on random ones.

`ONNX_DNSCP_EXAMPLES=5000` runs more examples than the suite does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from budgets import budget_of
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray
from onnx import checker, numpy_helper, shape_inference
from oracle import set_inputs_to_zero
from random_graphs import HEADS, PLAIN, RandomGraph, random_graphs

from models import Arrays, copied, load, run, stored_arrays, stored_tensors
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.errors import UsageError
from onnx_dnscp.masks.dnscp import one_shot
from onnx_dnscp.measure.costs import CostModel, model_costs
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.units import FIXED, Mask, Units
from onnx_dnscp.ops.registry import rule_for
from onnx_dnscp.runs.plan import Plan, make_plan, plan_mask
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import plan_cuts
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.tracing.trace import trace

pytestmark = pytest.mark.no_cover

EXAMPLES = int(os.environ.get("ONNX_DNSCP_EXAMPLES", "0"))
ROUNDING = 5e-5  # of float32 sums in another order; normalising a layer twice has amplified it to 2.1e-5
CHANNEL_AXIS = {"Conv": 1, "ConvTranspose": 1, "Gemm": -1, "MatMul": -1}  # of what they make
# Blocks whose grouping of channels depends on how many there are: after a cut, groups may be others.
COUNTING = {"grouped", "shuffle", "depth_to_space", "space_to_depth", "group_norm", "conv_transpose", "focus"}


def examples(number: int) -> settings:
    """Always the same examples in the suite, new ones each time when more are asked for."""
    return settings(
        max_examples=EXAMPLES or number,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


def runnable(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without node names: ONNX Runtime refuses duplicate ones."""
    copy = copied(model)
    for node in copy.graph.node:
        node.name = ""
    return copy


def outputs(model: onnx.ModelProto, graph: RandomGraph) -> list[Arrays]:
    """All outputs at the sizes that discovery did not see."""
    return [run(runnable(model), feeds) for feeds in graph.feeds()]


def assert_close(actual: Arrays, expected: Arrays) -> None:
    """The same outputs up to rounding, of the largest value or of 1: what cancels inside leaves its rounding behind."""
    assert {name: value.shape for name, value in actual.items()} == {n: value.shape for n, value in expected.items()}
    for name, value in expected.items():
        atol = ROUNDING * max(1.0, float(np.abs(value).max(initial=0.0)))
        np.testing.assert_allclose(actual[name], value, rtol=0, atol=atol, err_msg=name)


def some_masks(units: Units) -> Iterator[Mask]:
    """Without the first unit of every group, with the last only, a random half, and what DNS-CP would leave for 0.5."""
    rng = np.random.default_rng(0)
    no_firsts, lasts = np.ones(units.num_units, dtype=bool), np.zeros(units.num_units, dtype=bool)
    no_firsts[[group.first for group in units.groups if group.width > 1]] = False
    lasts[[group.first + group.width - 1 for group in units.groups]] = True
    half = rng.random(units.num_units) >= 0.5
    half[[group.first + rng.integers(group.width) for group in units.groups]] = True
    yield from (mask for mask in (no_firsts, lasts, half, budgeted(units)) if not mask.all())


def budgeted(units: Units) -> Mask:
    """What the statistic leaves when half of the channels go, or as many as can."""
    most = 1 - len(units.groups) / units.num_units
    return one_shot(units, budget_of(units, "channels", min(0.5, most)), units.graph.stored)


def full_check(model: onnx.ModelProto) -> str:
    """What ONNX's checker and strict shape inference object to; nothing if they are content."""
    try:
        checker.check_model(model, full_check=True)
        shape_inference.infer_shapes(model, strict_mode=True, check_type=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        return str(error) or "failed"
    return ""


@examples(150)
@given(random_graphs())
def test_every_random_network_is_pruned_right_or_left_whole(graph: RandomGraph) -> None:
    """All properties of one network, cheapest first."""
    for outs in outputs(graph.model, graph):
        assert all(np.isfinite(value).all() for value in outs.values())
    units = discover(load(graph.model))
    check_everything_is_a_unit_or_locked(units)
    everything = np.ones(units.num_units, dtype=bool)
    assert apply_cuts(graph.model, units, plan_cuts(units, everything)) == graph.model
    if units.groups:
        check_budget(units)
        valid = not full_check(graph.model)
        for mask in some_masks(units):
            pruned = check_mask(graph, units, mask)
            assert not valid or full_check(pruned) == ""
        check_second_time(graph, units)


@examples(200)
@given(random_graphs(PLAIN, heads=[head for head in HEADS if head not in ("none", "dead")], tied=False))
def test_plain_networks_are_pruned_as_deep_as_they_are(graph: RandomGraph) -> None:
    """Convolutions, activations and residual blocks keep inputs and outputs whole, and nothing else."""
    units = discover(load(graph.model))
    reasons = {reason for locked in units.locked for reason in locked.reasons}
    assert all(reason.startswith(("graph input", "graph output")) for reason in reasons), reasons
    assert units.num_units == plain_count(units)


def plain_count(units: Units) -> int:
    """Prunable channels of a plain network, counted tensor by tensor.

    A convolution or product makes channels of its own, everything else passes on those of its operands and joins them.
    With a depthwise multiplier several channels go together, so that the fewest of what is joined count.
    """
    graph = units.graph
    home = {name: name for name in graph.inputs}  # tensor to where its channels come from
    made: dict[str, int] = dict.fromkeys(graph.inputs, 0)
    for node in graph.nodes:
        sources = list(dict.fromkeys(home[name] for name in node.inputs if name in home))
        if not sources:
            continue  # a constant
        output = node.outputs[0]
        if node.op_type in CHANNEL_AXIS and node.attributes.get("group", 1) == 1:
            home[output] = output
            made[output] = units.trace.shapes[output][CHANNEL_AXIS[node.op_type]]
            continue
        made[sources[0]] = min(made[source] for source in sources)
        home = {name: sources[0] if source in sources else source for name, source in home.items()}
        home[output] = sources[0]
    whole = {home[name] for name in (*graph.inputs, *graph.outputs)}
    return sum(made[source] for source in set(home.values()) - whole if made[source] > 1)


def check_everything_is_a_unit_or_locked(units: Units) -> None:
    """Every unit has a consumer, and every weight axis that is not all units a reason."""
    read = {int(u) for consumer in units.consumers for u in consumer.channel_units}
    assert read - {FIXED} == set(range(units.num_units))
    assert all(group.consumers and group.axes for group in units.groups)
    assert all(locked.reasons and locked.tensors and locked.width > 0 for locked in units.locked)
    known = {name for locked in units.locked for name in locked.tensors} | {name for name, _ in units.slices.axes}
    for node in units.graph.nodes:
        if node.op_type in CHANNEL_AXIS and rule_for(node):
            made = units.trace.shapes[node.outputs[0]][CHANNEL_AXIS[node.op_type]]
            source = units.graph.stored_source(node.inputs[1])
            if source is not None and made > 1:
                assert source in known, f"{node}: {source!r} has neither units nor a reason"


def check_budget(units: Units) -> None:
    """The requested share of channels is met to within one unit."""
    gone = (~budgeted(units)).sum()
    assert gone == min(int(np.ceil(units.num_units * 0.5 - 1e-9)), units.num_units - len(units.groups))


def check_mask(graph: RandomGraph, units: Units, mask: Mask) -> onnx.ModelProto:
    """One mask against the masked model, the plan carried out from outside and the cost model; the pruned model."""
    model = graph.model
    pruned = apply_cuts(model, units, plan_cuts(units, mask))
    plan = make_plan(units, mask, "original")
    masked, silenced = mask_model(model, units, mask), set_inputs_to_zero(model, plan)
    actual = outputs(pruned, graph)
    for got, from_mask, from_plan in zip(actual, outputs(masked, graph), outputs(silenced, graph), strict=True):
        assert_close(got, from_mask)
        assert_close(got, from_plan)
    check_stored(model, pruned, plan)
    again = read_graph(pruned)
    assert CostModel(units).costs(mask) == model_costs(again, trace(again, like=units.trace))
    np.testing.assert_array_equal(plan_mask(plan, units, "original"), mask)
    return pruned


def check_stored(model: onnx.ModelProto, pruned: onnx.ModelProto, plan: Plan) -> None:
    """Tensors lose exactly the plan's slices; those without are the same bytes."""
    expected = stored_arrays(model)
    cut = set()
    readers = [node for node in model.graph.node if node.op_type == "Conv"]
    groups = {node.input[1]: a.i for node in readers for a in node.attribute if a.name == "group"}
    for group in plan.groups:
        for piece in group.slices:
            gone = [index for indices in piece.indices.values() for index in indices]
            values = expected[piece.tensor].astype(np.float64)
            mark_gone(values, piece.axis, gone, groups.get(piece.tensor, 1))
            expected[piece.tensor] = values
            cut.add(piece.tensor)
    before = dict(stored_tensors(model))
    for name, tensor in stored_tensors(pruned):
        if name in before and before[name].data_type in (1, 10, 11):
            values = expected[name]
            left = values[~np.isnan(values)].reshape(tuple(tensor.dims))
            np.testing.assert_array_equal(numpy_helper.to_array(tensor), left)
            assert name in cut or tensor == before[name]


def mark_gone(values: NDArray[np.float64], axis: int, gone: list[int], groups: int) -> None:
    """Write NaN into slices; those of a grouped weight's axis 1 count through the groups, each with rows of its own."""
    if axis != 1 or max(gone) < values.shape[1]:
        np.moveaxis(values, axis, 0)[gone] = np.nan
        return
    rows, per_group = values.shape[0] // groups, values.shape[1]
    for group, position in (divmod(index, per_group) for index in gone):
        values[group * rows : (group + 1) * rows, position] = np.nan


def check_second_time(graph: RandomGraph, units: Units) -> None:
    """What was pruned can be pruned again, and is grouped as before where two channels or more are left."""
    mask = budgeted(units)
    if mask.all():
        return  # every group is one unit wide
    pruned = apply_cuts(graph.model, units, plan_cuts(units, mask))
    again = discover(load(pruned))
    with pytest.raises(UsageError, match="another model"):
        plan_mask(make_plan(units, mask, load(graph.model).sha256), again, load(pruned).sha256)
    left = np.bincount(units.group_of[mask], minlength=len(units.groups))
    if left.min() > 1 and not COUNTING & set(graph.kinds):
        before = sorted((group.axes, int(width)) for group, width in zip(units.groups, left, strict=True))
        assert sorted((group.axes, group.width) for group in again.groups) == before
    if again.groups:
        fewer = budgeted(again)
        twice = apply_cuts(pruned, again, plan_cuts(again, fewer))
        for got, wanted in zip(outputs(twice, graph), outputs(mask_model(pruned, again, fewer), graph), strict=True):
            assert_close(got, wanted)
