"""Samples reach the model as plain numpy would prepare them: every one, in the right order and layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_data import everything, gather, graph_of, pixels_of, save_png
from numpy.typing import NDArray
from onnx import TensorProto
from PIL import Image

from onnx_dnscp.data.arrays import ArraySamples
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.data.fit import cropped, padded, stretched
from onnx_dnscp.data.open import open_dataset, synthetic_dataset
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import DataError

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Classes zebra, ant, bee (made in this order) with 1, 2 and 1 colour images of 4x5 pixels."""
    for number, name in enumerate(["zebra/0.png", "ant/1.png", "ant/0.png", "bee/deep/0.PNG"]):
        save_png(tmp_path / "images" / name, pixels_of(number))
    (tmp_path / "images" / "ant" / "notes.txt").write_text("not an image")
    (tmp_path / "images" / ".hidden").mkdir()
    return tmp_path / "images"


# --- folders ----------------------------------------------------------------------------------------------------------


def test_classes_are_numbered_in_alphabetical_order(folder: Path) -> None:
    """ant 0, bee 1, zebra 2; files within a class are in alphabetical order too."""
    dataset = open_dataset(folder, graph_of(["N", 3, 4, 5]), Preprocess(), 3)
    images, labels = everything(dataset)
    assert dataset.has_labels
    assert dataset.real
    assert labels is not None
    assert labels.tolist() == [0, 0, 1, 2]
    expected = np.stack([pixels_of(n).transpose(2, 0, 1) for n in (2, 1, 3, 0)]) / 255
    np.testing.assert_allclose(images, expected, rtol=1e-6)
    assert images.dtype == np.float32


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("explicit", [False, True], ids=["guessed", "given"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_layout_and_channel_order_match_plain_numpy(layout: Any, explicit: bool, channels: Any, folder: Path) -> None:
    """Mean and std belong to channels of the order that the model sees."""
    dims = ["N", 3, 4, 5] if layout == "nchw" else ["N", 4, 5, 3]
    preprocess = Preprocess(mean=MEAN, std=STD, channels=channels, layout=layout if explicit else None)
    images, _ = everything(open_dataset(folder, graph_of(dims), preprocess, None))
    expected = []
    for number in (2, 1, 3, 0):
        pixels = pixels_of(number).astype(np.float64) / 255
        if channels == "bgr":
            pixels = pixels[:, :, [2, 1, 0]]
        for c in range(3):
            pixels[:, :, c] = (pixels[:, :, c] - MEAN[c]) / STD[c]
        expected.append(pixels if layout == "nhwc" else np.stack([pixels[:, :, c] for c in range(3)]))
    np.testing.assert_allclose(images, np.stack(expected), rtol=1e-5, atol=1e-6)


def test_gray_images_have_one_channel(tmp_path: Path) -> None:
    pixels = pixels_of(0, (4, 5))
    save_png(tmp_path / "a" / "0.png", pixels)
    images, _ = everything(open_dataset(tmp_path, graph_of(["N", 1, 4, 5]), Preprocess(channels="gray"), None))
    np.testing.assert_allclose(images, pixels[None, None] / 255, rtol=1e-6)


def test_colour_becomes_gray_by_the_usual_weights(folder: Path) -> None:
    """ITU-R 601-2: 0.299 red + 0.587 green + 0.114 blue, rounded to whole levels."""
    images, _ = everything(open_dataset(folder, graph_of(["N", 1, 4, 5]), Preprocess(channels="gray"), None))
    expected = np.stack([pixels_of(n) @ np.array([0.299, 0.587, 0.114]) for n in (2, 1, 3, 0)])[:, None]
    np.testing.assert_allclose(images * 255, expected, atol=1.01)


def test_scale_replaces_the_default(folder: Path) -> None:
    images, _ = everything(open_dataset(folder, graph_of(["N", 3, 4, 5]), Preprocess(scale=2.0, mean=(1.0,)), None))
    np.testing.assert_allclose(images[0], pixels_of(2).transpose(2, 0, 1) * 2.0 - 1.0, rtol=1e-6)


def test_integer_inputs_get_raw_pixels(folder: Path) -> None:
    """1/255 would turn every picture into zeros and ones."""
    dataset = open_dataset(folder, graph_of(["N", 4, 5, 3], TensorProto.UINT8), Preprocess(), None)
    images, _ = everything(dataset)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images[0], pixels_of(2))


def test_images_are_resized_to_the_model(tmp_path: Path) -> None:
    """Halving averages what lies close; a picture of two flat halves keeps them apart."""
    pixels = np.zeros((8, 12, 3), dtype=np.uint8)
    pixels[:, 6:] = 200
    save_png(tmp_path / "a" / "0.png", pixels)
    images, _ = everything(open_dataset(tmp_path, graph_of(["N", 3, 4, 6]), Preprocess(), None))
    assert images.shape == (1, 3, 4, 6)
    np.testing.assert_allclose(images[0, :, :, :2], 0, atol=1e-6)
    np.testing.assert_allclose(images[0, :, :, 4:], 200 / 255, rtol=1e-5)


def test_size_is_height_then_width_and_needed_where_the_model_has_none(folder: Path) -> None:
    graph = graph_of(["N", 3, "H", "W"])
    with pytest.raises(DataError, match="no fixed height and width; say --size HEIGHT WIDTH"):
        open_dataset(folder, graph, Preprocess(), None)
    images, _ = everything(open_dataset(folder, graph, Preprocess(size=(7, 9)), None))
    assert images.shape == (4, 3, 7, 9)


@pytest.fixture
def wide(tmp_path: Path) -> NDArray[np.uint8]:
    """A picture of noise, 8 x 12, saved in `tmp_path`."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    save_png(tmp_path / "a" / "0.png", pixels)
    return pixels


def first_image(folder: Path, size: tuple[int, int], preprocess: Preprocess) -> NDArray[Any]:
    """The pixels that a model of that size gets, height first."""
    images, _ = everything(open_dataset(folder, graph_of(["N", 3, *size]), preprocess, None))
    return np.asarray(images[0].transpose(1, 2, 0) * 255)


def test_the_middle_is_taken_in_the_models_proportions(tmp_path: Path, wide: NDArray[np.uint8]) -> None:
    """Half of the sides of the largest square is 4 x 4, which needs no resizing."""
    np.testing.assert_allclose(first_image(tmp_path, (4, 4), Preprocess(crop=0.5)), wide[2:6, 4:8], rtol=1e-5)
    np.testing.assert_allclose(first_image(tmp_path, (8, 4), Preprocess(crop=1.0)), wide[:, 4:8], rtol=1e-5)


def test_sides_are_filled_to_keep_proportions(tmp_path: Path, wide: NDArray[np.uint8]) -> None:
    """Of 13 - 8 = 5 rows, two are filled above and three below."""
    pixels = first_image(tmp_path, (13, 12), Preprocess(pad=114))
    np.testing.assert_allclose(pixels[2:10], wide, rtol=1e-5)
    np.testing.assert_allclose(pixels[[0, 1, 10, 11, 12]], 114, rtol=1e-5)


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.tuples(st.integers(1, 40), st.integers(1, 40)), st.data())
def test_whatever_the_proportions_a_flat_image_stays_flat(
    image: tuple[int, int], size: tuple[int, int], data: st.DataObject
) -> None:
    """Nothing from outside of the image comes in, and the size is that of the model."""
    flat = Image.new("RGB", image, (9, 9, 9))
    share = data.draw(st.floats(0.01, 1))
    for fitted in (stretched(flat, size), cropped(flat, size, share), padded(flat, size, 9)):
        assert fitted.size == size[::-1]
        assert (np.asarray(fitted) == 9).all()


# --- npz --------------------------------------------------------------------------------------------------------------


def save_npz(path: Path, **arrays: NDArray[Any]) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_arrays_pass_unchanged_by_default(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((5, 3, 2, 2))
    path = save_npz(tmp_path / "d.npz", x=x, labels=np.arange(5, dtype=np.int8), unused=np.zeros(2))
    images, labels = everything(open_dataset(path, graph_of(["N", 3, 2, 2]), Preprocess(), 5), batch=2)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, x.astype(np.float32))
    assert labels is not None
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("explicit", [False, True], ids=["guessed", "given"])
def test_arrays_are_normalised_per_channel_like_plain_numpy(layout: Any, explicit: bool, tmp_path: Path) -> None:
    channel_axis = 1 if layout == "nchw" else 3
    x = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 6) if layout == "nchw" else (4, 5, 6, 3), dtype=np.uint8)
    path = save_npz(tmp_path / "d.npz", x=x)
    preprocess = Preprocess(scale=1 / 255, mean=MEAN, std=STD, layout=layout if explicit else None)
    images, labels = everything(open_dataset(path, graph_of(["N", *x.shape[1:]]), preprocess, None))
    expected = np.empty(x.shape)
    for c in range(3):
        at = tuple(c if axis == channel_axis else slice(None) for axis in range(4))
        expected[at] = (x[at] / 255 - MEAN[c]) / STD[c]
    np.testing.assert_allclose(images, expected, rtol=1e-5, atol=1e-6)
    assert labels is None


def test_integers_that_the_input_cannot_hold_are_refused(tmp_path: Path) -> None:
    """A wrapped value is a wrong value."""
    path = save_npz(tmp_path / "d.npz", x=np.array([[1], [300]]))
    with pytest.raises(DataError, match="values from 1 to 300, which the model's uint8 cannot hold"):
        open_dataset(path, graph_of(["N", 1], TensorProto.UINT8), Preprocess(), None)
    path = save_npz(tmp_path / "ok.npz", x=np.array([[1], [255]]))
    images, _ = everything(open_dataset(path, graph_of(["N", 1], TensorProto.UINT8), Preprocess(), None))
    assert images.ravel().tolist() == [1, 255]


def test_floats_for_an_integer_input_are_refused(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "d.npz", x=np.array([[0.5]]))
    with pytest.raises(DataError, match=r"has type float64; the model wants integers \(int64\)"):
        open_dataset(path, graph_of(["N", 1], TensorProto.INT64), Preprocess(), None)


# --- batches ----------------------------------------------------------------------------------------------------------


def numbered(count: int) -> Dataset:
    """Sample i is the number i, with label 10 i."""
    values = np.arange(count, dtype=np.float32)
    return Dataset(ArraySamples({"x": values[:, None], "labels": 10 * np.arange(count)}), True, "numbers")


@pytest.mark.parametrize(("batch", "sizes"), [(4, [4, 4, 2]), (5, [5, 5]), (16, [10]), (1, [1] * 10)])
def test_batches_hold_every_sample_once_in_order(batch: int, sizes: list[int]) -> None:
    batches = list(numbered(10).batches(batch))
    assert [len(b.inputs["x"]) for b in batches] == sizes
    assert gather(batches).ravel().tolist() == list(range(10))
    assert [n for b in batches if b.labels is not None for n in b.labels.tolist()] == list(range(0, 100, 10))


@pytest.mark.parametrize(("limit", "seen"), [(7, 7), (10, 10), (99, 10), (1, 1)])
def test_a_limit_takes_the_first_samples(limit: int, seen: int) -> None:
    assert gather(list(numbered(10).batches(4, limit))).ravel().tolist() == list(range(seen))


def take(dataset: Dataset, seed: int, batches: int, batch: int = 4) -> list[Batch]:
    source = dataset.training_batches(batch, seed)
    return [next(source) for _ in range(batches)]


def test_training_covers_each_sample_once_per_epoch_in_a_new_order() -> None:
    """12 samples in batches of 4: three batches are an epoch."""
    seen = gather(take(numbered(12), seed=0, batches=9)).ravel()
    epochs = [tuple(seen[12 * i : 12 * i + 12].astype(int)) for i in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({*epochs, tuple(range(12))}) == 4


def test_labels_stay_with_their_samples() -> None:
    for batch in take(numbered(12), seed=3, batches=4):
        assert batch.labels is not None
        np.testing.assert_array_equal(batch.labels, 10 * batch.inputs["x"][:, 0])


@pytest.mark.parametrize("start", [0, 3])
def test_batches_of_one_sample_never_end_either(start: int) -> None:
    source = numbered(2).training_batches(1, seed=0, start=2 * start)
    assert sorted(next(source).inputs["x"].item() for _ in range(10)) == [0] * 5 + [1] * 5


def test_training_batches_are_all_of_one_size() -> None:
    """The training graph is built for one batch size; what an epoch leaves over goes into the next batch."""
    assert {len(b.inputs["x"]) for b in take(numbered(10), seed=0, batches=7)} == {4}


@pytest.mark.parametrize("seed", [0, 7, 2**32 + 1])
def test_a_seed_fixes_the_order_and_another_changes_it(seed: int) -> None:
    first, again, other = (gather(take(numbered(12), s, batches=6)).ravel() for s in (seed, seed, seed + 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_images_train_in_the_same_order_with_decoding_threads(folder: Path) -> None:
    """Threads decode ahead; what they finish first must not come first."""
    runs = []
    for _ in range(2):
        dataset = open_dataset(folder, graph_of(["N", 3, 4, 5]), Preprocess(), None)
        runs.append(gather(take(dataset, seed=1, batches=6, batch=2)))
    np.testing.assert_array_equal(runs[0], runs[1])


# --- synthetic --------------------------------------------------------------------------------------------------------


def synthetic(seed: int) -> Dataset:
    return synthetic_dataset(graph_of(["N", 3, "H", 5]), {"x": (2, 3, 64, 5)}, seed)


def test_synthetic_samples_are_the_same_every_time() -> None:
    first, again, other = (gather(list(synthetic(s).batches(16, 64))) for s in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.5, "another seed makes unrelated samples"
    assert len(np.unique(first[:, 0, 0, 0])) == 64, "samples differ from each other"


def test_synthetic_samples_are_standard_normal_in_the_traced_shape() -> None:
    dataset = synthetic(0)
    values = gather(list(dataset.batches(16, 64)))
    assert values.shape == (64, 3, 64, 5)
    assert values.dtype == np.float32
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02
    assert not dataset.has_labels
    assert not dataset.real
