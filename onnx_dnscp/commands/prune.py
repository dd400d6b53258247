"""`prune`: the whole pipeline, from a file to a smaller file."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from onnx_dnscp.atomic import write_bytes
from onnx_dnscp.commands.prune_choice import choose_mask
from onnx_dnscp.commands.prune_report import PruneReport, make_report
from onnx_dnscp.commands.prune_run import Run
from onnx_dnscp.commands.run_directory import RunDirectory
from onnx_dnscp.commands.samples import verification_batches
from onnx_dnscp.commands.saving import ModelFile, model_file
from onnx_dnscp.data.fingerprint import fingerprint
from onnx_dnscp.errors import DivergenceError, Interrupted, UsageError
from onnx_dnscp.graph import read_graph
from onnx_dnscp.masks.budget import Mask
from onnx_dnscp.options import PruneOptions
from onnx_dnscp.plan import Plan, make_plan
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import Cuts, embed_array, plan_cuts
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.training.loop import Listener, Progress, fine_tune
from onnx_dnscp.units import Removal
from onnx_dnscp.verify import Verification, verify

logger = logging.getLogger("onnx_dnscp")


def _silent(progress: Progress) -> None:
    """The listener that hears nothing."""


def prune(
    model: str | Path,
    output: str | Path | None = None,
    *,
    plan_out: str | Path | None = None,
    run_dir: str | Path | None = None,
    listener: Listener = _silent,
    options: PruneOptions | None = None,
    **settings: Any,
) -> PruneReport:
    """Make a smaller, faster model that computes nearly the same, and save it once it is verified.

    Args:
        model: The ONNX file; never modified.
        output: Where to save; `<stem>.pruned.onnx` beside the model by default.
        plan_out: Where to write the plan, if wanted.
        run_dir: Folder for the run's record (options, plan, every drop and recovery, every step, report) and for
            checkpoints from which `resume` goes on. An interrupted run makes one if none is given.
        listener: Called after every training step.
        options: What to do; or give its fields as keywords.
        **settings: Fields of `PruneOptions`.

    Raises:
        ModelError: The model cannot be read, is invalid or cannot be run.
        DataError: The data cannot be read or does not fit the model.
        UsageError: A place to write to is wrong, or settings are given twice.
        RequestError: Nothing is prunable, the ratio is out of reach, or the model cannot be trained.
        VerificationError: The result does not compute what the masked model computes; nothing is saved.
        Interrupted: Ctrl-C or SIGTERM; the text says how to go on.
        pydantic.ValidationError: A setting is out of range.
    """
    if options is not None and settings:
        raise UsageError(f"Give either options or single settings ({', '.join(settings)}), not both.")
    chosen = PruneOptions(**settings) if options is None else options
    with ExitStack() as held:
        directory = None if run_dir is None else Path(run_dir)
        run = Run.prepare(model, output, plan_out, directory, chosen, listener, held)
        if run.keeper.directory is not None and chosen.train:
            run.keeper.directory.start(run.record())
        return _carry_out(run)


def resume(run_dir: str | Path, *, listener: Listener = _silent, learning_rate: float | None = None) -> PruneReport:
    """Go on with a run that was interrupted, killed or diverged, from its last checkpoint.

    With the same number of threads, it ends with the file that it would have ended with.

    Args:
        run_dir: The folder of that run.
        listener: Called after every training step.
        learning_rate: Go on with another one.

    Raises:
        UsageError: The folder holds no unfinished run, is in use, or the model or the data have changed.
    """
    with ExitStack() as held:
        directory = held.enter_context(RunDirectory.existing(Path(run_dir)))
        record = directory.record()
        if learning_rate is not None:
            record = record.model_copy(update={"learning_rate": learning_rate})
            directory.start(record)
        for path, digest in record.fingerprints.items():
            if fingerprint(Path(path)) != digest:
                raise UsageError(
                    f"{path!r} has changed since the run in {str(run_dir)!r} began, so the run cannot go on; put the "
                    "old one back, or begin again."
                )
        run = Run.prepare(record.model, record.output, record.plan_out, directory, record.options, listener, held)
        run.keeper.restore()
        return _carry_out(run)


def _carry_out(run: Run) -> PruneReport:
    """Everything after the preparations."""
    try:
        return _stages(run)
    except DivergenceError as error:
        raise DivergenceError(f"{error} {run.keeper.way_on('--lr', 'RATE')}") from error
    except KeyboardInterrupt:
        raise Interrupted(run.keeper.interrupted()) from None


def _stages(run: Run) -> PruneReport:
    """Choose, cut, fine-tune, verify, save."""
    mask = choose_mask(run)
    plan = make_plan(run.units, ~mask, run.loaded.sha256)
    cuts = plan_cuts(run.units, ~mask)
    logger.info("surgery: %d of %d channels go", int((~mask).sum()), mask.size)
    pruned = apply_cuts(run.trained, run.units, cuts)
    first_check = _verify(run, pruned, run.trained, mask)
    accuracy = run.accuracy(pruned) if run.options.train and run.options.finetune_epochs else None
    tuned, embedded = _fine_tune(run, pruned, cuts, mask)
    logger.info("verifying the result against the masked model")
    checked = first_check if tuned is pruned else _verify(run, tuned, embedded, mask)
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
    if state is None or not state.is_done:
        phase = run.trainer().phase("fine-tune", pruned, removal=Removal(run.units, ~mask))
        state = phase.begin(state)
        logger.info("fine-tuning: %d steps", state.num_steps)
        recovered = run.keeper.log.history.num_recovered
        with run.keeper.watching(state) as observe:
            fine_tune(phase, state, run.budget.ratio(mask), recovered, observe)
    full = read_graph(run.trained).stored
    embedded: dict[str, NDArray[Any]] = {
        name: embed_array(full[name], small, cuts.keeps.get(name, {})) for name, small in state.weights.items()
    }
    run.seconds["fine-tune"] = time.monotonic() - started
    return copy_with_weights(pruned, state.weights), copy_with_weights(run.trained, embedded)


def _verify(run: Run, pruned: onnx.ModelProto, full: onnx.ModelProto, mask: Mask) -> Verification:
    """Compare with the masked model on samples, real if there are some."""
    batches = verification_batches(run.units.graph, run.units.trace, run.dataset)
    return verify(pruned, mask_model(full, run.units, ~mask), batches)


def _save(run: Run, file: ModelFile, plan: Plan, report: PruneReport) -> None:
    """Write the plan, the model, and last the report: a run without one can be resumed."""
    text = plan.model_dump_json(indent=1).encode()
    if run.plan_path is not None:
        write_bytes(run.plan_path, text)
    directory = run.keeper.directory
    if directory is not None:
        if not run.options.train:
            directory.start(run.record())
        directory.finish(text, run.keeper.log)
    file.write(run.target)
    if directory is not None:
        directory.close(report.model_dump_json(indent=1).encode())
