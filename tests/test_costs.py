"""Costs: params and MACs against counts made by hand, and of a mask against the pruned model's own."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
from cases import CASES, Case, case
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference

from models import load, run, stored_arrays, stored_tensors
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.measure.cost_registry import COSTS, CostInputs, cost
from onnx_dnscp.measure.costs import CostModel, model_costs
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import plan_cuts
from onnx_dnscp.tracing.trace import trace

PRUNABLE = [case for case in CASES if case.widths]


@cache
def units_of(case: Case) -> Units:
    return discover(load(case.model))


COUNTED = {
    # 5 x 3 x 3 x 3 weights at 6 x 6 places, 5 biases; 2 x 5 weights at 6 x 6 places; whatever the batch
    "conv": (case("conv", "Conv", "a = Conv<pads = [1, 1, 1, 1]>(x, w1, b1) y = Conv(a, w2)", (5,),
                  "float[5, 3, 3, 3] w1, float[5] b1, float[2, 5, 1, 1] w2", inputs="float[N, 3, 6, 6] x"),
             135 + 5 + 10, 36 * 135 + 36 * 10),
    # strides halve the 6 x 6 places to 3 x 3 (kernel 2)
    "strided": (case("strided", "Conv", "a = Conv<strides = [2, 2]>(x, w1) y = Conv(a, w2)", (4,),
                     "float[4, 3, 2, 2] w1, float[2, 4, 1, 1] w2", inputs="float[7, 3, 6, 6] x"),
                48 + 8, 9 * 48 + 9 * 8),
    # 2 groups: every output reads 3 of 6 channels
    "grouped": (case("grouped", "Conv", "a = Conv(x, w1) b = Conv<group = 2>(a, wg) y = Conv(b, w2)", (2, 3),
                     "float[6, 3, 1, 1] w1, float[4, 3, 1, 1] wg, float[2, 4, 1, 1] w2", inputs="float[N, 3, 2, 2] x"),
                18 + 12 + 8, 4 * (18 + 12 + 8)),
    # every one of 2 x 2 places is spread over 3 x 3; 5 outputs in each of 2 groups; the last reads 4 x 4 places
    "transposed": (case("transposed", "ConvTranspose",
                        "a = Conv(x, w1) b = ConvTranspose<group = 2>(a, wt, bt) y = Conv(b, w2)", (2, 5),
                        "float[4, 3, 1, 1] w1, float[4, 5, 3, 3] wt, float[10] bt, float[2, 10, 1, 1] w2",
                        inputs="float[N, 3, 2, 2] x"),
                   12 + 180 + 10 + 20, 4 * (12 + 180) + 16 * 20),
    # either side may be transposed: 7 tokens
    "fused": (case("fused", "FusedMatMul",
                   "a = com.microsoft.FusedMatMul<transB = 1>(x, w1) t = Transpose<perm = [0, 2, 1]>(a) "
                   "y = com.microsoft.FusedMatMul<transA = 1>(t, w2)", (4,), "float[4, 5] w1, float[4, 2] w2",
                   inputs="float[N, 7, 5] x", outputs="float[N, 7, 2] y"),
              20 + 8, 7 * 28),
    # a weight counts once per use, a bias is no product
    "gemm": (case("gemm", "Gemm", "a = Gemm(x, w1, c1) y = Gemm<transB = 1>(a, w2)", (4,),
                  "float[5, 4] w1, float[4] c1, float[2, 4] w2", inputs="float[N, 5] x", outputs="float[N, 2] y"),
             20 + 4 + 8, 20 + 8),
    # 7 tokens
    "matmul": (case("matmul", "MatMul", "a = MatMul(x, w1) y = MatMul(a, w2)", (4,),
                    "float[5, 4] w1, float[4, 2] w2", inputs="float[N, 7, 5] x", outputs="float[N, 7, 2] y"),
               20 + 8, 7 * 28),
    # every letter once: 4 channels x 6 rows x 5 columns x 2 results, behind 6 x 5 places of 4 x 3 weights
    "einsum": (case("einsum", "Einsum", 'a = Conv(x, w1) y = Einsum<equation = "nchw,hco->no">(a, w2)', (4,),
                    "float[4, 3, 1, 1] w1, float[6, 4, 2] w2", inputs="float[N, 3, 6, 5] x", outputs="float[N, 2] y"),
               12 + 48, 30 * 12 + 240),
    # 2 sequences of 3 steps, which count as 3 samples: 4 gates of 6 read 5 inputs and 6 states
    "lstm": (case("lstm", "LSTM", "h, y, c = LSTM<hidden_size = 6>(x, wi, wr)", (),
                  "float[1, 24, 5] wi, float[1, 24, 6] wr", inputs="float[3, 2, 5] x", outputs="float[1, 2, 6] y"),
             24 * 5 + 24 * 6, 2 * 24 * (5 + 6)),
    "shared": (case("shared", "Conv", "a = Conv(x, w1) b = Conv(a, ws) c = Conv(b, ws) y = Conv(c, w2)", (4,),
                    "float[4, 3, 1, 1] w1, float[4, 4, 1, 1] ws, float[2, 4, 1, 1] w2", inputs="float[N, 3, 2, 2] x"),
               12 + 16 + 8, 4 * (12 + 16 + 16 + 8)),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTED)
def test_costs_are_those_counted_by_hand(name: str) -> None:
    """Params and MACs of one sample, from the model and from the cost model alike."""
    counted, params, macs = COUNTED[name]
    whole = CostModel(units_of(counted)).costs()
    assert (whole.params, whole.macs) == (params, macs)
    graph = read_graph(counted.model)
    assert model_costs(graph, trace(graph)) == whole


def saved(units: Units, mask: Mask, frozen: Mask | None = None) -> dict[str, float]:
    """What a mask saves of each registered cost."""
    return {name: make(CostInputs(units, frozen)).saved(mask) for name, make in COSTS.items()}


def test_costs_of_a_mask_are_those_counted_by_hand() -> None:
    """Two of five channels go: 3 x 27 + 3 + 2 x 3 params are left, and both convolutions shrink."""
    counted, _, _ = COUNTED["conv"]
    units, mask = units_of(counted), np.array([False, True, True, False, True])
    left = CostModel(units).costs(mask)
    assert (left.params, left.macs) == (81 + 3 + 6, 36 * 81 + 36 * 6)
    shares = {"channels": 2 / 5, "params": 1 - 90 / 150, "macs": 1 - 87 / 145}
    assert saved(units, mask) == pytest.approx(shares)
    frozen = np.array([False, True, False, False, False])  # one of the four others cannot go, and does not count
    assert saved(units, mask, frozen) == pytest.approx({**shares, "channels": 2 / 4})
    assert saved(units, np.ones(5, dtype=bool)) == dict.fromkeys(COSTS, 0)


def test_a_cost_is_registered_once_and_bears_its_name() -> None:
    """A second cost of that name is a mistake; messages and options say the same."""
    with pytest.raises(ValueError, match="'macs' is registered twice"):
        cost("macs")(COSTS["macs"])
    inputs = CostInputs(units_of(COUNTED["conv"][0]))
    assert {name: make(inputs).name for name, make in COSTS.items()} == {name: name for name in COSTS}


def test_integers_are_no_parameters() -> None:
    """Shapes, axes and indices are not learned."""
    flatten = next(case for case in CASES if case.name == "Reshape-explicit-count")
    assert CostModel(units_of(flatten)).costs().params == 4 * 3 + 144 * 2


@pytest.mark.no_cover
@pytest.mark.parametrize("case", PRUNABLE, ids=str)
def test_costs_of_a_mask_equal_those_of_the_pruned_model(case: Case) -> None:
    """Predicting what stays and counting what is left afterwards give the same numbers."""
    units = units_of(case)
    costs = CostModel(units)
    rng = np.random.default_rng(1)
    for share in (0.3, 0.7, 1.0):
        mask = rng.random(units.num_units) >= share
        mask[[group.first for group in units.groups]] = True
        pruned = apply_cuts(case.model, units, plan_cuts(units, mask))
        graph = read_graph(pruned)
        predicted = costs.costs(mask)
        assert predicted == model_costs(graph, trace(graph, like=units.trace))
        assert predicted.params == count_params(pruned)
        whole = costs.costs()
        shares = {
            "channels": 1 - mask.mean(),
            "params": 1 - predicted.params / whole.params,
            "macs": 1 - predicted.macs / whole.macs,
        }
        assert saved(units, mask) == pytest.approx(shares)


def count_params(model: onnx.ModelProto) -> int:
    tensors = [numpy_helper.to_array(tensor) for _, tensor in stored_tensors(model)]  # two bodies may use one name
    lists = [array for name, array in stored_arrays(model).items() if name not in dict(stored_tensors(model))]
    arrays = [*tensors, *lists]
    return sum(array.size for array in arrays if array.dtype.kind not in "iub" or array.dtype.itemsize < 4)


@pytest.mark.parametrize("case", [c for c in PRUNABLE if "net (float[N, 3, 6, 6] x) " in c.text], ids=str)
def test_macs_agree_with_a_plain_count(case: Case) -> None:
    """Independent of rules: loop over the nodes of a static copy and multiply sizes."""
    static = onnx.ModelProto()
    static.CopyFrom(case.model)
    static.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    expected = plain_macs(static)
    graph = read_graph(static)
    assert model_costs(graph, trace(graph)).macs == expected


def plain_macs(model: onnx.ModelProto) -> int:
    """Output elements times the products behind each, with shapes from an actual run.

    Products of two activations (attention scores) are left out, as they are documented to be.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    types = {info.name: info for info in shape_inference.infer_shapes(model).graph.value_info}
    known = {output.name for output in probe.graph.output}
    sizes = {name: tuple(tensor.dims) for name, tensor in stored_tensors(model)}
    weighty = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    heavy = [node for node in weighty if node.op_type == "Conv" or not {*node.input[:2]}.isdisjoint(sizes)]
    probe.graph.output.extend(types[node.output[0]] for node in heavy if node.output[0] not in known)
    values = run(probe, {"x": np.zeros((1, 3, 6, 6), dtype=np.float32)})
    total = 0
    for node in heavy:
        weight = sizes[node.input[1]]
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        reduced: NDArray[np.int64] | int
        reduced = int(np.prod(weight[1:])) if node.op_type == "Conv" else weight[1 if transposed else 0]
        total += values[node.output[0]].size * int(reduced)
    return total


def test_attention_between_all_pixels_is_traced_small_and_compared_at_one_size() -> None:
    """At the usual size it takes gigabytes; a pruned network that would not is still counted at the original's size."""
    units = units_of(next(case for case in CASES if case.name == "attention-fused-Split"))
    mask = np.ones(units.num_units, np.bool_)
    for group in units.groups:
        mask[group.slice][:2] = False
    pruned = read_graph(apply_cuts(units.graph.proto, units, plan_cuts(units, mask)))
    again = trace(pruned, like=units.trace)
    assert again.shapes["x"] == units.trace.shapes["x"] == (2, 3, 32, 32)
    assert trace(pruned).shapes["x"] == (2, 3, 64, 64), "alone it is small enough"
    assert model_costs(pruned, again).macs < model_costs(units.graph, units.trace).macs
