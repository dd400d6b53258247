"""The options of `prune` as keywords that type checkers and editors know."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from os import PathLike
from typing import TypedDict, TypeVar

from onnx_dnscp.data.augment import AugmentationName
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.masks.ranked import RankedSchedule
from onnx_dnscp.masks.rules import RuleName
from onnx_dnscp.runs.options import PruneOptions
from onnx_dnscp.training.optimizers import OptimizerName
from onnx_dnscp.training.options import BatchNormChoice, EngineName, LossName

Function = TypeVar("Function", bound=Callable[..., object])


class PruneSettings(TypedDict, total=False):
    """Fields of `PruneOptions`, which says what they mean."""

    only: Sequence[str]
    exclude: Sequence[str]
    ratio: float
    metric: str
    max_drop: float | None
    max_runs: int
    align: int | None
    data: str | PathLike[str] | None
    test_data: str | PathLike[str] | None
    hold_out: float
    augment: Sequence[AugmentationName]
    train: bool
    epochs: int
    finetune_epochs: int
    batch_size: int
    lr: float | None
    warmup: float
    optimizer: OptimizerName
    momentum: float
    weight_decay: float | None
    clip: float
    accumulate: int
    loss: LossName
    distill_weight: float | None
    hint_weight: float
    cache_teacher: bool
    batch_norm: BatchNormChoice
    restore_norm: bool | None
    engine: EngineName
    checkpoint_every: int
    seed: int
    threads: int
    method: str
    schedule: RankedSchedule | None
    rule: RuleName
    sensitivity: float | None
    repair: bool | None
    c_rate: float
    gamma: float
    power: float
    preprocess: Preprocess


def with_settings_spelled_out(function: Function) -> Function:
    """`function`, whose `**settings` are shown and completed by notebooks and `help` as the keywords they are."""
    signature = inspect.signature(function)
    *own, _ = signature.parameters.values()
    settings = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.annotation)
        for name, field in PruneOptions.model_fields.items()
    ]
    vars(function)["__signature__"] = signature.replace(parameters=[*own, *settings])
    return function
