"""`prune --max-drop`: the deepest cut that loses no more than the user allows.

One-shot cuts with repaired weights take seconds and say how deep one can go at least; runs with training then look
beyond that. All of them are measured on samples that are not trained on.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from onnx_dnscp.commands.prune_prepare import Prepared, load_for, prepare
from onnx_dnscp.commands.prune_stages import carry_out
from onnx_dnscp.commands.report import leave_picture
from onnx_dnscp.commands.saving import model_file
from onnx_dnscp.errors import DataError, DivergenceError, Interrupted, RequestError, StorageError, UsageError
from onnx_dnscp.masks.methods import METHODS
from onnx_dnscp.measure.evaluation import evaluate_model
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.runs.curve import CurvePoint, bisect, points_lost
from onnx_dnscp.runs.facts import describe
from onnx_dnscp.runs.keeper import free_folder
from onnx_dnscp.runs.options import PruneOptions
from onnx_dnscp.runs.prune_report import PruneReport
from onnx_dnscp.runs.run_directory import OPTIONS, PLAN, REPORT, RunDirectory, RunRecord
from onnx_dnscp.stages.choose import Choose
from onnx_dnscp.stages.job import asked_align
from onnx_dnscp.stages.pruning import Pruning
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import plan_cuts
from onnx_dnscp.system.atomic import write_bytes
from onnx_dnscp.tracing.trace import trace
from onnx_dnscp.training.progress import Listener
from onnx_dnscp.training.stage import StageId

logger = logging.getLogger("onnx_dnscp")

HOLD_OUT = 0.2  # of the training data, where there is no test data
PROBES = 6  # one-shot cuts between nothing and the bound: they find the answer to within a sixty-fourth of it
_NO_BOUND = math.nextafter(1, 0)
_MODEL = "model.onnx"


def search(
    model: str | Path,
    output: str | Path | None,
    plan_out: str | Path | None,
    run_dir: Path | None,
    options: PruneOptions,
    listener: Listener,
) -> PruneReport:
    """Find and save the deepest cut that stays within `options.max_drop`; see `prune` for arguments and errors.

    Every run with training has a folder of its own in `run_dir`, from which the search goes on if it is interrupted;
    without one, a folder beside the output takes its place until the search is over.
    """
    if options.data is None and options.test_data is None:
        raise UsageError(f"--max-drop {options.max_drop:g} needs samples to measure on; give --data or --test-data.")
    options = _settled(options)
    with ExitStack() as held:
        loaded, outputs = load_for(model, output, plan_out, options)
        base = prepare(loaded, outputs, _of_one_run(options))
        path = run_dir or free_folder(outputs.fallback)
        directory = held.enter_context(RunDirectory.new(path))
        base.opening(options).write(directory)
        is_kept = run_dir is not None
        try:
            return _Search(base, options, directory, listener).result()
        except (Interrupted, DivergenceError, StorageError):
            is_kept = True
            raise
        except DataError:
            is_kept |= any(path.glob("try-*"))
            raise
        finally:
            if not is_kept:
                shutil.rmtree(path, ignore_errors=True)


def resume_search(record: RunRecord, directory: RunDirectory, listener: Listener) -> PruneReport:
    """Go on with a search: runs that are done count, one that was interrupted goes on from its last checkpoint."""
    options = _of_one_run(record.options)
    loaded, outputs = load_for(record.model, record.output, record.plan_out, options)
    base = prepare(loaded, outputs, options)
    base.check_samples(record)
    return _Search(base, record.options, directory, listener).result()


def _settled(options: PruneOptions) -> PruneOptions:
    """The options with what a search means by those that were not given."""
    given = options.model_fields_set
    update = {
        "ratio": options.ratio if "ratio" in given else _NO_BOUND,
        "metric": options.metric if "metric" in given else "macs",
        "hold_out": HOLD_OUT if options.test_data is None and not options.hold_out else options.hold_out,
    }
    return options.model_copy(update=update)


def _of_one_run(options: PruneOptions) -> PruneOptions:
    """The options of the runs that a search is made of, with a ratio that is always in reach."""
    return options.model_copy(update={"ratio": 0.0, "max_drop": None})


@dataclass
class _Search:
    """The state of one search.

    Attributes:
        base: What all runs have in common; nothing is done with it.
        options: What was asked for.
        directory: Where the runs have their folders.
        listener: Hears about every step.
        points: What was seen, with the folder of its run if it has one.
        seconds: Spent on that.
    """

    base: Prepared
    options: PruneOptions
    directory: RunDirectory
    listener: Listener
    points: list[tuple[CurvePoint, Path | None]] = field(default_factory=list)
    measure: str = ""
    seconds: float = 0.0
    _original: float | None = field(default=None, init=False)  # its accuracy

    def result(self) -> PruneReport:
        """Search, save the best cut, and report."""
        keeper = self.base.keeper(self.directory, self.listener)
        try:
            self._look()
            return self._save_best()
        except Interrupted:
            raise
        except KeyboardInterrupt:
            raise Interrupted(f"Interrupted; no model was written. {keeper.keep()}".rstrip()) from None

    def _look(self) -> None:
        """Try ratios: one-shot first, then with training."""
        reachable = self.base.job.budget.reachable(asked_align(self.options) or 1)
        bound = min(self.options.ratio, reachable)
        low, high, tries = 0.0, bound, self.options.max_runs
        if not (self.options.train and METHODS[self.options.method].needs_labels):  # else it has no one-shot cut
            is_bound = self._one_shot(bound)
            low, high = (bound, bound) if is_bound else bisect(self._one_shot, low, high, PROBES)
        if not self.options.train:
            return
        if low == bound or self.options.ratio < reachable:  # the user's own bound is the likeliest answer
            tries -= 1
            if self._trained(bound):
                return
        bisect(self._trained, low, bound, tries)

    def _one_shot(self, ratio: float) -> bool:
        """Cut once, repair, measure; nothing is saved."""
        started = time.monotonic()
        prepared = self.base.at(ratio, train=False, model=self.base.outputs.model)
        job, keeper = prepared.job, prepared.keeper(None, self.listener)
        choose = Choose(StageId(1, "choose"))
        pruning = choose.carry_out(Pruning.begin(job.loaded.proto, job.units), job, keeper)
        pruned = apply_cuts(pruning.model, job.units, plan_cuts(job.units, pruning.mask))
        assert job.test_data is not None, "given or held out"
        threads = job.options.threads
        original, has_labels = job.loaded.proto, job.scores is not None and job.test_data.has_labels
        if has_labels and self._original is None:
            self._original = evaluate_model(original, job.test_data, job.scores, threads=threads).accuracy
        found = evaluate_model(
            pruned, job.test_data, job.scores, reference=None if has_labels else original, threads=threads
        )
        graph = read_graph(pruned)
        macs = describe(graph, trace(graph, like=job.units.trace), 0).macs
        self.seconds += time.monotonic() - started
        lost = points_lost(self._original, found.accuracy, found.agreement, found.mean_relative_difference)
        return self._note(ratio, job.budget.ratio(pruning.mask), macs, *lost)

    def _trained(self, ratio: float) -> bool:
        """A whole run in a folder of its own."""
        number = 1 + sum(folder is not None for _, folder in self.points)
        report = self._run(self.directory.path / f"try-{number}", ratio, train=True)
        return self._note_report(report, self.directory.path / f"try-{number}")

    def _run(self, folder: Path, ratio: float, *, train: bool) -> PruneReport:
        """The report of the run in `folder`, which begins, goes on or is done already."""
        if (folder / REPORT).exists():
            report = PruneReport.model_validate_json((folder / REPORT).read_bytes())
        else:
            logger.info("%s: %s of %s", folder.name, f"{ratio:.1%}", self.options.metric)
            prepared = self.base.at(ratio, train=train, model=folder / _MODEL)
            is_begun = (folder / OPTIONS).exists()
            with RunDirectory.existing(folder) if is_begun else RunDirectory.new(folder) as own:
                keeper = prepared.keeper(own, self.listener, resumed_by=self.directory.path)
                report = carry_out(prepared, keeper, resumed=is_begun and train)
        self.seconds += report.seconds
        return report

    def _note_report(self, report: PruneReport, folder: Path) -> bool:
        after = report.after
        lost = points_lost(report.before.accuracy, after.accuracy, after.agreement, after.output_error)
        return self._note(report.ratio_asked, report.ratio, after.macs, *lost, folder=folder)

    def _note(
        self, asked: float, ratio: float, macs: int, measure: str, value: float, drop: float, folder: Path | None = None
    ) -> bool:
        """Add a point to the curve; say whether it loses no more than allowed."""
        assert self.options.max_drop is not None, "that is what is searched for"
        within = drop <= self.options.max_drop + 1e-9
        point = CurvePoint(
            ratio_asked=asked,
            ratio=ratio,
            macs=macs,
            trained=folder is not None,
            value=value,
            drop=drop,
            within=within,
        )
        self.points.append((point, folder))
        self.measure = measure
        how = "trained" if point.trained else "one-shot"
        logger.info("%s: %.1f%% of %s removed, %.2f points lost", how, 100 * ratio, self.options.metric, drop)
        return within

    def _save_best(self) -> PruneReport:
        """Write the deepest cut that is allowed to where the user wants it.

        Raises:
            RequestError: There is none; nothing is written.
        """
        allowed = [(point, folder) for point, folder in self.points if point.within]
        if not allowed:
            raise RequestError(self._too_much())
        best, folder = max(allowed, key=lambda entry: (entry[0].ratio, entry[0].trained))
        if folder is None:
            folder = self.directory.path / "one-shot"
            report = self._run(folder, best.ratio_asked, train=False)
        else:
            report = PruneReport.model_validate_json((folder / REPORT).read_bytes())
        report = report.model_copy(
            update={
                "output": str(self.base.outputs.model),
                "seconds": self.seconds,
                "max_drop": self.options.max_drop,
                "measure": self.measure,
                "curve": sorted((point for point, _ in self.points), key=lambda p: (-p.macs, p.trained)),
            }
        )
        plan = (folder / PLAN).read_bytes()
        for path in (self.base.outputs.plan, self.directory.path / PLAN):
            if path is not None:
                write_bytes(path, plan)
        target = self.base.outputs.model
        model_file(onnx.load(folder / _MODEL), target).write(target)
        self.directory.close(report.model_dump_json(indent=1).encode())
        leave_picture(self.directory.path)
        return report

    def _too_much(self) -> str:
        least = min((point for point, _ in self.points), key=lambda p: p.drop)
        return (
            f"No cut stays within --max-drop {self.options.max_drop:g}, nothing was saved: of {len(self.points)} that "
            f"were tried, the one that costs least removes {least.ratio:.1%} of {self.options.metric} and "
            f"{least.drop:.2f} points of {self.measure}. Allow more, train longer (--epochs, --finetune-epochs), or "
            "give more --max-runs."
        )
