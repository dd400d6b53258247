"""DNS-CP's choices side by side at equal MACs and equal training, on the digits, for docs/experiments/repair.md.

    python benchmarks/experiments.py --network digits-separable --ratio 0.8
    python benchmarks/experiments.py --network digits-resnet --ratio 0.8 --row dnscp --row magnitude --seeds 5

A part of the training samples trains, the others validate; the test samples are not looked at.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

import onnx_dnscp

MODELS = Path(__file__).parent.parent / "models"
NUM_TRAINING = 700  # of 1437
ROWS: dict[str, dict[str, Any]] = {
    "magnitude, not repaired": {"method": "magnitude-l2", "repair": False},
    "magnitude": {"method": "magnitude-l2"},
    "random": {"method": "random"},
    "dnscp, recovery off": {"schedule": "one-shot"},
    "dnscp": {},
    "dnscp, groups alike": {"sensitivity": 0.0},
    "dnscp, c = 0": {"c_rate": 0.0},
    "dnscp, not repaired": {"repair": False},
    "dnscp, step by step": {"schedule": "iterative"},
    "dnscp, distilled": {"loss": "distill"},
}


@click.command()
@click.option("--network", type=click.Choice(["digits-resnet", "digits-separable"]), default="digits-separable")
@click.option("--row", "rows", multiple=True, type=click.Choice(list(ROWS)), help="All by default.")
@click.option("--ratio", default=0.8, show_default=True, help="Of the MACs.")
@click.option("--epochs", default=5, show_default=True)
@click.option("--finetune-epochs", default=5, show_default=True)
@click.option("--seeds", default=3, show_default=True)
def main(network: str, rows: tuple[str, ...], ratio: float, epochs: int, finetune_epochs: int, seeds: int) -> None:
    """Print accuracy on the validation part, mean and spread, and what the masks did."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _split(folder)
        print("| row | after surgery | after fine-tuning | recovered, per run |\n|---|---|---|---|")
        for row in rows or ROWS:
            reports = [
                onnx_dnscp.prune(
                    MODELS / f"{network}.onnx",
                    folder / f"{row}-{seed}.onnx",
                    data=folder / "train.npz",
                    test_data=folder / "validation.npz",
                    ratio=ratio,
                    metric="macs",
                    align=1,
                    epochs=epochs,
                    finetune_epochs=finetune_epochs,
                    threads=1,
                    seed=seed,
                    **ROWS[row],
                )
                for seed in range(seeds)
            ]
            cut, end = (
                _mean_and_spread([100 * (value or 0.0) for value in values])
                for values in ([r.accuracy_after_surgery for r in reports], [r.after.accuracy for r in reports])
            )
            print(f"| {row} | {cut} | {end} | {', '.join(str(r.recovered) for r in reports)} |", flush=True)


def _split(folder: Path) -> None:
    """Write train.npz and validation.npz, the same at every call."""
    with np.load(MODELS / "digits-train.npz") as arrays:
        order = np.random.default_rng(3).permutation(len(arrays["labels"]))
        for name, chosen in (("train", order[:NUM_TRAINING]), ("validation", order[NUM_TRAINING:])):
            np.savez(folder / f"{name}.npz", **{key: arrays[key][chosen] for key in arrays.files})


def _mean_and_spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.1f} +- {statistics.pstdev(values):.1f}"


if __name__ == "__main__":
    main()
