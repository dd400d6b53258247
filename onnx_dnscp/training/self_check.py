"""Does the loss change as the gradients say? Asked once before training, for a wrong gradient looks like any other.

The derivative of the loss along a direction d in the space of all weights is the inner product <gradient, d>; the
central difference (L(W + t d) - L(W - t d)) / 2t of the forward pass alone must agree. Rounding, kinks and curvature
each spoil some step sizes t, so the best of several counts, and what rounding drowns accuses nobody.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnx_dnscp.errors import RequestError
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.training.differentiable import jumps
from onnx_dnscp.training.directions import Arrays, Direction, along_gradients, evened, norm, size
from onnx_dnscp.training.engines.base import Engine
from onnx_dnscp.training.view import LOSS, MASK_INPUT, TrainingView

logger = logging.getLogger("onnx_dnscp")

# At the first step size that is good enough, right gradients agree to 0.01 mostly and to 0.09 in the worst of 56
# directions on seven networks (kinks of Relu); the runtime's known wrong ones are caught, see tests/test_guards.py.
TOLERANCE = 0.1
_SAME = 0.03  # two step sizes that agree this well have measured the derivative
# Relative noise on the weights: a trained network, or a student that equals its teacher, has gradients of nearly 0.
# The later amounts are for networks that the first one breaks or leaves flat, and one has to confirm a mismatch.
_AMOUNTS = (0.1, 0.02, 0.5)
_ENOUGH = 2  # mismatches, each at another amount
_DRAWS = 3  # that all have to say so: a kink of Relu between two steps looks like a wrong gradient, once
_DERIVATIVE = "derivative"
_CHANGE = 2e-3  # of the loss, that the first step size aims at: far above rounding, mostly below curvature
_STEPS = (1.0, 1 / 4, 1 / 16, 4.0)  # times the first step size
_LARGEST_STEP = 5e-3  # times each weight tensor's own size
_PROBES = (5e-6, 1e-5)  # so near the loss is straight, and how far it is from that is noise
_EARLY = 3  # one in so many tensors, the first ones: whatever is wrong behind them shows in their gradients
_SUSPICIOUS = 0.03  # right gradients mostly agree to 0.01, and one wrong tensor among many may be off by no more
_SILENCE = 5  # times as strict with tensors whose gradient is 0, in which only rounding can be seen


def check_gradients(view: TrainingView, engine: Engine, feeds: Arrays, *, seed: int = 0) -> None:
    """Make sure that the engine's gradients are those of the view's loss; weights stay bit for bit as they were.

    Costs one step of the engine and about thirteen forward passes of one shard, some more where something looks wrong.

    Args:
        view: With its loss attached, for one shard.
        engine: Made from it.
        feeds: A batch and the loss's targets, in float32; masks are all 1 here.
        seed: Of noise and directions.

    Raises:
        RequestError: They are not.
    """
    rng = np.random.default_rng(seed)
    shard, batch = _equal_shards(view, feeds)
    saved = {name: value.copy() for name, value in engine.parameters.items()}
    forward = _Forward(view, {**shard, **{name: saved[name] for name in view.statistics}})
    try:
        for _ in range(_DRAWS):
            judged, mismatches = _judge(engine, view, forward, saved, batch, rng)
            if len(mismatches) < _ENOUGH:
                break
    finally:
        engine.parameters.write(saved)
    if not judged:
        logger.warning("gradient check: the loss is too flat or too noisy to tell whether gradients are right")
    elif len(mismatches) < _ENOUGH:
        logger.info("gradient check passed")
    elif jumps(view.model):
        logger.warning("gradient check: the model's output jumps, which gradients cannot tell: %s", mismatches[0])
    else:
        raise RequestError(
            f"The gradients of this model are wrong ({mismatches[0]}), so training would ruin it. Prune it with "
            "--no-train, and please report the model."
        )


def _judge(
    engine: Engine, view: TrainingView, forward: _Forward, saved: Arrays, batch: Arrays, rng: np.random.Generator
) -> tuple[bool, list[_Comparison]]:
    """Whether derivatives could be compared at noisy weights, and at most one mismatch for each amount of noise."""
    mismatches: list[_Comparison] = []
    judged = False
    for amount in _AMOUNTS:
        start = {name: _shaken(saved[name], amount, rng) for name in view.trainable}
        engine.parameters.write({**saved, **start})
        loss, gradients = engine.gradients(batch)
        found = list(_compare(forward, start, loss, gradients, rng))
        judged = judged or any(comparison.what == _DERIVATIVE for comparison in found)
        mismatches += [comparison for comparison in found if not comparison.agrees][:1]
        if len(mismatches) == _ENOUGH or (judged and not mismatches):
            break
    return judged, mismatches


@dataclass(frozen=True)
class _Comparison:
    """A number from the gradient graph and the same from forward passes; `scale` is what counts as large."""

    what: str
    computed: float
    measured: float
    scale: float

    @property
    def difference(self) -> float:
        return abs(self.computed - self.measured)

    @property
    def error(self) -> float:
        return self.difference / max(self.scale, abs(self.measured))

    @property
    def agrees(self) -> bool:
        return self.error <= TOLERANCE

    def __str__(self) -> str:
        return f"{self.what}: {self.computed:.5g} computed, {self.measured:.5g} measured"


class _Forward:
    """The loss of one batch as a function of the weights, without the gradient graph."""

    def __init__(self, view: TrainingView, feeds: Arrays) -> None:
        model = onnx.ModelProto()
        model.CopyFrom(view.model)
        # The new running statistics stay outputs: without, batch norm would write them over the arrays it is fed.
        model.graph.output.append(helper.make_tensor_value_info(LOSS, TensorProto.FLOAT, []))
        declared = {i.name for i in model.graph.input}
        self._feeds = {name: value for name, value in feeds.items() if name in declared}
        self._session = Session(model, what="The training view")

    def __call__(self, weights: Arrays) -> float:
        return float(self._session.run({**self._feeds, **weights}, [LOSS])[LOSS])


def _compare(
    forward: _Forward, start: Arrays, loss: float, gradients: Arrays, rng: np.random.Generator
) -> Iterator[_Comparison]:
    """The loss itself and its derivative along some directions, as far as forward passes can tell.

    Along the gradients most can be seen, but nothing that they lack; so there are random directions, too.
    """
    base = forward(start)
    if not (math.isfinite(base) and math.isfinite(loss)):
        return
    yield _Comparison("loss", loss, base, abs(base))
    pulls = {name: norm(gradient) * size(start[name]) for name, gradient in gradients.items()}
    overall = math.hypot(*pulls.values())
    if not math.isfinite(overall):
        yield _Comparison(_DERIVATIVE, overall, 0.0, 1.0)
        return
    loud = [name for name in start if pulls.get(name, 0.0) > 0]
    silent = [name for name in start if name not in loud]
    anyhow = {name: size(w) * rng.standard_normal(w.shape, np.float32) for name, w in start.items()}
    bends = [sum(forward(_moved(start, anyhow, sign * step)) for sign in (1, -1)) - 2 * base for step in _PROBES]
    noise = max(map(abs, bends)) + 4 * float(np.finfo(np.float32).eps) * abs(base)
    ruler = _Ruler(forward, start, base, noise, gradients)
    uphill = along_gradients(start, gradients, loud, rng)
    random = evened({name: anyhow[name] for name in loud}, pulls)
    early = loud[: -(-len(loud) // _EARLY)]
    share = overall / _SILENCE / math.sqrt(len(silent) or 1)
    unmoved = Direction({name: anyhow[name] for name in silent}, dict.fromkeys(silent, share))
    for direction in (*uphill.halves(), random, random.only(early), unmoved):
        yield from _narrowed(ruler, direction)


@dataclass(frozen=True)
class _Ruler:
    """Measures derivatives of the loss at the weights `start`, where it is `base` up to `noise`."""

    forward: _Forward
    start: Arrays
    base: float
    noise: float
    gradients: Arrays

    def along(self, direction: Direction) -> _Comparison | None:
        """The derivative along one direction: at a step size where both agree, or else where two step sizes agree.

        None if neither is found: noise hides the small steps, and curvature or kinks bend the large ones. Differences
        are judged relative to the direction's scale, or the derivative where that is larger.
        """
        moves = direction.moves
        scale = max(direction.scale, abs(self._slope(moves)))
        first = min(_LARGEST_STEP, _CHANGE * abs(self.base) / scale) if scale > 0 else _LARGEST_STEP
        found: list[_Comparison] = []
        for step in (factor * first for factor in _STEPS):
            ahead, behind = (_moved(self.start, moves, sign * step) for sign in (1, -1))
            measured = (self.forward(ahead) - self.forward(behind)) / (2 * step)
            # Weights are rounded, so they moved a little differently from what was asked.
            computed = self._slope({name: ahead[name] - behind[name] for name in moves}) / (2 * step)
            comparison = _Comparison(_DERIVATIVE, computed, measured, max(scale, abs(computed)))
            if not math.isfinite(measured) or self.noise / step > TOLERANCE * max(comparison.scale, abs(measured)):
                continue
            if comparison.agrees:
                return comparison
            found.append(comparison)
        pairs = itertools.combinations(found, 2)
        return next((a for a, b in pairs if _Comparison("", a.measured, b.measured, scale).error <= _SAME), None)

    def _slope(self, moves: Arrays) -> float:
        known = self.gradients
        return sum(float(np.vdot(known[name], move)) for name, move in moves.items() if name in known)


def _narrowed(ruler: _Ruler, direction: Direction) -> Iterator[_Comparison]:
    """The derivative along a direction and, while it looks suspicious, along the half of it that is off by more.

    One wrong tensor is off by little among many and by all of it alone; rounding and kinks do not gather like that.
    """
    comparison = ruler.along(direction) if direction.moves else None
    while comparison is not None:
        yield comparison
        if not comparison.agrees or comparison.error < _SUSPICIOUS or len(direction.moves) == 1:
            return
        halves = [(half, ruler.along(half)) for half in direction.halves()]
        direction, comparison = max(halves, key=lambda pair: -1.0 if pair[1] is None else pair[1].difference)


def _moved(start: Arrays, direction: Arrays, step: float) -> dict[str, NDArray[Any]]:
    moved = {name: np.asarray(start[name] + np.float32(step) * value) for name, value in direction.items()}
    return {**start, **moved}


def _shaken(weight: NDArray[Any], amount: float, rng: np.random.Generator) -> NDArray[Any]:
    shaken = np.asarray(weight * (1 + np.float32(amount) * rng.standard_normal(weight.shape, np.float32)))
    return shaken


def _equal_shards(view: TrainingView, feeds: Arrays) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """What one shard is fed, and a batch all of whose shards are that one, so that both have the same loss."""
    shard, batch = {}, {}
    for declared in view.model.graph.input:
        dims = [dim.dim_value for dim in declared.type.tensor_type.shape.dim]
        if declared.name == MASK_INPUT:
            shard[declared.name] = batch[declared.name] = np.ones(dims, np.float32)
        elif declared.name in feeds:
            value = feeds[declared.name]
            times = len(value) // dims[0] if dims and dims[0] else 1
            shard[declared.name] = value[: dims[0]] if times > 1 else value
            batch[declared.name] = np.concatenate([shard[declared.name]] * times) if times > 1 else value
    return shard, batch
