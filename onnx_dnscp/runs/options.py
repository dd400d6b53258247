"""What a user can ask of `prune`, checked once."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from onnx_dnscp.data.augment import AugmentationName
from onnx_dnscp.data.function import is_function
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.masks.methods import METHODS
from onnx_dnscp.masks.ranked import RankedSchedule
from onnx_dnscp.masks.rules import DEFAULT_C_RATE, DEFAULT_GAMMA, DEFAULT_POWER, RuleName
from onnx_dnscp.measure.costs import Metric
from onnx_dnscp.training.optimizers import DEFAULT_CLIP, DEFAULT_MOMENTUM, OptimizerName, OptimizerSettings
from onnx_dnscp.training.options import BatchNormChoice, EngineName, LossName, TrainingOptions

MAX_THREADS = 1024  # ONNX Runtime starts as many as it is told to
DEFAULT_SENSITIVITY = 0.3  # with training; all decided in docs/experiments.md
SENSITIVITIES = (0.0, 0.15, 0.3, 0.5, 0.8, 1.2, 1.8)  # that are tried without training
FIRST_TRIED = 0.5
DEFAULT_LEARNING_RATES: dict[OptimizerName, float] = {"sgd": 0.01, "adamw": 1e-3}


class PruneOptions(BaseModel):
    """Options of one pruning run.

    Attributes:
        ratio: Share to remove, 0 <= ratio < 1; with `max_drop`, the most to remove, as much as possible if not given.
        metric: What the ratio counts: prunable channels, or all params or MACs; with `max_drop`, MACs if not given.
        max_drop: Percentage points that may be lost; the deepest cut that loses no more is searched. They are those of
            accuracy on the test data, without labels of agreement with the original, and without classes the
            mean difference of the outputs in percent of their magnitude. None removes `ratio`.
        max_runs: Runs with training that the search may take.
        align: Kept counts of every group are rounded up to a multiple of this; None takes what ONNX Runtime is fast
            with when the ratio counts MACs, and else 1.
        exclude: Patterns of node names whose channels stay.
        only: Patterns of node names whose channels alone may go.
        data: Training samples; None trains on synthetic inputs.
        augment: How training images are changed whenever they are read, in this order.
        test_data: Samples for the accuracy in the report; None takes the training samples.
        hold_out: Share of the training samples, drawn by `seed`, that take the place of test data and are not trained
            on; with `max_drop` and no test data, a fifth if not given.
        epochs: Passes over the data while masks move.
        finetune_epochs: Passes after surgery.
        train: False prunes one-shot by the DNS-CP statistic.
        batch_size: Samples per batch.
        optimizer: "sgd" or "adamw".
        learning_rate: The highest, falling along one cosine over both phases; None is the optimiser's usual one.
        warmup: Steps in which the learning rate rises to that; below 1, a share of the phase with masks.
        momentum: Of SGD; the first beta of AdamW.
        weight_decay: Of tensors with more than one axis; None takes the optimiser's usual one.
        clip: Common norm that the gradients of a step are scaled down to; 0 leaves them alone.
        accumulate: Batches per step, whose gradients are averaged.
        distill_weight: Of self-distillation beside a loss with labels or known values; None is 2 where the loss is
            "auto" and there are labels, and else 0.
        loss: "auto" is cross-entropy beside self-distillation with labels, the latter alone without; "bce" asks each
            class for yes or no; "mse" and "l1" learn arrays of the data named like outputs.
        hint_weight: Of tensors inside the network beside its outputs in self-distillation.
        cache_teacher: Whether self-distillation keeps the original's outputs for all samples in memory.
        batch_norm: "auto" normalises by the batch on real data in batches of 8 or more, else keeps running statistics.
        restore_norm: Whether a network without any norm trains with batch norm, which is folded away again; None: so
            with classifiers where batch norm would train.
        method: How the channels that go are chosen; a name in `masks.registry.METHODS`.
        schedule: "one-shot" chooses at the start and keeps to it, "iterative" goes to the target step by step; None is
            the method's own: dynamic for "dnscp", one-shot for the others.
        rule: Which description of DNS-CP is followed.
        sensitivity: How much DNS-CP spares groups whose channels matter to the outputs: deviations of the group's
            channels per factor e of damage for the same saving; 0 treats all groups alike. Measured on samples, so it
            takes data. None is 0.3, and without training the one of some that leaves the smallest error after repair.
        repair: Whether weights that stay are fitted to make up for those that go, before any training of a mask that
            meets the target at the start; None does so with data.
        c_rate: Half width of the hysteresis band in layer deviations.
        gamma: Decay of the mask update probability.
        power: Exponent of that decay.
        engine: What computes gradients.
        seed: Of shuffling, draws and synthetic inputs.
        threads: Of ONNX Runtime; 0 leaves the choice to it.
        checkpoint_every: Steps between two checkpoints in the run directory.
        preprocess: How samples are prepared.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    ratio: float = Field(default=0.5, ge=0, lt=1)
    metric: Metric = "channels"
    max_drop: float | None = Field(default=None, ge=0, le=100)
    max_runs: int = Field(default=4, ge=1)
    align: int | None = Field(default=None, ge=1)
    exclude: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    data: Path | None = None
    augment: tuple[AugmentationName, ...] = ()
    test_data: Path | None = None
    hold_out: float = Field(default=0, ge=0, lt=1)
    epochs: int = Field(default=5, ge=1)
    finetune_epochs: int = Field(default=5, ge=0)
    train: bool = True
    batch_size: int = Field(default=64, ge=1)
    optimizer: OptimizerName = "sgd"
    learning_rate: float | None = Field(default=None, gt=0)
    warmup: float = Field(default=0, ge=0)
    momentum: float = Field(default=DEFAULT_MOMENTUM, ge=0, lt=1)
    weight_decay: float | None = Field(default=None, ge=0)
    clip: float = Field(default=DEFAULT_CLIP, ge=0)
    accumulate: int = Field(default=1, ge=1)
    loss: LossName = "auto"
    distill_weight: float | None = Field(default=None, ge=0)
    hint_weight: float = Field(default=0, ge=0)
    cache_teacher: bool = False
    batch_norm: BatchNormChoice = "auto"
    restore_norm: bool | None = None
    method: str = "dnscp"
    schedule: RankedSchedule | None = None
    rule: RuleName = "doc"
    sensitivity: float | None = Field(default=None, ge=0)
    repair: bool | None = None
    c_rate: float = Field(default=DEFAULT_C_RATE, ge=0, le=3)
    gamma: float = Field(default=DEFAULT_GAMMA, gt=0)
    power: float = Field(default=DEFAULT_POWER, gt=0)
    engine: EngineName = "ort"
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default=0, ge=0, le=MAX_THREADS)
    checkpoint_every: int = Field(default=100, ge=1)
    preprocess: Preprocess = Preprocess()

    @property
    def highest_rate(self) -> float:
        """The highest learning rate of each phase."""
        return self.learning_rate or DEFAULT_LEARNING_RATES[self.optimizer]

    @property
    def training(self) -> TrainingOptions:
        """What training has to know."""
        own = {"learning_rate", "optimizer"}
        return TrainingOptions(
            learning_rate=self.highest_rate,
            optimizer=OptimizerSettings(self.optimizer, self.momentum, self.weight_decay, self.clip),
            **{field.name: getattr(self, field.name) for field in fields(TrainingOptions) if field.name not in own},
        )

    @field_validator("method")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in METHODS:
            raise ValueError(f"{name!r} is no method; choose from {', '.join(METHODS)}")
        return name


def named_functions(options: PruneOptions) -> dict[str, str]:
    """Options that name functions which make samples, with the names."""
    given = {"--data": options.data, "--test-data": options.test_data}
    return {option: str(path) for option, path in given.items() if path is not None and is_function(path)}
