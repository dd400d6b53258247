"""The networks of `accuracy.py`, and the samples they are trained and measured on, as .npz files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnx_dnscp import Preprocess

MODELS = Path(__file__).parents[1] / "models"
CIFAR = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CIFAR_ZIP = "cifar10-jpeg.zip"
VALIDATION_SHARE = 0.2  # of the training data
SPLIT_SEED = 0

SplitName = Literal["validation", "test"]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Network:
    """A trained network, its data and how samples are prepared."""

    file: str
    cifar: bool
    preprocess: Preprocess


NETWORKS = {
    "resnet20": Network("resnet20-conv-shortcut.onnx", True, CIFAR),
    "resnet20-folded": Network("resnet20-pad-shortcut.onnx", True, CIFAR),
    "resnet20-unlearned": Network("resnet20-unlearned.onnx", True, CIFAR),  # made by `unlearned.py`
    "resnet20-unlearned-folded": Network("resnet20-unlearned-folded.onnx", True, CIFAR),
    "digits-resnet": Network("digits-resnet.onnx", False, Preprocess()),
    "digits-separable": Network("digits-separable.onnx", False, Preprocess()),
}


def model_path(network: Network, data_root: Path | None) -> Path:
    """Where the file of a network is."""
    if not network.cifar:
        return MODELS / network.file
    if data_root is None:
        raise click.UsageError(f"Say --data-root, the folder with {network.file} and {CIFAR_ZIP}.")
    return data_root / network.file


def write_samples(
    network: Network, data_root: Path | None, split: SplitName, limit: int | None, folder: Path
) -> tuple[Path, Path]:
    """Write what to train on and what to measure on to `folder`; return both paths.

    Args:
        network: Whose samples.
        data_root: The folder of the CIFAR-10 zip.
        split: "validation" measures on a fixed part of the training data, which is then not trained on.
        limit: Train on at most so many samples, drawn with a fixed seed.
        folder: For the .npz files.
    """
    train, test = _cifar(model_path(network, data_root).parent) if network.cifar else _digits()
    train, measured = _split(train) if split == "validation" else (_reordered(train), test)
    paths = folder / "train.npz", folder / f"{split}.npz"
    for path, arrays in zip(paths, ({n: a[:limit] for n, a in train.items()}, measured), strict=True):
        np.savez(path, **arrays)  # type: ignore[arg-type]  # its other keywords are no arrays
    return paths


def training_arrays(root: Path) -> tuple[Arrays, Arrays]:
    """CIFAR-10's training images and labels, without and only the validation part of `write_samples`."""
    return _split(_cifar(root)[0])


def _split(train: Arrays) -> tuple[Arrays, Arrays]:
    shuffled = _reordered(train)
    held_out = round(VALIDATION_SHARE * len(train["labels"]))
    return {n: a[held_out:] for n, a in shuffled.items()}, {n: a[:held_out] for n, a in shuffled.items()}


def _reordered(arrays: Arrays) -> Arrays:
    order = np.random.default_rng(SPLIT_SEED).permutation(len(arrays["labels"]))
    return {name: a[order] for name, a in arrays.items()}


def _digits() -> tuple[Arrays, Arrays]:
    train, test = (dict(np.load(MODELS / f"digits-{part}.npz")) for part in ("train", "test"))
    return train, test


def _cifar(root: Path) -> tuple[Arrays, Arrays]:
    """Training and test images as uint8, `input` (N, 3, 32, 32), and `labels`; each JPEG is decoded once."""
    with zipfile.ZipFile(root / CIFAR_ZIP) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        classes = sorted({name.split("/")[-2] for name in names})

        def part(files: Iterable[str]) -> Arrays:
            chosen = list(files)
            images = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in chosen]
            labels = np.array([classes.index(name.split("/")[-2]) for name in chosen])
            return {"input": np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)), "labels": labels}

        return part(n for n in names if "train/" in n), part(n for n in names if "test/" in n)
