"""Everything a training phase is made of, from a model, data and options."""

from __future__ import annotations

import os
from dataclasses import dataclass

import onnx

from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.errors import DataError, RequestError
from onnx_dnscp.evaluation import batch_limit
from onnx_dnscp.graph import Graph
from onnx_dnscp.masks.method import Method
from onnx_dnscp.options import DEFAULT_LEARNING_RATES, PruneOptions
from onnx_dnscp.training.engines.base import EngineFactory
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.loop import Phase
from onnx_dnscp.training.losses.base import Loss
from onnx_dnscp.training.losses.cross_entropy import CrossEntropy
from onnx_dnscp.training.losses.distillation import Distillation
from onnx_dnscp.training.optimizers import make_optimizer
from onnx_dnscp.training.passes.batch_norm import BatchNormMode
from onnx_dnscp.training.view import build_view
from onnx_dnscp.units import Units

MIN_NORM_BATCH = 8  # below this, statistics of one batch are too noisy to normalise by

MIN_SHARD = 32  # samples; smaller shards would make batch norm noisy, and their overhead eats the gain

ENGINES: dict[str, EngineFactory] = {"ort": OrtEngine}


@dataclass(frozen=True)
class Trainer:
    """Makes the phases of one run.

    Attributes:
        original: The teacher of self-distillation.
        graph: View of the original.
        scores: The classifier's tensor and number of classes, or None.
    """

    original: onnx.ModelProto
    graph: Graph
    dataset: Dataset
    scores: tuple[str, int] | None
    options: PruneOptions

    @property
    def batch_size(self) -> int:
        """Samples per step: as asked, but no more than there are and what the model is fixed to."""
        return batch_limit(self.graph) or min(self.options.batch_size, len(self.dataset.samples))

    def num_steps(self, epochs: int) -> int:
        """Steps of a phase of whole epochs."""
        return epochs * max(1, len(self.dataset.samples) // self.batch_size)

    def phase(
        self,
        model: onnx.ModelProto,
        epochs: int,
        seed: int,
        *,
        units: Units | None = None,
        method: Method | None = None,
    ) -> Phase:
        """A phase that trains `model`, with the masks of `units` if given.

        Raises:
            RequestError: The model or loss cannot be trained.
            DataError: The loss needs labels that the data lacks.
        """
        cores = self.options.threads or os.cpu_count() or 1
        shards = num_shards(self.batch_size, cores)
        shard_size = self.batch_size // shards
        shapes = self.dataset.input_shapes(shard_size)
        view = build_view(model, shapes, units=units, batch_norm=self._batch_norm(shard_size))
        loss = self._loss(shard_size)
        loss.attach(view)
        if method is not None:
            method.extend_view(view)
        rate = self.options.learning_rate or DEFAULT_LEARNING_RATES[self.options.optimizer]
        return Phase(
            engine=ENGINES["ort"](view, threads=max(1, cores // shards), shards=shards),
            loss=loss,
            optimizer=make_optimizer(self.options.optimizer),
            batches=self.dataset.training_batches(self.batch_size, seed),
            num_steps=self.num_steps(epochs),
            learning_rate=rate,
        )

    def loss_name(self) -> str:
        """Which loss "auto" means here."""
        if self.options.loss != "auto":
            return self.options.loss
        return "cross-entropy" if self.dataset.has_labels and self.scores else "distill"

    def _loss(self, shard_size: int) -> Loss:
        if self.loss_name() == "distill":
            return Distillation(self.original, next(self.dataset.training_batches(shard_size, self.options.seed)))
        if not self.dataset.has_labels:
            raise DataError("Cross-entropy needs labels, and the data has none; use --loss distill.")
        if self.scores is None:
            raise RequestError("Cross-entropy needs one output of shape (batch, classes); use --loss distill.")
        return CrossEntropy((shard_size, self.scores[1]))

    def _batch_norm(self, shard_size: int) -> BatchNormMode:
        if self.options.batch_norm != "auto":
            return self.options.batch_norm
        return "train" if self.dataset.real and shard_size >= MIN_NORM_BATCH else "frozen"


def num_shards(batch_size: int, cores: int) -> int:
    """Parts to cut a batch into: equal, at most one per core, none smaller than `MIN_SHARD`."""
    most = min(cores, batch_size // MIN_SHARD)
    return next((n for n in range(most, 1, -1) if batch_size % n == 0), 1)
