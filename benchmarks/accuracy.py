"""Accuracy at equal MACs and equal training, side by side: methods of this package, and Torch-Pruning.

    python benchmarks/accuracy.py --network digits-resnet --network digits-separable --seeds 3
    python benchmarks/accuracy.py --network resnet20 --data-root FOLDER --samples 40000 --resume rows.jsonl
    python benchmarks/accuracy.py --network resnet20 --data-root FOLDER --split test --resume test.jsonl --output table

Every row sees the same training samples equally often, with SGD, momentum and a cosine. Rows of this package train
with masks for `--epochs` and fine-tune for `--finetune-epochs`; "dense" does so and cuts nothing. Torch-Pruning cuts at
once and trains for both together, along one cosine. Choices are made on a part of the training data (`--split
validation`); the test data are for the final table.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import click
from accuracy_data import NETWORKS, Network, SplitName, model_path, write_samples

import onnx_dnscp
from onnx_dnscp import PruneError
from onnx_dnscp.data.augment import AugmentationName, augmented
from onnx_dnscp.data.open import open_dataset
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.load import load_model

BASELINE = "dense"
# Options of `prune` that make a row. Masks of DNS-CP begin at the target, so without recovery none would ever move.
OWN_ROWS: dict[str, dict[str, Any]] = {
    BASELINE: {"method": "magnitude-l2"},
    "dnscp": {"method": "dnscp"},
    "dnscp-no-recovery": {"method": "dnscp", "schedule": "one-shot"},
    "dnscp-tf2": {"method": "dnscp", "rule": "tf2", "align": None},  # the rule has its own multiple
    **{name: {"method": name} for name in ("magnitude-l1", "magnitude-l2", "fpgm", "taylor", "random")},
}
TORCH_ROWS = tuple(f"torch-pruning-{what}" for what in ("magnitude", "magnitude-local", "taylor", "taylor-local"))


@dataclass(frozen=True)
class Setting:
    """What all rows of one network have in common; results of another setting are never mixed in."""

    network: str
    split: SplitName
    samples: int | None
    epochs: int
    finetune_epochs: int
    batch_size: int
    learning_rate: float
    align: int
    augment: tuple[AugmentationName, ...]
    options: tuple[tuple[str, str], ...]  # of `prune`, for every row of this package
    threads: int


@dataclass(frozen=True)
class Job:
    """One run."""

    setting: Setting
    row: str
    ratio: float
    seed: int


@dataclass(frozen=True)
class Result:
    """What one run gave: accuracies and shares in 0..1, or why there is none."""

    before: float | None = None
    after: float | None = None
    macs: float | None = None
    params: float | None = None
    recovered: int | None = None
    seconds: float = 0.0
    error: str | None = None


@click.command(help=(__doc__ or "").split("\n\n")[0])
@click.option("--network", "networks", multiple=True, type=click.Choice(list(NETWORKS)), help="Repeatable; all.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder with the CIFAR-10 zip and networks.")
@click.option(
    "--ratio",
    "ratios",
    multiple=True,
    type=float,
    default=(0.3, 0.5, 0.7),
    show_default=True,
    help="Of the MACs; repeatable.",
)
@click.option("--row", "rows", multiple=True, type=click.Choice([*OWN_ROWS, *TORCH_ROWS]), help="Repeatable; all.")
@click.option("--seeds", default=1, show_default=True, help="How many.")
@click.option("--epochs", default=1, show_default=True, help="With masks.")
@click.option("--finetune-epochs", default=2, show_default=True)
@click.option("--samples", type=int, help="Train on at most so many.")
@click.option("--split", type=click.Choice(get_args(SplitName)), default="validation", show_default=True)
@click.option("--lr", default=0.01, show_default=True)
@click.option("--batch-size", default=64, show_default=True)
@click.option("--align", default=1, show_default=True, help="1 meets the MACs most closely.")
@click.option(
    "--augment",
    multiple=True,
    type=click.Choice(get_args(AugmentationName)),
    help="Training images, whoever trains; repeatable, in order.",
)
@click.option(
    "--set",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="A field of PruneOptions for all rows of this package, such as c_rate=0.03; repeatable.",
)
@click.option("--threads", default=0, help="Of ONNX Runtime and PyTorch; 0 is their choice.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    help="File with one finished run per line: these are not run again, new ones are added.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Write the table to this file (.md) too.")
def main(
    networks: tuple[str, ...],
    data_root: Path | None,
    ratios: tuple[float, ...],
    rows: tuple[str, ...],
    seeds: int,
    split: SplitName,
    samples: int | None,
    epochs: int,
    finetune_epochs: int,
    lr: float,
    batch_size: int,
    align: int,
    augment: tuple[AugmentationName, ...],
    options: tuple[str, ...],
    threads: int,
    resume: Path | None,
    output: Path | None,
) -> None:  # fmt: skip
    """See the module."""
    chosen = dict(option.split("=", 1) for option in options)
    tables = []
    for name in networks or NETWORKS:
        setting = Setting(
            network=name,
            split=split,
            samples=samples,
            epochs=epochs,
            finetune_epochs=finetune_epochs,
            batch_size=batch_size,
            learning_rate=lr,
            align=align,
            augment=augment,
            options=tuple(sorted(chosen.items())),
            threads=threads,
        )
        jobs = list(_jobs(setting, rows or _default_rows(), ratios, seeds))
        tables.append(_table(setting, _run_all(jobs, setting, data_root, resume)))
        print(tables[-1], flush=True)
    if output is not None:
        output.with_suffix(".md").write_text("\n".join(tables), encoding="utf-8")


def _default_rows() -> tuple[str, ...]:
    has_torch = all(importlib.util.find_spec(name) for name in ("torch", "torch_pruning"))
    return (*OWN_ROWS, *(TORCH_ROWS if has_torch else ()))


def _jobs(setting: Setting, rows: Sequence[str], ratios: Sequence[float], seeds: int) -> Iterator[Job]:
    """The baseline first, which has no ratio; then seed by seed, so that an early stop leaves whole seeds."""
    for seed in range(seeds):
        if BASELINE in rows:
            yield Job(setting, BASELINE, 0.0, seed)
        for ratio in ratios:
            yield from (Job(setting, row, ratio, seed) for row in rows if row != BASELINE)


def _run_all(jobs: Sequence[Job], setting: Setting, data_root: Path | None, resume: Path | None) -> dict[Job, Result]:
    """Results of all jobs, those of the file included; each new one is added to the file as soon as it is there."""
    done = _read(resume)
    network = NETWORKS[setting.network]
    missing = [job for job in jobs if job not in done]
    with tempfile.TemporaryDirectory() as scratch:
        paths = write_samples(network, data_root, setting.split, setting.samples, Path(scratch)) if missing else None
        for number, job in enumerate(missing, 1):
            assert paths is not None
            result = _run(job, network, model_path(network, data_root), *paths)
            done[job] = result
            line = json.dumps({"job": asdict(job), "result": asdict(result)})
            click.echo(f"{number}/{len(missing)} {line}", err=True)
            if resume is not None:
                with resume.open("a", encoding="utf-8") as file:
                    file.write(f"{line}\n")
    return {job: done[job] for job in jobs}


def _read(resume: Path | None) -> dict[Job, Result]:
    if resume is None or not resume.exists():
        return {}
    found = {}
    for row in map(json.loads, resume.read_text(encoding="utf-8").splitlines()):
        setting = row["job"].pop("setting")
        setting |= {"options": tuple(map(tuple, setting["options"])), "augment": tuple(setting["augment"])}
        found[Job(Setting(**setting), **row["job"])] = Result(**row["result"])
    return found


def _run(job: Job, network: Network, model: Path, train: Path, measured: Path) -> Result:
    """One row; what cannot be done is a result too."""
    started = time.monotonic()
    try:
        if job.row in TORCH_ROWS:
            return _torch(job, network, model, train, measured)
        return _own(job, network, model, train, measured)
    except (PruneError, ValueError) as error:
        return Result(seconds=time.monotonic() - started, error=str(error))


def _own(job: Job, network: Network, model: Path, train: Path, measured: Path) -> Result:
    s = job.setting
    options = {
        "metric": "macs",
        "ratio": job.ratio,
        "align": s.align,
        "augment": s.augment,
        "epochs": s.epochs,
        "finetune_epochs": s.finetune_epochs,
        "batch_size": s.batch_size,
        "learning_rate": s.learning_rate,
        "threads": s.threads,
        "seed": job.seed,
        **dict(s.options),
        **OWN_ROWS[job.row],
    }
    output = train.with_name("pruned.onnx")
    report = onnx_dnscp.prune(model, output, data=train, test_data=measured, preprocess=network.preprocess, **options)
    return Result(
        before=report.accuracy_after_surgery,
        after=report.after.accuracy,
        macs=report.after.macs / report.before.macs,
        params=report.after.params / report.before.params,
        recovered=report.recovered,
        seconds=report.seconds_training + report.seconds_fine_tuning,
    )


def _torch(job: Job, network: Network, model: Path, train: Path, measured: Path) -> Result:
    from torch_pruning_rows import ROWS, prune_with_torch

    s = job.setting
    loaded = load_model(model)
    graph = read_graph(loaded.proto)
    datasets = (open_dataset(path, graph, network.preprocess, None) for path in (train, measured))
    train_data, test_data = datasets
    outcome = prune_with_torch(
        ROWS[job.row],
        loaded,
        augmented(train_data, graph, network.preprocess, s.augment),
        test_data,
        ratio=job.ratio,
        align=s.align,
        epochs=s.epochs + s.finetune_epochs,
        batch_size=s.batch_size,
        learning_rate=s.learning_rate,
        seed=job.seed,
        threads=s.threads,
    )
    return Result(**asdict(outcome))


def _table(setting: Setting, results: dict[Job, Result]) -> str:
    """Markdown: one line per ratio and row, mean and spread over the seeds."""
    s = setting
    seeds = len({job.seed for job in results})
    chosen = "".join(f", {name}" for name in s.augment) + "".join(f", {name} {value}" for name, value in s.options)
    lines = [
        f"{s.network}, {s.split} data, {s.samples or 'all'} training samples, {s.epochs} + {s.finetune_epochs} epochs "
        f"at batch {s.batch_size}, learning rate {s.learning_rate:g}, align {s.align}{chosen}; {seeds} seed(s), mean "
        "+- standard deviation. Accuracy in %, change in points against the equally trained dense network. "
        f'Torch-Pruning cuts before any training, all others after {s.epochs} epoch(s); "before fine-tuning" means '
        "right after the cut.",
        "",
        "| MACs removed | row | before fine-tuning | after | change | MACs left | params left | recoveries | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    baseline = {job.seed: result.after for job, result in results.items() if job.row == BASELINE}
    for ratio, row in dict.fromkeys((job.ratio, job.row) for job in results):
        own = {job.seed: r for job, r in results.items() if (job.ratio, job.row) == (ratio, row)}
        good = {seed: r for seed, r in own.items() if r.error is None}
        if not good:
            lines.append(f"| {ratio:.0%} | {row} | {next(iter(own.values())).error} |")
            continue
        changes = [
            r.after - baseline[seed]  # type: ignore[operator]  # neither is None
            for seed, r in good.items()
            if row != BASELINE and None not in (r.after, baseline.get(seed))
        ]
        columns = [[getattr(r, name) for r in good.values()] for name in ("before", "after")]
        shares = [[getattr(r, name) for r in good.values()] for name in ("macs", "params")]
        recovered = [r.recovered for r in good.values() if r.recovered is not None]
        cells = [
            *(_spread(column) for column in columns),
            _spread(changes, sign="+"),
            *(f"{100 * statistics.mean(share):.1f} %" for share in shares),
            f"{statistics.mean(recovered):.0f}" if recovered else "",
            f"{statistics.mean(r.seconds for r in good.values()):.0f}",
        ]
        lines.append(f"| {ratio:.0%} | {row} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _spread(values: Sequence[float | None], sign: str = "") -> str:
    """Mean and standard deviation in percent."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return ""
    spread = f" +- {statistics.stdev(known):.2f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):{sign}.2f}{spread}"


if __name__ == "__main__":
    main()
