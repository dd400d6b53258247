"""`evaluate`: accuracy, loss, and agreement with a reference model."""

from __future__ import annotations

from pathlib import Path

from onnx_dnscp.data.open import open_dataset
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import UsageError
from onnx_dnscp.measure.evaluation import Evaluation, class_output, evaluate_model
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.load import load_model
from onnx_dnscp.tracing.trace import trace


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    reference: str | Path | None = None,
    preprocess: Preprocess | None = None,
    limit: int | None = None,
) -> Evaluation:
    """Run a model over data.

    Args:
        model: The ONNX file.
        data: Arrays or images in files, or a function; `docs/reference/data.md` lists all kinds.
        reference: Another ONNX file with the same inputs and outputs, to count agreement with.
        preprocess: How to prepare samples; `preprocess_of` says how a run did.
        limit: Look at the first samples only.

    Raises:
        ModelError: A model cannot be read or run.
        DataError: The data cannot be read or does not fit the model.
        UsageError: The reference has other inputs or outputs.
    """
    loaded = load_model(model)
    graph = read_graph(loaded.proto)
    scores = class_output(graph, dict(trace(graph, str(loaded)).shapes))
    dataset = open_dataset(data, graph, preprocess or Preprocess(), scores[1] if scores else None)
    other = None
    if reference is not None:
        other = load_model(reference).proto
        other_graph = read_graph(other)
        if set(other_graph.inputs) != set(graph.inputs) or other_graph.outputs != graph.outputs:
            raise UsageError(
                f"The reference {str(reference)!r} has inputs {', '.join(other_graph.inputs)} and outputs "
                f"{', '.join(other_graph.outputs)}; to compare, they must be named like the model's."
            )
    return evaluate_model(loaded.proto, dataset, scores, reference=other, limit=limit)
