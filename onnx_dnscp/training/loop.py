"""One training phase: batches through an engine and, while masks move, a pruning method."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.model.units import FIXED, Mask, Units, with_fixed
from onnx_dnscp.training.checkpoint import PhaseState, check_same
from onnx_dnscp.training.divergence import check_sound
from onnx_dnscp.training.engines.base import Engine, Feeds, StepResult
from onnx_dnscp.training.losses.base import Loss
from onnx_dnscp.training.method import Method, StepState
from onnx_dnscp.training.passes.float32 import as_float32
from onnx_dnscp.training.progress import LiveWidth, Progress
from onnx_dnscp.training.schedule import Schedule
from onnx_dnscp.training.stage import StageId
from onnx_dnscp.training.view import MASK_INPUT
from onnx_dnscp.training.weights import SlicedAxis, Vector, WithStored

SETTLED_SHARE = 0.15  # of the dynamic phase, at its end: masks no longer move, weights and batch norm follow them

Observer = Callable[[PhaseState, Progress], None]
"""Sees every state between two steps, and may keep it."""


@dataclass(frozen=True)
class Phase:
    """What all phases have in common.

    Attributes:
        stage: Which one it is.
        batches: Endless batches, from a position on.
        schedule: The learning rate of every step.
        accumulate: Batches per step; their gradients are averaged.
        notes: What the user should know about the training graph.
    """

    stage: StageId
    engine: Engine
    loss: Loss
    batches: Callable[[int], Iterator[Batch]]
    schedule: Schedule
    accumulate: int = 1
    notes: tuple[str, ...] = ()

    def begin(self, saved: PhaseState | None = None) -> PhaseState:
        """The state before the first step, or a saved one, put into the engine.

        Raises:
            UsageError: The saved state does not fit.
        """
        state = PhaseState(self.stage, self.schedule.num_steps, notes=self.notes)
        if saved is not None:
            check_same(saved.weights, self.engine.parameters)
            self.engine.restore(saved.weights, saved.optimizer)
            state = replace(saved, num_steps=state.num_steps, notes=self.notes)
        state.weights, state.optimizer = self.engine.parameters, self.engine.optimizer_state
        return state


class Watched(Protocol):
    """What a phase says of masks, in the terms of those who watch the run."""

    def moved(self, step: int, before: Mask, after: Mask, *, settling: bool = False) -> None:
        """Hear that the mask has changed after so many steps."""

    def ratio(self, mask: Mask) -> float:
        """Pruned share, in the run's metric."""

    def widths(self, mask: Mask) -> tuple[LiveWidth, ...]:
        """How many channels of every group are on."""

    @property
    def recovered(self) -> int:
        """Channels that came back so far."""


def moving_steps(num_steps: int) -> int:
    """After how many of a dynamic phase's steps the masks are frozen."""
    return max(1, round(num_steps * (1 - SETTLED_SHARE)))


def train_with_masks(
    phase: Phase, state: PhaseState, units: Units, method: Method, first: Mask, watched: Watched, observe: Observer
) -> Mask:
    """The dynamic phase: train while masks fall and come back; return the final mask.

    For the last `SETTLED_SHARE` of the phase the masks are frozen at the target, so that the network meets surgery
    used to its final width. `state` moves on.

    Args:
        phase: With a view that the method has extended.
        state: From `phase.begin`.
        units: Of the network.
        method: Has given `first`, or been given what it remembers by `state`.
        first: (units,) the mask before the first step of a phase that begins.
        watched: Hears of every drop and recovery.
        observe: Sees every state.

    Raises:
        DivergenceError: The loss or a gradient is no longer finite, or the loss has exploded.
    """
    moving = moving_steps(phase.schedule.num_steps)
    # Consumers whose weights do not learn (quantised or half-precision ones) are judged by what the file stores.
    weights = WithStored(phase.engine.parameters, units.graph.stored)
    axes = _UnitAxes(units, phase.engine.trainable) if "derivatives" in method.needs else None
    if state.mask is None:
        watched.moved(0, np.ones_like(first), first)
        state.mask, state.method = first, method.state()
    else:
        method.restore(state.method)
    mask = state.mask

    def after(step: int, result: StepResult) -> None:
        nonlocal mask
        if step > moving:
            return
        derivatives = None if axes is None else axes.of_units(result.derivatives)
        done = StepState(step, moving, mask, weights, derivatives)
        following = method.after_step(done) if step < moving else method.finish(weights, mask)
        watched.moved(step, mask, following, settling=step == moving)
        mask = following
        state.mask, state.method = mask, method.state()

    def progress(partial: Progress) -> Progress:
        return replace(partial, ratio=watched.ratio(mask), recovered=watched.recovered, groups=watched.widths(mask))

    _run(
        phase,
        state,
        lambda state, partial: observe(state, progress(partial)),
        feed_mask=lambda: mask,
        after=after,
        derivatives=() if axes is None else axes.axes,
    )
    return mask


class _UnitAxes:
    """The axes on which trainable weights read units."""

    def __init__(self, units: Units, trainable: Sequence[str]) -> None:
        self._num_units = units.num_units
        owners = {(c.weight, c.axis): c.stored_units for c in reversed(units.consumers) if c.weight in trainable}
        self.axes = [SlicedAxis(*key, stored_units.size) for key, stored_units in owners.items()]
        self._owners = list(owners.values())

    def of_units(self, sums: Sequence[Vector]) -> Vector:
        """(units,) the sum over all slices of each unit."""
        total = np.zeros(self._num_units)
        for owners, values in zip(self._owners, sums, strict=True):
            inside = owners != FIXED
            total += np.bincount(owners[inside], weights=values[inside], minlength=self._num_units)
        return total


def fine_tune(phase: Phase, state: PhaseState, ratio: float, recovered: int, observe: Observer) -> None:
    """Train the pruned network on; `state` moves on.

    Raises:
        DivergenceError: The loss or a gradient is no longer finite, or the loss has exploded.
    """
    _run(phase, state, lambda state, partial: observe(state, replace(partial, ratio=ratio, recovered=recovered)))


def _run(
    phase: Phase,
    state: PhaseState,
    observe: Observer,
    *,
    feed_mask: Callable[[], Mask] | None = None,
    after: Callable[[int, StepResult], None] | None = None,
    derivatives: Sequence[SlicedAxis] = (),
) -> None:
    batches = phase.batches(state.step * phase.accumulate)
    started = time.monotonic() - state.seconds
    while not state.is_done:
        state.whole = False
        with np.errstate(over="ignore", invalid="ignore"):  # whatever overflows is found in the next loss
            rate = phase.schedule(state.step)
            feeds = (_feeds(phase, next(batches), feed_mask) for _ in range(phase.accumulate))
            result = phase.engine.step(feeds, rate, derivatives)
            check_sound(result.loss, result.gradient_norm, state)
            state.step += 1
            if after is not None:
                after(state.step, result)
        state.seconds = time.monotonic() - started
        state.whole = True
        left = state.seconds / state.step * (state.num_steps - state.step)
        observe(
            state,
            Progress(
                str(phase.stage),
                state.step,
                state.num_steps,
                result.loss,
                ratio=0.0,
                recovered=0,
                seconds_left=left,
                learning_rate=rate,
                gradient_norm=result.gradient_norm,
            ),
        )


def _feeds(phase: Phase, batch: Batch, feed_mask: Callable[[], Mask] | None) -> Feeds:
    feeds = as_float32({**batch.inputs, **phase.loss.feeds(batch)})
    if feed_mask is not None:
        feeds[MASK_INPUT] = with_fixed(feed_mask(), True).astype(np.float32)
    return feeds
