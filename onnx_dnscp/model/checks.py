"""What must hold of a model before anything looks into it; ONNX Runtime checks the rest, but may crash on this."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, defs, helper, numpy_helper

from onnx_dnscp.errors import ModelError
from onnx_dnscp.model.structure import FLOATS, all_graphs, all_nodes, bodies

# The runtime looks at what is inside n sub-graphs 2 ** n times: at 14 levels it takes half a second for one node.
MAX_NESTING = 10
MAX_DENSE = 1 << 29  # elements of a sparse tensor, 2 GB of float32
MAX_CALLS = 100  # of functions in functions
MAX_NODES = 1_000_000  # behind model-local functions; a few lines can stand for more than any memory holds
_OF_FUNCTIONS = "refers to an attribute of a function, and is in none"


def check_model(model: onnx.ModelProto, path: Path) -> None:
    """Make sure that names, attributes, declarations and tensors can be relied on.

    Raises:
        ModelError: They cannot; the message names the place.
    """
    versions = {entry.domain: entry.version for entry in model.opset_import}
    versions[""] = max(versions.get("", 1), versions.pop("ai.onnx", 1))
    for graph in all_graphs(model.graph):
        _check_declarations(graph, path)
    for node, label in _labelled_nodes(model.graph, path):
        _check_text(node, label)
        _check_attributes(node, label, versions)
    _check_names(model.graph, path)
    _check_inputs(model.graph, path)
    for tensor in all_tensors(model.graph):
        _check_tensor(tensor, path)
    for sparse in _sparse_tensors(model.graph):
        _check_sparse(sparse, path)


def check_functions(model: onnx.ModelProto, path: Path) -> None:
    """Make sure that model-local functions can be replaced by their nodes.

    Raises:
        ModelError: One calls itself, or calls in calls in calls stand for too many nodes.
    """
    functions = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(key: tuple[str, str], depth: int) -> int:
        if key not in functions:
            return 1
        if depth > MAX_CALLS:
            raise ModelError(
                f"Function {key[1]!r} of {str(path)!r} calls itself, or lies in more than {MAX_CALLS} calls; "
                "export the model without functions."
            )
        if key not in sizes:
            sizes[key] = sum(size((n.domain, n.op_type), depth + 1) for n in all_nodes(functions[key]))
        return sizes[key]

    total = sum(size((node.domain, node.op_type), 0) for node in all_nodes(model.graph))
    if total > MAX_NODES:
        raise ModelError(
            f"The model-local functions of {str(path)!r} stand for {total} nodes, which is too many to look at; export "
            "the model without functions."
        )


def all_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Every tensor that a graph holds: initializers and attributes, sparse ones and sub-graphs included."""
    for part in all_graphs(graph):
        yield from part.initializer
    for node in all_nodes(graph):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
    for sparse in _sparse_tensors(graph):
        yield from (sparse.values, sparse.indices)


def _sparse_tensors(graph: onnx.GraphProto) -> Iterator[onnx.SparseTensorProto]:
    for part in all_graphs(graph):
        yield from part.sparse_initializer
    for node in all_nodes(graph):
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor"):
                yield attribute.sparse_tensor
            yield from attribute.sparse_tensors


def _label(node: onnx.NodeProto, number: int, path: Path) -> str:
    return f"Node {node.name or next(filter(None, node.output), number)!r} ({node.op_type}) of {str(path)!r}"


def _labelled_nodes(graph: onnx.GraphProto, path: Path, depth: int = 0) -> Iterator[tuple[onnx.NodeProto, str]]:
    for number, node in enumerate(graph.node):
        label = _label(node, number, path)
        yield node, label
        for body in bodies(node):
            if depth == MAX_NESTING:
                raise ModelError(
                    f"{label} has sub-graphs in {depth} others, which ONNX Runtime takes too long to look into; "
                    f"export the model with at most {MAX_NESTING} levels."
                )
            yield from _labelled_nodes(body, path, depth + 1)


def _check_declarations(graph: onnx.GraphProto, path: Path) -> None:
    for info in chain(graph.input, graph.output, graph.value_info, graph.initializer):
        if not isinstance(info.name, str):  # protobuf gives bytes
            raise ModelError(f"Tensor {info.name!r} of {str(path)!r} has a name that is no UTF-8; the file is damaged.")


def _check_text(node: onnx.NodeProto, label: str) -> None:
    texts = (node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute))
    if not all(isinstance(text, str) for text in texts):
        raise ModelError(f"{label} has a name that is not UTF-8 text; the file is damaged.")


def _stored_names(graph: onnx.GraphProto, path: Path) -> set[str]:
    names = Counter([*(i.name for i in graph.initializer), *(i.values.name for i in graph.sparse_initializer)])
    for name, count in names.items():
        if count > 1:
            raise ModelError(f"Tensor {name!r} of {str(path)!r} is stored twice; the file is damaged.")
    return set(names)


def _check_names(graph: onnx.GraphProto, path: Path) -> None:
    known = {i.name for i in graph.input} | _stored_names(graph, path)
    for number, node in enumerate(graph.node):
        label = _label(node, number, path)
        for name in node.input:
            if name and name not in known:
                raise ModelError(
                    f"{label} reads tensor {name!r}, which nothing makes, or only what reads the node's own result; "
                    "the file is damaged."
                )
        if not any(node.output):
            raise ModelError(f"{label} has no output; the file is damaged.")
        known.update(node.output)
    for output in graph.output:
        if output.name not in known:
            raise ModelError(f"Output {output.name!r} of {str(path)!r} is made by no node; the file is damaged.")


def _check_attributes(node: onnx.NodeProto, label: str, versions: Mapping[str, int]) -> None:
    domain = "" if node.domain == "ai.onnx" else node.domain
    known = _attribute_types(node.op_type, domain, versions.get(domain, 0))
    seen: set[str] = set()
    for attribute in node.attribute:
        kind = _kind(attribute)
        wrong = ""
        if attribute.ref_attr_name:
            wrong = _OF_FUNCTIONS
        elif attribute.name in seen:
            wrong = "is there twice"
        elif kind not in _KINDS or kind != known.get(attribute.name, kind):
            wrong = f"is of type {kind}, where {known.get(attribute.name, 'another')} is needed"
        if wrong:
            raise ModelError(f"Attribute {attribute.name!r} of {label} {wrong}; the file is damaged.")
        seen.add(attribute.name)


_KINDS = frozenset(AttributeProto.AttributeType.keys()) - {"UNDEFINED"}
_SCHEMA_TYPES = {getattr(defs.OpSchema.AttrType, kind): kind for kind in _KINDS}


def _kind(attribute: AttributeProto) -> str:
    return AttributeProto.AttributeType.Name(attribute.type) if attribute.type in _NUMBERS else str(attribute.type)


_NUMBERS = frozenset(AttributeProto.AttributeType.values())


@cache
def _attribute_types(op_type: str, domain: str, version: int) -> dict[str, str]:
    """Attribute name to its type, of an operator that ONNX knows; empty for others."""
    newest = 1 << 30  # what does not fit an int32 is no version, which the runtime says as well
    try:
        schema = defs.get_schema(op_type, min(max(version, 1), newest), domain)
    except defs.SchemaError:
        return {}
    return {name: _SCHEMA_TYPES[attribute.type] for name, attribute in schema.attributes.items()}


def _check_inputs(graph: onnx.GraphProto, path: Path) -> None:
    stored = {tensor.name for tensor in graph.initializer}
    for info in graph.input:
        if info.name not in stored and not _has_known_type(info.type.tensor_type.elem_type):
            raise ModelError(
                f"Input {info.name!r} of {str(path)!r} is no tensor of a type that ONNX knows; export the model with "
                "tensors as inputs."
            )


def _has_known_type(number: int) -> bool:
    return number != TensorProto.UNDEFINED and number in TensorProto.DataType.values()


def _check_tensor(tensor: TensorProto, path: Path) -> None:
    try:
        if min(tensor.dims, default=0) < 0:
            raise ValueError(f"negative size {min(tensor.dims)}")
        helper.tensor_dtype_to_np_dtype(tensor.data_type)
        values = numpy_helper.to_array(tensor)
    except Exception as error:  # onnx raises several unrelated classes here
        raise ModelError(
            f"Tensor {tensor.name!r} of {str(path)!r} is damaged: its data does not fit its shape {tuple(tensor.dims)}."
        ) from error
    if tensor.data_type in FLOATS and values.size and np.isnan(np.min(values)):  # min passes NaN on
        raise ModelError(
            f"Weight {tensor.name!r} of {str(path)!r} contains NaN; the training that made it has diverged."
        )


def _check_sparse(sparse: onnx.SparseTensorProto, path: Path) -> None:
    """Indices out of range crash the runtime, which makes a dense tensor of it."""
    try:
        onnx.checker.check_sparse_tensor(sparse)
        if math.prod(sparse.dims) > MAX_DENSE:
            raise ValueError(f"more than {MAX_DENSE} elements")
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(
            f"Sparse tensor {sparse.values.name!r} of {str(path)!r} is damaged: its indices do not fit its shape "
            f"{tuple(sparse.dims)}."
        ) from error
