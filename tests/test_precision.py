"""Networks in other numbers than float32: int8 in both formats, float16, bfloat16; whole files, through `prune`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from oracle import set_inputs_to_zero

from models import copied, load, run, stored_arrays
from onnx_dnscp import RequestError, VerificationError, prune
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.measure.verify import relative_error, verify
from onnx_dnscp.model.bfloat import uses_bfloat16, widen_bfloat16, widened
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.runs.plan import Plan
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import plan_cuts
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.surgery.weights import copy_with_weights, set_tensor

NETWORKS = ("digits-resnet", "digits-separable")
FORMATS = (QuantFormat.QDQ, QuantFormat.QOperator)
CALIBRATION_SAMPLES = 20
WIDTHS = {"digits-resnet": [32, 32, 64, 64, 64], "digits-separable": [32, 48, 48, 32, 96]}  # those of the float files


class Images(CalibrationDataReader):
    """The first images, one at a time."""

    def __init__(self, path: Path) -> None:
        self._images: Iterator[NDArray[Any]] = iter(np.load(path)["image"][:CALIBRATION_SAMPLES].astype(np.float32))

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        image = next(self._images, None)
        return None if image is None else {"image": image[None]}


@pytest.fixture(scope="module", params=[(n, f, c) for n in NETWORKS for f in FORMATS for c in (False, True)], ids=str)
def quantized(
    request: pytest.FixtureRequest, resnet_path: Path, train_data_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An int8 file as ONNX Runtime's quantiser writes it: network, format, whether scales are per channel."""
    name, quant_format, per_channel = request.param
    path = tmp_path_factory.mktemp("int8") / f"{name}.onnx"
    quantize_static(
        resnet_path.parent / f"{name}.onnx",
        path,
        Images(train_data_path),
        quant_format=quant_format,
        per_channel=per_channel,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return path


def images(path: Path) -> dict[str, NDArray[Any]]:
    return {"image": np.load(path)["image"][:64].astype(np.float32)}


@pytest.mark.filterwarnings("ignore")  # the quantiser's own
def test_int8_files_are_pruned_like_the_float_files(quantized: Path, test_data_path: Path, tmp_path: Path) -> None:
    """Half of the channels go, from the same groups; the plan's zeros in the int8 weights give the same outputs."""
    report = prune(
        quantized, tmp_path / "out.onnx", plan_out=tmp_path / "plan.json", train=False, ratio=0.5, data=test_data_path
    )
    assert [group.width for group in report.groups] == WIDTHS[quantized.stem]
    assert report.after.params < 0.55 * report.before.params
    assert report.max_relative_error <= 1e-3
    original, pruned = onnx.load(quantized), onnx.load(tmp_path / "out.onnx")
    onnx.checker.check_model(pruned)
    types = {name: array.dtype for name, array in stored_arrays(original).items()}
    assert {name: array.dtype for name, array in stored_arrays(pruned).items()} == types
    silenced = set_inputs_to_zero(original, Plan.model_validate(json.loads((tmp_path / "plan.json").read_text())))
    feeds = images(test_data_path)
    (expected,), (actual,) = run(silenced, feeds).values(), run(pruned, feeds).values()
    # Sums of floats in another order may move a value across a rounding step; that shows in single elements.
    assert np.mean(actual != expected) < 0.01
    assert relative_error(actual, expected) < 0.05
    (whole,) = run(original, feeds).values()
    assert np.mean(whole != expected) > 0.05


@pytest.mark.filterwarnings("ignore")
def test_a_mistake_in_an_int8_network_is_caught(quantized: Path, test_data_path: Path) -> None:
    """One removed channel that is not silent in the masked model, and one consumer's slices in another order."""
    units = discover(load(onnx.load(quantized)))
    batch = Batch(images(test_data_path), None)
    mask = np.ones(units.num_units, dtype=bool)
    mask[[group.first for group in units.groups]] = False
    pruned = apply_cuts(units.graph.proto, units, plan_cuts(units, mask))
    masked = mask_model(units.graph.proto, units, mask)
    assert verify(pruned, masked, [batch]).max_relative_error <= 1e-3
    more = mask.copy()
    more[units.groups[1].first] = True
    with pytest.raises(VerificationError):
        verify(pruned, mask_model(units.graph.proto, units, more), [batch])
    consumer = units.consumers[-1]
    weight = next(array for name, array in stored_arrays(pruned).items() if name == consumer.weight)
    with pytest.raises(VerificationError):
        verify(copy_with_weights(pruned, {consumer.weight: np.flip(weight, consumer.axis)}), masked, [batch])


def deep_network(depth: int, width: int) -> onnx.ModelProto:
    """A chain of int8 convolutions whose activations keep their size when half of the channels are gone."""
    rng = np.random.default_rng(0)
    scalars = {"u": np.uint8(128), "s": np.float32(0.03)}
    weights = [numpy_helper.from_array(np.array(value), name) for name, value in scalars.items()]
    nodes = []
    for i in range(depth):
        reads = width if i else 3
        scales = rng.uniform(1.2, 1.7, width).astype(np.float32) / np.float32(52 * np.sqrt(9 * reads))
        stored = rng.integers(-90, 90, (width, reads, 3, 3)).astype(np.int8)
        weights += [numpy_helper.from_array(stored, f"w{i}"), numpy_helper.from_array(scales, f"k{i}")]
        nodes += [
            helper.make_node("DequantizeLinear", [f"w{i}", f"k{i}"], [f"d{i}"], axis=0),
            helper.make_node("QuantizeLinear", [f"c{i}", "s", "u"], [f"q{i}"]),
            helper.make_node("DequantizeLinear", [f"q{i}", "s", "u"], [f"b{i}"]),
            helper.make_node("Conv", [f"b{i}", f"d{i}"], [f"c{i + 1}"], pads=[1, 1, 1, 1]),
        ]
    nodes.append(helper.make_node("GlobalAveragePool", [f"c{depth}"], ["y"]))
    image = helper.make_tensor_value_info("c0", TensorProto.FLOAT, ["N", 3, 16, 16])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", width, 1, 1])
    graph = helper.make_graph(nodes, "deep", [image], [result], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_deep_int8_network_verifies() -> None:
    """Steps crossed by float rounding grow over 40 layers; the integer kernels do not know them."""
    model = deep_network(depth=40, width=32)
    units = discover(load(model))
    mask = np.random.default_rng(1).random(units.num_units) >= 0.5
    mask[[group.first for group in units.groups]] = True
    pruned = apply_cuts(model, units, plan_cuts(units, mask))
    batch = Batch({"c0": np.random.default_rng(2).standard_normal((2, 3, 16, 16)).astype(np.float32)}, None)
    assert verify(pruned, mask_model(model, units, mask), [batch]).max_relative_error <= 1e-3
    mask[units.groups[-1].first] = False
    with pytest.raises(VerificationError):
        verify(pruned, mask_model(model, units, mask), [batch])


@pytest.mark.needs_training
@pytest.mark.filterwarnings("ignore")
def test_training_an_int8_network_is_refused(quantized: Path, train_data_path: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"weight '.*_quantized' of node .* is stored in int8, which cannot"):
        prune(quantized, tmp_path / "out.onnx", epochs=1, data=train_data_path)
    assert not (tmp_path / "out.onnx").exists()


def converted(model: onnx.ModelProto, element_type: int) -> onnx.ModelProto:
    """All floats of a model in another type: weights, inputs, outputs and declared shapes."""
    result = copied(model)
    dtype = helper.tensor_dtype_to_np_dtype(element_type)
    for tensor in result.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype(dtype)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for info in (*result.graph.input, *result.graph.output, *result.graph.value_info):
        if info.type.tensor_type.elem_type == TensorProto.FLOAT:
            info.type.tensor_type.elem_type = element_type
    return result


@pytest.mark.parametrize("element_type", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_files_are_pruned(name: str, element_type: int, resnet_path: Path, tmp_path: Path) -> None:
    """The file keeps its type everywhere; the plan's zeros give the same outputs up to the type's rounding."""
    original = converted(onnx.load(resnet_path.parent / f"{name}.onnx"), element_type)
    (tmp_path / "in.onnx").write_bytes(original.SerializeToString())
    report = prune(tmp_path / "in.onnx", tmp_path / "out.onnx", plan_out=tmp_path / "plan.json", train=False, ratio=0.5)
    assert [group.width for group in report.groups] == WIDTHS[name]
    pruned = onnx.load(tmp_path / "out.onnx")
    assert {t.data_type for t in pruned.graph.initializer} == {t.data_type for t in original.graph.initializer}
    assert pruned.graph.input == original.graph.input
    assert pruned.graph.output == original.graph.output
    silenced = set_inputs_to_zero(original, Plan.model_validate(json.loads((tmp_path / "plan.json").read_text())))
    dtype = helper.tensor_dtype_to_np_dtype(element_type)
    feeds = {"image": np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(dtype)}
    (expected,), (actual,) = Session(silenced).run(feeds).values(), Session(pruned).run(feeds).values()
    assert relative_error(actual, expected) < (2e-2 if element_type == TensorProto.FLOAT16 else 1e-5)


def test_bfloat16_is_widened_wherever_it_is_written() -> None:
    """Initializers, constants, casts, declared types and sub-graphs; the copy computes what float32 does."""
    branch = helper.make_graph(
        [helper.make_node("Cast", ["c"], ["t"], to=TensorProto.BFLOAT16)],
        "branch", [], [helper.make_tensor_value_info("t", TensorProto.BFLOAT16, None)],
    )  # fmt: skip
    other = copied_graph(branch, "e")
    two = numpy_helper.from_array(np.array([2.0], dtype=helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)), "two")
    nodes = [
        helper.make_node("Constant", [], ["k"], value=two),
        helper.make_node("Mul", ["x", "two"], ["b"]),
        helper.make_node("Mul", ["b", "k"], ["c"]),
        helper.make_node("If", ["flag"], ["y"], then_branch=branch, else_branch=other),
    ]
    flag = numpy_helper.from_array(np.array(True), "flag")
    ends = [helper.make_tensor_value_info(name, TensorProto.BFLOAT16, [3]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], [two, flag])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    wide = copied(model)
    assert uses_bfloat16(wide)
    widen_bfloat16(wide)
    assert not uses_bfloat16(wide)
    feeds = {"x": np.array([1, -2, 0.5], dtype=helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16))}
    assert run(wide, widened(feeds))["y"].tolist() == [4, -8, 2]
    assert Session(model).run(feeds)["y"].tolist() == [4, -8, 2]


def copied_graph(graph: onnx.GraphProto, new: str) -> onnx.GraphProto:
    """The graph with another name for its result."""
    copy = onnx.GraphProto()
    copy.CopyFrom(graph)
    copy.node[0].output[0] = copy.output[0].name = new
    return copy


@pytest.mark.parametrize(
    "element_type",
    [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT8, TensorProto.UINT4, TensorProto.INT4,
     TensorProto.FLOAT8E4M3FN, TensorProto.DOUBLE],
)  # fmt: skip
def test_a_stored_tensor_keeps_its_type_and_documentation(element_type: int) -> None:
    tensor = helper.make_tensor("w", element_type, [2, 3], [1, 2, 3, 4, 5, 6])
    tensor.doc_string = "kept"
    set_tensor(tensor, numpy_helper.to_array(tensor)[:, [0, 2]])
    assert (tensor.name, tensor.data_type, tensor.doc_string, list(tensor.dims)) == ("w", element_type, "kept", [2, 2])
    assert numpy_helper.to_array(tensor).astype(float).tolist() == [[1, 3], [4, 6]]


def test_weights_inside_a_branch_are_reached() -> None:
    """A tensor stored in the body of an If is found by its name."""
    weight = numpy_helper.from_array(np.ones(3, dtype=np.float32), "inner")
    body = helper.make_graph(
        [helper.make_node("Add", ["x", "inner"], ["t"])],
        "body",
        [],
        [helper.make_tensor_value_info("t", 1, None)],
        [weight],
    )
    node = helper.make_node("If", ["flag"], ["y"], then_branch=body, else_branch=copied_graph(body, "e"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("x", "y")]
    flag = numpy_helper.from_array(np.array(True), "flag")
    model = helper.make_model(
        helper.make_graph([node], "net", ends[:1], ends[1:], [flag]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    feeds = {"x": np.zeros(3, dtype=np.float32)}
    assert run(copy_with_weights(model, {"inner": np.full(3, 5.0)}), feeds)["y"].tolist() == [5, 5, 5]
    with pytest.raises(KeyError, match="stores no tensor named"):
        copy_with_weights(model, {"nobody": np.zeros(3)})
