"""Stage 8, verify: the pruned model computes what the masked model computes, or nothing is saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.errors import VerificationError
from onnx_dnscp.graph import read_graph
from onnx_dnscp.runtime import Session
from onnx_dnscp.taps import output_taps, with_outputs

# Removing channels changes the order in which kernels sum. That moves results by a few times what the runtime's own
# graph optimisations move them, which is measured; the floor is a few hundred float32 roundings of the largest value.
ROUNDING_FACTOR = 30.0
ROUNDING_FLOOR = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 5e-5, np.dtype(np.float16): 2e-2}


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

    Rounding is measured, not guessed: the masked model runs with and without the runtime's graph optimisations.

    Raises:
        VerificationError: They disagree by more than rounding, or the pruned model cannot run.
        ModelError: The masked model cannot run.
    """
    taps = list(dict.fromkeys(output_taps(read_graph(masked)).values()))
    reference = Session(with_outputs(masked, taps), what="The masked model")
    plain = Session(with_outputs(masked, taps), optimize=False, what="The masked model")
    try:
        candidate = Session(with_outputs(pruned, taps), what="The pruned model")
        results = [
            (reference.run(b.inputs, taps), plain.run(b.inputs, taps), candidate.run(b.inputs, taps)) for b in batches
        ]
    except Exception as error:
        raise VerificationError(f"Verification failed, nothing was saved: {error}") from error
    worst, allowed, worst_tap = 0.0, 0.0, ""
    for tap in taps:
        expected = [e[tap] for e, _, _ in results]
        rounding = max(relative_error(p[tap], e[tap]) for e, p, _ in results)
        floor = ROUNDING_FLOOR.get(expected[0].dtype, 0.0)
        tolerance = max(ROUNDING_FACTOR * rounding, floor)
        error_ = max(relative_error(c[tap], e[tap]) for e, _, c in results)
        if not error_ <= tolerance:
            raise VerificationError(
                f"Verification failed, nothing was saved: tensor {tap!r} of the pruned model differs from the masked "
                f"model by {error_:.2e} of its largest value, rounding explains {tolerance:.2e}. This is a bug; "
                "please report it with the model."
            )
        if not worst_tap or error_ > worst:
            worst, allowed, worst_tap = error_, tolerance, tap
    return Verification(worst, allowed, sum(len(next(iter(b.inputs.values()))) for b in batches))


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
