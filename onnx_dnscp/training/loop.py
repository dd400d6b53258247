"""One training phase: batches through an engine, an optimiser and, in the dynamic phase, a pruning method."""

from __future__ import annotations

import math
import time
from collections import ChainMap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.errors import RequestError
from onnx_dnscp.masks.budget import Budget, Mask
from onnx_dnscp.masks.method import MaskHistory, Method, StepState
from onnx_dnscp.training.engines.base import Engine
from onnx_dnscp.training.losses.base import Loss
from onnx_dnscp.training.optimizers import Optimizer, clip_gradients
from onnx_dnscp.training.schedule import cosine
from onnx_dnscp.training.view import MASK_INPUT
from onnx_dnscp.units import Units

Gradients = dict[str, NDArray[Any]]

GRADIENT_LIMIT = 5.0  # common norm; far above a healthy step, it only stops single exploding batches

SETTLED_SHARE = 0.15  # of the dynamic phase, at its end: masks no longer move, weights and batch norm follow them


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes:
        phase: "train" (masks move) or "fine-tune".
        step: Steps done in this phase.
        num_steps: Steps of this phase.
        loss: Of the last batch.
        ratio: Pruned share so far, in the run's metric.
        recovered: Channels that came back so far.
        seconds_left: Of this phase, from the speed so far.
    """

    phase: str
    step: int
    num_steps: int
    loss: float
    ratio: float
    recovered: int
    seconds_left: float


Listener = Callable[[Progress], None]  # hears about every step


@dataclass(frozen=True)
class Phase:
    """What both phases have in common.

    Attributes:
        batches: Endless batches.
        num_steps: How many of them to take.
        learning_rate: At the start; it falls along a cosine.
    """

    engine: Engine
    loss: Loss
    optimizer: Optimizer
    batches: Iterator[Batch]
    num_steps: int
    learning_rate: float


def train_with_masks(
    phase: Phase, units: Units, method: Method, budget: Budget, history: MaskHistory, listener: Listener
) -> Mask:
    """The dynamic phase: train while masks fall and come back; return the final mask.

    For the last `SETTLED_SHARE` of the phase the masks are frozen at the target, so that the network meets surgery
    used to its final width. Weights change in `phase.engine`; drops and recoveries are added to `history`.

    Raises:
        RequestError: The loss is no longer finite.
    """
    moving = max(1, round(phase.num_steps * (1 - SETTLED_SHARE)))
    # Consumers whose weights do not learn (quantised or half-precision ones) are judged by what the file stores.
    weights = ChainMap(phase.engine.weights, dict(units.graph.stored))
    mask = method.begin(weights, moving)
    history.record(0, np.ones_like(mask), mask, units)

    def after(step: int, gradients: Gradients) -> None:
        nonlocal mask
        if step > moving:
            return
        state = StepState(step, moving, mask, weights, gradients)
        following = method.after_step(state) if step < moving else method.finish(weights, mask)
        history.record(step, mask, following, units, settling=step == moving)
        mask = following

    _run(
        phase,
        "train",
        listener,
        feed_mask=lambda: mask,
        after=after,
        ratio=lambda: budget.ratio(mask),
        recovered=lambda: history.num_recovered,
    )
    return mask


def fine_tune(phase: Phase, ratio: float, recovered: int, listener: Listener) -> None:
    """Train the pruned network on; weights change in `phase.engine`.

    Raises:
        RequestError: The loss is no longer finite.
    """
    _run(phase, "fine-tune", listener, ratio=lambda: ratio, recovered=lambda: recovered)


def _run(
    phase: Phase,
    name: str,
    listener: Listener,
    *,
    ratio: Callable[[], float],
    recovered: Callable[[], int],
    feed_mask: Callable[[], Mask] | None = None,
    after: Callable[[int, Gradients], None] | None = None,
) -> None:
    started = time.monotonic()
    for step in range(1, phase.num_steps + 1):
        batch = next(phase.batches)
        feeds = {**batch.inputs, **phase.loss.feeds(batch)}
        if feed_mask is not None:
            feeds[MASK_INPUT] = np.append(feed_mask(), True).astype(np.float32)
        loss, gradients = phase.engine.step(feeds)
        if not math.isfinite(loss):
            raise RequestError(
                f"Training diverged: the loss became {loss} at step {step} of the {name} phase; try a smaller --lr. "
                "Nothing was saved."
            )
        clip_gradients(gradients, GRADIENT_LIMIT)
        rate = cosine(step - 1, phase.num_steps, phase.learning_rate)
        phase.optimizer.update(phase.engine.weights, gradients, rate)
        if after is not None:
            after(step, gradients)
        left = (time.monotonic() - started) / step * (phase.num_steps - step)
        listener(Progress(name, step, phase.num_steps, loss, ratio(), recovered(), left))
