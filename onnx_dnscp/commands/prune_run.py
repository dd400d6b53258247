"""The values of one `prune` run: what it was asked for, and what was found before any long work."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from onnx_dnscp.commands.inspect import describe_units
from onnx_dnscp.commands.saving import data_path, free_path, output_path
from onnx_dnscp.data.augment import augmented
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.data.fingerprint import fingerprint
from onnx_dnscp.data.function import is_function
from onnx_dnscp.data.open import open_dataset, synthetic_dataset
from onnx_dnscp.data.split import hold_out
from onnx_dnscp.discovery.choose import frozen_units
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.errors import UsageError
from onnx_dnscp.masks.budget import Budget
from onnx_dnscp.masks.rules import rule_align
from onnx_dnscp.measure import latency
from onnx_dnscp.measure.evaluation import batch_limit, check_targets, class_output, evaluate_model
from onnx_dnscp.measure.metrics import COSTS, Cost, CostInputs
from onnx_dnscp.model.load import LoadedModel, load_model
from onnx_dnscp.model.units import Units
from onnx_dnscp.runs.keeper import Keeper
from onnx_dnscp.runs.options import PruneOptions
from onnx_dnscp.runs.run_directory import RunDirectory, RunRecord
from onnx_dnscp.training.checkpoint import PhaseName
from onnx_dnscp.training.loop import Listener
from onnx_dnscp.training.setup import Trainer

logger = logging.getLogger("onnx_dnscp")

_FORWARD_SHARE = 1 / 3  # of a training step: the gradients take twice as long as the loss
_EVALUATIONS = 3  # at the end: of the original, of the result, and of the original again to compare answers
TRAIN_ACCURACY_SAMPLES = 10_000  # enough to estimate accuracy where only training samples are given


@dataclass
class Run:
    """The values that one run hands from stage to stage.

    Attributes:
        trained: The original with the weights of the last stage.
        offsets: (groups,) what each group's sensitivity adds to its channels' rank, once it is measured.
        notes: What the user should know.
        seconds: Of each training phase, and of setting up the first one.
        started: `time.monotonic()` at the beginning.
    """

    loaded: LoadedModel
    target: Path
    plan_path: Path | None
    keeper: Keeper
    units: Units
    budget: Budget
    dataset: Dataset | None
    test_data: Dataset | None
    scores: tuple[str, int] | None
    options: PruneOptions
    trained: onnx.ModelProto
    offsets: NDArray[np.float64] | None = None
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    _trainer: Trainer | None = field(default=None, init=False)

    @classmethod
    def prepare(
        cls,
        model: str | Path,
        output: str | Path | None,
        plan_out: str | Path | None,
        run_dir: Path | RunDirectory | None,
        options: PruneOptions,
        listener: Listener,
        held: ExitStack,
    ) -> Run:
        """Load, discover and check everything that can be checked before any long work.

        A new run directory is in use until `held` ends.
        """
        started = time.monotonic()
        loaded = load_model(model)
        read = [loaded.path, *loaded.data_files]
        read += [path for path in (options.data, options.test_data) if path is not None]
        target = output_path(loaded.path, output, *read)
        plan_path = None if plan_out is None else free_path(Path(plan_out), target, data_path(target), *read)
        directory = held.enter_context(RunDirectory.new(run_dir)) if isinstance(run_dir, Path) else run_dir
        logger.info("discovering channels in %s", loaded.path)
        units = discover(loaded)
        scores = class_output(units.graph, dict(units.trace.shapes))
        budget = make_budget(units, options)
        num_classes = scores[1] if scores else None
        dataset, test_data = (
            None if path is None else open_dataset(path, units.graph, options.preprocess, num_classes)
            for path in (options.data, options.test_data)
        )
        for samples in (dataset, test_data):
            if samples is not None:
                check_targets(loaded.proto, samples)
        if options.hold_out:
            if dataset is None or test_data is not None:
                raise UsageError("--hold-out takes a part of --data in the place of --test-data; give the first alone.")
            dataset, test_data = hold_out(dataset, options.hold_out, options.seed, batch_limit(units.graph) or 1)
        if dataset is not None:
            dataset = augmented(dataset, units.graph, options.preprocess, options.augment)
        elif options.augment:
            raise UsageError("--augment changes images of --data, and none is given.")
        keeper = Keeper(
            directory,
            target.with_suffix(".run"),
            options.checkpoint_every,
            listener,
            begin=lambda own: run.begin(own),
            seconds_after=lambda phase, step: run.seconds_after(phase, step),
        )
        keeper.repeated = [word for option in named_functions(options).items() for word in option]
        run = cls(loaded, target, plan_path, keeper, units, budget, dataset, test_data, scores, options, loaded.proto)
        run.started = started
        if dataset is None and options.train:
            run.dataset = synthetic_dataset(units.graph, units.trace.shapes_of(units.graph.inputs), options.seed)
        run.notes += run._first_notes()
        if options.train:
            run.trainer().check()
        return run

    def at(self, ratio: float, *, train: bool, target: Path) -> Run:
        """A run on the same model and data for another ratio and into another file, which has yet to begin."""
        options = self.options.model_copy(update={"ratio": ratio, "train": train})
        old = self.keeper
        run = replace(
            self,
            target=target,
            plan_path=None,
            keeper=Keeper(
                None,
                target.with_suffix(".run"),
                old.every,
                old.listener,
                begin=lambda own: run.begin(own),
                seconds_after=lambda phase, step: run.seconds_after(phase, step),
            ),
            budget=make_budget(self.units, options, self.budget.cost),
            dataset=self.dataset if train or (self.dataset is not None and self.dataset.real) else None,
            options=options,
            trained=self.loaded.proto,
            notes=[],
            seconds={},
            started=time.monotonic(),
        )
        run.keeper.repeated = old.repeated
        run.notes += run._first_notes()
        return run

    def seconds_after(self, phase: PhaseName, step_seconds: float) -> float:
        """About how long everything takes that comes after a phase of which a step takes so long.

        Surgery makes steps shorter by an amount that nobody knows before; until then they count as they are.
        """
        trainer = self.trainer()
        dataset, limit = self.measured_on()
        samples = 0 if dataset is None else min(limit or len(dataset.samples), len(dataset.samples))
        batches = -(-samples // (trainer.batch_size * self.options.accumulate))
        measuring = latency.about_seconds() + _FORWARD_SHARE * step_seconds * batches * _EVALUATIONS
        if phase == "fine-tune" or not self.options.finetune_epochs:
            return measuring
        steps = trainer.num_steps(self.options.finetune_epochs)
        after_surgery = _FORWARD_SHARE * step_seconds * batches
        return self.seconds.get("set-up", 0.0) + after_surgery + steps * step_seconds + measuring

    def _first_notes(self) -> list[str]:
        """What is known before any work."""
        notes = []
        if self.loaded.inlined:
            notes.append("Model-local functions were replaced by their nodes; each call may end with other widths.")
        if self.budget.align > 1 and self.options.align is None:
            notes.append(
                f"Groups keep multiples of {self.budget.align} channels, which ONNX Runtime is fast with; --align 1 "
                "meets the ratio more closely."
            )
        if self.dataset is not None and not self.dataset.real:
            notes.append(
                "No data was given, so the network learned from synthetic inputs; real samples (--data) give a "
                "better result."
            )
        return notes

    def begin(self, directory: RunDirectory) -> None:
        """Write what this run works on and what it was asked for; from then on it can be resumed."""
        frozen = frozen_units(self.units, self.options.exclude, self.options.only)
        directory.describe(describe_units(self.loaded, self.units, frozen))
        directory.start(self.record())

    def record(self) -> RunRecord:
        """What this run was asked for."""
        o = self.options
        given = {"data": o.data, "test_data": o.test_data}
        samples = {name: path for name, path in given.items() if path is not None and not is_function(path)}
        files = [self.loaded.path, *self.loaded.data_files, *samples.values()]
        paths = {"model": self.loaded.path, "output": self.target, "plan_out": self.plan_path, **samples}
        return RunRecord.model_validate(
            {
                **dict(o),
                **{name: path and path.absolute() for name, path in paths.items()},
                "model_sha256": self.loaded.sha256,
                "fingerprints": {str(path.absolute()): fingerprint(path) for path in files} | self._made_samples(),
            }
        )

    def _made_samples(self) -> dict[str, str]:
        """Fingerprints of samples that functions have made."""
        opened = ((self.options.data, self.dataset), (self.options.test_data, self.test_data))
        return {str(path): own.fingerprint for path, own in opened if path and own and own.fingerprint}

    def check_samples(self, record: RunRecord) -> None:
        """Make sure that functions make the samples that they made when the run of `record` began.

        Raises:
            UsageError: They do not.
        """
        for name, digest in self._made_samples().items():
            if record.fingerprints.get(name) != digest:
                raise UsageError(
                    f"{name!r} gives other samples than when the run began, so the run cannot go on; let it give the "
                    "old ones, or begin again."
                )

    def trainer(self) -> Trainer:
        """What makes the training phases; the same one every time, because phases share the teacher."""
        if self._trainer is None:
            assert self.dataset is not None, "a run that trains has data, real or synthetic"
            self._trainer = Trainer(self.loaded.proto, self.units.graph, self.dataset, self.scores, self.options)
        return self._trainer

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

    def measured_on(self) -> tuple[Dataset | None, int | None]:
        """The data that accuracies are of, and how many of its samples count."""
        if self.test_data is not None:
            return self.test_data, None
        return self.dataset, TRAIN_ACCURACY_SAMPLES


def named_functions(options: PruneOptions) -> dict[str, str]:
    """Options that name functions which make samples, with the names."""
    given = {"--data": options.data, "--test-data": options.test_data}
    return {option: str(path) for option, path in given.items() if path is not None and is_function(path)}


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
