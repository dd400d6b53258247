"""`prune`: the whole pipeline, from a file to a smaller file."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import BaseModel

from onnx_dnscp.atomic import write_bytes
from onnx_dnscp.commands.facts import ModelFacts, describe
from onnx_dnscp.commands.run_directory import RunDirectory
from onnx_dnscp.commands.samples import one_call, verification_batches
from onnx_dnscp.commands.saving import ModelFile, data_path, free_path, model_file, output_path
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.data.open import open_dataset, synthetic_dataset
from onnx_dnscp.discovery.choose import frozen_units
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.errors import UsageError
from onnx_dnscp.evaluation import class_output, evaluate_model
from onnx_dnscp.graph import read_graph
from onnx_dnscp.latency import latencies
from onnx_dnscp.load import LoadedModel, load_model
from onnx_dnscp.masks.budget import Budget, Mask
from onnx_dnscp.masks.dnscp import DnsCp, one_shot
from onnx_dnscp.masks.method import MaskHistory
from onnx_dnscp.options import PruneOptions
from onnx_dnscp.plan import Plan, make_plan
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import Cuts, embed_array, plan_cuts
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.tracing.trace import trace
from onnx_dnscp.training.loop import Listener, Progress, fine_tune, train_with_masks
from onnx_dnscp.training.setup import Trainer
from onnx_dnscp.units import Units
from onnx_dnscp.verify import Verification, verify

logger = logging.getLogger("onnx_dnscp")

TRAIN_ACCURACY_SAMPLES = 10_000  # enough to estimate accuracy where only training samples are given


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


def _silent(progress: Progress) -> None:
    """The listener that hears nothing."""


def prune(
    model: str | Path,
    output: str | Path | None = None,
    *,
    plan_out: str | Path | None = None,
    run_dir: str | Path | None = None,
    listener: Listener = _silent,
    options: PruneOptions | None = None,
    **settings: Any,
) -> PruneReport:
    """Make a smaller, faster model that computes nearly the same, and save it once it is verified.

    Args:
        model: The ONNX file; never modified.
        output: Where to save; `<stem>.pruned.onnx` beside the model by default.
        plan_out: Where to write the plan, if wanted.
        run_dir: Folder for the run's record: options, plan, every drop and recovery, every step, report.
        listener: Called after every training step.
        options: What to do; or give its fields as keywords.
        **settings: Fields of `PruneOptions`.

    Raises:
        ModelError: The model cannot be read, is invalid or cannot be run.
        DataError: The data cannot be read or does not fit the model.
        UsageError: A place to write to is wrong, or settings are given twice.
        RequestError: Nothing is prunable, the ratio is out of reach, or the model cannot be trained.
        VerificationError: The result does not compute what the masked model computes; nothing is saved.
        pydantic.ValidationError: A setting is out of range.
    """
    started = time.monotonic()
    if options is not None and settings:
        raise UsageError(f"Give either options or single settings ({', '.join(settings)}), not both.")
    chosen = PruneOptions(**settings) if options is None else options
    run = _Run.prepare(model, output, plan_out, run_dir, chosen)
    mask = run.choose_mask(listener)
    plan = make_plan(run.units, ~mask, run.loaded.sha256)
    cuts = plan_cuts(run.units, ~mask)
    logger.info("surgery: %d of %d channels go", int((~mask).sum()), mask.size)
    pruned = apply_cuts(run.trained, run.units, cuts)
    first_check = run.verify(pruned, run.trained, mask)
    accuracy = run.accuracy(pruned) if run.options.train and run.options.finetune_epochs else None
    tuned, embedded = run.fine_tune(pruned, cuts, mask, listener)
    logger.info("verifying the result against the masked model")
    checked = first_check if tuned is pruned else run.verify(tuned, embedded, mask)
    file = model_file(tuned, run.target)
    report = run.report(tuned, mask, checked, file.size, accuracy, time.monotonic() - started)
    run.save(file, plan, report)
    return report


@dataclass
class _Run:
    """The values that one run hands from stage to stage."""

    loaded: LoadedModel
    target: Path
    plan_path: Path | None
    directory: RunDirectory | None
    units: Units
    budget: Budget
    dataset: Dataset | None
    test_data: Dataset | None
    scores: tuple[str, int] | None
    options: PruneOptions
    trained: onnx.ModelProto
    history: MaskHistory = field(default_factory=MaskHistory)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def prepare(
        cls,
        model: str | Path,
        output: str | Path | None,
        plan_out: str | Path | None,
        run_dir: str | Path | None,
        options: PruneOptions,
    ) -> _Run:
        """Load, discover and check everything that can be checked before any long work."""
        loaded = load_model(model)
        read = [loaded.path, *loaded.data_files]
        read += [path for path in (options.data, options.test_data) if path is not None]
        target = output_path(loaded.path, output, *read)
        plan_path = None if plan_out is None else free_path(Path(plan_out), target, data_path(target), *read)
        directory = None if run_dir is None else RunDirectory(Path(run_dir))
        logger.info("discovering channels in %s", loaded.path)
        units = discover(loaded)
        scores = class_output(units.graph, dict(units.trace.shapes))
        frozen = frozen_units(units, options.exclude, options.only)
        budget = Budget(units, options.metric, options.ratio, align=options.align, frozen=frozen)
        num_classes = scores[1] if scores else None
        dataset, test_data = (
            None if path is None else open_dataset(path, units.graph, options.preprocess, num_classes)
            for path in (options.data, options.test_data)
        )
        run = cls(
            loaded, target, plan_path, directory, units, budget, dataset, test_data, scores, options, loaded.proto
        )
        if loaded.inlined:
            run.notes.append("Model-local functions were replaced by their nodes; each call may end with other widths.")
        if budget.align > 1 and options.align is None:
            run.notes.append(
                f"Groups keep multiples of {budget.align} channels, which ONNX Runtime is fast with; --align 1 meets "
                "the ratio more closely."
            )
        if dataset is None and options.train:
            run.dataset = synthetic_dataset(units.graph, units.trace.shapes_of(units.graph.inputs), options.seed)
            run.notes.append(
                "No data was given, so the network learned from synthetic inputs; real samples (--data) give a "
                "better result."
            )
        return run

    def trainer(self) -> Trainer:
        assert self.dataset is not None, "a run that trains has data, real or synthetic"
        return Trainer(self.loaded.proto, self.units.graph, self.dataset, self.scores, self.options)

    def choose_mask(self, listener: Listener) -> Mask:
        """One-shot, or DNS-CP while the network trains; sets `trained`."""
        if not self.options.train:
            return one_shot(self.units, self.budget, self.units.graph.stored)
        started = time.monotonic()
        o = self.options
        rng = np.random.default_rng(o.seed)
        method = DnsCp(self.units, self.budget, rng, c_rate=o.c_rate, gamma=o.gamma, power=o.power)
        phase = self.trainer().phase(self.loaded.proto, o.epochs, o.seed, units=self.units, method=method)
        logger.info("training with masks: %d steps, loss %s", phase.num_steps, self.trainer().loss_name())
        mask = train_with_masks(phase, self.units, method, self.budget, self.history, self._heard_by(listener))
        self.trained = copy_with_weights(self.loaded.proto, phase.engine.weights)
        self.seconds["train"] = time.monotonic() - started
        return mask

    def fine_tune(
        self, pruned: onnx.ModelProto, cuts: Cuts, mask: Mask, listener: Listener
    ) -> tuple[onnx.ModelProto, onnx.ModelProto]:
        """The pruned model trained on, and the full-size model that carries the same weights."""
        if not self.options.train or not self.options.finetune_epochs:
            return pruned, self.trained
        started = time.monotonic()
        phase = self.trainer().phase(pruned, self.options.finetune_epochs, self.options.seed + 1)
        logger.info("fine-tuning: %d steps", phase.num_steps)
        fine_tune(phase, self.budget.ratio(mask), self.history.num_recovered, self._heard_by(listener))
        weights = phase.engine.weights
        full = read_graph(self.trained).stored
        embedded: dict[str, NDArray[Any]] = {
            name: embed_array(full[name], small, cuts.keeps.get(name, {})) for name, small in weights.items()
        }
        self.seconds["fine-tune"] = time.monotonic() - started
        return copy_with_weights(pruned, weights), copy_with_weights(self.trained, embedded)

    def verify(self, pruned: onnx.ModelProto, full: onnx.ModelProto, mask: Mask) -> Verification:
        """Compare with the masked model on samples, real if there are some."""
        batches = verification_batches(self.units.graph, self.units.trace, self.dataset)
        return verify(pruned, mask_model(full, self.units, ~mask), batches)

    def accuracy(self, model: onnx.ModelProto) -> float | None:
        """On the test data, else on the training data."""
        dataset, limit = self._measured_on()
        if dataset is None or not dataset.has_labels:
            return None
        return evaluate_model(model, dataset, self.scores, limit=limit).accuracy

    def _measured_on(self) -> tuple[Dataset | None, int | None]:
        if self.test_data is not None:
            return self.test_data, None
        return self.dataset, TRAIN_ACCURACY_SAMPLES

    def report(
        self,
        tuned: onnx.ModelProto,
        mask: Mask,
        checked: Verification,
        file_bytes: int,
        accuracy_after_surgery: float | None,
        seconds: float,
    ) -> PruneReport:
        """Measure both models and put everything together."""
        graph, seen = self.units.graph, self.units.trace
        small = read_graph(tuned)
        before, after = describe(graph, seen, self.loaded.size), describe(small, trace(small), file_bytes)
        feeds = one_call(graph, seen, self.dataset)
        times = latencies([self.loaded.proto, tuned], feeds, self.options.threads)
        before.latency_ms, after.latency_ms = (1000 * t for t in times)
        dataset, limit = self._measured_on()
        if dataset is not None and self.scores is not None:
            own = evaluate_model(self.loaded.proto, dataset, self.scores, limit=limit)
            new = evaluate_model(tuned, dataset, self.scores, reference=self.loaded.proto, limit=limit)
            before.accuracy, after.accuracy, after.agreement = own.accuracy, new.accuracy, new.agreement
        if dataset is not None and dataset is self.dataset and before.accuracy is not None:
            self.notes.append("The accuracies are those on the training data; give --test-data for honest ones.")
        if times[1] > times[0] and self.options.align == 1:
            self.notes.append(
                "The pruned model is not faster here: ONNX Runtime is slow with channel counts that are no multiple of "
                "4; try --align 8, or 16 on a CPU with AVX512."
            )
        return PruneReport(
            model=str(self.loaded.path),
            output=str(self.target),
            model_sha256=self.loaded.sha256,
            ratio_asked=self.options.ratio,
            ratio=self.budget.ratio(mask),
            metric=self.options.metric,
            loss=self.trainer().loss_name() if self.options.train else None,
            before=before,
            after=after,
            speedup=times[0] / times[1],
            accuracy_data=None if dataset is None else dataset.description,
            accuracy_after_surgery=accuracy_after_surgery,
            groups=[
                GroupWidth(
                    id=g.id,
                    width=g.width,
                    kept=int(mask[g.first : g.first + g.width].sum()),
                    consumers=list(g.consumers),
                )
                for g in self.units.groups
            ],
            dropped=self.history.num_dropped,
            recovered=self.history.num_recovered,
            max_relative_error=checked.max_relative_error,
            tolerance=checked.tolerance,
            seconds=seconds,
            seconds_training=self.seconds.get("train", 0.0),
            seconds_fine_tuning=self.seconds.get("fine-tune", 0.0),
            notes=self.notes,
        )

    def save(self, file: ModelFile, plan: Plan, report: PruneReport) -> None:
        """Write the model last, so that it never exists without its plan and record."""
        text = plan.model_dump_json(indent=1).encode()
        if self.plan_path is not None:
            write_bytes(self.plan_path, text)
        if self.directory is not None:
            self.directory.finish(self.options, text, self.history, report.model_dump_json(indent=1).encode())
        file.write(self.target)

    def _heard_by(self, listener: Listener) -> Listener:
        if self.directory is None:
            return listener
        directory = self.directory

        def both(progress: Progress) -> None:
            directory.log(progress)
            listener(progress)

        return both
