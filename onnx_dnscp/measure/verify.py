"""Stage 8, verify: the pruned model computes what the masked model computes, or nothing is saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.errors import ModelError, VerificationError
from onnx_dnscp.model.graph import Graph, read_graph
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.model.structure import copy_structure, is_big
from onnx_dnscp.model.taps import output_taps
from onnx_dnscp.tracing.probe import inferred_types

# Removing channels changes the order in which kernels sum. That moves results by a few times what the runtime's own
# graph optimisations move them, which is measured; the floor is a few hundred float32 roundings of the largest value,
# and higher where anything on the way is computed in a shorter type, whatever the outputs are converted to.
ROUNDING_FACTOR = 30.0
ROUNDING_FLOOR = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 5e-5, np.dtype(np.float16): 2e-2}

ROUNDING_LIMIT = 2e-2  # what differs by more is not let through, however much the optimisations move it

# Where a network rounds to quantisation steps, the last bit of a sum may move a value by a whole step. That shows in
# few elements, while a mistake moves most of them; so such networks are judged by the mean difference.
STEP_FLOOR = 1e-3
_MOVING = frozenset({"Cast", "CastLike", "Identity", "Reshape", "Transpose", "Concat"})  # nothing is rounded by sums
_STEPPED = ("QuantizeLinear", "DynamicQuantize", "QLinear", "QGemm")


@dataclass(frozen=True)
class Verification:
    """How closely two models agree.

    Attributes:
        max_relative_error: Largest difference of any output element, relative to that output's largest magnitude.
        tolerance: What rounding alone was allowed to cause.
        num_samples: Samples compared.
    """

    max_relative_error: float
    tolerance: float
    num_samples: int


def verify(pruned: onnx.ModelProto, masked: onnx.ModelProto, batches: Sequence[Batch]) -> Verification:
    """Compare two models on some inputs, behind a final Softmax or Sigmoid.

    Rounding is measured, not guessed: the pruned model runs with and without the runtime's graph optimisations. The
    models run one after the other, so that one set of weights is in memory at a time.

    Raises:
        VerificationError: They disagree by more than rounding, or the pruned model cannot run.
        ModelError: The masked model cannot run.
    """
    graph = read_graph(masked)
    taps = list(dict.fromkeys(output_taps(graph).values()))
    expected = _outputs(masked, taps, batches, optimize=False, what="The masked model")
    try:
        plain = _outputs(pruned, taps, batches, optimize=False, what="The pruned model")
        optimised = _optimised_outputs(pruned, masked, taps, batches) or plain
    except Exception as error:
        raise VerificationError(f"Verification failed, nothing was saved: {error}") from error
    stepped = any(node.op_type.startswith(_STEPPED) for node in graph.nodes)
    fused = (
        _outputs(masked, taps, batches, optimize=True, what="The masked model")
        if stepped and optimised is not plain
        else expected
    )
    floor = _floor(graph)
    found: list[tuple[float, float]] = []
    for tap in taps:
        if stepped:
            error_, tolerance = _step_errors(plain[tap], optimised[tap], expected[tap], fused[tap])
        else:
            error_, tolerance = _errors(plain[tap], optimised[tap], expected[tap], floor)
        if not error_ <= tolerance:
            raise VerificationError(
                f"Verification failed, nothing was saved: tensor {tap!r} of the pruned model differs from the masked "
                f"model by {error_:.2e} of its largest value, rounding explains {tolerance:.2e}. This is a bug; "
                "please report it with the model."
            )
        found.append((error_, tolerance))
    worst, allowed = max(found, key=lambda pair: pair[0], default=(0.0, 0.0))
    return Verification(worst, allowed, sum(batch.size for batch in batches))


Results = Sequence[NDArray[np.generic]]  # of one tensor, per batch


def _outputs(
    model: onnx.ModelProto, taps: Sequence[str], batches: Sequence[Batch], *, optimize: bool, what: str
) -> dict[str, Results]:
    session = Session(model, more_outputs=taps, optimize=optimize, what=what)
    results = [session.run(batch.inputs, taps) for batch in batches]
    return {tap: [result[tap] for result in results] for tap in taps}


def _optimised_outputs(
    pruned: onnx.ModelProto, masked: onnx.ModelProto, taps: Sequence[str], batches: Sequence[Batch]
) -> dict[str, Results]:
    """Outputs with the runtime's graph optimisations; none where they break the original network as well."""
    try:
        return _outputs(pruned, taps, batches, optimize=True, what="The pruned model")
    except ModelError:
        try:
            _outputs(masked, taps, batches, optimize=True, what="The masked model")
        except ModelError:
            return {}
        raise


def _floor(graph: Graph) -> float:
    """What rounding may cause at least: that of the shortest type in which something is computed."""
    types = inferred_types(copy_structure(graph.proto, lambda _, tensor: is_big(tensor)))
    computed = (
        types[name].tensor_type.elem_type
        for node in graph.nodes
        if node.op_type not in _MOVING
        for name in node.outputs
        if name in types and name not in graph.fixed
    )
    known: dict[int, float] = {helper.np_dtype_to_tensor_dtype(dtype): floor for dtype, floor in ROUNDING_FLOOR.items()}
    return max((known.get(element_type, 0.0) for element_type in computed), default=0.0)


def _errors(plain: Results, optimised: Results, expected: Results, floor: float) -> tuple[float, float]:
    """Largest relative error, and what rounding explains, which is `floor` at least."""
    rounding = max(map(relative_error, optimised, plain))
    floor = max(floor, ROUNDING_FLOOR.get(expected[0].dtype, 0.0))
    return max(map(relative_error, plain, expected)), max(min(ROUNDING_FACTOR * rounding, ROUNDING_LIMIT), floor)


def _step_errors(plain: Results, optimised: Results, expected: Results, fused: Results) -> tuple[float, float]:
    """The same by mean errors of like with like, in the mode that agrees better: a mistake shows in both.

    Sums of floats in another order cross rounding steps, and a deep network amplifies that; fused integer kernels sum
    exactly, except on processors where they saturate.
    """
    return min(max(map(mean_error, plain, expected)), max(map(mean_error, optimised, fused))), STEP_FLOOR


def mean_error(value: NDArray[np.generic], expected: NDArray[np.generic]) -> float:
    """Mean absolute difference over the mean magnitude of `expected`; inf where shapes or infinities differ."""
    if value.shape != expected.shape:
        return float("inf")
    a, b = value.astype(np.float64), expected.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    return float(np.abs(a - b).sum() / (np.abs(b).sum() or 1.0))


def relative_error(value: NDArray[np.generic], expected: NDArray[np.generic]) -> float:
    """Largest absolute difference over the largest finite magnitude of `expected`; inf where shapes or NaNs differ."""
    if value.shape != expected.shape:
        return float("inf")
    if not value.size:
        return 0.0
    a, b = value.astype(np.float64), expected.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(a - b))
    if not np.isfinite(difference).all():
        return float("inf")
    scale = np.abs(b[np.isfinite(b)]).max(initial=0.0)
    return float(difference.max() / (scale or 1.0))
