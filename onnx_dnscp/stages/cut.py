"""The stage that cuts channels out of the graph for good."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import onnx

from onnx_dnscp.measure.samples import verification_batches
from onnx_dnscp.measure.verify import Verification, verify
from onnx_dnscp.runs.keeper import Keeper
from onnx_dnscp.stages.job import Job
from onnx_dnscp.stages.pruning import Pruning
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import plan_cuts
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.training.stage import StageId

logger = logging.getLogger("onnx_dnscp")


@dataclass(frozen=True)
class Cut:
    """Cuts what the mask has silenced, always out of the full-size network, and checks the result."""

    id: StageId

    def carry_out(self, pruning: Pruning, job: Job, keeper: Keeper) -> Pruning:
        """The pruning with a smaller model.

        Raises:
            VerificationError: It does not compute what the masked model computes.
        """
        mask = pruning.mask
        logger.info("surgery: %d of %d channels go", int((~mask).sum()), mask.size)
        model = apply_cuts(pruning.reference, pruning.units, plan_cuts(pruning.units, mask))
        return replace(pruning, model=model, checked=verified(replace(pruning, model=model), job))


def verified(pruning: Pruning, job: Job) -> Verification:
    """How exactly the model computes what the masked full-size network does, on samples, real if there are some."""
    units = pruning.units
    masked: onnx.ModelProto = mask_model(pruning.reference, units, pruning.mask)
    return verify(pruning.model, masked, verification_batches(units.graph, units.trace, job.data))
