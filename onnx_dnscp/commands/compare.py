"""`compare`: two models side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import BaseModel

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.open import open_dataset
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import UsageError
from onnx_dnscp.measure.evaluation import class_output, evaluate_model
from onnx_dnscp.measure.latency import latencies
from onnx_dnscp.measure.samples import one_call, verification_batches
from onnx_dnscp.measure.verify import relative_error
from onnx_dnscp.model.graph import Graph, read_graph
from onnx_dnscp.model.load import LoadedModel, load_model
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.runs.facts import ModelFacts, describe
from onnx_dnscp.tracing.trace import trace


class Comparison(BaseModel):
    """Two models side by side.

    Attributes:
        speedup: Latency of the first over latency of the second.
        max_relative_difference: Largest difference of an output element, relative to the first model's largest
            magnitude in that output; None if the outputs differ in name or shape.
    """

    first: str
    second: str
    facts: tuple[ModelFacts, ModelFacts]
    speedup: float
    max_relative_difference: float | None


def compare(
    first: str | Path,
    second: str | Path,
    *,
    data: str | Path | None = None,
    preprocess: Preprocess | None = None,
    threads: int = 0,
) -> Comparison:
    """Params, MACs, file size, latency and outputs of two models.

    Args:
        first: An ONNX file, usually the original.
        second: An ONNX file with the same inputs, usually the pruned one.
        data: Real samples to compare outputs and accuracy on; random inputs otherwise.
        preprocess: How to prepare samples; `preprocess_of` says how a run did.
        threads: Threads for accuracy and latency; 0 leaves the choice to ONNX Runtime.

    Raises:
        ModelError: A model cannot be read or run.
        DataError: The data cannot be read or does not fit.
        UsageError: The models have different inputs.
    """
    models = [load_model(first), load_model(second)]
    graphs = [read_graph(m.proto) for m in models]
    if set(graphs[0].inputs) != set(graphs[1].inputs):
        raise UsageError(
            f"The models have different inputs ({', '.join(graphs[0].inputs)} and {', '.join(graphs[1].inputs)}), so "
            "they cannot be compared."
        )
    traces = [trace(graphs[0], str(models[0]))]
    traces.append(trace(graphs[1], str(models[1]), like=traces[0]))
    facts = [describe(g, t, m.size) for g, t, m in zip(graphs, traces, models, strict=True)]
    dataset = None
    if data is not None:
        scores = class_output(graphs[0], dict(traces[0].shapes))
        dataset = open_dataset(data, graphs[0], preprocess or Preprocess(), scores[1] if scores else None)
        for i in range(2):
            own = class_output(graphs[i], dict(traces[i].shapes))
            found = evaluate_model(models[i].proto, dataset, own, threads=threads)
            facts[i].accuracy, facts[i].mean_squared_error = found.accuracy, found.mean_squared_error
    feeds = one_call(graphs[0], traces[0], dataset)
    seconds = latencies([m.proto for m in models], feeds, threads)
    for known, measured in zip(facts, seconds, strict=True):
        known.latency_ms = 1000 * measured
    return Comparison(
        first=str(first),
        second=str(second),
        facts=(facts[0], facts[1]),
        speedup=seconds[0] / seconds[1],
        max_relative_difference=_output_difference(models, graphs, verification_batches(graphs[0], traces[0], dataset)),
    )


def _output_difference(models: list[LoadedModel], graphs: list[Graph], batches: list[Batch]) -> float | None:
    if graphs[0].outputs != graphs[1].outputs:
        return None
    sessions = [Session(m.proto, what=str(m)) for m in models]
    worst = 0.0
    for batch in batches:
        first, second = (session.run(batch.inputs) for session in sessions)
        worst = max(worst, *(relative_error(second[name], first[name]) for name in graphs[0].outputs))
    return worst if np.isfinite(worst) else None
