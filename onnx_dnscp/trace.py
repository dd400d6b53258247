"""Stage 2, canonicalise: one run of the model tells every tensor's shape and every computed integer.

Exporters compute shapes, split sizes and pad amounts inside the graph. Rather than folding the graph,
which would change the nodes that ids are attached to, the model is run once on a concrete input with
the shape of every tensor, and the value of every integer tensor, as extra outputs. The runtime itself
is then the authority on what each operator does. Float activations are not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, shape_inference

from onnx_dnscp.errors import ModelError
from onnx_dnscp.graph import Graph, dimensions
from onnx_dnscp.runtime import Session

TRACE_BATCHES = (2, 1)  # 2 tells a batch axis from a size-1 axis; some "dynamic" graphs only run with 1
TRACE_SIZES = (64, 224, 32, 640)  # tried in turn for a dynamic axis that is not the batch
_INTEGERS = frozenset({"tensor(int64)", "tensor(int32)", "tensor(bool)"})
_FLOATS = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16})


@dataclass(frozen=True)
class Trace:
    """What one concrete run showed.

    Attributes:
        shapes: Tensor name to its shape, for stored tensors, graph inputs and all node outputs.
        integers: Tensor name to its value, for integer and bool tensors.
        batch: Size of the first axis of the inputs in this run.
    """

    shapes: Mapping[str, tuple[int, ...]]
    integers: Mapping[str, NDArray[Any]]
    batch: int

    def shapes_of(self, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Shapes of some tensors."""
        return {name: self.shapes[name] for name in names}


def trace(graph: Graph, what: str = "The model") -> Trace:
    """Run the model once and return the shapes and integers seen; `what` is how messages call it.

    Raises:
        ModelError: No tried input size runs; the message is the runtime's for the first try.
    """
    probe, shape_names, integer_names = _probe(graph)
    session = Session(probe, optimize=False, what=what)
    integer_names = [n for n in integer_names if session.output_types[n] in _INTEGERS]
    failure: ModelError | None = None
    for shapes in _candidate_shapes(graph):
        feeds = random_inputs(graph, shapes, np.random.default_rng(0))
        try:
            seen = session.run(feeds, [*shape_names.values(), *integer_names])
        except ModelError as error:
            failure = failure or error
            continue
        traced = {name: tuple(int(d) for d in seen[output]) for name, output in shape_names.items()}
        traced |= {name: value.shape for name, value in graph.stored.items()} | dict(shapes)
        traced |= {s.values.name: tuple(s.dims) for s in graph.proto.graph.sparse_initializer}
        integers = {n: v for n, v in graph.stored.items() if v.dtype.kind in "ib"} | {n: seen[n] for n in integer_names}
        batch = next((s[0] for s in shapes.values() if s), 1)
        return Trace(traced, integers, batch)
    raise failure or ModelError("The model has no inputs to run it with.")


def random_inputs(
    graph: Graph, shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Standard normal values for float inputs, zeros for the rest, in the declared types."""
    feeds = {}
    for name, shape in shapes.items():
        element_type = graph.inputs[name].tensor_type.elem_type
        dtype = helper.tensor_dtype_to_np_dtype(element_type)
        values = rng.standard_normal(shape) if element_type in _FLOATS else np.zeros(shape)
        feeds[name] = values.astype(dtype)
    return feeds


def concrete_shapes(graph: Graph, *, batch: int, size: int) -> dict[str, tuple[int, ...]]:
    """Input shapes with `batch` for a dynamic first axis and `size` for any other dynamic axis."""
    shapes = {}
    for name, type_proto in graph.inputs.items():
        dims = dimensions(type_proto)
        fills = [batch if axis == 0 else size for axis in range(len(dims))]
        shapes[name] = tuple(d if isinstance(d, int) else fill for d, fill in zip(dims, fills, strict=True))
    return shapes


def _candidate_shapes(graph: Graph) -> Iterator[dict[str, tuple[int, ...]]]:
    tried: list[dict[str, tuple[int, ...]]] = []
    for size, batch in product(TRACE_SIZES, TRACE_BATCHES):
        shapes = concrete_shapes(graph, batch=batch, size=size)
        if shapes not in tried:
            tried.append(shapes)
            yield shapes


def _probe(graph: Graph) -> tuple[onnx.ModelProto, dict[str, str], list[str]]:
    """A copy of the model that also puts out every tensor's shape and every integer tensor."""
    probe = onnx.ModelProto()
    probe.CopyFrom(graph.proto)
    try:
        typed = shape_inference.infer_shapes(graph.proto).graph.value_info
    except Exception:  # inference is only a hint here; without it every tensor is asked for
        typed = []
    floats = {v.name for v in typed if v.type.tensor_type.elem_type in _FLOATS}
    shape_names: dict[str, str] = {}
    integer_names: list[str] = []
    for node in graph.nodes:
        for name in filter(None, node.outputs):
            shape_names[name] = f"{name}//shape"
            probe.graph.node.append(helper.make_node("Shape", [name], [shape_names[name]], name=shape_names[name]))
            if name not in floats and name not in graph.stored:
                integer_names.append(name)
    wanted = [*shape_names.values(), *(n for n in integer_names if n not in graph.outputs)]
    # Outputs without a type are legal for the runtime, which infers it.
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    return probe, shape_names, integer_names
