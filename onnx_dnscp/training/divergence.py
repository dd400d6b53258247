"""When training has lost its way, so that it should stop instead of going on for hours."""

from __future__ import annotations

import math

from onnx_dnscp.errors import DivergenceError
from onnx_dnscp.training.checkpoint import PhaseState

# Times the loss of the first step, or 1 if that was lower: guessing costs log(classes), and 1 in self-distillation.
EXPLODED = 1000.0
PATIENCE = 3  # steps in a row; a single batch may hold a sample that is far off


def check_sound(loss: float, norm: float, state: PhaseState) -> None:
    """Note in `state`, whose next step has this loss and gradient norm, how many steps in a row have exploded.

    Raises:
        DivergenceError: The loss or the norm is not finite, or `PATIENCE` steps in a row have exploded.
    """
    if state.first_loss is None and math.isfinite(loss):
        state.first_loss = loss
    usual = max(1.0, abs(state.first_loss or 0.0))
    state.num_exploded = state.num_exploded + 1 if loss > EXPLODED * usual else 0
    if not math.isfinite(loss):
        what = f"the loss became {loss}"
    elif not math.isfinite(norm):
        what = f"the gradient's norm became {norm}"
    elif state.num_exploded >= PATIENCE:
        what = f"the loss rose from {state.first_loss:.3g} to {loss:.3g}"
    else:
        return
    raise DivergenceError(
        f"Training diverged: {what} at step {state.step + 1} of the {state.stage} phase; try a smaller --lr."
    )
