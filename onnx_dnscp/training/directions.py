"""Directions in the space of all weights, along which all tensors contribute alike to the derivative of the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

_STRETCH = 32.0  # at most, by which tensors of small values or gradients move more than others; biases need it
_SIZE_OF_ZEROS = 1e-2  # stands for the size of a tensor of zeros
_LARGEST_FACTOR = 1e30  # that float32 holds; gradients may be as small as they like


@dataclass(frozen=True)
class Direction:
    """Where to move.

    Attributes:
        moves: Tensor to the way it goes.
        shares: Tensor to the size of what it contributes to the derivative.
    """

    moves: Arrays
    shares: Mapping[str, float]

    @property
    def scale(self) -> float:
        """The size of the derivative, contributions having random signs."""
        return math.hypot(*self.shares.values())

    def only(self, names: Sequence[str]) -> Direction:
        """The same for some of the tensors."""
        return Direction({name: self.moves[name] for name in names}, {name: self.shares[name] for name in names})

    def halves(self) -> tuple[Direction, Direction]:
        """The first tensors, and the rest."""
        names = list(self.moves)
        middle = -(-len(names) // 2)
        return self.only(names[:middle]), self.only(names[middle:])


def along_gradients(start: Arrays, gradients: Arrays, names: Sequence[str], rng: np.random.Generator) -> Direction:
    """Every tensor up or down its own gradient, by chance.

    With one sign for all, what one tensor has too much would drown in the sum: it is 1 / n of that for n tensors, and
    1 / sqrt(n) of the size of a sum of random signs.
    """
    moves, pulls = {}, {}
    for name in names:
        length, steepness = size(start[name]) * math.sqrt(start[name].size), norm(gradients[name])
        moves[name] = gradients[name] * np.float32(rng.choice([-1, 1]) * min(length / steepness, _LARGEST_FACTOR))
        pulls[name] = length * steepness
    return evened(moves, pulls)


def evened(moves: Arrays, pulls: Mapping[str, float]) -> Direction:
    """Moves of such lengths that each tensor contributes as much as the median one, as far as `_STRETCH` allows.

    Args:
        moves: Tensor to the way it goes.
        pulls: Tensor to the size of what it would contribute, more than 0; those of other tensors are left alone.
    """
    median = float(np.median([pulls[name] for name in moves] or [0]))
    factors = {name: min(_STRETCH, median / pulls[name]) for name in moves}
    return Direction(
        {name: np.float32(factors[name]) * move for name, move in moves.items()},
        {name: factors[name] * pulls[name] for name in moves},
    )


def norm(values: NDArray[Any]) -> float:
    """Euclidean length; infinite if it overflows, for a wrong gradient may hold anything."""
    with np.errstate(over="ignore"):
        return float(np.linalg.norm(values))


def size(weight: NDArray[Any]) -> float:
    """Root mean square, or something small for zeros."""
    return norm(weight) / math.sqrt(weight.size) or _SIZE_OF_ZEROS
