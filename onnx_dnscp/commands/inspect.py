"""`inspect`: what can be pruned, what cannot, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnx_dnscp.discovery.choose import frozen_units
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.model.load import load_model
from onnx_dnscp.runs.inspection import Inspection, describe_units


def inspect(model: str | Path, *, exclude: Sequence[str] = (), only: Sequence[str] = ()) -> Inspection:
    """Find what can be pruned in an ONNX file.

    Args:
        model: The ONNX file.
        exclude: Patterns of node names whose channels stay.
        only: Patterns of node names whose channels alone may go.

    Raises:
        UsageError: A pattern matches no node.
        ModelError: The file cannot be read, is invalid or cannot be run.
    """
    loaded = load_model(model)
    units = discover(loaded)
    return describe_units(loaded, units, frozen_units(units, exclude, only))
