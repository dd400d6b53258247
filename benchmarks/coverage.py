"""How many real networks are pruned, how deep, how fast, and whether the result is right.

    pip install -e ".[benchmarks]"
    python benchmarks/coverage.py --quick
    python benchmarks/coverage.py --cache exports --output coverage
    python benchmarks/coverage.py --models FOLDER

Every file is measured in a process of its own (`one_file.py`): a crash or a hang is a row of the table and no more.
Architectures come from pytorchcv with random weights (`networks.py`), exported three ways (`exports.py`), and are
kept in the cache folder, so that a second run is fast.
"""

from __future__ import annotations

import contextlib
import csv
import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from isolated import in_process
from networks import EXPORTS, NETWORKS, QUICK, Network, export_path
from one_file import send_row

HERE = Path(__file__).parent
VERDICTS = ("pruned", "barely", "refused", "wrong", "unchecked", "crash", "no export")
MEASURES = ("params_left", "params_floor", "macs_left", "parity_error", "seconds_stages", "seconds_total")
COLUMNS = ("network", "kind", "export", "verdict", "prunable", "channels", "bound", *MEASURES, "reason")

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One file to measure; `network` is None for a file of the user's."""

    name: str
    kind: str
    export: str
    path: Path
    network: Network | None = None


@click.command()
@click.option("--quick", is_flag=True, help="A few small networks only.")
@click.option("--only", help="Comma-separated names of networks.")
@click.option("--exports", default=",".join(EXPORTS), show_default=True, help="Which exporters to go through.")
@click.option("--models", multiple=True, type=click.Path(path_type=Path), help="Folders of .onnx files to measure too.")
@click.option("--no-networks", is_flag=True, help="Measure --models only; needs no PyTorch.")
@click.option("--cache", default="coverage-exports", show_default=True, type=click.Path(path_type=Path))
@click.option("--output", default="coverage", show_default=True, help="Stem of the .md, .csv and .json written.")
@click.option("--ratio", default=0.5, show_default=True)
@click.option("--timeout", default=600, show_default=True, help="Seconds for one file.")
@click.option("--jobs", default=1, show_default=True, help="Files measured at a time.")
def main(
    quick: bool,
    only: str | None,
    exports: str,
    models: tuple[Path, ...],
    no_networks: bool,
    cache: Path,
    output: str,
    ratio: float,
    timeout: int,
    jobs: int,
) -> None:
    """Prune many networks and write a table of what happened."""
    names = only.split(",") if only else list(QUICK) if quick else [n.name for n in NETWORKS]
    chosen = [] if no_networks else [n for n in NETWORKS if n.name in names]
    cache.mkdir(parents=True, exist_ok=True)
    hows = [how for how in EXPORTS if how in exports.split(",")]
    todo = [Job(n.name, n.kind, how, export_path(cache, n.name, how), n) for n in chosen for how in hows]
    for folder in models:
        todo += [Job(str(p.relative_to(folder)), "file", "-", p) for p in sorted(folder.rglob("*.onnx"))]
    rows: list[Row] = []
    with ThreadPoolExecutor(jobs) as pool:
        for row in pool.map(lambda job: run_job(job, ratio, timeout), todo):
            rows.append(row)
            click.echo(" ".join(f"{show(row[c])}" for c in COLUMNS), err=True)
            write(rows, output)
    click.echo(summary(rows))


def run_job(job: Job, ratio: float, timeout: int) -> Row:
    """Export if need be, measure, and return a row; whatever goes wrong is in it."""
    row: Row = dict.fromkeys(COLUMNS) | {"network": job.name, "kind": job.kind, "export": job.export, "reason": ""}
    if job.network is not None and not job.path.exists():
        _export(job, timeout)
    if not job.path.exists():
        why = job.path.with_suffix(".txt")
        return row | {"verdict": "no export", "reason": why.read_text() if why.exists() else "the exporter died"}
    return row | in_process(send_row, (job.path, ratio), timeout)


def _export(job: Job, timeout: int) -> None:
    """Let a process of its own write the file, or a text file that says why it cannot."""
    command = [sys.executable, "-W", "ignore", str(HERE / "exports.py"), job.name, str(job.path.parent)]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run([*command, "--exports", job.export], capture_output=True, timeout=timeout)


def write(rows: Sequence[Row], stem: str) -> None:
    """The table so far as Markdown, CSV and JSON."""
    Path(f"{stem}.json").write_text(json.dumps(rows, indent=1))
    with Path(f"{stem}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    Path(f"{stem}.md").write_text(summary(rows) + "\n" + table(COLUMNS, ([row[c] for c in COLUMNS] for row in rows)))


def summary(rows: Sequence[Row]) -> str:
    """Verdicts and medians by kind and export."""
    keys = sorted({(row["kind"], row["export"]) for row in rows})
    lines = []
    for key in [*keys, ("all", "all")]:
        own = [row for row in rows if key in ((row["kind"], row["export"]), ("all", "all"))]
        counts = Counter(row["verdict"] for row in own)
        lines.append([*key, len(own), *(counts[v] for v in VERDICTS), *(_median(own, m) for m in MEASURES)])
    return table(("kind", "export", "files", *VERDICTS, *MEASURES), lines)


def _median(rows: Sequence[Row], measure: str) -> float | None:
    values = [row[measure] for row in rows if row[measure] is not None]
    return statistics.median(values) if values else None


def table(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    marked = [header, ["---"] * len(header), *([show(cell) for cell in line] for line in lines)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in marked)


def show(cell: Any) -> str:
    """A value as the table prints it."""
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.1e}" if 0 < abs(cell) < 1e-3 else f"{cell:.3g}"
    return str(cell).replace("\n", " ").replace("|", "/")[:160]


if __name__ == "__main__":
    main()
