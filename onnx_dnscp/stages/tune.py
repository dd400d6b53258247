"""The stage in which the smaller network trains on."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.units import Removal
from onnx_dnscp.repair.norms import without_norms
from onnx_dnscp.runs.keeper import Keeper
from onnx_dnscp.stages.cut import verified
from onnx_dnscp.stages.job import Job
from onnx_dnscp.stages.norms import with_lost_norms
from onnx_dnscp.stages.part import embedded
from onnx_dnscp.stages.pruning import Pruning
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.training.checkpoint import PhaseState
from onnx_dnscp.training.loop import fine_tune
from onnx_dnscp.training.schedule import Place
from onnx_dnscp.training.stage import StageId

logger = logging.getLogger("onnx_dnscp")


@dataclass(frozen=True)
class Tune:
    """Fine-tunes what surgery has left.

    Attributes:
        place: Where it lies among all that trains.
    """

    id: StageId
    place: Place

    def carry_out(self, pruning: Pruning, job: Job, keeper: Keeper) -> Pruning:
        """The pruning with trained weights.

        Raises:
            VerificationError: The model does not compute what the masked model computes.
        """
        start = with_lost_norms(job, pruning.model)
        state = keeper.states.get(self.id)
        if state is None or not state.is_done:
            logger.info("building gradients of the pruned network and checking them")
            begun = time.monotonic()
            removal = Removal(pruning.units, pruning.mask)
            phase = job.trainer.phase(self.id, self.place, start, removal=removal)
            set_up = time.monotonic() - begun
            state = phase.begin(state)
            logger.info("fine-tuning: %d steps", state.num_steps)
            recovered = keeper.log.history.num_recovered

            def accuracy(now: PhaseState) -> float | None:
                return job.test_accuracy(copy_with_weights(start, now.weights))

            def later(step_seconds: float) -> float:
                return job.seconds_after(self.place, step_seconds, set_up)

            with keeper.watching(state, job.options.finetune_epochs, accuracy, later) as observe:
                fine_tune(phase, state, job.budget.ratio(pruning.mask), recovered, observe)
        model = without_norms(copy_with_weights(start, state.weights))
        stored = read_graph(model).stored
        reference = embedded(pruning, {name: stored[name] for name in state.weights if name in stored})
        logger.info("verifying the result against the masked model")
        pruning = replace(pruning, model=model, reference=reference)
        return replace(pruning, checked=verified(pruning, job))
