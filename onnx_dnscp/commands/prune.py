"""`prune`: the whole pipeline, from a file to a smaller file."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from onnx_dnscp.commands.prune_report import PruneReport
from onnx_dnscp.commands.prune_run import Run
from onnx_dnscp.commands.prune_search import resume_search, search
from onnx_dnscp.commands.prune_stages import carry_out
from onnx_dnscp.commands.run_directory import RunDirectory
from onnx_dnscp.data.fingerprint import fingerprint
from onnx_dnscp.errors import UsageError
from onnx_dnscp.options import PruneOptions
from onnx_dnscp.training.loop import Listener, Progress


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
        RequestError: Nothing is prunable, the ratio is out of reach, no cut that was tried stays within `max_drop`, or
            the model cannot be trained.
        VerificationError: The result does not compute what the masked model computes; nothing is saved.
        Interrupted: Ctrl-C or SIGTERM; the text says how to go on.
        pydantic.ValidationError: A setting is out of range.
    """
    if options is not None and settings:
        raise UsageError(f"Give either options or single settings ({', '.join(settings)}), not both.")
    chosen = PruneOptions(**settings) if options is None else options
    directory = None if run_dir is None else Path(run_dir)
    if chosen.max_drop is not None:
        return search(model, output, plan_out, directory, chosen, listener)
    with ExitStack() as held:
        run = Run.prepare(model, output, plan_out, directory, chosen, listener, held)
        if run.keeper.directory is not None and chosen.train:
            run.begin(run.keeper.directory)
        return carry_out(run)


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
        if record.max_drop is not None:
            return resume_search(record, directory, listener)
        run = Run.prepare(record.model, record.output, record.plan_out, directory, record.options, listener, held)
        run.keeper.restore()
        return carry_out(run)
