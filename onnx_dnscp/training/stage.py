"""Names of the stages of a run."""

from __future__ import annotations

from typing import Literal, NamedTuple

StageKind = Literal["choose", "train", "cut", "fine-tune"]
"""Without training; while masks move; surgery; after it."""


class StageId(NamedTuple):
    """One stage of a run. It names checkpoints, lines of the log and curves.

    Attributes:
        round: Counts from 1.
        kind: What is done.
    """

    round: int
    kind: StageKind

    def __str__(self) -> str:
        """The kind, and the number of a round that is not the first."""
        return self.kind if self.round == 1 else f"{self.kind}-{self.round}"
