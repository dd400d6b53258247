"""`inspect`: what can be pruned, what cannot, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.discovery.choose import frozen_units
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.measure.costs import CostModel
from onnx_dnscp.model.fields import varying_axes
from onnx_dnscp.model.graph import CHANNEL_AXIS
from onnx_dnscp.model.load import LoadedModel, load_model
from onnx_dnscp.model.units import Group, Locked, UnitField, Units, with_fixed
from onnx_dnscp.runs.inspection import GroupReport, Inspection, LockedReport


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
    all_but_one = np.zeros(units.num_units, dtype=bool)
    all_but_one[group.first + 1 : group.first + group.width] = True
    return GroupReport(
        id=group.id,
        width=group.width,
        excluded=int(frozen[group.slice].sum()),
        consumers=list(group.consumers),
        producers=list(group.producers),
        params_share=costs.removed_ratio(all_but_one, "params"),
        macs_share=costs.removed_ratio(all_but_one, "macs"),
    )
