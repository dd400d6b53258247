"""`prune`: the whole pipeline, from a file to a smaller file."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

from typing_extensions import Unpack

from onnx_dnscp.commands.prune_prepare import load_for, prepare
from onnx_dnscp.commands.prune_search import resume_search, search
from onnx_dnscp.commands.prune_stages import carry_out
from onnx_dnscp.data.fingerprint import fingerprint
from onnx_dnscp.data.function import is_function
from onnx_dnscp.errors import UsageError
from onnx_dnscp.runs.options import PruneOptions, named_functions
from onnx_dnscp.runs.prune_report import PruneReport
from onnx_dnscp.runs.run_directory import RunDirectory, RunRecord
from onnx_dnscp.runs.settings import PruneSettings, with_settings_spelled_out
from onnx_dnscp.training.progress import Listener, Progress


def _silent(progress: Progress) -> None:
    """The listener that hears nothing."""


@with_settings_spelled_out
def prune(
    model: str | Path,
    output: str | Path | None = None,
    *,
    plan_out: str | Path | None = None,
    run_dir: str | Path | None = None,
    listener: Listener = _silent,
    options: PruneOptions | None = None,
    **settings: Unpack[PruneSettings],
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
        UsageError: A place to write to is wrong, or a setting is unknown, given twice or cannot have its value.
        RequestError: Nothing is prunable, the ratio is out of reach, no cut that was tried stays within `max_drop`, or
            the model cannot be trained.
        VerificationError: The result does not compute what the masked model computes; nothing is saved.
        Interrupted: Ctrl-C or SIGTERM; the text says how to go on.
    """
    if options is not None and settings:
        raise UsageError(f"Give either options or single settings ({', '.join(settings)}), not both.")
    chosen = PruneOptions.model_validate(settings) if options is None else options
    directory = None if run_dir is None else Path(run_dir)
    if chosen.max_drop is not None:
        return search(model, output, plan_out, directory, chosen, listener)
    started = time.monotonic()
    with ExitStack() as held:
        loaded, outputs = load_for(model, output, plan_out, chosen)
        kept = None if directory is None else held.enter_context(RunDirectory.new(directory))
        prepared = prepare(loaded, outputs, chosen)
        return carry_out(prepared, prepared.keeper(kept, listener), started)


def resume(
    run_dir: str | Path,
    *,
    listener: Listener = _silent,
    lr: float | None = None,
    data: str | Path | None = None,
    test_data: str | Path | None = None,
) -> PruneReport:
    """Go on with a run that was interrupted, killed or diverged, from its last checkpoint.

    With the same number of threads, it ends with the file that it would have ended with.

    Args:
        run_dir: The folder of that run.
        listener: Called after every training step.
        lr: Go on with another learning rate.
        data: The function that the run takes its samples from, if it does: a run directory alone, which may be
            somebody else's, does not make code run.
        test_data: Likewise.

    Raises:
        UsageError: The folder holds no unfinished run, is in use, names a function that was not named here, or the
            model or the data have changed.
    """
    started = time.monotonic()
    with ExitStack() as held:
        directory = held.enter_context(RunDirectory.existing(Path(run_dir)))
        record = directory.record()
        _check_named(record, directory.path, {"--data": data, "--test-data": test_data})
        if lr is not None:
            record = RunRecord.model_validate({**dict(record), "lr": lr})
            directory.start(record)
        for path, digest in record.fingerprints.items():
            if not is_function(Path(path)) and fingerprint(Path(path)) != digest:
                raise UsageError(
                    f"{path!r} has changed since the run in {str(run_dir)!r} began, so the run cannot go on; put the "
                    "old one back, or begin again."
                )
        if record.max_drop is not None:
            return resume_search(record, directory, listener)
        loaded, outputs = load_for(record.model, record.output, record.plan_out, record.options)
        prepared = prepare(loaded, outputs, record.options)
        prepared.check_samples(record)
        return carry_out(prepared, prepared.keeper(directory, listener), started, resumed=True)


def _check_named(record: RunRecord, directory: Path, given: Mapping[str, str | Path | None]) -> None:
    """Make sure that the user knows of the code that resuming runs.

    Args:
        record: Of the run.
        directory: Of the run.
        given: What the user says now about the options that may name functions.

    Raises:
        UsageError: Something else was given than the run has.
    """
    wanted = named_functions(record.options)
    for option, path in given.items():
        if path is not None and str(path) != wanted.get(option):
            raise UsageError(
                f"--resume goes on with the data of the run, which is not {str(path)!r}; leave out '{option}'."
            )
    if any(given[option] is None for option in wanted):
        command = ["onnx-dnscp", "prune", "--resume", str(directory), *chain(*wanted.items())]
        raise UsageError(
            f"The run in {str(directory)!r} takes samples from {', '.join(wanted.values())}, which is code; if you "
            f"trust it, go on with: {shlex.join(command)}"
        )
