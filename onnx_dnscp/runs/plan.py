"""Stage 5, plan: which units go, as a JSON file that anybody can write, read and check from outside."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from onnx_dnscp.errors import UsageError
from onnx_dnscp.model.units import Mask, Units, with_fixed

PLAN_FORMAT: Literal["onnx-dnscp-plan/1"] = "onnx-dnscp-plan/1"
_STRICT = ConfigDict(extra="forbid")


@dataclass(slots=True)
class PlanSlice:
    """What removing units does to one axis of one stored tensor."""

    __pydantic_config__ = _STRICT
    tensor: str
    axis: int
    indices: dict[int, list[int]]  # removed unit of the group to its positions on this axis


@dataclass(slots=True)
class PlanGroup:
    """The removed units of one group."""

    __pydantic_config__ = _STRICT
    id: int
    width: int
    removed: list[int]  # removed units, 0 .. width-1 within the group
    slices: list[PlanSlice] = field(default_factory=list)


@dataclass(slots=True)
class PlanConsumer:
    """Input channels of one consumer that the removal silences."""

    __pydantic_config__ = _STRICT
    weight: str
    input_channels: list[int]


class Plan(BaseModel):
    """The contract between discovery, selection and surgery; see docs/reference/files.md for the file format.

    Attributes:
        model_sha256: Of the file that it was made for; empty if that is not said.
    """

    model_config = _STRICT
    format: Literal["onnx-dnscp-plan/1"] = PLAN_FORMAT
    model_sha256: str = ""
    groups: list[PlanGroup]
    consumers: dict[str, PlanConsumer] = {}


def make_plan(units: Units, mask: Mask, model_sha256: str) -> Plan:
    """The plan that removes some units.

    Args:
        units: What discovery found.
        mask: (units,) True for the units that stay.
        model_sha256: Hash of the model file the plan is for.
    """
    slices: defaultdict[int, list[PlanSlice]] = defaultdict(list)
    known: dict[tuple[bytes, bytes], dict[int, list[int]]] = {}  # most tensors of a group list the same positions
    for index, positions, owners in units.slices.by_axis(~mask[units.slices.unit]):
        tensor, axis = units.slices.axes[index]
        group_of = units.group_of[owners]
        one_group = group_of[0] == group_of[-1] and bool((group_of == group_of[0]).all())
        for number in group_of[:1] if one_group else np.unique(group_of):
            group = units.groups[number]
            mine = slice(None) if one_group else group_of == number
            own, at = owners[mine], positions[mine]
            key = own.tobytes(), at.tobytes()
            if key not in known:
                known[key] = _positions_of(own - group.first, at)
            slices[group.id].append(PlanSlice(tensor, axis, known[key]))
    groups = [
        PlanGroup(
            id=g.id,
            width=g.width,
            removed=np.flatnonzero(~mask[g.slice]).tolist(),
            slices=slices[g.id],
        )
        for g in units.groups
    ]
    stays = with_fixed(mask, True)
    silenced = ((c, np.flatnonzero(~stays[c.channel_units])) for c in units.consumers)
    consumers = {c.node: PlanConsumer(c.weight, channels.tolist()) for c, channels in silenced if channels.size}
    return Plan(model_sha256=model_sha256, groups=groups, consumers=consumers)


def _positions_of(units: NDArray[np.int64], positions: NDArray[np.int64]) -> dict[int, list[int]]:
    """Positions of each unit, in the order they come in."""
    order = np.argsort(units, kind="stable")
    units, positions = units[order], positions[order]
    first = np.flatnonzero(np.append(True, units[1:] != units[:-1]))
    if first.size == units.size:
        return dict(zip(units.tolist(), positions[:, None].tolist(), strict=True))
    ends = [*first[1:].tolist(), units.size]
    listed = positions.tolist()
    return {u: listed[a:b] for u, a, b in zip(units[first].tolist(), first.tolist(), ends, strict=True)}


def read_plan(path: str | Path) -> Plan:
    """Read a plan file.

    Raises:
        UsageError: It cannot be read, is not JSON, or does not follow the format.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read the plan {str(path)!r}: {getattr(error, 'strerror', None) or error}.") from error
    try:
        return Plan.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the top level"
        raise UsageError(f"{str(path)!r} is not a valid plan: at {where}: {first['msg']}.") from error


def plan_mask(plan: Plan, units: Units, model_sha256: str) -> Mask:
    """Turn a plan back into a mask, after checking that it belongs to this model and is complete.

    A plan for another file is good for this one, which may have been trained since, if its slices or consumers are
    those of this model. One that says no file is taken at its groups.

    Returns:
        (units,) True for the units that stay.

    Raises:
        UsageError: The plan is for another model, or names groups, channels or slices the model does not have.
    """
    try:
        mask = _mask(plan, units)
        expected = make_plan(units, mask, model_sha256)
        if is_for_another(plan, model_sha256) and not _says_where(plan, expected):
            raise UsageError("Without 'slices' or 'consumers' nobody can tell whether both have the same structure.")
        _check_details(plan, expected)
    except UsageError as error:
        if not is_for_another(plan, model_sha256):
            raise
        raise UsageError(
            f"The plan is for another model: it names sha256 {plan.model_sha256[:12]}..., this file has "
            f"{model_sha256[:12]}...; make a plan from this file with 'onnx-dnscp prune --plan-out'. {error}"
        ) from error
    return mask


def _mask(plan: Plan, units: Units) -> Mask:
    """What stays by the plan's groups, if the model has them."""
    mask = np.ones(units.num_units, dtype=bool)
    for entry in plan.groups:
        if not 0 <= entry.id < len(units.groups):
            raise UsageError(f"The plan names group {entry.id}; the model has groups 0 to {len(units.groups) - 1}.")
        group = units.groups[entry.id]
        if entry.width != group.width:
            raise UsageError(f"Group {entry.id} of the plan has width {entry.width}; in the model it is {group.width}.")
        for unit in entry.removed:
            if not 0 <= unit < group.width:
                raise UsageError(f"Group {entry.id} of the plan removes channel {unit}; it has 0 to {group.width - 1}.")
            mask[group.first + unit] = False
    return mask


def is_for_another(plan: Plan, model_sha256: str) -> bool:
    """Whether a plan names another file than the one with this hash."""
    return plan.model_sha256 not in ("", model_sha256)


def _says_where(plan: Plan, expected: Plan) -> bool:
    """Whether a plan gives enough besides its groups to see that it fits."""
    return plan.consumers.keys() == expected.consumers.keys() or all(g.slices for g in plan.groups if g.removed)


def _check_details(plan: Plan, expected: Plan) -> None:
    """Slices and consumers are what the removed units mean; a plan that says otherwise is not trusted."""
    by_id = {group.id: group for group in expected.groups}
    for entry in plan.groups:
        if entry.slices:
            _check_slices(entry, by_id[entry.id])
    for name, consumer in plan.consumers.items():
        known = expected.consumers.get(name)
        if known is None or sorted(consumer.input_channels) != known.input_channels:
            raise UsageError(
                f"The plan's consumer {name!r} lists input channels that do not match the channels its groups remove; "
                "leave 'consumers' out or make the plan again."
            )
        if consumer.weight != known.weight:
            raise UsageError(
                f"The plan's consumer {name!r} reads {known.weight!r}, not {consumer.weight!r}; "
                "leave 'consumers' out or make the plan again."
            )


def _check_slices(entry: PlanGroup, expected: PlanGroup) -> None:
    wanted = {(s.tensor, s.axis): s.indices for s in expected.slices}
    for given in entry.slices:
        indices = {unit: sorted(at) for unit, at in given.indices.items()}
        if wanted.get((given.tensor, given.axis)) != indices:
            raise UsageError(
                f"Group {entry.id} of the plan gives slices of {given.tensor!r} axis {given.axis} that do not "
                "match the channels it removes; leave 'slices' out or make the plan again."
            )
    left_out = wanted.keys() - {(given.tensor, given.axis) for given in entry.slices}
    if left_out:
        tensor, axis = min(left_out)
        raise UsageError(
            f"Group {entry.id} of the plan leaves out {tensor!r} axis {axis}, which its channels run through."
        )
