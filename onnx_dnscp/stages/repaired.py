"""Weights that stay make up for those that go, as a stage asks for it."""

from __future__ import annotations

import logging

import onnx

from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.repair.repair import repair
from onnx_dnscp.stages.job import Job
from onnx_dnscp.surgery.weights import copy_with_weights

logger = logging.getLogger("onnx_dnscp")


def repaired(job: Job, model: onnx.ModelProto, units: Units, mask: Mask) -> tuple[onnx.ModelProto, str]:
    """The network with weights fitted for `mask`, full-size as it is, and what the user should know."""
    batches = job.repair_batches()
    samples = sum(batch.size for batch in batches)
    logger.info("repairing weights with %d samples", samples)
    fitted = repair(model, units, mask, batches, threads=job.options.threads)
    if not fitted:
        return model, (
            "No weight was fitted to the original's activations: none is stored as floats and read by one node alone."
        )
    what = "made-up inputs; real samples (--data) give a better result" if job.data is None else "samples"
    note = f"The weights that stay were fitted to the original's activations on {samples} {what}."
    return copy_with_weights(model, fitted), note
