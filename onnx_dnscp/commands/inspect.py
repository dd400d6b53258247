"""`inspect`: what can be pruned, what cannot, and why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import BaseModel

from onnx_dnscp.costs import CostModel
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.load import load_model
from onnx_dnscp.units import Units


class GroupReport(BaseModel):
    """One group of prunable channels.

    Attributes:
        params_share: Share of the model's params that only exist because of this group's channels (all but one).
        macs_share: The same for MACs.
    """

    id: int
    width: int
    consumers: list[str]
    producers: list[str]
    params_share: float
    macs_share: float


class LockedReport(BaseModel):
    """Channels that stay, and why."""

    width: int
    tensors: list[str]
    reasons: list[str]


class Inspection(BaseModel):
    """What discovery found in a model file."""

    model: str
    sha256: str
    params: int
    macs: int
    prunable_channels: int
    locked_channels: int
    groups: list[GroupReport]
    locked: list[LockedReport]


def inspect(model: str | Path) -> Inspection:
    """Find what can be pruned in an ONNX file.

    Raises:
        ModelError: The file cannot be read, is invalid or cannot be run.
    """
    loaded = load_model(model)
    units = discover(loaded)
    costs = CostModel(units)
    whole = costs.costs()
    return Inspection(
        model=str(loaded.path),
        sha256=loaded.sha256,
        params=whole.params,
        macs=whole.macs,
        prunable_channels=units.num_units,
        locked_channels=sum(locked.width for locked in units.locked),
        groups=[_report_group(units, costs, i) for i in range(len(units.groups))],
        locked=[LockedReport(width=x.width, tensors=list(x.tensors), reasons=list(x.reasons)) for x in units.locked],
    )


def _report_group(units: Units, costs: CostModel, index: int) -> GroupReport:
    group = units.groups[index]
    all_but_one = np.zeros(units.num_units, dtype=bool)
    all_but_one[group.first + 1 : group.first + group.width] = True
    return GroupReport(
        id=group.id,
        width=group.width,
        consumers=list(group.consumers),
        producers=list(group.producers),
        params_share=costs.removed_ratio(all_but_one, "params"),
        macs_share=costs.removed_ratio(all_but_one, "macs"),
    )
