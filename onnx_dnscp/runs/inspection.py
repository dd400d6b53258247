"""What `inspect` tells of a model, and what a run directory keeps of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from onnx_dnscp.measure.costs import CostModel
from onnx_dnscp.model.fields import varying_axes
from onnx_dnscp.model.graph import CHANNEL_AXIS
from onnx_dnscp.model.load import LoadedModel
from onnx_dnscp.model.units import Group, Locked, UnitField, Units, with_fixed


class GroupReport(BaseModel):
    """One group of prunable channels.

    Attributes:
        excluded: How many of its channels stay because the user said so.
        params_share: Share of the model's params that only exist because of this group's channels (all but one).
        macs_share: The same for MACs.
    """

    id: int
    width: int
    excluded: int
    consumers: list[str]
    producers: list[str]
    params_share: float
    macs_share: float


class LockedReport(BaseModel):
    """Channels that stay, and why."""

    width: int
    tensors: list[str]
    reasons: list[str]
    consumers: list[str]
    producers: list[str]


class Inspection(BaseModel):
    """What discovery found in a model file.

    Attributes:
        prunable_channels: Units of all groups, without those that the user excludes.
        locked_channels: Channels that weights make or read and that stay, excluded ones included.
        convolution_channels: Output channels of all convolutions.
        prunable_convolution_channels: Those of them that can go.
        weight_nodes: Labels of all nodes that make or read the channels of groups and locked ones, in graph order.
    """

    model: str
    sha256: str
    params: int
    macs: int
    prunable_channels: int
    locked_channels: int
    convolution_channels: int
    prunable_convolution_channels: int
    groups: list[GroupReport]
    locked: list[LockedReport]
    weight_nodes: list[str] = []


def describe_units(loaded: LoadedModel, units: Units, frozen: NDArray[np.bool_]) -> Inspection:
    """What discovery found, without the `frozen` units (units,), which the user excludes."""
    costs = CostModel(units)
    whole = costs.costs()
    locked = [LockedReport(**{name: getattr(x, name) for name in LockedReport.model_fields}) for x in units.locked]
    locked += [_report_excluded(group, frozen) for group in units.groups if frozen[group.slice].any()]
    made = [units.fields.get(node.outputs[0], ()) for node in units.graph.convolutions]
    shapes = [units.trace.shapes.get(node.outputs[0]) for node in units.graph.convolutions]  # branches may not run
    return Inspection(
        model=str(loaded.path),
        sha256=loaded.sha256,
        params=whole.params,
        macs=whole.macs,
        prunable_channels=int((~frozen).sum()),
        locked_channels=sum(entry.width for entry in locked),
        convolution_channels=sum(shape[CHANNEL_AXIS] for shape in shapes if shape is not None),
        prunable_convolution_channels=sum(_count_free(fields, frozen) for fields in made),
        groups=[_report_group(units, costs, i, frozen) for i in range(len(units.groups))],
        locked=locked,
        weight_nodes=_in_order(units, [*units.groups, *units.locked]),
    )


def _in_order(units: Units, sets: Sequence[Group | Locked]) -> list[str]:
    labels = {label for channels in sets for label in (*channels.consumers, *channels.producers)}
    return [node.label for node in units.graph.nodes if node.label in labels]


def _report_excluded(group: Group, frozen: NDArray[np.bool_]) -> LockedReport:
    tensors = list(dict.fromkeys(name for name, _ in group.axes))
    return LockedReport(
        width=int(frozen[group.slice].sum()),
        tensors=tensors,
        reasons=["excluded by the user"],
        consumers=list(group.consumers),
        producers=list(group.producers),
    )


def _count_free(fields: Sequence[UnitField], frozen: NDArray[np.bool_]) -> int:
    """Channels of a tensor that are units and not frozen."""
    stays = with_fixed(frozen, True)
    return sum(int((~stays[field.ravel()]).sum()) for field in fields if varying_axes(field) == (CHANNEL_AXIS,))


def _report_group(units: Units, costs: CostModel, index: int, frozen: NDArray[np.bool_]) -> GroupReport:
    group = units.groups[index]
    one_left = np.ones(units.num_units, dtype=bool)
    one_left[group.first + 1 : group.first + group.width] = False
    return GroupReport(
        id=group.id,
        width=group.width,
        excluded=int(frozen[group.slice].sum()),
        consumers=list(group.consumers),
        producers=list(group.producers),
        params_share=costs.saved_params(one_left),
        macs_share=costs.saved_macs(one_left),
    )
