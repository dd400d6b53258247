"""One training phase: batches through an engine, an optimiser and, in the dynamic phase, a pruning method."""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.masks.budget import Budget
from onnx_dnscp.model.units import Mask, Units, with_fixed
from onnx_dnscp.training.checkpoint import PhaseName, PhaseState, copy_arrays
from onnx_dnscp.training.divergence import check_sound
from onnx_dnscp.training.engines.base import Engine
from onnx_dnscp.training.losses.base import Loss
from onnx_dnscp.training.method import MaskHistory, Method, StepState
from onnx_dnscp.training.optimizers import DEFAULT_CLIP, Optimizer, add_gradients, clip_gradients
from onnx_dnscp.training.passes.float32 import as_float32
from onnx_dnscp.training.schedule import Schedule
from onnx_dnscp.training.view import MASK_INPUT

Gradients = dict[str, NDArray[Any]]

SETTLED_SHARE = 0.15  # of the dynamic phase, at its end: masks no longer move, weights and batch norm follow them


class GroupWidth(NamedTuple):
    """How many of a group's channels are on."""

    id: int
    name: str  # of the first node that reads it
    width: int
    kept: int


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes:
        phase: "train" (masks move) or "fine-tune".
        step: Steps done in this phase.
        num_steps: Steps of this phase.
        loss: Of the last batch, or the mean over the batches of the last step.
        ratio: Pruned share so far, in the run's metric.
        recovered: Channels that came back so far.
        seconds_left: Of this phase, from the speed so far.
        learning_rate: Of the last step.
        gradient_norm: Of the last step, before clipping.
        accuracy: Of the network as it is, where it was measured after this step.
        groups: While masks move; for those who watch, no part of a run's record.
        run_seconds_left: With all that comes after this phase, if that can be said; no part of the record either.
    """

    phase: str
    step: int
    num_steps: int
    loss: float
    ratio: float
    recovered: int
    seconds_left: float
    learning_rate: float
    gradient_norm: float
    accuracy: float | None = None
    groups: tuple[GroupWidth, ...] = ()
    run_seconds_left: float | None = None

    def recorded(self) -> dict[str, Any]:
        """What belongs into the record of a run."""
        return {name: value for name, value in vars(self).items() if name not in ("groups", "run_seconds_left")}


Listener = Callable[[Progress], None]  # hears about every step
Observer = Callable[[PhaseState, Progress], None]  # sees every state between two steps, and may keep it


@dataclass(frozen=True)
class Phase:
    """What both phases have in common.

    Attributes:
        batches: Endless batches, from a position on.
        schedule: The learning rate of every step.
        accumulate: Batches per step; their gradients are averaged.
        clip: Common norm that gradients are scaled down to; 0 leaves them alone.
        notes: What the user should know about the training graph.
    """

    name: PhaseName
    engine: Engine
    loss: Loss
    optimizer: Optimizer
    batches: Callable[[int], Iterator[Batch]]
    schedule: Schedule
    accumulate: int = 1
    clip: float = DEFAULT_CLIP
    notes: tuple[str, ...] = ()

    def begin(self, saved: PhaseState | None = None) -> PhaseState:
        """The state before the first step, or a saved one, put into the engine and the optimiser.

        Raises:
            UsageError: The saved state does not fit.
        """
        state = PhaseState(self.name, self.schedule.num_steps, notes=self.notes)
        if saved is not None:
            copy_arrays(saved.weights, self.engine.weights, "weights")
            self.optimizer.state.update(saved.optimizer)
            state = replace(saved, num_steps=state.num_steps, notes=self.notes)
        state.weights, state.optimizer = self.engine.weights, self.optimizer.state
        return state


def moving_steps(num_steps: int) -> int:
    """After how many of a dynamic phase's steps the masks are frozen."""
    return max(1, round(num_steps * (1 - SETTLED_SHARE)))


def train_with_masks(
    phase: Phase,
    state: PhaseState,
    units: Units,
    method: Method,
    budget: Budget,
    history: MaskHistory,
    observe: Observer,
) -> Mask:
    """The dynamic phase: train while masks fall and come back; return the final mask.

    For the last `SETTLED_SHARE` of the phase the masks are frozen at the target, so that the network meets surgery
    used to its final width. `state` moves on; drops and recoveries are added to `history`.

    Raises:
        DivergenceError: The loss or a gradient is no longer finite, or the loss has exploded.
    """
    moving = moving_steps(phase.schedule.num_steps)
    # Consumers whose weights do not learn (quantised or half-precision ones) are judged by what the file stores.
    weights = ChainMap(phase.engine.weights, dict(units.graph.stored))
    if state.mask is None:
        mask = method.begin(units.graph.stored, moving)  # the weights may be repaired already, for this very mask
        history.record(0, np.ones_like(mask), mask, units)
        state.mask, state.method = mask, method.state()
    else:
        mask = state.mask
        method.restore(state.method)

    def after(step: int, gradients: Gradients) -> None:
        nonlocal mask
        if step > moving:
            return
        done = StepState(step, moving, mask, weights, gradients)
        following = method.after_step(done) if step < moving else method.finish(weights, mask)
        history.record(step, mask, following, units, settling=step == moving)
        mask = following
        state.mask, state.method = mask, method.state()

    _run(
        phase,
        state,
        observe,
        feed_mask=lambda: mask,
        after=after,
        ratio=lambda: budget.ratio(mask),
        recovered=lambda: history.num_recovered,
        groups=lambda: group_widths(units, mask),
    )
    return mask


def group_widths(units: Units, mask: Mask) -> tuple[GroupWidth, ...]:
    """How many channels of every group are on."""
    kept = np.bincount(units.group_of[mask], minlength=len(units.groups)).tolist()
    return tuple(GroupWidth(g.id, g.consumers[0], g.width, n) for g, n in zip(units.groups, kept, strict=True))


def fine_tune(phase: Phase, state: PhaseState, ratio: float, recovered: int, observe: Observer) -> None:
    """Train the pruned network on; `state` moves on.

    Raises:
        DivergenceError: The loss or a gradient is no longer finite, or the loss has exploded.
    """
    _run(phase, state, observe, ratio=lambda: ratio, recovered=lambda: recovered)


def _run(
    phase: Phase,
    state: PhaseState,
    observe: Observer,
    *,
    ratio: Callable[[], float],
    recovered: Callable[[], int],
    feed_mask: Callable[[], Mask] | None = None,
    after: Callable[[int, Gradients], None] | None = None,
    groups: Callable[[], tuple[GroupWidth, ...]] = tuple,
) -> None:
    batches = phase.batches(state.step * phase.accumulate)
    started = time.monotonic() - state.seconds
    while not state.is_done:
        state.whole = False
        with np.errstate(over="ignore", invalid="ignore"):  # whatever overflows is found in the next loss
            loss, gradients = _gradients(phase, batches, None if feed_mask is None else feed_mask())
            norm = clip_gradients(gradients, phase.clip)
            check_sound(loss, norm, state)
            rate = phase.schedule(state.step)
            phase.optimizer.update(phase.engine.weights, gradients, rate)
            state.step += 1
            if after is not None:
                after(state.step, gradients)
        state.seconds = time.monotonic() - started
        state.whole = True
        left = state.seconds / state.step * (state.num_steps - state.step)
        observe(
            state,
            Progress(
                phase.name,
                state.step,
                state.num_steps,
                loss,
                ratio(),
                recovered(),
                left,
                rate,
                norm,
                groups=groups(),
            ),
        )


def _gradients(phase: Phase, batches: Iterator[Batch], mask: Mask | None) -> tuple[float, Gradients]:
    """Loss and gradients of one step: of one batch, or the mean over `phase.accumulate` equal ones."""
    losses: list[float] = []
    total: Gradients = {}
    for _ in range(phase.accumulate):
        batch = next(batches)
        feeds = as_float32({**batch.inputs, **phase.loss.feeds(batch)})
        if mask is not None:
            feeds[MASK_INPUT] = with_fixed(mask, True).astype(np.float32)
        loss, gradients = phase.engine.step(feeds)
        losses.append(loss)
        if phase.accumulate == 1:
            total = gradients
        elif not total:
            total = {name: gradient.copy() for name, gradient in gradients.items()}  # the engine may reuse its own
        else:
            add_gradients(total, gradients)
    if phase.accumulate > 1:
        for gradient in total.values():
            gradient *= 1.0 / phase.accumulate
    return sum(losses) / len(losses), total
