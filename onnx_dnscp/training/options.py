"""What training has to know of what a user asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onnx_dnscp.training.optimizers import OptimizerSettings

LossName = Literal["auto", "cross-entropy", "bce", "distill", "mse", "l1"]
BatchNormChoice = Literal["auto", "train", "frozen"]
EngineName = Literal["ort"]


@dataclass(frozen=True)
class TrainingOptions:
    """What all phases of one run have in common; see `PruneOptions` for what most of it means.

    Attributes:
        learning_rate: The highest one.
        optimizer: How weights move.
    """

    learning_rate: float
    optimizer: OptimizerSettings
    epochs: int
    finetune_epochs: int
    batch_size: int
    accumulate: int
    warmup: float
    loss: LossName
    distill_weight: float | None
    hint_weight: float
    cache_teacher: bool
    batch_norm: BatchNormChoice
    engine: EngineName
    seed: int
    threads: int
