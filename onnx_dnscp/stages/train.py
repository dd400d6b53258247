"""The stage in which the network trains while masks fall and come back."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnx_dnscp.errors import RequestError
from onnx_dnscp.masks.budget import Budget
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.units import Mask
from onnx_dnscp.repair.norms import without_norms
from onnx_dnscp.runs.keeper import Keeper
from onnx_dnscp.runs.run_directory import ARTIFACTS
from onnx_dnscp.stages.job import Job
from onnx_dnscp.stages.norms import with_lost_norms
from onnx_dnscp.stages.part import Part, budget_of, embedded, part_of
from onnx_dnscp.stages.pruning import Pruning
from onnx_dnscp.stages.ranking import make_method
from onnx_dnscp.stages.repaired import repaired
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.training.artifacts import write_artifacts
from onnx_dnscp.training.checkpoint import PhaseState
from onnx_dnscp.training.loop import train_with_masks
from onnx_dnscp.training.method import MaskHistory, Method
from onnx_dnscp.training.progress import LiveWidth
from onnx_dnscp.training.schedule import Place
from onnx_dnscp.training.stage import StageId
from onnx_dnscp.training.view import ADDED
from onnx_dnscp.training.weights import HostParameters

logger = logging.getLogger("onnx_dnscp")


@dataclass(frozen=True)
class Train:
    """Trains with masks, down to a share of the original.

    Attributes:
        place: Where it lies among all that trains.
        ratio: To be removed of the original when the stage is over.
        is_last: Whether masks move no more afterwards.
    """

    id: StageId
    place: Place
    ratio: float
    is_last: bool = True

    def carry_out(self, pruning: Pruning, job: Job, keeper: Keeper) -> Pruning:
        """The pruning with its mask and trained weights; nothing is cut yet."""
        begun = self._begin(pruning, job)
        start, notes = _start(job, pruning.model, begun)
        start = with_lost_norms(job, start, like=pruning.model)
        state = keeper.states.get(self.id)
        if state is None or not state.is_done:
            state = self._trained(job, keeper, start, begun, state)
        else:
            begun.method.restore(state.method)
        assert state.mask is not None, "the phase with masks is done"
        model = without_norms(copy_with_weights(start, _stored(begun.method, state)))
        reference = model if pruning.is_whole else embedded(pruning, read_graph(model).stored)
        pruning = replace(pruning, model=model, reference=reference, mask=begun.part.lift(state.mask), checked=None)
        return pruning.noted(*notes, *state.notes, *self._leave_artifacts(job, keeper, model, begun, state.mask))

    def _begin(self, pruning: Pruning, job: Job) -> _Round:
        part = part_of(job, pruning)
        budget = budget_of(job, part, self.ratio)
        method = make_method(job, pruning.model, part.units, budget, self.id.round)
        return _Round(part, budget, method, method.first_mask(HostParameters(part.units.graph.stored)))

    def _trained(
        self, job: Job, keeper: Keeper, start: onnx.ModelProto, begun: _Round, state: PhaseState | None
    ) -> PhaseState:
        """The last state of training from `start`, or from where an earlier process was."""
        units, method = begun.part.units, begun.method
        logger.info("building gradients and checking them")
        started = time.monotonic()
        phase = job.trainer.phase(self.id, self.place, start, units=units, method=method)
        set_up = time.monotonic() - started
        state = phase.begin(state)
        logger.info("training with masks: %d steps, loss %s", state.num_steps, phase.loss.name)

        def accuracy(now: PhaseState) -> float | None:
            assert now.mask is not None, "a step with masks is done"
            stored = copy_with_weights(start, _stored(method, now))
            return job.test_accuracy(mask_model(stored, units, now.mask))

        def later(step_seconds: float) -> float:
            return job.seconds_after(self.place, step_seconds, set_up)

        watched = _Watched(keeper.log.history, self.id.round, begun.part, begun.budget)
        with keeper.watching(state, job.options.epochs, accuracy, later) as observe:
            train_with_masks(phase, state, units, method, begun.first, watched, observe)
        return state

    def _leave_artifacts(
        self, job: Job, keeper: Keeper, model: onnx.ModelProto, begun: _Round, mask: Mask
    ) -> tuple[str, ...]:
        """The masked model for onnxruntime-training, in the run directory if there is one; what went wrong.

        What the method has learned is folded into the weights, and its parameters begin anew.
        """
        folder = None if keeper.directory is None else keeper.directory.path / ARTIFACTS
        if folder is None or folder.exists() or not self.is_last:
            return ()
        # A device has no teacher.
        view, _ = job.trainer.view(model, units=begun.part.units, method=begun.method, taught=False)
        try:
            write_artifacts(folder, view, view.values, mask, job.options.optimizer)
        except RequestError as error:
            return (f"The run directory has no {ARTIFACTS} for onnxruntime-training: {error}",)
        return ()


@dataclass(frozen=True)
class _Round:
    """What a round begins with.

    Attributes:
        part: The network as earlier rounds left it.
        budget: What is to be removed by the end of the round.
        method: Decides what goes.
        first: (units of the part,) its first mask.
    """

    part: Part
    budget: Budget
    method: Method
    first: Mask


@dataclass(frozen=True)
class _Watched:
    """What happens to masks, in terms of the original."""

    history: MaskHistory
    round: int
    part: Part
    budget: Budget

    def moved(self, step: int, before: Mask, after: Mask, *, settling: bool = False) -> None:
        """Note drops and recoveries."""
        was, now = self.part.lift(before), self.part.lift(after)
        self.history.record(step, was, now, self.part.whole, settling=settling, round=self.round)

    def ratio(self, mask: Mask) -> float:
        """Pruned share of the original."""
        return self.budget.ratio(mask)

    def widths(self, mask: Mask) -> tuple[LiveWidth, ...]:
        """How many channels of every group of the original are on."""
        units, lifted = self.part.whole, self.part.lift(mask)
        kept = np.bincount(units.group_of[lifted], minlength=len(units.groups)).tolist()
        return tuple(LiveWidth(g.id, g.consumers[0], g.width, n) for g, n in zip(units.groups, kept, strict=True))

    @property
    def recovered(self) -> int:
        """Channels that came back in the whole run."""
        return self.history.num_recovered


def _stored(method: Method, state: PhaseState) -> dict[str, NDArray[Any]]:
    """What was trained, as tensors of the file."""
    learned = HostParameters(state.weights)
    return {**{name: value for name, value in learned.items() if not name.startswith(ADDED)}, **method.fold(learned)}


def _start(job: Job, model: onnx.ModelProto, begun: _Round) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The model that training starts from: as it is, or repaired for a first mask that meets the target."""
    asked = job.options.repair
    if asked is False or (asked is None and (job.data is None or not job.data.real)) or begun.first.all():
        return model, ()
    if begun.budget.ratio(begun.first) >= begun.budget.target:
        start, note = repaired(job, model, begun.part.units, begun.first)
        return start, (note,)
    if asked:
        return model, ("--repair did nothing: with training it needs a mask that meets the target at the start.",)
    return model, ()
