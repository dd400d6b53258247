"""Blocks: what a random graph is put together from, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from random_graphs.builder import Builder, Tensor

T = TypeVar("T")


class Picks:
    """Small drawn numbers that a block turns into its own choices; 0 always picks the first option."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = list(numbers)

    def __call__(self, *options: T) -> T:
        number = self._numbers.pop(0) if self._numbers else 0
        return options[number % len(options)]

    def flag(self) -> bool:
        return self(False, True)


@dataclass
class Site:
    """Where a block is put: the graph so far, the tensor it starts from, and its choices.

    Attributes:
        x: A map (batch, channels, height, width).
        maps: All maps so far, the newest last.
    """

    b: Builder
    x: Tensor
    maps: Sequence[Tensor]
    pick: Picks

    def partner(self, fits: Callable[[Tensor], bool]) -> Tensor | None:
        """Some other map that fits, or None."""
        found = [m for m in self.maps if m.name != self.x.name and fits(m)]
        return found[-1 - self.pick(0, 1, 2) % len(found)] if found else None


Made = Tensor | list[Tensor] | None
BlockRule = Callable[[Site], Made]
BLOCKS: dict[str, BlockRule] = {}


def block(rule: BlockRule) -> BlockRule:
    """Register a block under its function's name. It returns the maps it made, or None where it does not fit."""
    assert rule.__name__ not in BLOCKS
    BLOCKS[rule.__name__] = rule
    return rule
