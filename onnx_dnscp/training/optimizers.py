"""Optimisers over named numpy arrays, for engines that learn in this process' memory.

An update works through each tensor in chunks that stay in the processor's cache, in place and through one small scratch
array: memory is read and written once per step, and nothing is allocated after the first.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

OptimizerName = Literal["sgd", "adamw"]
Array = NDArray[Any]

DEFAULT_MOMENTUM = 0.9
DEFAULT_CLIP = 5.0  # common norm; far above a healthy step, it only stops single exploding batches


@dataclass(frozen=True)
class ParameterSettings:
    """How one parameter learns, where it is not as all others do.

    Attributes:
        rate: Factor on the learning rate.
        weight_decay: None is that of all weights with more than one axis, and 0 for others.
    """

    rate: float = 1.0
    weight_decay: float | None = None


@dataclass(frozen=True)
class OptimizerSettings:
    """How all parameters learn.

    Attributes:
        name: Of the optimiser.
        momentum: Of SGD; the first beta of AdamW.
        weight_decay: None takes the optimiser's usual one.
        clip: Common norm that the gradients of a step are scaled down to; 0 leaves them alone.
    """

    name: OptimizerName = "sgd"
    momentum: float = DEFAULT_MOMENTUM
    weight_decay: float | None = None
    clip: float = DEFAULT_CLIP


_USUAL = ParameterSettings()
_CHUNK = 1 << 15  # elements; four arrays of so many float32 fit into a second-level cache


class Optimizer(ABC):
    """Moves weights along their gradients.

    Attributes:
        state: Everything that an update depends on besides its arguments, by name. Copying it into another optimiser
            of the same settings makes that one go on bit by bit the same.
    """

    slots: ClassVar[tuple[str, ...]]  # arrays of a weight's shape that are kept for it

    def __init__(self, weight_decay: float, settings: Mapping[str, ParameterSettings] | None = None) -> None:
        self.state: dict[str, Array] = {"step": np.zeros((), dtype=np.int64)}
        self._weight_decay = weight_decay
        self._settings = settings or {}
        self._scratch = np.empty(_CHUNK, dtype=np.float32)

    def update(self, weights: Mapping[str, Array], gradients: Mapping[str, Array], learning_rate: float) -> None:
        """Change the weights in place; gradients are not modified.

        Weight decay skips tensors of one axis (biases and batch norm), as is usual for convolutional networks.

        Args:
            weights: float32 arrays by name, contiguous.
            gradients: Of the weights that are to move, in the same shapes.
            learning_rate: Of this step.
        """
        self.state["step"] += 1
        for name, gradient in gradients.items():
            weight = weights[name]
            assert weight.flags.c_contiguous, "flat views of it are written to"
            own = self._settings.get(name, _USUAL)
            usual = self._weight_decay if weight.ndim > 1 else 0.0
            decay = usual if own.weight_decay is None else own.weight_decay
            kept = [self._kept(f"{slot}/{name}", weight) for slot in self.slots]
            for weight_part, gradient_part, *parts in _chunks(weight, gradient, *kept):
                scratch = self._scratch[: weight_part.size]
                self._move(weight_part, gradient_part, parts, learning_rate * own.rate, decay, scratch)

    @abstractmethod
    def _move(
        self, weight: Array, gradient: Array, kept: list[Array], learning_rate: float, decay: float, scratch: Array
    ) -> None:
        """Update flat `weight` and `kept` (one array per slot) in place; `scratch` is as long and free to use."""

    def _kept(self, key: str, like: Array) -> Array:
        if key not in self.state:
            self.state[key] = np.zeros_like(like)
        return self.state[key]


class Sgd(Optimizer):
    """Stochastic gradient descent with momentum and weight decay.

    v = momentum * v + (g + weight_decay * W); W = W - learning_rate * v.

    Source: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning", in the form
    in which the learning rate multiplies the velocity.
    """

    slots = ("velocity",)

    def __init__(
        self,
        *,
        momentum: float = DEFAULT_MOMENTUM,
        weight_decay: float = 1e-4,
        settings: Mapping[str, ParameterSettings] | None = None,
    ) -> None:
        super().__init__(weight_decay, settings)
        self._momentum = momentum

    def _move(
        self, weight: Array, gradient: Array, kept: list[Array], learning_rate: float, decay: float, scratch: Array
    ) -> None:
        [velocity] = kept
        velocity *= self._momentum
        velocity += gradient
        if decay:
            velocity += np.multiply(weight, decay, out=scratch)
        weight -= np.multiply(velocity, learning_rate, out=scratch)


class AdamW(Optimizer):
    """Adam with decoupled weight decay.

    Args:
        betas: Decay of the mean gradient and of the mean squared gradient.
        epsilon: Added to the root of the latter, after bias correction.
        weight_decay: Multiplied by the learning rate.

    Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2.
    """

    slots = ("first", "second")

    def __init__(
        self,
        *,
        betas: tuple[float, float] = (DEFAULT_MOMENTUM, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 1e-2,
        settings: Mapping[str, ParameterSettings] | None = None,
    ) -> None:
        super().__init__(weight_decay, settings)
        self._betas = betas
        self._epsilon = epsilon

    def _move(
        self, weight: Array, gradient: Array, kept: list[Array], learning_rate: float, decay: float, scratch: Array
    ) -> None:
        first, second = kept
        step = int(self.state["step"])
        first *= self._betas[0]
        first += np.multiply(gradient, 1.0 - self._betas[0], out=scratch)
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1.0 - self._betas[1]
        second *= self._betas[1]
        second += scratch
        np.sqrt(second, out=scratch)
        scratch *= 1.0 / math.sqrt(1.0 - self._betas[1] ** step)
        scratch += self._epsilon
        np.divide(first, scratch, out=scratch)
        scratch *= learning_rate / (1.0 - self._betas[0] ** step)
        weight *= 1.0 - learning_rate * decay
        weight -= scratch


def make_optimizer(wanted: OptimizerSettings, settings: Mapping[str, ParameterSettings] | None = None) -> Optimizer:
    """A new optimiser; `settings` are those of parameters that learn otherwise than all others."""
    decay = {} if wanted.weight_decay is None else {"weight_decay": wanted.weight_decay}
    if wanted.name == "sgd":
        return Sgd(momentum=wanted.momentum, settings=settings, **decay)
    return AdamW(betas=(wanted.momentum, 0.999), settings=settings, **decay)


def clip_gradients(gradients: Mapping[str, Array], limit: float) -> float:
    """Scale all gradients in place so that their common norm is at most `limit`; return the norm before.

    A norm that is not finite is returned and nothing is scaled. With `limit` 0, nothing ever is.

    Source: Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1.
    """
    norm = math.sqrt(sum(float(np.vdot(part, part)) for g in gradients.values() for [part] in _chunks(g)))
    if 0 < limit < norm < math.inf:
        for gradient in gradients.values():
            gradient *= limit / norm
    return norm


def add_gradients(total: Mapping[str, Array], more: Mapping[str, Array]) -> None:
    """Add to every array of `total`, in place, the array of the same name."""
    for name, gradient in more.items():
        total[name][...] += gradient


def _chunks(*arrays: Array) -> Iterator[list[Array]]:
    """Equal flat pieces of equally large contiguous arrays, as views."""
    flat = [array.reshape(-1) for array in arrays]
    if flat[0].size <= _CHUNK:
        yield flat
        return
    for start in range(0, flat[0].size, _CHUNK):
        yield [array[start : start + _CHUNK] for array in flat]
