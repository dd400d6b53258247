"""What `prune` tells about a run."""

from __future__ import annotations

from pydantic import BaseModel

from onnx_dnscp.runs.curve import CurvePoint
from onnx_dnscp.runs.facts import ModelFacts


class GroupWidth(BaseModel):
    """Channels of one group, before and after."""

    id: int
    width: int
    kept: int
    consumers: list[str]


class PruneReport(BaseModel):
    """What a pruning run did.

    Attributes:
        ratio: Share removed, in `metric`.
        accuracy_data: What the accuracies were measured on; None if nothing was.
        accuracy_after_surgery: Before fine-tuning.
        dropped: Drops over the dynamic phase; a channel that fell twice counts twice.
        recovered: Recoveries over the dynamic phase.
        max_relative_error: Of the saved model against the masked model, over the verification inputs.
        notes: Things the user should know.
        max_drop: Percentage points that a search was allowed to lose; None if there was no search.
        measure: What they are points of.
        curve: Every cut that the search looked at, by MACs left, most first.
    """

    model: str
    output: str
    model_sha256: str
    ratio_asked: float
    ratio: float
    metric: str
    loss: str | None
    before: ModelFacts
    after: ModelFacts
    speedup: float
    accuracy_data: str | None
    accuracy_after_surgery: float | None
    groups: list[GroupWidth]
    dropped: int
    recovered: int
    max_relative_error: float
    tolerance: float
    seconds: float
    seconds_training: float
    seconds_fine_tuning: float
    notes: list[str]
    max_drop: float | None = None
    measure: str | None = None
    curve: list[CurvePoint] = []
