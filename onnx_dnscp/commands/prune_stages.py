"""The stages of one pruning run, after its preparations: choose, cut, fine-tune, verify, save."""

from __future__ import annotations

import logging
import time
from typing import Any

import onnx
from numpy.typing import NDArray

from onnx_dnscp.commands.prune_choice import choose_mask
from onnx_dnscp.commands.prune_norms import with_lost_norms
from onnx_dnscp.commands.prune_report import make_report
from onnx_dnscp.commands.prune_run import Run
from onnx_dnscp.commands.report import leave_picture
from onnx_dnscp.commands.samples import verification_batches
from onnx_dnscp.commands.saving import ModelFile, model_file
from onnx_dnscp.errors import DataError, DivergenceError, Interrupted, StorageError
from onnx_dnscp.measure.verify import Verification, verify
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.units import Mask, Removal
from onnx_dnscp.repair.norms import without_norms
from onnx_dnscp.runs.plan import Plan, make_plan
from onnx_dnscp.runs.prune_report import PruneReport
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import Cuts, embed_array, plan_cuts
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.system.atomic import write_bytes
from onnx_dnscp.training.checkpoint import PhaseState
from onnx_dnscp.training.loop import fine_tune

logger = logging.getLogger("onnx_dnscp")


def carry_out(run: Run) -> PruneReport:
    """Everything after the preparations: train, cut, verify and save.

    Raises:
        See `prune`.
    """
    try:
        return _stages(run)
    except DivergenceError as error:
        raise DivergenceError(f"{error} {run.keeper.roll_back(run.options.highest_rate)}") from error
    except (StorageError, DataError) as error:
        raise type(error)(f"{error} {run.keeper.keep()}".rstrip()) from error
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted; no model was written. {run.keeper.keep()}".rstrip()) from None


def _stages(run: Run) -> PruneReport:
    """Choose, cut, fine-tune, verify, save."""
    mask = choose_mask(run)
    plan = make_plan(run.units, mask, run.loaded.sha256)
    cuts = plan_cuts(run.units, mask)
    logger.info("surgery: %d of %d channels go", int((~mask).sum()), mask.size)
    pruned = apply_cuts(run.trained, run.units, cuts)
    first_check = _verify(run, pruned, run.trained, mask)
    accuracy = run.accuracy(pruned) if run.options.train and run.options.finetune_epochs else None
    tuned, embedded = _fine_tune(run, pruned, cuts, mask)
    logger.info("verifying the result against the masked model")
    checked = first_check if tuned is pruned else _verify(run, tuned, embedded, mask)
    logger.info("measuring both models")
    file = model_file(tuned, run.target)
    report = make_report(run, tuned, mask, checked, file.size, accuracy)
    _save(run, file, plan, report)
    return report


def _fine_tune(run: Run, pruned: onnx.ModelProto, cuts: Cuts, mask: Mask) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The pruned model trained on, and the full-size model that carries the same weights."""
    if not run.options.train or not run.options.finetune_epochs:
        return pruned, run.trained
    state = run.keeper.states.get("fine-tune")
    started = time.monotonic() - (state.seconds if state else 0.0)
    pruned = with_lost_norms(run, pruned)
    if state is None or not state.is_done:
        logger.info("building gradients of the pruned network and checking them")
        phase = run.trainer().phase("fine-tune", pruned, removal=Removal(run.units, mask))
        state = phase.begin(state)
        logger.info("fine-tuning: %d steps", state.num_steps)
        recovered = run.keeper.log.history.num_recovered

        def accuracy(now: PhaseState) -> float | None:
            return run.test_accuracy(copy_with_weights(pruned, now.weights))

        with run.keeper.watching(state, run.options.finetune_epochs, accuracy) as observe:
            fine_tune(phase, state, run.budget.ratio(mask), recovered, observe)
    full = read_graph(run.trained).stored
    tuned = without_norms(copy_with_weights(pruned, state.weights))
    learned = read_graph(tuned).stored
    embedded: dict[str, NDArray[Any]] = {
        name: embed_array(full[name], learned[name], cuts.keeps.get(name, {})) for name in state.weights if name in full
    }
    run.seconds["fine-tune"] = time.monotonic() - started
    return tuned, copy_with_weights(run.trained, embedded)


def _verify(run: Run, pruned: onnx.ModelProto, full: onnx.ModelProto, mask: Mask) -> Verification:
    """Compare with the masked model on samples, real if there are some."""
    batches = verification_batches(run.units.graph, run.units.trace, run.dataset)
    return verify(pruned, mask_model(full, run.units, mask), batches)


def _save(run: Run, file: ModelFile, plan: Plan, report: PruneReport) -> None:
    """Write the plan, the model, and last the report: a run without one can be resumed."""
    text = plan.model_dump_json(indent=1).encode()
    if run.plan_path is not None:
        write_bytes(run.plan_path, text)
    directory = run.keeper.directory
    if directory is not None:
        if not run.options.train:
            run.begin(directory)
        directory.finish(text, run.keeper.log)
    file.write(run.target)
    if directory is not None:
        directory.close(report.model_dump_json(indent=1).encode())
        leave_picture(directory.path)
