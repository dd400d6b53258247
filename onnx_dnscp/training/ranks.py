"""The processes that train one network together, each on its share of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


class Ranks(Protocol):
    """One process among those that train together; number 0 alone writes files."""

    @property
    def rank(self) -> int:
        """Its number."""

    @property
    def size(self) -> int:
        """How many there are."""

    def mean(self, values: Arrays) -> Arrays:
        """The mean of every array over all processes, the same in each."""

    def broadcast(self, values: Arrays) -> Arrays:
        """The arrays of process 0, in every process."""


class OneProcess:
    """A process that trains alone."""

    rank = 0
    size = 1

    def mean(self, values: Arrays) -> Arrays:
        """The values themselves."""
        return values

    def broadcast(self, values: Arrays) -> Arrays:
        """The values themselves."""
        return values
