"""Which stages a run is made of, and how one follows the other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from onnx_dnscp.masks.methods import METHODS
from onnx_dnscp.runs.keeper import Keeper
from onnx_dnscp.stages.choose import Choose
from onnx_dnscp.stages.cut import Cut
from onnx_dnscp.stages.job import Job
from onnx_dnscp.stages.pruning import Pruning
from onnx_dnscp.stages.train import Train
from onnx_dnscp.stages.tune import Tune
from onnx_dnscp.training.schedule import Place, make_places, make_schedule
from onnx_dnscp.training.stage import StageId


class Stage(Protocol):
    """One step of a run."""

    @property
    def id(self) -> StageId:
        """What checkpoints, logs and curves call it."""

    def carry_out(self, pruning: Pruning, job: Job, keeper: Keeper) -> Pruning:
        """Do it, or take up what the keeper knows of it.

        Args:
            pruning: What the stage before has left.
            job: What the run works on and was asked for.
            keeper: Knows the states of earlier processes, and keeps those of this one.
        """


Recipe = Sequence[Stage]


@dataclass(frozen=True)
class Outcome:
    """What the stages of a run have led to.

    Attributes:
        pruning: After the last stage.
        seconds: Of every stage, in all processes.
        accuracies: Of the network after surgery, where fine-tuning follows.
    """

    pruning: Pruning
    seconds: Mapping[StageId, float]
    accuracies: Mapping[StageId, float | None]


def make_recipe(job: Job) -> Recipe:
    """The stages that the options ask for: per round training with masks, surgery and fine-tuning.

    Raises:
        RequestError: The warm-up is longer than the first phase.
    """
    o = job.options
    if not o.train:
        return [Choose(StageId(1, "choose")), Cut(StageId(1, "cut"))]
    rounds = METHODS[o.method].rounds
    masked, tuned = (
        _shared(job.trainer.num_steps(epochs) if epochs else 0, rounds) for epochs in (o.epochs, o.finetune_epochs)
    )
    steps = [steps for pair in zip(masked, tuned, strict=True) for steps in pair]
    places = make_places(steps if o.finetune_epochs else masked)
    make_schedule(1.0, places[0], o.warmup)
    return [stage for number in range(1, rounds + 1) for stage in _round(number, rounds, o.ratio, places)]


def trained(recipe: Recipe) -> tuple[StageId, ...]:
    """The stages that have checkpoints."""
    return tuple(stage.id for stage in recipe if isinstance(stage, (Train, Tune)))


def run_stages(recipe: Recipe, pruning: Pruning, job: Job, keeper: Keeper) -> Outcome:
    """The stages one after the other; nothing but the keeper's directory, if it has one, is written to."""
    seconds: dict[StageId, float] = {}
    accuracies: dict[StageId, float | None] = {}
    for stage, following in zip(recipe, [*recipe[1:], None], strict=True):
        begun = time.monotonic()
        earlier = keeper.states.get(stage.id)
        pruning = stage.carry_out(pruning, job, keeper)
        seconds[stage.id] = time.monotonic() - begun + (earlier.seconds if earlier else 0.0)
        if isinstance(stage, Cut) and isinstance(following, Tune):
            accuracies[stage.id] = job.accuracy(pruning.model)
    return Outcome(pruning, seconds, accuracies)


def _round(number: int, rounds: int, ratio: float, places: Sequence[Place]) -> list[Stage]:
    """What is left shrinks by the same factor in every round, to the ratio in the last one."""
    per_round = len(places) // rounds
    own = places[(number - 1) * per_round : number * per_round]
    share = ratio if number == rounds else 1 - (1 - ratio) ** (number / rounds)
    stages: list[Stage] = [Train(StageId(number, "train"), own[0], share, is_last=number == rounds)]
    stages.append(Cut(StageId(number, "cut")))
    return stages + [Tune(StageId(number, "fine-tune"), place) for place in own[1:]]


def _shared(steps: int, rounds: int) -> list[int]:
    """Steps of every round, nearly equal and at least 1."""
    return [max(1, steps * (i + 1) // rounds - steps * i // rounds) for i in range(rounds)]
