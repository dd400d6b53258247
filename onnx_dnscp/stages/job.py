"""What a run works on and what it was asked for, found before any long work; all stages are handed it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import onnx

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.discovery.choose import frozen_units
from onnx_dnscp.masks.budget import Budget
from onnx_dnscp.masks.rules import rule_align
from onnx_dnscp.measure import latency
from onnx_dnscp.measure.cost_registry import Cost, CostInputs
from onnx_dnscp.measure.evaluation import evaluate_model
from onnx_dnscp.measure.metrics import COSTS
from onnx_dnscp.model.load import LoadedModel
from onnx_dnscp.model.units import Units
from onnx_dnscp.repair.samples import repair_batches
from onnx_dnscp.runs.options import PruneOptions
from onnx_dnscp.training.schedule import Place
from onnx_dnscp.training.setup import Trainer

TRAIN_ACCURACY_SAMPLES = 10_000  # enough to estimate accuracy where only training samples are given
_FORWARD_SHARE = 1 / 3  # of a training step: the gradients take twice as long as the loss
_EVALUATIONS = 3  # at the end: of the original, of the result, and of the original again to compare answers


@dataclass(frozen=True)
class Job:
    """What a run works on and what it was asked for.

    Attributes:
        loaded: The original.
        units: What discovery found in it.
        budget: The target.
        data: Samples to train on, real or synthetic, and to repair with; None where there are none.
        test_data: Samples to measure on.
        scores: The classifier's tensor and number of classes, or None.
        options: What was asked for.
    """

    loaded: LoadedModel
    units: Units
    budget: Budget
    data: Dataset | None
    test_data: Dataset | None
    scores: tuple[str, int] | None
    options: PruneOptions

    @cached_property
    def trainer(self) -> Trainer:
        """What makes the training phases; one for all of them, because they share the teacher."""
        assert self.data is not None, "a run that trains has data, real or synthetic"
        return Trainer(self.loaded.proto, self.units.graph, self.data, self.scores, self.options.training)

    def repair_batches(self) -> list[Batch]:
        """Samples that weights are fitted to and damage is measured on."""
        graph, trace = self.units.graph, self.units.trace
        return repair_batches(graph, trace.shapes_of(graph.inputs), self.data, self.options.seed)

    def measured_on(self) -> tuple[Dataset | None, int | None]:
        """The data that accuracies are of, and how many of its samples count."""
        if self.test_data is not None:
            return self.test_data, None
        return self.data, TRAIN_ACCURACY_SAMPLES

    def accuracy(self, model: onnx.ModelProto) -> float | None:
        """On the test data, else on the training data."""
        dataset, limit = self.measured_on()
        if dataset is None or not dataset.has_labels:
            return None
        return evaluate_model(model, dataset, self.scores, limit=limit, threads=self.options.threads).accuracy

    def test_accuracy(self, model: onnx.ModelProto) -> float | None:
        """On the test data alone, which is small beside what is trained on."""
        if self.test_data is None or self.scores is None or not self.test_data.has_labels:
            return None
        return evaluate_model(model, self.test_data, self.scores, threads=self.options.threads).accuracy

    def seconds_after(self, place: Place, step_seconds: float, set_up: float) -> float:
        """About how long everything takes that comes after a training phase.

        Surgery makes steps shorter by an amount that nobody knows before; until then they count as they are.

        Args:
            place: Of the phase.
            step_seconds: Of one of its steps.
            set_up: Seconds that setting up a phase takes.
        """
        dataset, limit = self.measured_on()
        samples = 0 if dataset is None else min(limit or len(dataset.samples), len(dataset.samples))
        batches = -(-samples // (self.trainer.batch_size * self.options.accumulate))
        evaluation = _FORWARD_SHARE * step_seconds * batches
        measuring = latency.about_seconds() + evaluation * _EVALUATIONS
        return place.later * (set_up + evaluation) + place.after * step_seconds + measuring


def make_budget(units: Units, options: PruneOptions, cost: Cost | None = None) -> Budget:
    """The target that the options ask for, in their metric, which `cost` is if it has been made before.

    Raises:
        RequestError: It is out of reach.
    """
    frozen = frozen_units(units, options.exclude, options.only)
    if cost is None:
        cost = COSTS[options.metric](CostInputs(units, frozen, options.threads))
    return Budget(units, cost, options.ratio, align=asked_align(options), frozen=frozen)


def asked_align(options: PruneOptions) -> int | None:
    """The multiple of channels that the user or the rule asks for, if any."""
    return options.align or (rule_align(options.rule) if options.method == "dnscp" else None)
