"""Which real networks `prune` can train: one short masked run by self-distillation each.

    python benchmarks/trainability.py FOLDER_OR_FILE... --output trainability

Samples are random, so nothing is learned but to agree with the original; what is asked is whether the gradients are
right (the run checks them itself), whether the loss falls, and whether the result passes verification. The verdict is

    trained    the loss fell while the pruned network was fine-tuned, and the result was verified
    stuck      trained and verified, but the loss did not fall
    refused    the package says why it cannot (exit codes 3 to 5)
    wrong      verification failed, or the check of the gradients
    crash      anything else
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from coverage import show, table
from isolated import in_process

import onnx_dnscp
from onnx_dnscp import PruneError, VerificationError
from onnx_dnscp.measure import latency
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.training.progress import Progress

SIZES = (64, 96, 224, 320)  # of dynamic axes; tried in turn
SAMPLES, BATCH, ROUNDS = 8, 4, 6
COLUMNS = ("network", "verdict", "loss", "first", "last", "params_left", "error", "seconds", "notes")


def measure(path: Path) -> dict[str, Any]:
    """The row of one file; no exception gets out."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {"network": path.stem}
    latency.ROUNDS, latency.SECONDS_PER_RUN = 1, 0.0  # latency is not what is asked here
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            _train(path, Path(folder), row)
    except VerificationError as error:
        row |= {"verdict": "wrong", "notes": str(error)}
    except PruneError as error:
        wrong = "gradients of this model are wrong" in str(error)
        row |= {"verdict": "wrong" if wrong else "refused" if error.exit_code > 1 else "crash", "notes": str(error)}
    except Exception as error:
        row |= {"verdict": "crash", "notes": f"{type(error).__name__}: {error}"}
    return row | {"seconds": time.perf_counter() - started}


def _train(path: Path, folder: Path, row: dict[str, Any]) -> None:
    losses: list[float] = []

    def hear(progress: Progress) -> None:
        if progress.phase == "fine-tune":
            losses.append(progress.loss)

    data = _samples(path, folder)
    batch = np.load(data)[np.load(data).files[0]].shape[0] if data else 0
    report = onnx_dnscp.prune(
        path,
        folder / "pruned.onnx",
        data=data,
        ratio=0.3,
        epochs=3,
        finetune_epochs=ROUNDS,
        batch_size=min(BATCH, batch or BATCH),
        lr=1e-3,
        repair=False,  # which needs no gradients, and leaves so few samples nothing to learn
        listener=hear,
    )
    third = max(1, len(losses) // 3)
    first, last = statistics.median(losses[:third]), statistics.median(losses[-third:])
    row |= {"verdict": "trained" if last < first else "stuck", "loss": report.loss, "first": first, "last": last}
    row |= {"params_left": report.after.params / report.before.params, "error": report.max_relative_error}
    row["notes"] = " ".join(report.notes)


def _samples(path: Path, folder: Path) -> Path | None:
    """Random samples of a size that the model runs at; None lets the package make them (several or odd inputs)."""
    model = onnx.load(path)
    stored = {t.name for t in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in stored]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        return None
    dims = inputs[0].type.tensor_type.shape.dim
    rng = np.random.default_rng(0)
    session = Session(model, optimize=False)
    for size in SIZES:
        shape = [d.dim_value if d.dim_value > 0 else size for d in dims[1:]]
        first = max(1, dims[0].dim_value)
        with contextlib.suppress(PruneError):
            session.run({inputs[0].name: np.zeros((first, *shape), np.float32)})
            values = rng.standard_normal((max(SAMPLES, first), *shape)).astype(np.float32)
            arrays: dict[str, Any] = {inputs[0].name: values}
            np.savez(folder / "samples.npz", **arrays)
            return folder / "samples.npz"
    return None


def send_row(answer: Connection, path: Path) -> None:
    """Send the row of one file; what a process of its own runs."""
    answer.send(measure(path))


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--pattern", default="*.onnx", show_default=True, help="Which files of a folder.")
@click.option("--output", default="trainability", show_default=True, help="Stem of the .md written.")
@click.option("--timeout", default=600, show_default=True, help="Seconds for one file.")
def main(models: tuple[Path, ...], pattern: str, output: str, timeout: int) -> None:
    """Train MODELS shortly, one after the other, and write a table of what happened."""
    files = [p for m in models for p in (sorted(m.rglob(pattern)) if m.is_dir() else [m])]
    rows = []
    for path in files:
        row = dict.fromkeys(COLUMNS) | {"network": path.stem} | in_process(send_row, (path,), timeout)
        rows.append(row)
        click.echo(" ".join(show(row[c]) for c in COLUMNS), err=True)
        Path(f"{output}.md").write_text(table(COLUMNS, ([r[c] for c in COLUMNS] for r in rows)))


if __name__ == "__main__":
    main()
