"""Stage 2, canonicalise: every tensor's shape and every computed integer, at one input size.

Exporters compute shapes, split sizes and pad amounts inside the graph. Rather than folding the graph, which would
change the nodes that ids are attached to, they are inferred (`inferred.py`). Where that is not enough, the model is run
once with the shape of every tensor, and the value of every integer tensor, as extra outputs; the runtime itself is then
the authority on what each operator does. Float activations are not kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from onnx_dnscp.errors import ModelError
from onnx_dnscp.model.graph import CONVOLUTIONS, Graph, dimensions
from onnx_dnscp.model.runtime import EndlessError, Session
from onnx_dnscp.model.structure import FLOATS, split_weights
from onnx_dnscp.model.trace import Trace
from onnx_dnscp.tracing.bodies import trace_bodies
from onnx_dnscp.tracing.inferred import infer_trace
from onnx_dnscp.tracing.probe import INTEGERS, ask, inferred_types, integers_in, stored_integers, stored_shapes

TRACE_BATCHES = (2, 1)  # 2 tells a batch axis from a size-1 axis; some "dynamic" graphs only run with 1
MAX_INPUT = 1 << 27  # elements, which are drawn as float64: 1 GB
MAX_TENSOR = 1 << 29  # elements of one that is computed: 2 GB of float32
LARGE_TENSOR = 1 << 26  # elements of one that is computed, above which smaller images are traced: 256 MB of float32
TRACE_SIZES = (64, 224, 32, 640)  # tried in turn for a dynamic axis that is not the batch


def trace(graph: Graph, what: str = "The model", *, run: bool = False, like: Trace | None = None) -> Trace:
    """Every tensor's shape and every integer's value at one input size; `what` is how messages call the model.

    Both are inferred where that is enough; else, or if `run` is set, the model runs once. The input size is that of
    `like` where the model takes it, so that the costs of two models can be compared.

    Raises:
        ModelError: No tried input size runs; the message is the runtime's for the first try.
    """
    candidates = list(_candidate_shapes(graph, like))
    _check_sizes(candidates[0], MAX_INPUT, what)
    found = _trace_at(graph, candidates, what, run)
    small = concrete_shapes(graph, batch=TRACE_BATCHES[0], size=min(TRACE_SIZES))
    if like is not None or _largest(graph, found) <= LARGE_TENSOR or small == found.shapes_of(graph.inputs):
        return found
    try:  # Every pixel may attend to every other: verification would take gigabytes.
        return _trace_at(graph, [small], what, run)
    except ModelError:  # it has to be larger
        return found


def _trace_at(graph: Graph, candidates: Sequence[Mapping[str, tuple[int, ...]]], what: str, run: bool) -> Trace:
    inferred = None if run else infer_trace(graph, candidates[0], _batch(candidates[0]))
    if inferred is None:
        return _run_and_look(graph, candidates, what)
    _check_sizes({n: s for n, s in inferred.shapes.items() if n not in graph.stored}, MAX_TENSOR, what)
    return inferred


def _largest(graph: Graph, trace: Trace) -> int:
    """Elements of the largest tensor that is computed."""
    return max((math.prod(shape) for name, shape in trace.shapes.items() if name not in graph.stored), default=0)


def _check_sizes(shapes: Mapping[str, tuple[int, ...]], limit: int, what: str) -> None:
    """Refuse what would fill the memory before it does."""
    for name, shape in shapes.items():
        if math.prod(shape) > limit:
            raise ModelError(
                f"{what} has a tensor {name!r} of shape {shape}, which is too large; make its inputs smaller."
            )


def _check_kernels(graph: Graph, types: Mapping[str, onnx.TypeProto], what: str) -> None:
    """Refuse convolutions with weights of no elements, on which the runtime crashes or never ends."""
    for node in graph.nodes:
        if node.op_type in CONVOLUTIONS and len(node.inputs) > 1:
            name = node.inputs[1]
            inferred = types[name].tensor_type.shape.dim if name in types else ()
            dims = [d.dim_value for d in inferred if d.HasField("dim_value")]
            if 0 in (graph.stored.shape(name) if name in graph.stored else dims):
                raise ModelError(f"{what} has a convolution whose weight {name!r} is empty; the file is damaged.")


def _run_and_look(graph: Graph, candidates: Iterable[Mapping[str, tuple[int, ...]]], what: str) -> Trace:
    """The trace from a run at the first input sizes that the model takes."""
    probe, weights = split_weights(graph.proto)
    types = inferred_types(probe)
    _check_kernels(graph, types, what)
    shape_names, integer_names = ask(probe.graph, types, graph.stored)
    session = Session(probe, weights=weights, optimize=False, what=what)
    integer_names = [n for n in integer_names if session.output_types[n] in INTEGERS]
    failure: ModelError | None = None
    for shapes in candidates:
        feeds = random_inputs(graph, shapes, np.random.default_rng(0))
        try:
            seen = session.run(feeds, [*shape_names.values(), *integer_names])
        except EndlessError:  # other sizes would take as long
            raise
        except ModelError as error:
            failure = failure or error
            continue
        traced = {name: tuple(int(d) for d in seen[output]) for name, output in shape_names.items()}
        traced |= stored_shapes(graph) | dict(shapes)
        integers = stored_integers(graph) | integers_in(feeds) | {name: seen[name] for name in integer_names}
        return trace_bodies(graph, Trace(traced, integers, _batch(shapes)), types)
    raise failure or ModelError(f"{what} has no inputs to run it with.")


def _batch(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return next((s[0] for s in shapes.values() if s), 1)


def random_inputs(
    graph: Graph, shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Standard normal values for float inputs, zeros for the rest, in the declared types."""
    feeds = {}
    for name, shape in shapes.items():
        element_type = graph.inputs[name].tensor_type.elem_type
        dtype = helper.tensor_dtype_to_np_dtype(element_type)
        values = rng.standard_normal(shape) if element_type in FLOATS else np.zeros(shape)
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


def _candidate_shapes(graph: Graph, like: Trace | None) -> Iterator[dict[str, tuple[int, ...]]]:
    tried: list[dict[str, tuple[int, ...]]] = []
    if like is not None and all(_takes(graph, name, like.shapes.get(name)) for name in graph.inputs):
        tried.append(like.shapes_of(graph.inputs))
        yield tried[0]
    for size, batch in product(TRACE_SIZES, TRACE_BATCHES):
        shapes = concrete_shapes(graph, batch=batch, size=size)
        if shapes not in tried:
            tried.append(shapes)
            yield shapes


def _takes(graph: Graph, name: str, shape: tuple[int, ...] | None) -> bool:
    dims = dimensions(graph.inputs[name])
    if shape is None or len(shape) != len(dims):
        return False
    return all(size == dim for size, dim in zip(shape, dims, strict=True) if isinstance(dim, int))
