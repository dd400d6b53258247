"""Accuracy and loss with labels, agreement with a reference model without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    taps = _looked_at(graph, scores)
    session = Session(model, more_outputs=taps, threads=threads)
    twins = None if reference is None else _Twins(graph, reference, threads)
    limited = batch_limit(graph)
    sums = _Sums(classes=scores is not None)
    for batch in dataset.batches(limited or EVALUATION_BATCH, limit):
        if limited and batch.size != limited:
            break  # a model of fixed batch size cannot take the rest
        outputs = session.run(batch.inputs, list(dict.fromkeys([*taps, *batch.targets])))
        sums.samples += batch.size
        sums.errors += batch.size * _errors(batch, outputs)
        if scores and batch.labels is not None:
            sums.add_labels(outputs[scores[0]].astype(np.float64), batch.labels)
        if twins is not None:
            sums.add_reference(batch.size, [(outputs[tap], expected) for tap, expected in twins.run(batch, taps)])
    return sums.evaluation(labels=dataset.has_labels, targets=bool(dataset.targets), compared=reference is not None)


def _looked_at(graph: Graph, scores: tuple[str, int] | None) -> list[str]:
    return [scores[0]] if scores else list(dict.fromkeys(output_taps(graph).values()))


class _Twins:
    """What a reference model says of the tensors of another one, in which inner tensors may be called differently."""

    def __init__(self, graph: Graph, reference: onnx.ModelProto, threads: int) -> None:
        own, theirs = output_taps(graph), output_taps(read_graph(reference))
        self._names = {own[name]: theirs[name] for name in graph.outputs}
        names = self._names.values()
        self._session = Session(reference, more_outputs=names, threads=threads, what="The reference model")

    def run(self, batch: Batch, taps: Sequence[str]) -> list[tuple[str, NDArray[Any]]]:
        """The values of some tensors, with the names that the other model has for them."""
        answers = self._session.run(batch.inputs, list(dict.fromkeys(self._names.values())))
        return [(tap, answers[self._names[tap]]) for tap in taps]


@dataclass
class _Sums:
    """What is added up over the samples; see `Evaluation`.

    Attributes:
        classes: Whether the tensor that is looked at has the scores of a classifier.
    """

    classes: bool
    samples: int = 0
    correct: int = 0
    loss: float = 0.0
    agreed: int = 0
    max_difference: float = 0.0
    mean_difference: float = 0.0
    errors: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))

    def add_labels(self, logits: NDArray[np.float64], labels: NDArray[Any]) -> None:
        """Compare (samples, classes) scores with labels."""
        self.correct += int((logits.argmax(1) == labels).sum())
        shifted = logits - logits.max(1, keepdims=True)
        self.loss += float((np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]).sum())

    def add_reference(self, size: int, pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> None:
        """Compare the outputs for a batch of some size with those of a reference."""
        self.max_difference = max(self.max_difference, *(relative_error(*pair) for pair in pairs))
        self.mean_difference += size * max(mean_error(*pair) for pair in pairs)
        if self.classes:
            output, expected = pairs[0]
            self.agreed += int((output.argmax(1) == expected.argmax(1)).sum())

    def evaluation(self, *, labels: bool, targets: bool, compared: bool) -> Evaluation:
        """The means, of what was looked at."""
        if not self.samples:
            return Evaluation(num_samples=0)
        result = Evaluation(num_samples=self.samples)
        if self.classes and labels:
            result.accuracy, result.loss = self.correct / self.samples, self.loss / self.samples
        if self.classes and compared:
            result.agreement = self.agreed / self.samples
        if compared:
            result.max_relative_difference = self.max_difference
            result.mean_relative_difference = self.mean_difference / self.samples
        if targets:
            result.mean_squared_error, result.mean_absolute_error = (self.errors / self.samples).tolist()
        return result


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
