"""Masks that tests of surgery try on the cases."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from cases import Case

from models import load
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.model.units import Mask, Units

ROUNDING = 2e-6  # a few float32 roundings of the largest output value
NUM_RANDOM_MASKS = 2


@cache
def units_of(case: Case) -> Units:
    return discover(load(case.model))


def some_masks(units: Units, seed: int = 0) -> Iterator[Mask]:
    """Without the first unit of every group, with the last unit of every group only, and some random masks."""
    rng = np.random.default_rng(seed)
    no_firsts = np.ones(units.num_units, dtype=bool)
    no_firsts[[group.first for group in units.groups if group.width > 1]] = False
    lasts = np.zeros(units.num_units, dtype=bool)
    lasts[[group.first + group.width - 1 for group in units.groups]] = True
    yield no_firsts
    yield lasts
    for _ in range(NUM_RANDOM_MASKS):
        mask = rng.random(units.num_units) >= 0.5
        mask[[group.first + rng.integers(group.width) for group in units.groups]] = True
        if not mask.all():
            yield mask
