"""The ways a file may write one constant."""

from __future__ import annotations

from enum import Enum


class Spelling(Enum):
    """How a constant reaches its reader."""

    INITIALIZER = 0
    CONSTANT = 1
    LIST = 2
    IDENTITY = 3
    CAST = 4
    TRANSPOSE = 5
    RESHAPE = 6
    UNSQUEEZE = 7
    DEQUANTIZE = 8


SPELLINGS = tuple(Spelling)
