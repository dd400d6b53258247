"""What tests of surgery take out of the cases."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from cases import Case
from numpy.typing import NDArray

from models import load
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.model.units import Units

Removed = NDArray[np.bool_]
ROUNDING = 2e-6  # a few float32 roundings of the largest output value
NUM_RANDOM_REMOVALS = 2


@cache
def units_of(case: Case) -> Units:
    return discover(load(case.model))


def removals(units: Units, seed: int = 0) -> Iterator[Removed]:
    """The first unit of every group, all but the last unit of every group, and some random removals."""
    rng = np.random.default_rng(seed)
    firsts = np.zeros(units.num_units, dtype=bool)
    firsts[[group.first for group in units.groups if group.width > 1]] = True
    all_but_last = np.ones(units.num_units, dtype=bool)
    all_but_last[[group.first + group.width - 1 for group in units.groups]] = False
    yield firsts
    yield all_but_last
    for _ in range(NUM_RANDOM_REMOVALS):
        removed = rng.random(units.num_units) < 0.5
        removed[[group.first + rng.integers(group.width) for group in units.groups]] = False
        if removed.any():
            yield removed
