"""The one place that knows all pruning methods; a file imported here registers its own."""

from __future__ import annotations

from onnx_dnscp.masks import dnscp, fpgm, magnitude, random_choice, taylor  # noqa: F401  (importing registers them)
from onnx_dnscp.masks.registry import METHODS, MethodSettings, choose_once

__all__ = ["METHODS", "MethodSettings", "choose_once"]
