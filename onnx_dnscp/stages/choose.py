"""A stage without training: the method chooses once, and the weights that stay are repaired."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onnx_dnscp.masks.methods import choose_once
from onnx_dnscp.runs.keeper import Keeper
from onnx_dnscp.stages.job import Job
from onnx_dnscp.stages.pruning import Pruning
from onnx_dnscp.stages.ranking import make_method
from onnx_dnscp.stages.repaired import repaired
from onnx_dnscp.training.stage import StageId
from onnx_dnscp.training.weights import HostParameters


@dataclass(frozen=True)
class Choose:
    """Chooses the channels that go by the original's weights alone."""

    id: StageId

    def carry_out(self, pruning: Pruning, job: Job, keeper: Keeper) -> Pruning:
        """The pruning with its mask, on a network that is whole."""
        units, model = pruning.units, pruning.model
        method = make_method(job, model, units, job.budget, self.id.round)
        mask = choose_once(method, HostParameters(units.graph.stored), units.num_units)
        pruning = replace(pruning, mask=mask)
        if job.options.repair or (job.options.repair is None and job.data is not None):
            model, note = repaired(job, model, units, mask)
            return replace(pruning, model=model, reference=model).noted(note)
        return pruning
