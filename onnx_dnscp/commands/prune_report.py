"""The report of a run, and the measurements behind it."""

from __future__ import annotations

import time

import onnx

from onnx_dnscp.commands.prune_prepare import Outputs
from onnx_dnscp.measure.evaluation import evaluate_model
from onnx_dnscp.measure.latency import latencies
from onnx_dnscp.measure.samples import one_call
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.runs.facts import ModelFacts, describe
from onnx_dnscp.runs.keeper import Keeper
from onnx_dnscp.runs.prune_report import GroupWidth, PruneReport
from onnx_dnscp.stages.job import Job
from onnx_dnscp.stages.recipe import Outcome
from onnx_dnscp.tracing.trace import trace
from onnx_dnscp.training.stage import StageKind

_NOISE = 1.05  # of two medians on a machine that does other things, too


def make_report(
    job: Job, outcome: Outcome, outputs: Outputs, keeper: Keeper, file_bytes: int, started: float
) -> PruneReport:
    """Measure both models and put everything together.

    Args:
        job: What the run worked on and was asked for.
        outcome: Of its stages.
        outputs: Where its results go.
        keeper: Knows what happened on the way.
        file_bytes: Of the smaller model.
        started: `time.monotonic()` when the run began.
    """
    pruning, history = outcome.pruning, keeper.log.history
    assert pruning.checked is not None, "the last stage has checked it"
    before, after = _facts(job, pruning.model, file_bytes)
    _measure_quality(job, pruning.model, before, after)
    return PruneReport(
        model=str(job.loaded.path),
        output=str(outputs.model),
        model_sha256=job.loaded.sha256,
        ratio_asked=job.options.ratio,
        ratio=job.budget.ratio(pruning.mask),
        metric=job.options.metric,
        loss=job.trainer.loss_name() if job.options.train else None,
        before=before,
        after=after,
        speedup=_milliseconds(before) / _milliseconds(after),
        accuracy_data=_measured_data(job),
        accuracy_after_surgery=[None, *outcome.accuracies.values()][-1],
        groups=_widths(job.units, pruning.mask),
        dropped=history.num_dropped,
        recovered=history.num_recovered,
        max_relative_error=pruning.checked.max_relative_error,
        tolerance=pruning.checked.tolerance,
        seconds=keeper.earlier_seconds + time.monotonic() - started,
        seconds_training=_seconds(outcome, "train"),
        seconds_fine_tuning=_seconds(outcome, "fine-tune"),
        notes=[*pruning.notes, *_last_notes(job, before, after)],
    )


def _facts(job: Job, tuned: onnx.ModelProto, file_bytes: int) -> tuple[ModelFacts, ModelFacts]:
    """Sizes and latencies of both models."""
    graph, traced, small = job.units.graph, job.units.trace, read_graph(tuned)
    before, after = describe(graph, traced, job.loaded.size), describe(small, trace(small, like=traced), file_bytes)
    times = latencies([job.loaded.proto, tuned], one_call(graph, traced, job.data), job.options.threads)
    before.latency_ms, after.latency_ms = (1000 * seconds for seconds in times)
    return before, after


def _milliseconds(facts: ModelFacts) -> float:
    assert facts.latency_ms is not None, "measured above"
    return facts.latency_ms


def _measure_quality(job: Job, tuned: onnx.ModelProto, before: ModelFacts, after: ModelFacts) -> None:
    """Add what can be measured of both models' answers."""
    dataset, limit = job.measured_on()
    if dataset is None or not (job.scores is not None or dataset.targets or job.test_data is not None):
        return
    original, threads = job.loaded.proto, job.options.threads
    own = evaluate_model(original, dataset, job.scores, limit=limit, threads=threads)
    new = evaluate_model(tuned, dataset, job.scores, reference=original, limit=limit, threads=threads)
    before.accuracy, after.accuracy, after.agreement = own.accuracy, new.accuracy, new.agreement
    after.output_error = None if job.scores else new.mean_relative_difference
    before.mean_squared_error, after.mean_squared_error = own.mean_squared_error, new.mean_squared_error


def _measured_data(job: Job) -> str | None:
    dataset, _ = job.measured_on()
    return None if dataset is None else dataset.description


def _widths(units: Units, mask: Mask) -> list[GroupWidth]:
    return [
        GroupWidth(id=g.id, width=g.width, kept=int(mask[g.slice].sum()), consumers=list(g.consumers))
        for g in units.groups
    ]


def _seconds(outcome: Outcome, kind: StageKind) -> float:
    return sum((seconds for stage, seconds in outcome.seconds.items() if stage.kind == kind), 0.0)


def _last_notes(job: Job, before: ModelFacts, after: ModelFacts) -> list[str]:
    notes = []
    if job.measured_on()[0] is job.data and before.accuracy is not None:
        notes.append("The accuracies are those on the training data; give --test-data for honest ones.")
    if _milliseconds(after) > _NOISE * _milliseconds(before):
        align = job.budget.align
        notes.append(
            "The pruned model is not faster here: ONNX Runtime is slow with channel counts that are no multiple of 4; "
            "try --metric macs, which takes counts that it is fast with, or --align 8, or 16 on a CPU with AVX512."
            if align == 1
            else f"The pruned model is not faster here, although its groups keep multiples of {align} channels; remove "
            "more (--ratio), or count what takes the time (--metric macs)."
        )
    return notes
