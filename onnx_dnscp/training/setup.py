"""Everything a training phase is made of, from a model, data and options."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import onnx

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.errors import DataError, RequestError
from onnx_dnscp.measure.evaluation import batch_limit
from onnx_dnscp.model.graph import Graph, dimensions
from onnx_dnscp.model.units import Removal, Units
from onnx_dnscp.system.memory import usable_cores
from onnx_dnscp.training.differentiable import ORT_ABILITIES
from onnx_dnscp.training.engines.base import EngineKind
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.loop import Phase
from onnx_dnscp.training.losses.base import Loss
from onnx_dnscp.training.losses.binary_cross_entropy import BinaryCrossEntropy
from onnx_dnscp.training.losses.cross_entropy import CrossEntropy
from onnx_dnscp.training.losses.distillation import Distillation
from onnx_dnscp.training.losses.regression import Regression
from onnx_dnscp.training.losses.teacher import CachedTeacher, LiveTeacher, Teacher
from onnx_dnscp.training.losses.weighted import WeightedSum
from onnx_dnscp.training.method import Method
from onnx_dnscp.training.options import EngineName, LossName, TrainingOptions
from onnx_dnscp.training.passes.batch_norm import BatchNormMode
from onnx_dnscp.training.passes.float32 import as_float32
from onnx_dnscp.training.ranks import OneProcess
from onnx_dnscp.training.schedule import Place, make_schedule
from onnx_dnscp.training.self_check import check_gradients
from onnx_dnscp.training.stage import StageId
from onnx_dnscp.training.view import LOSS, OWN, TrainingView, build_view

MIN_NORM_BATCH = 8  # below this, statistics of one batch are too noisy to normalise by

DISTILL_WEIGHT = 2.0  # beside labels; see docs/experiments/training-recipe.md

DATA_LOSS = f"{OWN}loss/data"  # beside what a method adds

MIN_SHARD = 32  # samples; smaller shards would make batch norm noisy, and their overhead eats the gain

_REGRESSION = ("mse", "l1")  # outputs are compared as they are, and not before a final Softmax or Sigmoid

ENGINES: dict[EngineName, EngineKind] = {"ort": EngineKind(OrtEngine, ORT_ABILITIES)}


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
    options: TrainingOptions

    @property
    def batch_size(self) -> int:
        """Samples per batch: as asked, but no more than there are and what the model is fixed to."""
        return batch_limit(self.graph) or min(self.options.batch_size, len(self.dataset.samples))

    def num_steps(self, epochs: int) -> int:
        """Steps of a phase of whole epochs."""
        return epochs * max(1, len(self.dataset.samples) // (self.batch_size * self.options.accumulate))

    def check(self) -> None:
        """Make sure that the phases can be set up, before any long work.

        Raises:
            RequestError: The teacher has no answers that could be kept.
        """
        if self.options.cache_teacher and not self.asks_teacher:
            raise RequestError(
                f"--cache-teacher is for self-distillation, and the loss is {self.loss_name()}; leave it out, or use "
                "--loss distill."
            )
        if self.options.cache_teacher and not self.dataset.fixed:
            raise RequestError(
                "--cache-teacher keeps the original's answers to samples that stay the same, and those of "
                f"{self.dataset.description!r} are drawn anew every time they are read; leave it out."
            )

    def view(
        self,
        model: onnx.ModelProto,
        *,
        units: Units | None = None,
        method: Method | None = None,
        removal: Removal | None = None,
        taught: bool = True,
    ) -> tuple[TrainingView, Loss]:
        """The training view of `model` for one shard of a batch, with what the method adds and its loss.

        Args:
            model: The original, or what surgery left of it.
            units: If given, masks on their consumers.
            method: Extends the view.
            removal: What surgery took.
            taught: False leaves self-distillation out where labels or known values are enough.

        Raises:
            RequestError: The model or loss cannot be trained.
            DataError: The loss needs labels that the data lacks.
        """
        shard_size = self.batch_size // self._shards
        shapes = self.dataset.input_shapes(shard_size)
        squashed = self.loss_name() in _REGRESSION
        view = build_view(
            model,
            shapes,
            units=units,
            batch_norm=self._batch_norm(shard_size),
            abilities=self._engine.abilities,
            squashed=squashed,
        )
        alone = self.loss_name() != "distill" and not taught
        loss = self._loss_by_truth(shard_size) if alone else self._loss(shard_size, units, removal)
        terms = () if method is None else method.extend(view)
        if terms:
            loss.attach(view, DATA_LOSS)
            view.add_sum([DATA_LOSS, *terms], LOSS)
        else:
            loss.attach(view)
        return view, loss

    def phase(
        self,
        stage: StageId,
        place: Place,
        model: onnx.ModelProto,
        *,
        units: Units | None = None,
        method: Method | None = None,
        removal: Removal | None = None,
    ) -> Phase:
        """A phase that trains `model`, with the masks of `units` if given.

        Args:
            stage: Which phase.
            place: Where it lies among the others.
            model: The original, or what surgery left of it.
            units: If given, masks on their consumers.
            method: Extends the view.
            removal: What surgery took.

        Raises:
            RequestError: The model or loss cannot be trained, or its gradients are wrong.
            DataError: The loss needs labels that the data lacks.
        """
        o = self.options
        view, loss = self.view(model, units=units, method=method, removal=removal)
        engine = self._engine.make(
            view,
            optimizer=o.optimizer,
            threads=max(1, self._cores // self._shards),
            shards=self._shards,
            ranks=OneProcess(),
        )
        batches = partial(self.dataset.training_batches, self.batch_size, o.seed + place.index)
        first = next(batches())
        check_gradients(view, engine, as_float32({**first.inputs, **loss.feeds(first)}), seed=o.seed)
        return Phase(
            stage=stage,
            engine=engine,
            loss=loss,
            batches=batches,
            schedule=make_schedule(o.learning_rate, place, o.warmup),
            accumulate=o.accumulate,
            notes=tuple(view.notes),
        )

    @property
    def _engine(self) -> EngineKind:
        return ENGINES[self.options.engine]

    @cached_property
    def teacher(self) -> Teacher:
        """What the original says, for all phases."""
        o = self.options
        if o.cache_teacher:
            return CachedTeacher(self.original, self.dataset, self.batch_size, o.threads)
        return LiveTeacher(self.original, o.threads)

    @property
    def _cores(self) -> int:
        return self.options.threads or usable_cores()

    @property
    def _shards(self) -> int:
        return num_shards(self.batch_size, self._cores)

    def loss_name(self) -> LossName:
        """Which loss "auto" means here."""
        if self.options.loss != "auto":
            return self.options.loss
        return "cross-entropy" if self.dataset.has_labels and self.scores else "distill"

    @property
    def asks_teacher(self) -> bool:
        """Whether the loss compares with what the original says."""
        return self.loss_name() == "distill" or self._distill_weight > 0

    @property
    def _distill_weight(self) -> float:
        """Weight of self-distillation beside another loss."""
        if self.options.distill_weight is not None:
            return self.options.distill_weight
        return DISTILL_WEIGHT if self.options.loss == "auto" else 0.0

    def _loss(self, shard_size: int, units: Units | None, removal: Removal | None) -> Loss:
        if not self.asks_teacher:
            return self._loss_by_truth(shard_size)
        units = removal.units if removal else units
        hints = _activations(units) if units and self.options.hint_weight else ()
        taught = Distillation(self.teacher, self._first(shard_size), removal, hints, self.options.hint_weight)
        if self.loss_name() == "distill":
            return taught
        return WeightedSum([(1.0, self._loss_by_truth(shard_size)), (self._distill_weight, taught)])

    def _loss_by_truth(self, shard_size: int) -> Loss:
        """The loss that needs labels or known values."""
        name = self.loss_name()
        if name == "mse" or name == "l1":
            if not self.dataset.targets:
                raise DataError(
                    f"--loss {name} needs an array named like an output of the model "
                    f"({', '.join(self.graph.outputs)}), and the data has none; use --loss distill."
                )
            return Regression(name, self._first(shard_size))
        if not self.dataset.has_labels:
            raise DataError(
                f"--loss {name} needs labels, and {self.dataset.description!r} has none; use --loss distill."
            )
        if self.scores is None:
            found = ", ".join(f"{o.name!r} {dimensions(o.type)}" for o in self.graph.proto.graph.output)
            raise RequestError(
                f"--loss {name} needs one output of shape (batch, classes), and the model has {found}; use --loss "
                "distill."
            )
        kind = BinaryCrossEntropy if name == "bce" else CrossEntropy
        return kind((shard_size, self.scores[1]))

    def _first(self, size: int) -> Batch:
        return next(self.dataset.training_batches(size, self.options.seed))

    @property
    def normalises_by_batch(self) -> bool:
        """Whether batch norm, if there is any, trains."""
        return self._batch_norm(self.batch_size // self._shards) == "train"

    def _batch_norm(self, shard_size: int) -> BatchNormMode:
        if self.options.batch_norm != "auto":
            return self.options.batch_norm
        return "train" if self.dataset.real and shard_size >= MIN_NORM_BATCH else "frozen"


def num_shards(batch_size: int, cores: int) -> int:
    """Parts to cut a batch into: equal, at most one per core, none smaller than `MIN_SHARD`."""
    most = min(cores, batch_size // MIN_SHARD)
    return next((n for n in range(most, 1, -1) if batch_size % n == 0), 1)


def _activations(units: Units) -> tuple[str, ...]:
    """Of every group, the last tensor that a consumer reads its channels from."""
    last: dict[int, str] = {}
    for consumer in units.consumers:
        groups = {int(units.group_of[u]) for u in consumer.channel_units if u >= 0}
        node = units.graph.producer[consumer.output]
        data = [name for position, name in enumerate(node.inputs) if position != consumer.operand]
        last |= dict.fromkeys(groups, data[0])
    return tuple(dict.fromkeys(last.values()))
