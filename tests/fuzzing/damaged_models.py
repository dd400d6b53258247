"""Damaged ONNX files: small valid networks, changed in their structure or byte by byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from cases import CASES
from google.protobuf.message import DecodeError
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from models import all_nodes, stored_tensors

MODELS = Path(__file__).parents[2] / "models"
Rng = np.random.Generator
Mutation = Callable[[onnx.ModelProto, Rng], None]

ODD = (0, 1, 2, 3, 5, 7, 64, 255, 65536, 10**6, 2**31 - 1, 2**31, 2**32 + 1, 2**40, 2**62, 2**63 - 1,
       -1, -2, -3, -7, -(2**31), -(2**63))  # fmt: skip
ODD_FLOATS = (0.0, -0.0, 1e-45, 1e38, -1e38, float("inf"), float("-inf"), float("nan"), 0.5, -1.0, 1e9)
NAMES = ("", "x", "y", "w1", "a", "\x00", "</script><b>", "../up", "a" * 5000, "\U0001f600", "x//shape", "%s")
LOCATIONS = (
    "../w.bin",
    "/etc/passwd",
    "w.bin",
    "",
    ".",
    "a/../../w.bin",
    "fuzz.onnx",
    "\x00",
    "~",
    "/dev/zero",
    "w" * 5000,
)
MUTATIONS: list[Mutation] = []


def seed_models() -> list[onnx.ModelProto]:
    """The networks of the test suite, most of a few nodes, and the smallest one in `models/`."""
    models = [case.model for case in CASES]
    smallest = onnx.load(MODELS / "digits-separable.onnx")
    return [*models, *[smallest] * (len(models) // 40)]


def damaged_model(seeds: list[onnx.ModelProto], rng: Rng) -> tuple[bytes, str]:
    """One damaged file, and what was done to it."""
    model = onnx.ModelProto()
    model.CopyFrom(_one(rng, seeds))
    done = []
    if rng.random() < 0.75:
        for _ in range(int(rng.integers(1, 4))):
            mutation = _one(rng, MUTATIONS)
            try:
                mutation(model, rng)
            except (
                LookupError,
                ValueError,
                TypeError,
                RuntimeError,
                DecodeError,
                onnx.checker.ValidationError,
            ):  # nothing of that kind is there
                continue
            done.append(mutation.__name__)
    content = model.SerializeToString()
    if not done or rng.random() < 0.1:
        content, how = damaged_bytes(content, rng)
        done.append(how)
    return content, " ".join(done)


def damaged_bytes(content: bytes, rng: Rng) -> tuple[bytes, str]:
    """The content with a few bytes changed, cut, doubled or filled."""
    data = bytearray(content)
    how = str(_one(rng, ("flip", "flip", "flip", "cut", "insert", "double", "fill", "drop")))
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 20))
    if how == "flip":
        for _ in range(length):
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    elif how == "cut":
        del data[at:]
    elif how == "insert":
        data[at:at] = rng.bytes(length)
    elif how == "double":
        data[at:at] = data[at : at + 50 * length]
    elif how == "fill":
        data[at : at + length] = bytes([int(_one(rng, (0, 0x7F, 0x80, 0xFF)))]) * length
    else:
        del data[at : at + length]
    return bytes(data), f"bytes-{how}"


def _mutation(function: Mutation) -> Mutation:
    MUTATIONS.append(function)
    return function


def _one(rng: Rng, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def _node(model: onnx.ModelProto, rng: Rng) -> onnx.NodeProto:
    return _one(rng, all_nodes(model))  # type: ignore[no-any-return]


def _tensor(model: onnx.ModelProto, rng: Rng) -> TensorProto:
    return _one(rng, [tensor for _, tensor in stored_tensors(model)])  # type: ignore[no-any-return]


def _names(model: onnx.ModelProto) -> list[str]:
    graph = model.graph
    made = [name for node in graph.node for name in node.output]
    return [*(i.name for i in graph.input), *(t.name for t in graph.initializer), *made, "", "nowhere"]


def _info(model: onnx.ModelProto, rng: Rng) -> onnx.ValueInfoProto:
    return _one(rng, [*model.graph.input, *model.graph.output, *model.graph.value_info])  # type: ignore[no-any-return]


@_mutation
def declared_size(model: onnx.ModelProto, rng: Rng) -> None:
    """An input or output has another size."""
    _one(rng, _info(model, rng).type.tensor_type.shape.dim).dim_value = _one(rng, ODD)


@_mutation
def declared_rank(model: onnx.ModelProto, rng: Rng) -> None:
    """An axis more, one less, or none."""
    shape = _info(model, rng).type.tensor_type.shape
    how = rng.integers(3)
    if how == 0:
        shape.dim.add(dim_value=_one(rng, ODD))
    elif how == 1:
        del shape.dim[int(rng.integers(len(shape.dim)))]
    else:
        del shape.dim[:]


@_mutation
def declared_type(model: onnx.ModelProto, rng: Rng) -> None:
    """An input or output of another element type, of none, or no tensor at all."""
    info = _info(model, rng)
    how = rng.integers(4)
    if how == 0:
        info.ClearField("type")
    elif how == 1:
        inner = onnx.TypeProto()
        inner.CopyFrom(info.type)
        info.type.sequence_type.elem_type.CopyFrom(inner)
    else:
        info.type.tensor_type.elem_type = int(rng.integers(-1, 30))


@_mutation
def tensor_dims(model: onnx.ModelProto, rng: Rng) -> None:
    """A stored tensor says another shape than its data has."""
    tensor = _tensor(model, rng)
    how = rng.integers(3)
    if how == 0:
        tensor.dims[int(rng.integers(len(tensor.dims)))] = _one(rng, ODD)
    elif how == 1:
        tensor.dims.append(_one(rng, ODD))
    else:
        del tensor.dims[int(rng.integers(len(tensor.dims)))]


@_mutation
def reshaped_tensor(model: onnx.ModelProto, rng: Rng) -> None:
    """A stored tensor of another, consistent shape."""
    tensor = _tensor(model, rng)
    values = numpy_helper.to_array(tensor)
    shape = [int(_one(rng, (0, 1, 2, 3, 4, 8))) for _ in range(int(rng.integers(0, 6)))]
    tensor.CopyFrom(numpy_helper.from_array(np.resize(values, shape).astype(values.dtype), tensor.name))


@_mutation
def tensor_values(model: onnx.ModelProto, rng: Rng) -> None:
    """Some values of a stored tensor are odd."""
    tensor = _tensor(model, rng)
    values = numpy_helper.to_array(tensor).copy()
    odd = ODD if values.dtype.kind in "iub" else ODD_FLOATS
    with np.errstate(all="ignore"):
        for _ in range(int(rng.integers(1, 4))):
            values.flat[int(rng.integers(values.size))] = np.array(_one(rng, odd)).astype(values.dtype)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


@_mutation
def integer_values(model: onnx.ModelProto, rng: Rng) -> None:
    """The same for shapes, axes, pads and counts."""
    stored = [tensor for _, tensor in stored_tensors(model)]
    tensor = _one(rng, [t for t in stored if t.data_type in (TensorProto.INT64, TensorProto.INT32)])
    values = numpy_helper.to_array(tensor).copy()
    values.flat[int(rng.integers(values.size))] = np.array(_one(rng, ODD)).astype(values.dtype)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


@_mutation
def tensor_type(model: onnx.ModelProto, rng: Rng) -> None:
    """A stored tensor of another element type."""
    _tensor(model, rng).data_type = int(rng.integers(-1, 30))


@_mutation
def tensor_bytes(model: onnx.ModelProto, rng: Rng) -> None:
    """Data that is cut, too long, or in the wrong field."""
    tensor = _tensor(model, rng)
    how = rng.integers(4)
    if how == 0:
        tensor.raw_data = tensor.raw_data[: int(rng.integers(len(tensor.raw_data)))]
    elif how == 1:
        tensor.raw_data += bytes(int(rng.integers(1, 9)))
    elif how == 2:
        tensor.float_data.extend([0.5] * int(rng.integers(1, 9)))
    else:
        tensor.ClearField("raw_data")


@_mutation
def external_data(model: onnx.ModelProto, rng: Rng) -> None:
    """A tensor that says its data is elsewhere."""
    tensor = _tensor(model, rng)
    if rng.random() < 0.7:
        tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, options in (("location", LOCATIONS), ("offset", ODD), ("length", ODD), ("checksum", NAMES)):
        if rng.random() < 0.8:
            tensor.external_data.add(key=key, value=str(_one(rng, options)))


@_mutation
def sparse_tensor(model: onnx.ModelProto, rng: Rng) -> None:
    """A weight that is stored sparsely."""
    tensor = _one(rng, model.graph.initializer)
    sparse = model.graph.sparse_initializer.add(dims=tensor.dims)
    sparse.values.CopyFrom(tensor)
    indices = np.array([_one(rng, ODD) for _ in range(int(rng.integers(0, 5)))], dtype=np.int64)
    sparse.indices.CopyFrom(numpy_helper.from_array(indices))
    if rng.random() < 0.7:
        model.graph.initializer.remove(tensor)


@_mutation
def attribute_value(model: onnx.ModelProto, rng: Rng) -> None:
    """An attribute with an odd value."""
    attributes = [a for node in all_nodes(model) for a in node.attribute]
    attribute = _one(rng, attributes)
    if attribute.type == AttributeProto.INTS:
        if rng.random() < 0.3:
            attribute.ints.append(_one(rng, ODD))
        elif rng.random() < 0.3:
            del attribute.ints[int(rng.integers(len(attribute.ints)))]
        else:
            attribute.ints[int(rng.integers(len(attribute.ints)))] = _one(rng, ODD)
    elif attribute.type == AttributeProto.INT:
        attribute.i = _one(rng, ODD)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = _one(rng, ODD_FLOATS)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = _one(rng, (b"", b"\xff\xfe", b"SAME_UPPER", b"VALID", b"linear", b"...ij,jk->ik", b"a" * 5000))


@_mutation
def attribute_kind(model: onnx.ModelProto, rng: Rng) -> None:
    """An attribute of another kind, or one that the operator does not have."""
    node = _node(model, rng)
    if node.attribute and rng.random() < 0.5:
        _one(rng, node.attribute).type = int(rng.integers(0, 15))
        return
    names = (
        "axis",
        "axes",
        "group",
        "pads",
        "kernel_shape",
        "strides",
        "to",
        "value",
        "perm",
        "body",
        "then_branch",
        "",
    )
    values = (_one(rng, ODD), 0.5, "text", [1, 2], [_one(rng, ODD)], [0.5], numpy_helper.from_array(np.ones(3)))
    node.attribute.append(helper.make_attribute(_one(rng, names), _one(rng, values)))


@_mutation
def attribute_lost(model: onnx.ModelProto, rng: Rng) -> None:
    """An attribute is missing."""
    node = _one(rng, [n for n in all_nodes(model) if n.attribute])
    del node.attribute[int(rng.integers(len(node.attribute)))]


@_mutation
def attribute_doubled(model: onnx.ModelProto, rng: Rng) -> None:
    """An attribute is there twice, or refers to one of a function."""
    node = _one(rng, [n for n in all_nodes(model) if n.attribute])
    if rng.random() < 0.5:
        node.attribute.append(_one(rng, node.attribute))
    else:
        _one(rng, node.attribute).ref_attr_name = str(_one(rng, NAMES))


@_mutation
def operator(model: onnx.ModelProto, rng: Rng) -> None:
    """A node of another operator."""
    node = _node(model, rng)
    schemas = onnx.defs.get_all_schemas()
    node.op_type = str(_one(rng, (_one(rng, schemas).name, _node(model, rng).op_type, "", "FlyToTheMoon")))


@_mutation
def domain(model: onnx.ModelProto, rng: Rng) -> None:
    """A node of another domain."""
    _node(model, rng).domain = str(_one(rng, ("ai.onnx", "ai.onnx.ml", "com.microsoft", "my.own", "ai.onnx.training")))


@_mutation
def operand(model: onnx.ModelProto, rng: Rng) -> None:
    """A node that reads something else, which may come later: then the graph has a cycle."""
    node, names = _node(model, rng), _names(model)
    how = rng.integers(4)
    if how == 0:
        node.input.append(_one(rng, names))
    elif how == 1:
        del node.input[int(rng.integers(len(node.input)))]
    else:
        node.input[int(rng.integers(len(node.input)))] = _one(rng, names)


@_mutation
def result(model: onnx.ModelProto, rng: Rng) -> None:
    """A node that makes something else, or the same as another."""
    node, names = _node(model, rng), [*_names(model), *NAMES]
    how = rng.integers(4)
    if how == 0:
        node.output.append(_one(rng, names))
    elif how == 1:
        del node.output[int(rng.integers(len(node.output)))]
    else:
        node.output[int(rng.integers(len(node.output)))] = _one(rng, names)


@_mutation
def node_name(model: onnx.ModelProto, rng: Rng) -> None:
    """A node of an odd name, which another may have as well."""
    _node(model, rng).name = str(_one(rng, [*NAMES, *_names(model), _node(model, rng).name]))


@_mutation
def renamed(model: onnx.ModelProto, rng: Rng) -> None:
    """A tensor of an odd name, everywhere."""
    old, new = _one(rng, _names(model)[:-2]), str(_one(rng, NAMES))
    for info in (*model.graph.input, *model.graph.output, *model.graph.initializer, *model.graph.value_info):
        info.name = new if info.name == old else info.name
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = new if name == old else name


@_mutation
def node_order(model: onnx.ModelProto, rng: Rng) -> None:
    """Two nodes change places, or one is there twice, or not at all."""
    nodes = model.graph.node
    i, j = (int(k) for k in rng.integers(len(nodes), size=2))
    how = rng.integers(3)
    if how == 0:
        nodes.insert(i, nodes[j])
    elif how == 1:
        del nodes[i]
    else:
        nodes.insert(i, nodes.pop(j))


@_mutation
def interface(model: onnx.ModelProto, rng: Rng) -> None:
    """A graph input or output is doubled, lost, renamed or a tensor from inside."""
    values = _one(rng, (model.graph.input, model.graph.output))
    i = int(rng.integers(len(values)))
    how = rng.integers(5)
    if how == 0:
        values.append(values[i])
    elif how == 1:
        del values[i]
    elif how == 2:
        del values[:]
    elif how == 3:
        values[i].name = str(_one(rng, [*_names(model), *NAMES]))
    else:
        values.append(helper.make_tensor_value_info(_one(rng, _names(model)), TensorProto.FLOAT, None))


@_mutation
def lost_tensor(model: onnx.ModelProto, rng: Rng) -> None:
    """A weight is missing, doubled, or an input."""
    tensors = model.graph.initializer
    i = int(rng.integers(len(tensors)))
    how = rng.integers(3)
    if how == 0:
        del tensors[i]
    elif how == 1:
        tensors.append(tensors[i])
    else:
        shape = [_one(rng, (*tensors[i].dims, None, "N")) for _ in tensors[i].dims]
        model.graph.input.append(helper.make_tensor_value_info(tensors[i].name, tensors[i].data_type, shape))
        if rng.random() < 0.5:
            del tensors[i]


@_mutation
def opset(model: onnx.ModelProto, rng: Rng) -> None:
    """Other, doubled or no versions."""
    imports = model.opset_import
    how = rng.integers(5)
    if how == 0:
        del imports[:]
    elif how == 1:
        imports.append(helper.make_opsetid(_one(rng, ("", "ai.onnx", "my.own")), int(rng.integers(1, 30))))
    elif how == 2:
        _one(rng, imports).version = _one(rng, ODD)
    elif how == 3:
        model.ir_version = _one(rng, ODD)
    else:
        _one(rng, imports).version = int(rng.integers(1, 27))


@_mutation
def nested(model: onnx.ModelProto, rng: Rng) -> None:
    """A node moves into an If in an If in an If."""
    graph = model.graph
    i = int(rng.integers(len(graph.node)))
    inner = graph.node[i]
    outputs = [onnx.ValueInfoProto(name=name) for name in inner.output]
    graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    for depth in range(int(_one(rng, (1, 2, 5, 12, 40, 90)))):
        body = helper.make_graph([inner], f"body{depth}", [], outputs)
        inner = helper.make_node("If", ["always"], [o.name for o in outputs], then_branch=body, else_branch=body)
        if inner.ByteSize() > 1 << 20:  # both branches hold everything inside
            break
    graph.node[i].CopyFrom(inner)


@_mutation
def deep(model: onnx.ModelProto, rng: Rng) -> None:
    """The same with one branch that holds more than nothing, so that it gets deep."""
    graph = model.graph
    i = int(rng.integers(len(graph.node)))
    inner, name = graph.node[i], graph.node[i].output[0]
    outputs = [onnx.ValueInfoProto(name=name)]
    idle = helper.make_graph([helper.make_node("Identity", ["always"], [name])], "idle", [], outputs)
    graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    for depth in range(int(_one(rng, (3, 10, 30, 33, 45, 90)))):
        body = helper.make_graph([inner], f"body{depth}", [], outputs)
        inner = helper.make_node("If", ["always"], [name], then_branch=body, else_branch=idle)
    graph.node[i].CopyFrom(inner)


@_mutation
def loop(model: onnx.ModelProto, rng: Rng) -> None:
    """A tensor goes through a Loop of odd length."""
    node = _one(rng, [n for n in model.graph.node if n.input])
    name = node.input[0]
    state = [helper.make_tensor_value_info(n, t, []) for n, t in (("i", TensorProto.INT64), ("c", TensorProto.BOOL))]
    values = [onnx.ValueInfoProto(name=n) for n in ("s", "t")]
    values[0].type.tensor_type.elem_type = TensorProto.FLOAT
    nodes = [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Relu", ["s"], ["t"])]
    more = [helper.make_tensor_value_info("d", TensorProto.BOOL, [])]
    body = helper.make_graph(nodes, "loop", [*state, values[0]], [*more, values[1]])
    model.graph.initializer.append(numpy_helper.from_array(np.array(_one(rng, ODD)), "rounds"))
    rounds = _one(rng, ("rounds", "rounds", ""))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "go"))
    made = helper.make_node("Loop", [rounds, "go", name], ["looped"], body=body)
    at = list(model.graph.node).index(node)
    node.input[0] = "looped"
    model.graph.node.insert(at, made)


@_mutation
def function(model: onnx.ModelProto, rng: Rng) -> None:
    """A node becomes the call of a model-local function, which may call itself or hide another."""
    node = _one(rng, [n for n in model.graph.node if n.output])
    body = onnx.NodeProto()
    body.CopyFrom(node)
    depth = int(_one(rng, (1, 2, 5, 50)))
    inputs = [name for name in dict.fromkeys(node.input) if name]
    for level in range(depth):
        inner = body if level == 0 else helper.make_node(f"F{level - 1}", inputs, list(node.output), domain="local")
        opsets = [*model.opset_import, helper.make_opsetid("local", 1)]
        made = helper.make_function("local", f"F{level}", inputs, list(node.output), [inner], opsets)
        if rng.random() < 0.1:
            made.node[0].CopyFrom(helper.make_node(f"F{level}", inputs, list(node.output), domain="local"))
        if rng.random() < 0.05:
            del made.opset_import[:]
        if rng.random() < 0.05 and made.output:
            made.output[0] = str(_one(rng, NAMES))
        model.functions.append(made)
    node.CopyFrom(helper.make_node(f"F{depth - 1}", inputs, list(node.output), domain="local"))
    model.opset_import.append(helper.make_opsetid("local", 1))


@_mutation
def wrong_declaration(model: onnx.ModelProto, rng: Rng) -> None:
    """A tensor inside is declared with another type or shape than it has."""
    shape = [_one(rng, ODD) for _ in range(int(rng.integers(0, 5)))]
    name = _one(rng, _names(model))
    model.graph.value_info.append(helper.make_tensor_value_info(name, int(rng.integers(0, 25)), shape))


@_mutation
def odd_text(model: onnx.ModelProto, rng: Rng) -> None:
    """Names and documentation that are no UTF-8, or hold HTML and control characters."""
    content = bytearray(model.SerializeToString())
    names = [name.encode() for name in _names(model) if isinstance(name, str) and len(name) > 2]
    name = _one(rng, names)
    for at in range(len(content) - len(name)):
        if content[at : at + len(name)] == name:
            content[at] = _one(rng, (0xFF, 0x00, 0x1B))
    model.CopyFrom(onnx.ModelProto.FromString(bytes(content)))
