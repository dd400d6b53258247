"""Whether and how a network trains with the batch norm that its file has lost."""

from __future__ import annotations

import logging

import onnx

from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.repair.norms import lacks_norms, with_norms
from onnx_dnscp.stages.job import Job

logger = logging.getLogger("onnx_dnscp")


def with_lost_norms(job: Job, model: onnx.ModelProto, *, like: onnx.ModelProto | None = None) -> onnx.ModelProto:
    """`model` with batch norm behind its convolutions, where it had some before it was exported; else itself.

    A file cannot say that. Classifiers without any norm nearly always had batch norm; what puts out images or other
    values often never had, and its outputs would depend on what else is in a batch.

    Args:
        job: Says what is asked for, and has the samples.
        model: About to be trained.
        like: Whose layers' outputs are what they should be, if not those of `model`.
    """
    asked = job.options.restore_norm
    if asked is None:
        asked = job.scores is not None and job.trainer.normalises_by_batch
    if not asked or job.data is None or not lacks_norms(read_graph(model)):
        return model
    logger.info("putting batch norm behind convolutions for training")
    return with_norms(model, job.repair_batches(), like=like, threads=job.options.threads)
