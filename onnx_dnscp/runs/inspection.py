"""What `inspect` tells of a model, and what a run directory keeps of it."""

from __future__ import annotations

from pydantic import BaseModel


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
