"""Augmented samples are other views of the same images, the same ones again for the same seed."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_data import graph_of
from numpy.typing import NDArray

import onnx_dnscp
from onnx_dnscp.data.arrays import ArraySamples
from onnx_dnscp.data.augment import AUGMENTATIONS, AugmentationName, augmented, crop, flip, resize_crop
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import DataError, UsageError

GRAPH = graph_of(["n", 3, 8, 12])
names = pytest.mark.parametrize("name", list(AUGMENTATIONS))


def images(count: int = 4) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((count, 3, 8, 12), dtype=np.float32)


def dataset(*steps: AugmentationName) -> Dataset:
    plain = Dataset(ArraySamples({"x": images(), "labels": np.arange(4)}), True, "images")
    return augmented(plain, GRAPH, Preprocess(), steps)


def drawn(data: Dataset, seed: int, start: int = 0, number: int = 6) -> list[NDArray[Any]]:
    return [batch.inputs["x"] for batch in islice(data.training_batches(2, seed, start), number)]


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_every_step_shows_parts_of_the_picture(seed: int) -> None:
    """Flipped and shifted pictures hold the same pixels; an enlarged part lies between the darkest and the lightest."""
    picture = np.moveaxis(images(1)[0], 0, -1)
    flipped = flip(picture, np.random.default_rng(seed))
    assert np.array_equal(flipped, picture) or np.array_equal(flipped, picture[:, ::-1])
    rows, columns = 1, 2  # an eighth of 8 and of 12
    padded = np.pad(picture, ((rows, rows), (columns, columns), (0, 0)), mode="edge")
    views = [padded[t : t + 8, left : left + 12] for t in range(3) for left in range(5)]
    shifted = crop(picture, np.random.default_rng(seed))
    assert any(np.array_equal(shifted, view) for view in views)
    enlarged = resize_crop(picture, np.random.default_rng(seed))
    assert enlarged.shape == picture.shape
    for channel in range(3):
        assert picture[..., channel].min() - 1e-6 <= enlarged[..., channel].min()
        assert enlarged[..., channel].max() <= picture[..., channel].max() + 1e-6


@names
def test_draws_follow_the_seed_and_the_position(name: AugmentationName) -> None:
    """So a resumed run sees what it would have seen; the next epoch shows other views."""
    data = dataset(name)
    first = drawn(data, 3)
    for again, values in zip(drawn(data, 3), first, strict=True):
        np.testing.assert_array_equal(again, values)
    for again, values in zip(drawn(data, 3, start=3, number=3), first[3:], strict=True):
        np.testing.assert_array_equal(again, values)
    plain = {image.tobytes() for image in images()}
    seen = {image.tobytes() for values in first for image in values}
    assert seen - plain
    assert len(seen) > 4
    assert all(values.dtype == np.float32 for values in first)


def test_labels_stay_with_their_images_and_only_training_is_augmented() -> None:
    data = dataset("flip")
    pairs = {image.tobytes(): n for n, image in enumerate(images())}
    pairs |= {np.ascontiguousarray(image[..., ::-1]).tobytes(): n for n, image in enumerate(images())}
    for batch in islice(data.training_batches(2, 0), 6):
        assert batch.labels is not None
        assert [pairs[image.tobytes()] for image in batch.inputs["x"]] == batch.labels.tolist()
    [whole] = data.batches(4)
    np.testing.assert_array_equal(whole.inputs["x"], images())
    assert not data.fixed


def test_channels_may_come_last() -> None:
    values = np.moveaxis(images(), 1, -1)
    plain = Dataset(ArraySamples({"x": values}), False, "images")
    data = augmented(plain, graph_of(["n", 8, 12, 3]), Preprocess(), ["flip"])
    allowed = {v.tobytes() for v in values} | {np.ascontiguousarray(v[:, ::-1]).tobytes() for v in values}
    assert {image.tobytes() for batch in drawn(data, 0) for image in batch} <= allowed


def test_what_is_no_image_is_refused(tiny_path: Path, tmp_path: Path) -> None:
    vectors = Dataset(ArraySamples({"x": np.zeros((4, 3), np.float32)}), False, "vectors")
    with pytest.raises(DataError, match=r"needs float images .* shape \(3,\)"):
        augmented(vectors, graph_of(["n", 3]), Preprocess(), ["crop"])
    with pytest.raises(DataError, match=r"has known values of outputs; leave it out"):
        augmented(replace(dataset(), targets=("y",)), GRAPH, Preprocess(), ["crop"])
    with pytest.raises(UsageError, match=r"--augment changes images of --data, and none is given"):
        onnx_dnscp.prune(tiny_path, tmp_path / "out.onnx", augment=["flip"])


@pytest.mark.needs_training
def test_a_run_trains_on_augmented_images(tiny_path: Path, tmp_path: Path) -> None:
    """Another network comes out than without, and the same one again."""
    [declared] = onnx.load(tiny_path).graph.input
    shape = [d.dim_value for d in declared.type.tensor_type.shape.dim][1:]
    values = np.random.default_rng(0).standard_normal((64, *shape)).astype(np.float32)
    np.savez(tmp_path / "data.npz", **{declared.name: values})
    settings: dict[str, Any] = {"data": tmp_path / "data.npz", "epochs": 1, "finetune_epochs": 1, "threads": 1}
    results = []
    for number, augment in enumerate([(), ("flip", "crop"), ("flip", "crop")]):
        path = tmp_path / f"{number}.onnx"
        onnx_dnscp.prune(tiny_path, path, augment=augment, **settings)
        results.append(path.read_bytes())
    assert results[1] == results[2] != results[0]
