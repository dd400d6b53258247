"""Surgery: the pruned model is the masked model without what is silent, and otherwise the user's file."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from cases import CASES, ENDS, Case, case
from mask_samples import ROUNDING, some_masks, units_of
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference
from oracle import set_inputs_to_zero

from models import Arrays, assert_same, copied, filled, inputs_at, passes_check, passes_full_check, run, stored_arrays
from onnx_dnscp.errors import RequestError
from onnx_dnscp.model.units import Mask
from onnx_dnscp.runs.plan import make_plan
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import cut_array, embed_array, plan_cuts
from onnx_dnscp.surgery.masked import mask_model

PRUNABLE = [case for case in CASES if case.widths]
SIZES = ((1, 8), (3, 12))  # (batch, size of dynamic axes); discovery traces with batch 2 and size 64


def pruned_model(case: Case, mask: Mask) -> onnx.ModelProto:
    units = units_of(case)
    return apply_cuts(case.model, units, plan_cuts(units, mask))


def feeds_of(case: Case) -> list[Arrays]:
    return [inputs_at(case.model, batch, size) for batch, size in (SIZES if case.dynamic else SIZES[:1])]


@pytest.mark.parametrize("case", PRUNABLE, ids=str)
def test_pruned_model_equals_masked_model(case: Case) -> None:
    """At input sizes that discovery did not see, and for every mask, only rounding differs."""
    units = units_of(case)
    valid = passes_full_check(case.model)
    for mask in some_masks(units):
        pruned = pruned_model(case, mask)
        masked = mask_model(case.model, units, mask)
        assert pruned != case.model
        assert not valid or passes_full_check(pruned)
        for feeds in feeds_of(case):
            assert_same(run(pruned, feeds), run(masked, feeds), tol=ROUNDING)


@pytest.mark.no_cover
@pytest.mark.parametrize("case", PRUNABLE, ids=str)
def test_pruned_model_equals_original_with_the_plans_inputs_set_to_zero(case: Case) -> None:
    """The plan's `consumers` alone, carried out with plain numpy, give the same outputs."""
    units = units_of(case)
    for mask in some_masks(units):
        silenced = set_inputs_to_zero(case.model, make_plan(units, mask, "0"))
        pruned = pruned_model(case, mask)
        for feeds in feeds_of(case):
            assert_same(run(pruned, feeds), run(silenced, feeds), tol=ROUNDING)


@pytest.mark.no_cover
@pytest.mark.parametrize("case", PRUNABLE, ids=str)
def test_stored_tensors_shrink_exactly_where_the_plan_says(case: Case) -> None:
    """What stays of every weight is the original without the plan's slices."""
    units = units_of(case)
    for mask in some_masks(units):
        expected = stored_arrays(case.model)
        groups = {n.input[1]: a.i for n in case.model.graph.node for a in n.attribute if a.name == "group"}
        for group in make_plan(units, mask, "0").groups:
            assert len(group.removed) == (~mask[units.groups[group.id].slice]).sum()
            for cut in group.slices:
                gone = [index for indices in cut.indices.values() for index in indices]
                expected[cut.tensor] = delete_marked(expected[cut.tensor], cut.axis, gone, groups.get(cut.tensor, 1))
        for name, left in stored_arrays(pruned_model(case, mask)).items():
            if name in expected and expected[name].dtype.kind == "f":
                values = expected[name]
                np.testing.assert_array_equal(left.astype(values.dtype), values[~np.isnan(values)].reshape(left.shape))


def delete_marked(values: NDArray[Any], axis: int, indices: list[int], groups: int) -> NDArray[Any]:
    """Mark slices as NaN, so that several groups can cut one axis by original positions.

    Positions beyond the axis count through the groups of a convolution, each with rows of its own.
    """
    values = values.copy() if values.dtype.kind == "f" else values.astype(np.float64)
    if max(indices) < values.shape[axis]:
        np.moveaxis(values, axis, 0)[indices] = np.nan
        return values
    blocks = values.reshape(groups, -1, *values.shape[1:])
    for index in indices:
        group, position = divmod(index, values.shape[axis])
        blocks[group, :, position] = np.nan
    return values


@pytest.mark.parametrize("case", PRUNABLE, ids=str)
def test_declared_shapes_follow(case: Case) -> None:
    """Shapes written in the file agree with what ONNX's own shape inference says of the pruned model."""
    declared = shape_inference.infer_shapes(case.model)
    units = units_of(case)
    mask = next(some_masks(units))
    pruned = apply_cuts(declared, units, plan_cuts(units, mask))
    written = static_shapes(pruned)
    assert len(written) >= len(static_shapes(declared)) - len(case.model.graph.node)
    bare = copied(pruned)
    del bare.graph.value_info[:]
    inferred = static_shapes(shape_inference.infer_shapes(bare))
    compared = 0
    for name in written.keys() & inferred.keys():
        for left, right in zip(written[name], inferred[name], strict=True):
            if left and right:
                assert left == right, name
                compared += 1
    assert compared
    for full in (False, True):
        assert passes_check(pruned, full=full) or not passes_check(declared, full=full)


def static_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    graph = model.graph
    infos = (*graph.value_info, *graph.input, *graph.output)
    return {info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim] for info in infos}


def test_declared_shapes_of_value_info_and_old_inputs_shrink() -> None:
    """A hand-worked example: 4 channels minus one, in value_info and in inputs that repeat initializers."""
    for name, tensors in (("declared-shapes", ("a", "r")), ("Conv-initializers-are-inputs", ("s", "t", "m", "pos_v"))):
        chosen = next(case for case in CASES if case.name == name)
        pruned = pruned_model(chosen, np.array([True, False, True, True]))
        assert [4 in static_shapes(chosen.model)[tensor] for tensor in tensors] == [True] * len(tensors)
        assert [3 in static_shapes(pruned)[tensor] for tensor in tensors] == [True] * len(tensors)
        assert [4 in static_shapes(pruned)[tensor] for tensor in tensors] == [False] * len(tensors)


@pytest.mark.no_cover
@pytest.mark.parametrize("case", CASES, ids=str)
def test_removing_nothing_changes_nothing(case: Case) -> None:
    units = units_of(case)
    before = case.model.SerializeToString(deterministic=True)
    everything = np.ones(units.num_units, dtype=bool)
    after = apply_cuts(case.model, units, plan_cuts(units, everything))
    assert after == case.model
    assert mask_model(case.model, units, everything) == case.model
    assert case.model.SerializeToString(deterministic=True) == before


@pytest.mark.no_cover
@pytest.mark.parametrize("case", PRUNABLE, ids=str)
def test_the_rest_of_the_file_stays_as_it_was(case: Case) -> None:
    """Names, order, opset, IR version, metadata, inputs and outputs are kept; the argument is not modified."""
    before = case.model.SerializeToString(deterministic=True)
    for mask in some_masks(units_of(case)):
        pruned = pruned_model(case, mask)
        mask_model(case.model, units_of(case), mask)
        assert case.model.SerializeToString(deterministic=True) == before
        assert pruned.ir_version == case.model.ir_version
        assert pruned.opset_import == case.model.opset_import
        assert pruned.metadata_props == case.model.metadata_props
        assert pruned.graph.name == case.model.graph.name
        assert pruned.graph.output == case.model.graph.output
        names = [info.name for info in case.model.graph.input]
        assert [info.name for info in pruned.graph.input][: len(names)] == names
        assert pruned.graph.input[0] == case.model.graph.input[0]
        check_nodes(case.model.graph, pruned.graph)
        check_initializers(case.model.graph, pruned.graph)


def check_nodes(before: onnx.GraphProto, after: onnx.GraphProto) -> None:
    """Every node of `after` is the original one, or new; what is missing computed integers only."""
    originals = {node.output[0]: node for node in before.node}
    kept = [node for node in after.node if node.output[0] in originals]
    assert [n.output[0] for n in kept] == [
        n.output[0] for n in before.node if n.output[0] in {k.output[0] for k in kept}
    ]
    for node in kept:
        original = originals[node.output[0]]
        assert (node.op_type, node.name, node.domain) == (original.op_type, original.name, original.domain)
        assert node.output == original.output
        if node.op_type != "ConstantOfShape":  # its first operand is the shape
            assert [n for n in node.input[:1]] == [n for n in original.input[:1]]
        for new, old in zip(node.input, original.input, strict=False):
            assert new == old or "_pruned" in new
    lost = [node.op_type for node in before.node if node.output[0] not in {k.output[0] for k in kept}]
    computing_integers = {"Constant", "Concat", "Gather", "Cast", "Reshape", "Transpose", "Slice", "ConstantOfShape"}
    assert set(lost) <= computing_integers | {"Div", "Range", "Shape"}


def check_initializers(before: onnx.GraphProto, after: onnx.GraphProto) -> None:
    originals = {tensor.name: tensor for tensor in before.initializer}
    kept = [tensor for tensor in after.initializer if tensor.name in originals]
    assert [t.name for t in kept] == [t.name for t in before.initializer if t.name in {k.name for k in kept}]
    assert all(tensor.data_type == originals[tensor.name].data_type for tensor in kept)
    assert all(tensor.data_type in (6, 7) for name, tensor in originals.items() if name not in {k.name for k in kept})


@pytest.mark.parametrize("case", [c for c in CASES if c.name in ("Conv-2d-named", "residual-chain")], ids=str)
def test_a_group_cannot_be_emptied(case: Case) -> None:
    """The refusal names the group, its readers and its width, and nothing is edited."""
    units = units_of(case)
    before = case.model.SerializeToString(deterministic=True)
    group = units.groups[-1]
    mask = np.ones(units.num_units, dtype=bool)
    mask[group.slice] = False
    message = rf"Group {group.id} \(read by {', '.join(group.consumers)}\) would lose all {group.width} channels"
    with pytest.raises(RequestError, match=message):
        plan_cuts(units, mask)
    assert case.model.SerializeToString(deterministic=True) == before


def test_the_named_consumer_is_in_the_refusal() -> None:
    chosen = next(case for case in CASES if case.name == "Conv-2d-named")
    with pytest.raises(RequestError, match=r"read by second.*all 5 channels"):
        plan_cuts(units_of(chosen), np.zeros(5, dtype=bool))


@pytest.mark.parametrize("name", ["Conv-2d-named", "Flatten-Gemm", "MatMul-right"])
def test_the_comparison_bites(name: str) -> None:
    """One weight that moves by 1 % is noticed, in every stored float tensor's largest element."""
    chosen = next(case for case in CASES if case.name == name)
    feeds = feeds_of(chosen)[0]
    expected = run(chosen.model, feeds)
    assert_same(run(copied(chosen.model), feeds), expected, tol=ROUNDING)
    for index, tensor in enumerate(chosen.model.graph.initializer):
        values = numpy_helper.to_array(tensor).copy()
        if values.dtype.kind != "f":
            continue
        values.flat[np.abs(values).argmax()] *= 1.01
        moved_model = copied(chosen.model)
        moved_model.graph.initializer[index].CopyFrom(numpy_helper.from_array(values, tensor.name))
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            assert_same(run(moved_model, feeds), expected, tol=ROUNDING)


def test_weights_trained_after_discovery_are_the_ones_that_are_cut() -> None:
    """Surgery takes values from the model it is given, not from the one discovery saw."""
    chosen = next(case for case in CASES if case.name == "residual-chain")
    units = units_of(chosen)
    trained = filled(chosen.text, seed=7)
    mask = next(some_masks(units))
    pruned = apply_cuts(trained, units, plan_cuts(units, mask))
    feeds = feeds_of(chosen)[0]
    assert_same(run(pruned, feeds), run(mask_model(trained, units, mask), feeds), tol=ROUNDING)


def test_embedding_what_was_cut_restores_the_array() -> None:
    """`embed_array` writes the small array back where `cut_array` took it from."""
    full = np.arange(24.0).reshape(2, 3, 4)
    keeps = {1: np.array([0, 2]), 2: np.array([1, 3])}
    small = cut_array(full, keeps)
    np.testing.assert_array_equal(small, [[[1, 3], [9, 11]], [[13, 15], [21, 23]]])
    np.testing.assert_array_equal(embed_array(full, small, keeps), full)
    np.testing.assert_array_equal(embed_array(full * 0, small, keeps)[0], [[0, 1, 0, 3], [0] * 4, [0, 9, 0, 11]])


def test_what_was_unused_in_the_file_stays() -> None:
    """Surgery tidies up after itself only."""
    unused = case(
        "unused",
        "Conv",
        "a = Conv(x, w1) idle = Relu(a) y = Conv(a, w2)",
        (4,),
        ENDS + ", float[5] nobody, int64[1] none = {3}",
    )
    pruned = pruned_model(unused, np.array([True, False, False, False]))
    assert [node.output[0] for node in pruned.graph.node] == ["a", "idle", "y"]
    assert {"nobody", "none"} <= {tensor.name for tensor in pruned.graph.initializer}
