"""What one run of `prune` works on, where it writes to, and who keeps its states; found before any long work."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from onnx_dnscp.commands.saving import data_path, free_path, output_path
from onnx_dnscp.data.augment import augmented
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.data.fingerprint import fingerprint
from onnx_dnscp.data.function import is_function
from onnx_dnscp.data.open import open_dataset, synthetic_dataset
from onnx_dnscp.data.split import hold_out
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.errors import UsageError
from onnx_dnscp.measure.evaluation import batch_limit, check_targets, class_output
from onnx_dnscp.model.load import LoadedModel, load_model
from onnx_dnscp.model.units import Units
from onnx_dnscp.runs.keeper import Keeper, Opening
from onnx_dnscp.runs.options import PruneOptions
from onnx_dnscp.runs.run_directory import RunDirectory, RunRecord
from onnx_dnscp.stages.job import Job, make_budget
from onnx_dnscp.stages.recipe import make_recipe
from onnx_dnscp.training.progress import Listener

logger = logging.getLogger("onnx_dnscp")


@dataclass(frozen=True)
class Outputs:
    """Where the results of a run go, all checked to be free.

    Attributes:
        model: The smaller model.
        plan: Which channels went; None where nobody asks.
    """

    model: Path
    plan: Path | None

    @property
    def fallback(self) -> Path:
        """The folder of a run that was given none and cannot go on."""
        return self.model.with_suffix(".run")


@dataclass(frozen=True)
class Prepared:
    """A run that can begin.

    Attributes:
        job: What it works on and was asked for.
        outputs: Where its results go.
    """

    job: Job
    outputs: Outputs

    def at(self, ratio: float, *, train: bool, model: Path) -> Prepared:
        """The same on the same model and data for another ratio and into another file."""
        job, options = self.job, self.job.options.model_copy(update={"ratio": ratio, "train": train})
        data = job.data if train or (job.data is not None and job.data.real) else None
        own = replace(job, budget=make_budget(job.units, options, job.budget.cost), data=data, options=options)
        return Prepared(own, Outputs(model, None))

    def keeper(self, directory: RunDirectory | None, listener: Listener, *, resumed_by: Path | None = None) -> Keeper:
        """Who keeps its states, in `directory` if there is one."""
        return Keeper(self.opening(), directory, self.outputs.fallback, listener, resumed_by)

    def opening(self, options: PruneOptions | None = None) -> Opening:
        """What its directory says from the beginning on; `options` are those of a search that it is a part of."""
        o, loaded = options or self.job.options, self.job.loaded
        given = {"data": o.data, "test_data": o.test_data}
        samples = {name: path for name, path in given.items() if path is not None and not is_function(path)}
        files = [loaded.path, *loaded.data_files, *samples.values()]
        paths = {"model": loaded.path, "output": self.outputs.model, "plan_out": self.outputs.plan, **samples}
        record = RunRecord.model_validate(
            {
                **dict(o),
                **{name: path and path.absolute() for name, path in paths.items()},
                "model_sha256": loaded.sha256,
                "fingerprints": {str(path.absolute()): fingerprint(path) for path in files} | self._made_samples(),
            }
        )
        return Opening(record, loaded, self.job.units)

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

    def _made_samples(self) -> dict[str, str]:
        """Fingerprints of samples that functions have made."""
        o, job = self.job.options, self.job
        opened = ((o.data, job.data), (o.test_data, job.test_data))
        return {str(path): own.fingerprint for path, own in opened if path and own and own.fingerprint}


def load_for(
    model: str | Path, output: str | Path | None, plan_out: str | Path | None, options: PruneOptions
) -> tuple[LoadedModel, Outputs]:
    """The model, and where results go beside everything that the run reads."""
    loaded = load_model(model)
    read = [loaded.path, *loaded.data_files]
    read += [path for path in (options.data, options.test_data) if path is not None]
    target = output_path(loaded.path, output, *read)
    plan = None if plan_out is None else free_path(Path(plan_out), target, data_path(target), *read)
    return loaded, Outputs(target, plan)


def prepare(loaded: LoadedModel, outputs: Outputs, options: PruneOptions) -> Prepared:
    """Discover and check everything that can be checked before any long work."""
    logger.info("discovering channels in %s", loaded.path)
    units = discover(loaded)
    scores = class_output(units.graph, dict(units.trace.shapes))
    budget = make_budget(units, options)
    data, test_data = _samples(loaded, units, scores, options)
    if data is None and options.train:
        data = synthetic_dataset(units.graph, units.trace.shapes_of(units.graph.inputs), options.seed)
    job = Job(loaded, units, budget, data, test_data, scores, options)
    if options.train:
        job.trainer.check()
        make_recipe(job)
    return Prepared(job, outputs)


def first_notes(job: Job) -> tuple[str, ...]:
    """What is known before any work."""
    notes = []
    if job.loaded.inlined:
        notes.append("Model-local functions were replaced by their nodes; each call may end with other widths.")
    if job.budget.align > 1 and job.options.align is None:
        notes.append(
            f"Groups keep multiples of {job.budget.align} channels, which ONNX Runtime is fast with; --align 1 "
            "meets the ratio more closely."
        )
    if job.data is not None and not job.data.real:
        notes.append(
            "No data was given, so the network learned from synthetic inputs; real samples (--data) give a better "
            "result."
        )
    return tuple(notes)


def _samples(
    loaded: LoadedModel, units: Units, scores: tuple[str, int] | None, options: PruneOptions
) -> tuple[Dataset | None, Dataset | None]:
    """To train on and to measure on, as they were given."""
    num_classes = scores[1] if scores else None
    data, test_data = (
        None if path is None else open_dataset(path, units.graph, options.preprocess, num_classes)
        for path in (options.data, options.test_data)
    )
    for samples in (data, test_data):
        if samples is not None:
            check_targets(loaded.proto, samples)
    if options.hold_out:
        if data is None or test_data is not None:
            raise UsageError(
                f"--hold-out {options.hold_out:g} takes a part of --data in the place of --test-data; give the first "
                "alone."
            )
        data, test_data = hold_out(data, options.hold_out, options.seed, batch_limit(units.graph) or 1)
    if data is not None:
        data = augmented(data, units.graph, options.preprocess, options.augment)
    elif options.augment:
        raise UsageError(f"--augment {options.augment[0]} changes images of --data, and none is given.")
    return data, test_data
