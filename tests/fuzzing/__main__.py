"""The command: many damaged inputs of one kind, and a table of what came of them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import click

from fuzzing.worker import GOOD, KINDS, Worker


def show_table(rows: list[dict[str, Any]]) -> None:
    """One line per kind of input, and what was found."""
    outcomes = list(dict.fromkeys([*GOOD, "traceback", "crash", "hang", "wrong", "unclear"]))
    print(" ".join(f"{name:>10}" for name in ("kind", "inputs", *outcomes, "checked", "peak MB")))
    for kind in KINDS:
        mine = [row for row in rows if row["kind"] == kind]
        count = Counter(row["outcome"] for row in mine)
        checked = sum(bool(row.get("checked")) for row in mine)
        peak = max((row.get("megabytes", 0) for row in mine), default=0)
        numbers = (len(mine), *(count[outcome] for outcome in outcomes), checked, peak)
        print(" ".join(f"{value:>10}" for value in (kind, *numbers)))
    for row in rows:
        if row["outcome"] not in GOOD:
            last = (row.get("message") or "").strip().splitlines()[-1:]
            print(f"{row['kind']} {row['number']} {row['seed']}: {row['outcome']} {row.get('how', '')} {last}")


@click.command()
@click.option("--kind", type=click.Choice(KINDS), default="model", show_default=True)
@click.option("--count", default=1000, show_default=True)
@click.option("--first", default=0, show_default=True, help="Number of the first case.")
@click.option("--seed", default=0, show_default=True)
@click.option("--log", type=click.Path(path_type=Path), default=Path("fuzz.jsonl"), show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the files of cases that went wrong.")
def main(kind: str, count: int, first: int, seed: int, log: Path, keep: Path | None) -> None:
    """Try many damaged inputs of one kind."""
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(row["kind"], row["number"], row["seed"]) for row in rows}
    worker = Worker()
    with log.open("a") as file:
        for number in range(first, first + count):
            if (kind, number, seed) not in done:
                row = {"kind": kind, "number": number, "seed": seed, **worker.judge(kind, number, seed)}
                rows.append(row)
                file.write(json.dumps(row) + "\n")
                file.flush()
                if keep is not None and row["outcome"] not in GOOD:
                    shutil.copytree(worker.folder, keep / f"{kind}-{number}-{seed}", dirs_exist_ok=True)
    worker.close()
    show_table(rows)


if __name__ == "__main__":
    main()
