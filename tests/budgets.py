"""Budgets by the name of what they count."""

from __future__ import annotations

from onnx_dnscp.masks.budget import Budget
from onnx_dnscp.measure.metrics import COSTS, CostInputs
from onnx_dnscp.model.units import Mask, Units


def budget_of(units: Units, metric: str, target: float, *, align: int | None = 1, frozen: Mask | None = None) -> Budget:
    """A target in one of the registered costs."""
    return Budget(units, COSTS[metric](CostInputs(units, frozen)), target, align=align, frozen=frozen)
