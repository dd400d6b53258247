"""Small ONNX models for tests: written as text, filled with seeded values, run by ONNX Runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import checker, helper, numpy_helper, parser, shape_inference

from onnx_dnscp.model.load import LoadedModel

Arrays = dict[str, NDArray[Any]]
Rng = np.random.Generator


def filled(text: str, seed: int = 0) -> onnx.ModelProto:
    """Parse ONNX text and give every declared weight seeded values.

    The parser keeps a declaration without a value (`<float[4, 3, 1, 1] w>`) as value_info; here it becomes an
    initializer: positive for names that start with `pos`, in a `Constant` node for names that start with `const`,
    repeated among the graph inputs for IR versions before 4.
    """
    model = parser.parse_model(text)
    graph = model.graph
    rng = np.random.default_rng(seed)
    for part in list(all_graphs(graph)):
        _fill(part, rng)
    if model.ir_version < 4:
        graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, tuple(t.dims)) for t in graph.initializer)
    return model


def _fill(graph: onnx.GraphProto, rng: Rng) -> None:
    made = {name for node in graph.node for name in node.output}
    constants = 0
    for info in [info for info in graph.value_info if info.name not in made]:
        tensor = numpy_helper.from_array(_values(info, rng), info.name)
        graph.value_info.remove(info)
        if info.name.startswith("const"):
            graph.node.insert(constants, helper.make_node("Constant", [], [info.name], value=tensor))
            constants += 1
        else:
            graph.initializer.append(tensor)


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and the bodies of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from all_graphs(attribute.g)


def all_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Every node, those of bodies included."""
    return [node for graph in all_graphs(model.graph) for node in graph.node]


def _values(info: onnx.ValueInfoProto, rng: Rng) -> NDArray[Any]:
    shape = tuple(d.dim_value for d in info.type.tensor_type.shape.dim)
    dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
    values = rng.uniform(0.5, 1.5, shape) if info.name.startswith("pos") else rng.standard_normal(shape)
    if dtype in (np.int8, np.uint8):
        values = np.abs(values) * 30 if dtype == np.uint8 else values * 30  # quantised weights
    return (values > 0 if dtype == np.bool_ else values).astype(dtype)


def stored_arrays(model: onnx.ModelProto) -> Arrays:
    """Values of initializers and `Constant` nodes, also of those that keep a plain list."""
    arrays: Arrays = {name: numpy_helper.to_array(tensor) for name, tensor in stored_tensors(model)}
    for node in all_nodes(model):
        if node.op_type == "Constant" and node.attribute[0].name == "value_floats":
            arrays[node.output[0]] = np.array(node.attribute[0].floats, dtype=np.float32)
    return arrays


def load(model: onnx.ModelProto) -> LoadedModel:
    """`model` as if it had been read from a file; nothing is written."""
    content = model.SerializeToString()
    return LoadedModel(Path("memory.onnx"), model, hashlib.sha256(content).hexdigest(), len(content))


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that can be edited."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def inputs_at(model: onnx.ModelProto, batch: int, size: int, seed: int = 0) -> Arrays:
    """Seeded inputs with `batch` for a dynamic first axis and `size` for other dynamic axes."""
    rng = np.random.default_rng(seed)
    stored = {tensor.name for tensor in model.graph.initializer}
    feeds: Arrays = {}
    for info in model.graph.input:
        if info.name not in stored:
            dims = info.type.tensor_type.shape.dim
            shape = [d.dim_value if d.dim_value > 0 else size if axis else batch for axis, d in enumerate(dims)]
            dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
            feeds[info.name] = np.asarray(rng.standard_normal(shape) * 2).astype(dtype)
    return feeds


def plain_session(model: onnx.ModelProto) -> ort.InferenceSession:
    """A session on one thread, without graph optimisations."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
    """All outputs of `model`, on one thread and without graph optimisations."""
    session = plain_session(model)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def assert_same(actual: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]], *, tol: float) -> None:
    """Fail unless all outputs agree in name, shape and type, and to `tol` of each output's largest magnitude."""
    assert list(actual) == list(expected)
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype, name
        assert np.isfinite(value).all(), f"{name} is not finite; the comparison would mean nothing"
        atol = tol * float(np.abs(value).max(initial=0.0))
        np.testing.assert_allclose(actual[name], value, rtol=0, atol=atol, err_msg=name)


def stored_tensors(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """(name, tensor) of initializers and of `Constant` nodes, in place, those of bodies included."""
    for graph in all_graphs(model.graph):
        yield from ((tensor.name, tensor) for tensor in graph.initializer)
    for node in all_nodes(model):
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            yield node.output[0], node.attribute[0].t


def passes_check(model: onnx.ModelProto, *, full: bool) -> bool:
    """Whether ONNX's own checker accepts the model; it turns down some files that runtimes read."""
    try:
        checker.check_model(model, full_check=full)
    except (checker.ValidationError, shape_inference.InferenceError):
        return False
    return True


def passes_full_check(model: onnx.ModelProto) -> bool:
    return passes_check(model, full=True)
