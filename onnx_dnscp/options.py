"""What a user can ask of `prune`, checked once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from onnx_dnscp.costs import Metric
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.masks.dnscp import DEFAULT_C_RATE, DEFAULT_GAMMA, DEFAULT_POWER
from onnx_dnscp.training.optimizers import OptimizerName

LossName = Literal["auto", "cross-entropy", "distill"]
BatchNormChoice = Literal["auto", "train", "frozen"]
DEFAULT_LEARNING_RATES: dict[OptimizerName, float] = {"sgd": 0.01, "adamw": 1e-3}


class PruneOptions(BaseModel):
    """Options of one pruning run.

    Attributes:
        ratio: Share to remove, 0 <= ratio < 1.
        metric: What the ratio counts: prunable channels, or all params or MACs.
        align: Kept counts of every group are rounded up to a multiple of this; None takes what ONNX Runtime is fast
            with when the ratio counts MACs, and else 1.
        exclude: Patterns of node names whose channels stay.
        only: Patterns of node names whose channels alone may go.
        data: Training samples; None trains on synthetic inputs.
        test_data: Samples for the accuracy in the report; None takes the training samples.
        epochs: Passes over the data while masks move.
        finetune_epochs: Passes after surgery.
        train: False prunes one-shot by the DNS-CP statistic.
        batch_size: Samples per step.
        optimizer: "sgd" (momentum 0.9) or "adamw".
        learning_rate: At the start of each phase; None takes the optimiser's usual one.
        loss: "auto" is cross-entropy with labels and self-distillation without.
        batch_norm: "auto" normalises by the batch on real data in batches of 8 or more, else keeps running statistics.
        c_rate: Half width of the hysteresis band in layer deviations.
        gamma: Decay of the mask update probability.
        power: Exponent of that decay.
        seed: Of shuffling, draws and synthetic inputs.
        threads: Of ONNX Runtime; 0 leaves the choice to it.
        preprocess: How samples are prepared.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    ratio: float = Field(default=0.5, ge=0, lt=1)
    metric: Metric = "channels"
    align: int | None = Field(default=None, ge=1)
    exclude: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    data: Path | None = None
    test_data: Path | None = None
    epochs: int = Field(default=5, ge=1)
    finetune_epochs: int = Field(default=5, ge=0)
    train: bool = True
    batch_size: int = Field(default=64, ge=1)
    optimizer: OptimizerName = "sgd"
    learning_rate: float | None = Field(default=None, gt=0)
    loss: LossName = "auto"
    batch_norm: BatchNormChoice = "auto"
    c_rate: float = Field(default=DEFAULT_C_RATE, ge=0, le=3)
    gamma: float = Field(default=DEFAULT_GAMMA, gt=0)
    power: float = Field(default=DEFAULT_POWER, gt=0)
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default=0, ge=0)
    preprocess: Preprocess = Preprocess()
