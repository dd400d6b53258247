"""Optimisers over named numpy arrays; the same for every engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

OptimizerName = Literal["sgd", "adamw"]


class Optimizer(Protocol):
    """Moves weights along their gradients."""

    def update(
        self, weights: Mapping[str, NDArray[Any]], gradients: Mapping[str, NDArray[Any]], learning_rate: float
    ) -> None:
        """Change the weights in place; gradients are not modified."""


class Sgd:
    """Stochastic gradient descent with momentum and weight decay.

    v = momentum * v + (g + weight_decay * W); W = W - learning_rate * v. Weight decay skips tensors of one axis
    (biases and batch norm), as is usual for convolutional networks.

    Source: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning", in the form
    in which the learning rate multiplies the velocity.
    """

    def __init__(self, *, momentum: float = 0.9, weight_decay: float = 1e-4) -> None:
        self._momentum = momentum
        self._weight_decay = weight_decay
        self._velocity: dict[str, NDArray[Any]] = {}

    def update(
        self, weights: Mapping[str, NDArray[Any]], gradients: Mapping[str, NDArray[Any]], learning_rate: float
    ) -> None:
        """One step; see the class."""
        for name, gradient in gradients.items():
            weight = weights[name]
            velocity = self._velocity.setdefault(name, np.zeros_like(weight))
            velocity *= self._momentum
            velocity += gradient
            if weight.ndim > 1 and self._weight_decay:
                velocity += self._weight_decay * weight
            weight -= learning_rate * velocity


class AdamW:
    """Adam with decoupled weight decay; tensors of one axis do not decay.

    Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2.
    """

    def __init__(
        self, *, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8, weight_decay: float = 1e-2
    ) -> None:
        self._betas = betas
        self._epsilon = epsilon
        self._weight_decay = weight_decay
        self._step = 0
        self._moments: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}

    def update(
        self, weights: Mapping[str, NDArray[Any]], gradients: Mapping[str, NDArray[Any]], learning_rate: float
    ) -> None:
        """One step; see the class."""
        self._step += 1
        beta1, beta2 = self._betas
        for name, gradient in gradients.items():
            weight = weights[name]
            first, second = self._moments.setdefault(name, (np.zeros_like(weight), np.zeros_like(weight)))
            first += (1 - beta1) * (gradient - first)
            second += (1 - beta2) * (np.square(gradient) - second)
            direction = first / (1 - beta1**self._step)
            direction /= np.sqrt(second / (1 - beta2**self._step)) + self._epsilon
            if weight.ndim > 1:
                direction += self._weight_decay * weight
            weight -= learning_rate * direction


def make_optimizer(name: OptimizerName) -> Optimizer:
    """A new optimiser with its usual settings."""
    return Sgd() if name == "sgd" else AdamW()


def clip_gradients(gradients: Mapping[str, NDArray[Any]], limit: float) -> float:
    """Scale all gradients in place so that their common norm is at most `limit`; return the norm before.

    Source: Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1.
    """
    norm = float(np.sqrt(sum(float(np.vdot(g, g)) for g in gradients.values())))
    if norm > limit:
        for gradient in gradients.values():
            gradient *= limit / norm
    return norm
