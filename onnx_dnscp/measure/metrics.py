"""The one place that knows all costs, by the names of `--metric`; a file imported here registers its own."""

from __future__ import annotations

from onnx_dnscp.measure import costs  # noqa: F401  (importing registers them)
from onnx_dnscp.measure.cost_registry import COSTS, Cost, CostInputs

__all__ = ["COSTS", "Cost", "CostInputs"]
