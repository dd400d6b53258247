"""One run after its preparations: the stages of its recipe one after the other, then measuring and saving."""

from __future__ import annotations

import logging
import time

from onnx_dnscp.commands.prune_prepare import Outputs, Prepared, first_notes
from onnx_dnscp.commands.prune_report import make_report
from onnx_dnscp.commands.report import leave_picture
from onnx_dnscp.commands.saving import ModelFile, model_file
from onnx_dnscp.errors import DataError, DivergenceError, Interrupted, StorageError
from onnx_dnscp.runs.keeper import Keeper
from onnx_dnscp.runs.plan import Plan, make_plan
from onnx_dnscp.runs.prune_report import PruneReport
from onnx_dnscp.stages.pruning import Pruning
from onnx_dnscp.stages.recipe import make_recipe, run_stages, trained
from onnx_dnscp.system.atomic import write_bytes

logger = logging.getLogger("onnx_dnscp")


def carry_out(
    prepared: Prepared, keeper: Keeper, started: float | None = None, *, resumed: bool = False
) -> PruneReport:
    """Everything after the preparations: train, cut, verify and save.

    Args:
        prepared: The run.
        keeper: Keeps its states.
        started: `time.monotonic()` when it began, if that was not now.
        resumed: Whether to go on from what the keeper's directory holds.

    Raises:
        See `prune`.
    """
    job = prepared.job
    recipe = make_recipe(job)
    started = time.monotonic() if started is None else started
    if resumed:
        keeper.restore(trained(recipe))
    elif keeper.directory is not None and job.options.train:
        keeper.opening.write(keeper.directory)
    try:
        outcome = run_stages(recipe, Pruning.begin(job.loaded.proto, job.units, first_notes(job)), job, keeper)
        logger.info("measuring both models")
        file = model_file(outcome.pruning.model, prepared.outputs.model)
        report = make_report(job, outcome, prepared.outputs, keeper, file.size, started)
        plan = make_plan(job.units, outcome.pruning.mask, job.loaded.sha256)
        _save(prepared.outputs, keeper, file, plan, report)
        return report
    except DivergenceError as error:
        raise DivergenceError(f"{error} {keeper.roll_back(job.options.highest_rate)}") from error
    except (StorageError, DataError) as error:
        raise type(error)(f"{error} {keeper.keep()}".rstrip()) from error
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted; no model was written. {keeper.keep()}".rstrip()) from None


def _save(outputs: Outputs, keeper: Keeper, file: ModelFile, plan: Plan, report: PruneReport) -> None:
    """Write the plan, the model, and last the report: a run without one can be resumed."""
    text = plan.model_dump_json(indent=1).encode()
    if outputs.plan is not None:
        write_bytes(outputs.plan, text)
    directory = keeper.directory
    if directory is not None:
        if not keeper.states:
            keeper.opening.write(directory)
        directory.finish(text, keeper.log)
    file.write(outputs.model)
    if directory is not None:
        directory.close(report.model_dump_json(indent=1).encode())
        leave_picture(directory.path)
