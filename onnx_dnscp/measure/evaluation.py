"""Accuracy and loss with labels, agreement with a reference model without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import BaseModel

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.errors import DataError
from onnx_dnscp.measure.verify import mean_error, relative_error
from onnx_dnscp.model.graph import Graph, dimensions, read_graph
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.model.taps import output_taps

EVALUATION_BATCH = 128


class Evaluation(BaseModel):
    """What a model does on some data.

    Attributes:
        num_samples: Samples seen.
        accuracy: Share of samples whose largest output is the label; None without labels or classes.
        loss: Mean cross-entropy in nats; None likewise.
        agreement: Share of samples whose largest output is the reference's too; None without a reference or classes.
        max_relative_difference: Largest difference of an output element from the reference's, relative to the
            output's largest magnitude; None without a reference.
        mean_relative_difference: Mean difference of output elements from the reference's over their mean magnitude, of
            the output where it is largest; the mean over batches. None without a reference.
        mean_squared_error: Of outputs from the values that the data names after them, the mean over these outputs;
            None without such values.
        mean_absolute_error: Likewise.
    """

    num_samples: int
    accuracy: float | None = None
    loss: float | None = None
    agreement: float | None = None
    max_relative_difference: float | None = None
    mean_relative_difference: float | None = None
    mean_squared_error: float | None = None
    mean_absolute_error: float | None = None


def class_output(graph: Graph, shapes: dict[str, tuple[int, ...]] | None = None) -> tuple[str, int] | None:
    """Tensor with the scores of a classifier and its number of classes; None if the model is no classifier.

    A classifier has one floating-point output of shape (batch, classes), looked at before a final Softmax.
    """
    if len(graph.outputs) != 1:
        return None
    declared = graph.proto.graph.output[0].type
    dims: list[int | str | None] = dimensions(declared)
    if shapes is not None:
        dims = list(shapes[graph.outputs[0]])
    if len(dims) != 2 or not isinstance(dims[1], int) or dims[1] < 2:
        return None
    return output_taps(graph)[graph.outputs[0]], dims[1]


def batch_limit(graph: Graph) -> int | None:
    """The batch size a model is fixed to, or None if it takes any."""
    sizes = [dims[0] for dims in map(dimensions, graph.inputs.values()) if dims]
    fixed = [size for size in sizes if isinstance(size, int)]
    return fixed[0] if fixed else None


def evaluate_model(
    model: onnx.ModelProto,
    dataset: Dataset,
    scores: tuple[str, int] | None,
    *,
    reference: onnx.ModelProto | None = None,
    limit: int | None = None,
    threads: int = 0,
) -> Evaluation:
    """Run a model over data.

    Args:
        model: What to evaluate.
        dataset: Samples that fit it.
        scores: From `class_output`.
        reference: A model with the same inputs and outputs to compare with.
        limit: Look at the first samples only.
        threads: Of ONNX Runtime; 0 leaves the choice to it.

    Raises:
        ModelError: A model cannot be run.
        DataError: What an output should be has another shape than the output.
    """
    graph = read_graph(model)
    taps = [scores[0]] if scores else list(dict.fromkeys(output_taps(graph).values()))
    session = Session(model, more_outputs=taps, threads=threads)
    other = None
    if reference is not None:
        own, theirs = output_taps(graph), output_taps(read_graph(reference))
        twins = {own[name]: theirs[name] for name in graph.outputs}  # inner tensors may be called differently
        other = Session(reference, more_outputs=twins.values(), threads=threads, what="The reference model")
    batch_size = batch_limit(graph) or EVALUATION_BATCH
    seen = correct = agreed = 0
    loss, difference, mean_difference = 0.0, 0.0, 0.0
    errors = np.zeros(2)
    for batch in dataset.batches(batch_size, limit):
        size = batch.size
        if batch_limit(graph) and size != batch_size:
            break  # a model of fixed batch size cannot take the rest
        outputs = session.run(batch.inputs, list(dict.fromkeys([*taps, *batch.targets])))
        seen += size
        errors += size * _errors(batch, outputs)
        if scores and batch.labels is not None:
            logits = outputs[scores[0]].astype(np.float64)
            correct += int((logits.argmax(1) == batch.labels).sum())
            shifted = logits - logits.max(1, keepdims=True)
            loss += float((np.log(np.exp(shifted).sum(1)) - shifted[np.arange(size), batch.labels]).sum())
        if other is not None:
            answers = other.run(batch.inputs, list(dict.fromkeys(twins.values())))
            expected = {tap: answers[twins[tap]] for tap in taps}
            difference = max(difference, *(relative_error(outputs[t], expected[t]) for t in taps))
            mean_difference += size * max(mean_error(outputs[t], expected[t]) for t in taps)
            if scores:
                agreed += int((outputs[scores[0]].argmax(1) == expected[scores[0]].argmax(1)).sum())
    labelled = bool(scores) and dataset.has_labels and seen > 0
    compared = other is not None and seen > 0
    squared, absolute = (errors / seen).tolist() if seen and dataset.targets else (None, None)
    return Evaluation(
        num_samples=seen,
        accuracy=correct / seen if labelled else None,
        loss=loss / seen if labelled else None,
        agreement=agreed / seen if compared and scores else None,
        max_relative_difference=difference if compared else None,
        mean_relative_difference=mean_difference / seen if compared else None,
        mean_squared_error=squared,
        mean_absolute_error=absolute,
    )


def check_targets(model: onnx.ModelProto, dataset: Dataset) -> None:
    """Make sure, before any long work, that outputs have the shapes of the values that the data names after them.

    Raises:
        DataError: They have not.
        ModelError: The model cannot be run.
    """
    if dataset.targets:
        first = next(dataset.batches(batch_limit(read_graph(model)) or 1))
        _check_shapes(first, Session(model, optimize=False).run(first.inputs))


def _check_shapes(batch: Batch, outputs: Mapping[str, NDArray[Any]]) -> None:
    for name, target in batch.targets.items():
        if target.shape != outputs[name].shape:
            raise DataError(
                f"Array {name!r} of the data has shape {target.shape} for {batch.size} sample(s), and the model's "
                f"output of that name {outputs[name].shape}; make them the same, axes of size 1 included, or rename "
                "the array if it means something else."
            )


def _errors(batch: Batch, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Mean squared and mean absolute error, over all outputs with known values."""
    _check_shapes(batch, outputs)
    found = [np.asarray(outputs[name], np.float64) - target for name, target in batch.targets.items()]
    return np.array([[np.square(d).mean(), np.abs(d).mean()] for d in found]).mean(0) if found else np.zeros(2)
