"""The method of a round, with the sensitivity of groups that it may ask for."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import onnx

from onnx_dnscp.errors import RequestError
from onnx_dnscp.masks.budget import Budget
from onnx_dnscp.masks.methods import METHODS, MethodSettings
from onnx_dnscp.masks.registry import no_offsets
from onnx_dnscp.masks.rules import raised
from onnx_dnscp.measure.sensitivity import group_sensitivity
from onnx_dnscp.model.units import Units
from onnx_dnscp.repair.trial import Trial, walk_down
from onnx_dnscp.runs.options import DEFAULT_SENSITIVITY, FIRST_TRIED, SENSITIVITIES
from onnx_dnscp.stages.job import Job
from onnx_dnscp.training.method import Method
from onnx_dnscp.training.weights import Vector

logger = logging.getLogger("onnx_dnscp")


def make_method(job: Job, model: onnx.ModelProto, units: Units, budget: Budget, round: int) -> Method:
    """The method that was asked for, on a network as a round finds it.

    Raises:
        RequestError: It needs training with labels, which there is not.
    """
    o = job.options
    if METHODS[o.method].needs_labels and not (o.train and job.trainer.loss_name() != "distill"):
        raise RequestError(
            f"--method {o.method} ranks channels by the gradients of training with labels; give labelled --data "
            "without --no-train, or choose another --method."
        )
    settings = MethodSettings(
        units,
        budget,
        np.random.default_rng(o.seed if round == 1 else [o.seed, round]),
        schedule=o.schedule,
        rule=o.rule,
        c_rate=o.c_rate,
        gamma=o.gamma,
        power=o.power,
        measure=_Sensitivity(job, model, units, budget),
    )
    return METHODS[o.method].make(settings)


@dataclass(frozen=True)
class _Sensitivity:
    """Says what the sensitivity of each group adds to its channels' rank, measured when it is asked."""

    job: Job
    model: onnx.ModelProto
    units: Units
    budget: Budget

    def __call__(self, importance: Vector) -> Vector:
        """(groups,) in deviations of the group's units."""
        o, data = self.job.options, self.job.data
        if o.sensitivity == 0 or data is None or not data.real or len(self.units.groups) < 2:
            return no_offsets(importance)
        units, budget = self.units, self.budget
        logger.info("measuring the sensitivity of %d groups", len(units.groups))
        batches = self.job.repair_batches()
        share = float(1 - budget.final_mask(importance).mean())
        found = group_sensitivity(self.model, units, importance, budget.ratio, batches, share=share, threads=o.threads)
        weight = o.sensitivity
        if weight is None and o.train:  # training makes up for what the trials could gain
            weight = DEFAULT_SENSITIVITY
        elif weight is None:
            trial = Trial(self.model, units, batches, o.threads)
            weight = walk_down(
                SENSITIVITIES,
                SENSITIVITIES.index(FIRST_TRIED),
                lambda w: trial.error(budget.final_mask(raised(importance, w * found, importance, units.group_of))),
            )
            logger.info("groups are spared with --sensitivity %g, which leaves the smallest error", weight)
        return weight * found
