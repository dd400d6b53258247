"""Masks in the training view are inserted through onnx-graphsurgeon; pruned files pass through it, too."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from cases import CASES, Case
from onnx import TensorProto, helper

from models import Arrays, all_nodes, assert_same, copied, filled, inputs_at, load, run
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import plan_cuts
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.tracing.trace import trace
from onnx_dnscp.training.passes.constants import lift_constants
from onnx_dnscp.training.passes.masks import insert_masks
from onnx_dnscp.training.passes.opset import to_trainable_opset
from onnx_dnscp.training.view import MASK_INPUT, build_view

OTHERS = ("ConvInteger", "MatMulInteger", "QLinear", "QGemm", "QuantizeLinear", "float16", "double")
PRUNABLE = [case for case in CASES if case.widths]
FLOAT32 = [case for case in PRUNABLE if not any(word in case.text for word in OTHERS)]
WITH_BODIES = [case for case in FLOAT32 if not {"If", "Loop", "Scan"}.isdisjoint(case.covers)]
ROUND_TRIPS = [  # strides, groups, weights kept or moved in other ways, sizes that are computed or baked, bodies
    "Conv-2d-named", "Conv-grouped-equal-positions", "Conv-weights-in-Constant-nodes", "ConvTranspose-output-shape",
    "BatchNormalization", "Reshape-square-shuffle", "group-norm-by-InstanceNormalization-Shape", "residual-chain",
    "If-nested", "If-Reshape-computed-in-a-branch", "Loop-convolution-pair",
]  # fmt: skip


@cache
def units_of(case: Case) -> Units:
    return discover(load(case.model))


def some_mask(units: Units) -> Mask:
    mask = np.random.default_rng(4).random(units.num_units) < 0.5
    mask[[group.first for group in units.groups]] = True
    mask[[group.first + group.width - 1 for group in units.groups if group.width > 1]] = False
    return mask


def with_masks(model: onnx.ModelProto, units: Units) -> tuple[onnx.ModelProto, list[str]]:
    """What the pass makes of a whole model, sub-graphs that no gradient passes included."""
    copy = to_trainable_opset(model)
    lift_constants(copy)
    copy.graph.input.append(helper.make_tensor_value_info(MASK_INPUT, TensorProto.FLOAT, [units.num_units + 1]))
    graph = read_graph(copy)
    return copy, insert_masks(copy, graph, units, dict(trace(graph).shapes), MASK_INPUT)


def masked_feeds(feeds: Arrays, mask: Mask) -> Arrays:
    return {**feeds, MASK_INPUT: np.append(mask, True).astype(np.float32)}


@pytest.mark.parametrize("case", [*WITH_BODIES, *FLOAT32[::10]], ids=str)
def test_inserted_masks_silence_what_the_masked_model_silences(case: Case) -> None:
    """In sub-graphs as outside; with all units on, the masks are ones and change no bit."""
    units = units_of(case)
    mask, feeds = some_mask(units), inputs_at(case.model, 2, 8)
    model, masks = with_masks(case.model, units)
    assert len(masks) == len(units.consumers)
    plain = run(to_trainable_opset(case.model), feeds)
    assert_same(run(model, masked_feeds(feeds, np.ones_like(mask))), plain, tol=0)
    expected = run(mask_model(to_trainable_opset(case.model), units, mask), feeds)
    assert_same(run(model, masked_feeds(feeds, mask)), expected, tol=0)


@pytest.mark.needs_training
def test_a_branch_before_what_learns_is_masked() -> None:
    """No gradient passes the If, but the layers behind it see what the pruned branch will give them."""
    model = filled("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 3, 6, 6] x, bool flag) => (float[N, 2, 6, 6] y)
        <float[5, 4, 1, 1] w1, float[2, 5, 1, 1] w2> {
          s = If(flag)<
            then_branch = yes () => (float[N, 4, P, Q] t) <float[6, 3, 1, 1] wt, float[4, 6, 1, 1] vt>
              { p = Conv(x, wt) r = Relu(p) t = Conv(r, vt) },
            else_branch = no () => (float[N, 4, P, Q] e) <float[4, 3, 1, 1] we> { e = Conv(x, we) }>
          b = Conv(s, w1)
          y = Conv(b, w2)
        }""")
    units = discover(load(model))
    assert sorted(group.width for group in units.groups) == [4, 5, 6]
    view = build_view(model, {"x": (2, 3, 6, 6), "flag": ()}, units=units)
    assert view.trainable == ["w1", "w2"]
    assert len(view.masks) == 2, "those that gradients meet"
    view.model.graph.output.append(onnx.ValueInfoProto(name="y"))
    mask = some_mask(units)
    for flag in (True, False):
        feeds = inputs_at(model, 2, 6) | {"flag": np.array(flag)}
        expected = run(mask_model(model, units, mask), feeds)
        assert_same(run(view.model, {**masked_feeds(feeds, mask), **view.values}), expected, tol=0)


def test_nothing_else_of_the_model_changes() -> None:
    """Attributes that graphsurgeon cannot carry (empty lists, text that is no UTF-8) and names stay; dead nodes go."""
    model = filled("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[2, 3, 1, 1] x) => (float[2, 2, 1, 1] y)
        <float[4, 3, 1, 1] w1, float[2, 4, 1, 1] w2> { a = Conv(x, w1) d = Neg(a) y = Conv(a, w2) }""")
    units = discover(load(model))
    for node in model.graph.node:
        node.name, node.doc_string = "same", f"the node of {node.output[0]}"
        node.attribute.append(helper.make_attribute("empty", [], attr_type=onnx.AttributeProto.INTS))
        node.attribute.append(helper.make_attribute("text", b"\xff"))
    expected = copied(model).graph.node
    expected[2].input[1] = "dnscp//masked/0"
    model.graph.input.append(helper.make_tensor_value_info(MASK_INPUT, TensorProto.FLOAT, [units.num_units + 1]))
    insert_masks(model, read_graph(model), units, {}, MASK_INPUT)
    assert [node.op_type for node in model.graph.node] == ["Conv", "Gather", "Mul", "Conv"]
    assert [model.graph.node[0], model.graph.node[3]] == [expected[0], expected[2]]


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_graphsurgeon_reads_pruned_files(name: str) -> None:
    """An independent reader: import, clean-up and export of a pruned file find nothing amiss and change no result."""
    case = next(case for case in PRUNABLE if case.name == name)
    units = units_of(case)
    pruned = apply_cuts(case.model, units, plan_cuts(units, some_mask(units)))
    surgeon = gs.import_onnx(copied(pruned))
    surgeon.tensors(check_duplicates=True)
    exported = gs.export_onnx(surgeon.cleanup())
    assert len(all_nodes(exported)) == len(all_nodes(pruned)), "surgery left no dead nodes"
    for batch in (1, 3):
        feeds = inputs_at(case.model, batch, 8)
        assert_same(run(exported, feeds), run(pruned, feeds), tol=0)
