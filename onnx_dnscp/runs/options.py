"""What a user can ask of `prune`, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator
from pydantic.config import JsonDict

from onnx_dnscp.data.augment import AugmentationName
from onnx_dnscp.data.function import is_function
from onnx_dnscp.data.preprocess import DATA, MORE_DATA, Preprocess
from onnx_dnscp.masks.methods import METHODS
from onnx_dnscp.masks.ranked import RankedSchedule
from onnx_dnscp.masks.rules import DEFAULT_C_RATE, DEFAULT_GAMMA, DEFAULT_POWER, RuleName
from onnx_dnscp.measure.metrics import COSTS
from onnx_dnscp.system.option_model import EXPERT, OptionModel
from onnx_dnscp.training.optimizers import DEFAULT_CLIP, DEFAULT_MOMENTUM, OptimizerName, OptimizerSettings
from onnx_dnscp.training.options import BatchNormChoice, EngineName, LossName, TrainingOptions

MAX_THREADS = 1024  # ONNX Runtime starts as many as it is told to
DEFAULT_SENSITIVITY = 0.3  # with training; see docs/defaults.md
SENSITIVITIES = (0.0, 0.15, 0.3, 0.5, 0.8, 1.2, 1.8)  # that are tried without training
FIRST_TRIED = 0.5
DEFAULT_LEARNING_RATES: dict[OptimizerName, float] = {"sgd": 0.01, "adamw": 1e-3}

# Where an option stands in the help; those of MORE_... and CHOICE are for experts.
WHAT: JsonDict = {"group": "What"}
HOW_MUCH: JsonDict = {"group": "How much"}
MORE_HOW_MUCH = HOW_MUCH | EXPERT
TRAINING: JsonDict = {"group": "Training"}
MORE_TRAINING = TRAINING | EXPERT
MORE_RUN: JsonDict = {"group": "Run", **EXPERT}
CHOICE: JsonDict = {"group": "Expert: how channels are chosen", **EXPERT}


class PruneOptions(OptionModel):
    """Options of one pruning run; those of the command line bear the same names.

    Raises:
        UsageError: An option is unknown, given twice or cannot have its value.
    """

    other_names: ClassVar[Mapping[str, str]] = {"learning_rate": "lr"}

    only: tuple[str, ...] = Field(
        default=(),
        description="Prune only channels that nodes of this name read or make (* ? [] match); repeatable.",
        json_schema_extra={**WHAT, "metavar": "PATTERN"},
    )
    exclude: tuple[str, ...] = Field(
        default=(),
        description="Keep every channel that nodes of this name read or make; repeatable.",
        json_schema_extra={**WHAT, "metavar": "PATTERN"},
    )
    ratio: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="Share to remove; with `max_drop`, at most. [default: 0.5; with `max_drop`, as much as possible]",
        json_schema_extra={**HOW_MUCH, "metavar": "SHARE"},
    )
    metric: str = Field(
        default="channels",
        description="What the ratio counts. [default: channels; with `max_drop`, macs]",
        json_schema_extra={**HOW_MUCH, "choices": [*COSTS]},
    )
    max_drop: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Search the deepest cut that loses no more percentage points of accuracy on `test_data` or "
        "held-out samples (without labels, of agreement with the original; without classes, as the mean difference of "
        "the outputs in percent of their magnitude).",
        json_schema_extra={**HOW_MUCH, "metavar": "POINTS"},
    )
    max_runs: int = Field(
        default=4,
        ge=1,
        description="Runs with training that `max_drop` may take.",
        json_schema_extra=MORE_HOW_MUCH,
    )
    align: int | None = Field(
        default=None,
        ge=1,
        description="Keep a multiple of this many channels per group. [default: what ONNX Runtime is fast with, up to "
        "16, if the ratio counts MACs, else 1]",
        json_schema_extra=MORE_HOW_MUCH,
    )
    data: Path | None = Field(
        default=None,
        description="Training samples: .npz or .npy arrays, images in a folder, .zip, .tar or .parquet, or a function "
        "of yours as package.module:function. [default: synthetic inputs]",
        json_schema_extra=DATA,
    )
    test_data: Path | None = Field(
        default=None,
        description="Samples for the accuracy in the report. [default: those of `data`]",
        json_schema_extra=DATA,
    )
    hold_out: float = Field(
        default=0,
        ge=0,
        lt=1,
        description="Share of `data` to take for that instead, and not to train on. [default: 0; with `max_drop`, 0.2]",
        json_schema_extra={**MORE_DATA, "metavar": "SHARE"},
    )
    augment: tuple[AugmentationName, ...] = Field(
        default=(),
        description="Change training images whenever they are read; repeatable, in this order.",
        json_schema_extra=MORE_DATA,
    )
    train: bool = Field(
        default=True,
        description="Train while channels fall and come back; `no_train` prunes at once by the weights alone and needs "
        "no data.",
        json_schema_extra=TRAINING,
    )
    epochs: int = Field(
        default=5,
        ge=1,
        description="Passes over the data while channels fall and come back.",
        json_schema_extra=TRAINING,
    )
    finetune_epochs: int = Field(default=5, ge=0, description="Passes after surgery.", json_schema_extra=TRAINING)
    batch_size: int = Field(default=64, ge=1, description="Samples per batch.", json_schema_extra=TRAINING)
    lr: float | None = Field(
        default=None,
        gt=0,
        description="Highest learning rate, which falls along one cosine over both phases. [default: 0.01 for sgd, "
        "0.001 for adamw]",
        json_schema_extra=TRAINING,
    )
    warmup: float = Field(
        default=0,
        ge=0,
        description="Steps in which it rises to that first; below 1, a share of the phase with masks.",
        json_schema_extra={**MORE_TRAINING, "metavar": "STEPS"},
    )
    optimizer: OptimizerName = Field(default="sgd", description="How weights move.", json_schema_extra=MORE_TRAINING)
    momentum: float = Field(
        default=DEFAULT_MOMENTUM,
        ge=0,
        lt=1,
        description="Of sgd; the first beta of adamw.",
        json_schema_extra=MORE_TRAINING,
    )
    weight_decay: float | None = Field(
        default=None,
        ge=0,
        description="Of weights, not of biases and norms. [default: 0.0001 for sgd, 0.01 for adamw]",
        json_schema_extra=MORE_TRAINING,
    )
    clip: float = Field(
        default=DEFAULT_CLIP,
        ge=0,
        description="Largest norm of a step's gradient; 0 leaves it alone.",
        json_schema_extra=MORE_TRAINING,
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        description="Batches per step; their gradients are averaged.",
        json_schema_extra=MORE_TRAINING,
    )
    loss: LossName = Field(
        default="auto",
        description="auto: cross-entropy and self-distillation with labels, the latter alone without; bce: binary "
        "cross-entropy of each class; mse, l1: distance of outputs from arrays of the data named like them.",
        json_schema_extra=MORE_TRAINING,
    )
    distill_weight: float | None = Field(
        default=None,
        ge=0,
        description="Of self-distillation beside a loss with labels or known values. [default: 2 if the loss is auto "
        "and there are labels, else 0]",
        json_schema_extra=MORE_TRAINING,
    )
    hint_weight: float = Field(
        default=0,
        ge=0,
        description="Of tensors inside the network beside its outputs in self-distillation.",
        json_schema_extra=MORE_TRAINING,
    )
    cache_teacher: bool = Field(
        default=False,
        description="Self-distillation asks the original once about all samples and keeps its answers in memory.",
        json_schema_extra=MORE_TRAINING,
    )
    batch_norm: BatchNormChoice = Field(
        default="auto",
        description="Whether batch norm follows the training data; auto: on real data in batches of 8 or more.",
        json_schema_extra=MORE_TRAINING,
    )
    restore_norm: bool | None = Field(
        default=None,
        description="Train a network without any norm with batch norm, and fold it away again. [default: classifiers "
        "where batch norm would train]",
        json_schema_extra=MORE_TRAINING,
    )
    engine: EngineName = Field(
        default="ort",
        description="What computes gradients: ort is ONNX Runtime.",
        json_schema_extra=MORE_TRAINING,
    )
    checkpoint_every: int = Field(
        default=100,
        ge=1,
        description="Steps between checkpoints in the run directory.",
        json_schema_extra={**MORE_RUN, "metavar": "STEPS"},
    )
    seed: int = Field(
        default=0,
        ge=0,
        description="Of shuffling, draws and synthetic inputs.",
        json_schema_extra=MORE_RUN,
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=MAX_THREADS,
        description="Of ONNX Runtime; 0 leaves the choice to it.",
        json_schema_extra=MORE_RUN,
    )
    method: str = Field(
        default="dnscp",
        description="How the channels that go are chosen.",
        json_schema_extra={**CHOICE, "choices": [*METHODS]},
    )
    schedule: RankedSchedule | None = Field(
        default=None,
        description="Choose all at the start, or step by step. [default: dynamic for dnscp, else one-shot]",
        json_schema_extra=CHOICE,
    )
    rule: RuleName = Field(
        default="doc",
        description="Which description of DNS-CP is followed.",
        json_schema_extra=CHOICE,
    )
    sensitivity: float | None = Field(
        default=None,
        ge=0,
        description="How much dnscp spares groups of channels that matter more to the outputs, as measured on `data`: "
        "deviations of the group's channels per factor e of damage for the same saving; 0 treats all alike. [default: "
        "0.3; with `no_train`, the one of some that leaves the smallest error after repair]",
        json_schema_extra=CHOICE,
    )
    repair: bool | None = Field(
        default=None,
        description="Fit weights that stay to make up for those that go, before training. [default: with `data`]",
        json_schema_extra=CHOICE,
    )
    c_rate: float = Field(
        default=DEFAULT_C_RATE,
        ge=0,
        le=3,
        description="Half width of the band between dropping and recovering, in layer deviations.",
        json_schema_extra=CHOICE,
    )
    gamma: float = Field(
        default=DEFAULT_GAMMA,
        gt=0,
        description="How fast mask updates become rarer.",
        json_schema_extra=CHOICE,
    )
    power: float = Field(
        default=DEFAULT_POWER,
        gt=0,
        description="Exponent of that decay.",
        json_schema_extra=CHOICE,
    )
    preprocess: Preprocess = Field(default=Preprocess(), description="How samples are prepared.")

    @property
    def highest_rate(self) -> float:
        """The highest learning rate of each phase."""
        return self.lr or DEFAULT_LEARNING_RATES[self.optimizer]

    @property
    def training(self) -> TrainingOptions:
        """What training has to know."""
        own = {"learning_rate", "optimizer"}
        return TrainingOptions(
            learning_rate=self.highest_rate,
            optimizer=OptimizerSettings(self.optimizer, self.momentum, self.weight_decay, self.clip),
            **{field.name: getattr(self, field.name) for field in fields(TrainingOptions) if field.name not in own},
        )

    @field_validator("method", "metric")
    @classmethod
    def _known(cls, name: str, field: ValidationInfo) -> str:
        registered = METHODS if field.field_name == "method" else COSTS
        if name not in registered:
            raise ValueError(f"choose from {', '.join(registered)}")
        return name


def named_functions(options: PruneOptions) -> dict[str, str]:
    """Options that name functions which make samples, with the names."""
    given = {"--data": options.data, "--test-data": options.test_data}
    return {option: str(path) for option, path in given.items() if path is not None and is_function(path)}
