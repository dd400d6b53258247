"""What `prune` tells about a run, and the measurements behind it."""

from __future__ import annotations

import time

import onnx

from onnx_dnscp.commands.prune_run import Run
from onnx_dnscp.commands.samples import one_call
from onnx_dnscp.measure.evaluation import evaluate_model
from onnx_dnscp.measure.latency import latencies
from onnx_dnscp.measure.verify import Verification
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.units import Mask
from onnx_dnscp.runs.facts import describe
from onnx_dnscp.runs.prune_report import GroupWidth, PruneReport
from onnx_dnscp.tracing.trace import trace


def make_report(
    run: Run,
    tuned: onnx.ModelProto,
    mask: Mask,
    checked: Verification,
    file_bytes: int,
    accuracy_after_surgery: float | None,
) -> PruneReport:
    """Measure both models and put everything together."""
    graph, seen = run.units.graph, run.units.trace
    small = read_graph(tuned)
    before, after = describe(graph, seen, run.loaded.size), describe(small, trace(small, like=seen), file_bytes)
    feeds = one_call(graph, seen, run.dataset)
    threads = run.options.threads
    times = latencies([run.loaded.proto, tuned], feeds, threads)
    before.latency_ms, after.latency_ms = (1000 * t for t in times)
    dataset, limit = run.measured_on()
    if dataset is not None and (run.scores is not None or dataset.targets or run.test_data is not None):
        own = evaluate_model(run.loaded.proto, dataset, run.scores, limit=limit, threads=threads)
        new = evaluate_model(tuned, dataset, run.scores, reference=run.loaded.proto, limit=limit, threads=threads)
        before.accuracy, after.accuracy, after.agreement = own.accuracy, new.accuracy, new.agreement
        after.output_error = None if run.scores else new.mean_relative_difference
        before.mean_squared_error, after.mean_squared_error = own.mean_squared_error, new.mean_squared_error
    if dataset is not None and dataset is run.dataset and before.accuracy is not None:
        run.notes.append("The accuracies are those on the training data; give --test-data for honest ones.")
    if times[1] > times[0] and run.options.align == 1:
        run.notes.append(
            "The pruned model is not faster here: ONNX Runtime is slow with channel counts that are no multiple of "
            "4; try --align 8, or 16 on a CPU with AVX512."
        )
    return PruneReport(
        model=str(run.loaded.path),
        output=str(run.target),
        model_sha256=run.loaded.sha256,
        ratio_asked=run.options.ratio,
        ratio=run.budget.ratio(mask),
        metric=run.options.metric,
        loss=run.trainer().loss_name() if run.options.train else None,
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
            for g in run.units.groups
        ],
        dropped=run.keeper.log.history.num_dropped,
        recovered=run.keeper.log.history.num_recovered,
        max_relative_error=checked.max_relative_error,
        tolerance=checked.tolerance,
        seconds=run.keeper.earlier_seconds + time.monotonic() - run.started,
        seconds_training=run.seconds.get("train", 0.0),
        seconds_fine_tuning=run.seconds.get("fine-tune", 0.0),
        notes=run.notes,
    )
