"""Prune trained CIFAR-10 networks end to end and print what came out.

    python benchmarks/cifar10.py --data cifar10-jpeg.zip resnet20-conv-shortcut.onnx resnet20-pad-shortcut.onnx

The data is a zip (or folder) with `train/<class>/*.jpg` and `test/<class>/*.jpg`. The test images are used for the
reported accuracies only; nothing is chosen by them.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path

import click

import onnx_dnscp
from onnx_dnscp.cli import console
from onnx_dnscp.data.augment import AUGMENTATIONS, AugmentationName
from onnx_dnscp.runs.prune_report import PruneReport

PREPROCESS = onnx_dnscp.Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--data", required=True, type=click.Path(exists=True, path_type=Path), help="Zip or folder.")
@click.option("--ratio", default=0.5, show_default=True, help="Of the MACs.")
@click.option("--align", default=8, show_default=True)
@click.option("--epochs", default=1, show_default=True)
@click.option("--finetune-epochs", default=2, show_default=True)
@click.option("--lr", default=0.01, show_default=True)
@click.option("--c-rate", default=0.1, show_default=True)
@click.option("--sensitivity", type=float, help="See `prune`.")
@click.option("--augment", multiple=True, type=click.Choice(list(AUGMENTATIONS)), help="Repeatable.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Keep models and run records in this folder.")
def main(
    models: tuple[Path, ...],
    data: Path,
    ratio: float,
    align: int,
    epochs: int,
    finetune_epochs: int,
    lr: float,
    c_rate: float,
    sensitivity: float | None,
    augment: tuple[AugmentationName, ...],
    seed: int,
    out: Path | None,
) -> None:
    """Prune each of MODELS to a share of its MACs and report accuracy, size and speed."""
    console.send_log_to_stderr()
    with tempfile.TemporaryDirectory() as scratch:
        images = _unpacked(data, Path(scratch) / "images")
        keep = out or Path(scratch)
        keep.mkdir(parents=True, exist_ok=True)
        for model in models:
            with console.progress_listener() as listener:
                report = onnx_dnscp.prune(
                    model,
                    keep / f"{model.stem}.pruned.onnx",
                    run_dir=keep / f"{model.stem}.run",
                    listener=listener,
                    ratio=ratio,
                    metric="macs",
                    align=align,
                    data=images / "train",
                    test_data=images / "test",
                    preprocess=PREPROCESS,
                    epochs=epochs,
                    finetune_epochs=finetune_epochs,
                    lr=lr,
                    c_rate=c_rate,
                    sensitivity=sensitivity,
                    augment=augment,
                    seed=seed,
                )
            console.show_prune(report)
            print(json.dumps(_summary(report)), flush=True)


def _unpacked(data: Path, target: Path) -> Path:
    """The folder with `train` and `test`, unpacked from a zip if need be."""
    if data.is_dir():
        return data
    with zipfile.ZipFile(data) as archive:
        archive.extractall(target)
    return target if (target / "train").is_dir() else next(target.iterdir())


def _summary(report: PruneReport) -> dict[str, object]:
    return {
        "model": Path(report.model).name,
        "dense_accuracy": report.before.accuracy,
        "after_surgery": report.accuracy_after_surgery,
        "after_fine_tuning": report.after.accuracy,
        "kept": [group.kept for group in report.groups],
        "macs": [report.before.macs, report.after.macs],
        "params": [report.before.params, report.after.params],
        "latency_ms": [report.before.latency_ms, report.after.latency_ms],
        "speedup": report.speedup,
        "max_relative_error": report.max_relative_error,
        "drops": report.dropped,
        "recoveries": report.recovered,
        "seconds": report.seconds,
    }


if __name__ == "__main__":
    main()
