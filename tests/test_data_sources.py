"""Every kind of data hands over the same samples: in parallel, shuffled by seed, from any position, in few bytes."""

from __future__ import annotations

import re
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_data import everything, graph_of, pack_tar, pack_zip, pixels_of, png, save_png
from numpy.typing import NDArray

from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.data.open import open_dataset
from onnx_dnscp.data.preprocess import Preprocess

COUNT = 12
SCALED = Preprocess(scale=1 / 255)  # arrays are taken as they are, images are scaled

MODULE = '''
"""Samples of a user."""
import numpy as np
arrays = np.load({arrays!r})

def pairs():
    return [(x, int(label)) for x, label in zip(arrays["x"], arrays["labels"])]

class Dicts:
    def __len__(self):
        return len(arrays["x"])

    def __getitem__(self, index):
        return {{"x": arrays["x"][index], "labels": arrays["labels"][index], "unused": "text"}}

def generator():
    yield from pairs()

class Again:
    def __iter__(self):
        return generator()

def whole():
    return {{"x": arrays["x"], "labels": arrays["labels"]}}
'''


def pixels() -> NDArray[np.uint8]:
    """(COUNT, 3, 4, 5)."""
    return np.stack([pixels_of(number).transpose(2, 0, 1) for number in range(COUNT)])


def labels() -> NDArray[np.int64]:
    return np.arange(COUNT) // 3  # as class folders number them


def names() -> list[str]:
    return [f"{'abcd'[number // 3]}/{number:02}.png" for number in range(COUNT)]


def stored(folder: Path) -> Path:
    np.savez(folder / "d.npz", x=pixels(), labels=labels())
    return folder / "d.npz"


def compressed(folder: Path) -> Path:
    np.savez_compressed(folder / "d.npz", x=pixels(), labels=labels(), unused=np.zeros(3))
    return folder / "d.npz"


def one_npy(folder: Path) -> Path:
    np.save(folder / "d.npy", pixels())
    np.save(folder / "d-labels.npy", labels().astype(np.int16))
    return folder / "d.npy"


def npy_folder(folder: Path) -> Path:
    (folder / "d").mkdir()
    np.save(folder / "d" / "x.npy", np.asfortranarray(pixels()))
    np.save(folder / "d" / "labels.npy", labels())
    return folder / "d"


def images(folder: Path) -> Path:
    for number, name in enumerate(names()):
        save_png(folder / "d" / name, pixels_of(number))
    return folder / "d"


def zipped(folder: Path) -> Path:
    return pack_zip(folder / "d", {name: png(number) for number, name in enumerate(names())})


def webdataset(folder: Path) -> Path:
    members = {f"{number:02}.png": png(number) for number in range(COUNT)}
    members |= {f"{number:02}.cls": str(label).encode() for number, label in enumerate(labels())}
    return pack_tar(folder / "d", members)


def parquet(folder: Path) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"image": [png(number) for number in range(COUNT)], "label": labels()})
    pyarrow.parquet.write_table(table, folder / "d.parquet", row_group_size=5)
    return folder / "d.parquet"


def function(name: str) -> Callable[[Path], Path]:
    """A module of its own, because Python imports each only once."""

    def write(folder: Path) -> Path:
        module = f"samples_{re.sub('[^a-z0-9]', '_', folder.name)}"
        (folder / f"{module}.py").write_text(MODULE.format(arrays=str(stored(folder))))
        return Path(f"{module}:{name}")

    return write


SOURCES: dict[str, Callable[[Path], Path]] = {
    "npz": stored,
    "compressed npz": compressed,
    "npy": one_npy,
    "folder of npy": npy_folder,
    "folder": images,
    "zip": zipped,
    "webdataset": webdataset,
    "parquet": parquet,
    "list": function("pairs"),
    "sequence": function("Dicts"),
    "generator": function("generator"),
    "iterable": function("Again"),
    "arrays": function("whole"),
}
IMAGES = ("folder", "zip", "webdataset", "parquet")


@pytest.fixture(params=SOURCES)
def dataset(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    preprocess = Preprocess() if request.param in IMAGES else SCALED
    return open_dataset(SOURCES[request.param](tmp_path), graph_of(["n", 3, 4, 5]), preprocess, 4)


def numbers(batches: Iterator[Any]) -> list[tuple[bytes, int]]:
    """Samples and labels, as values that can be compared."""
    return [(x.tobytes(), int(y)) for batch in batches for x, y in zip(batch.inputs["x"], batch.labels, strict=True)]


def test_every_source_gives_the_same_samples(dataset: Dataset) -> None:
    values, found = everything(dataset)
    np.testing.assert_allclose(values, pixels() / 255, rtol=1e-6)
    assert values.dtype == np.float32
    assert found is not None
    assert found.tolist() == labels().tolist()
    assert dataset.fixed


def test_a_seed_shuffles_and_training_goes_on_from_any_position(dataset: Dataset) -> None:
    """Two epochs and a half in batches of four; in the middle of an epoch and behind its end."""
    whole = numbers(islice(dataset.training_batches(4, seed=1), 8))
    first, second = whole[:COUNT], whole[COUNT : 2 * COUNT]
    assert sorted(first) == sorted(second) == sorted(numbers(dataset.batches(4)))
    assert first != second
    assert whole != numbers(islice(dataset.training_batches(4, seed=2), 8))
    for start in (1, 4, 7):
        assert numbers(islice(dataset.training_batches(4, seed=1, start=start), 8 - start)) == whole[4 * start :]


def test_samples_are_read_by_several_threads(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading waits until another thread reads, too."""
    together = threading.Barrier(2, timeout=20)
    kind = type(dataset.samples)
    real = kind.__getitem__

    def waiting(samples: Any, index: int) -> Any:
        together.wait()
        return real(samples, index)

    monkeypatch.setattr(kind, "__getitem__", waiting)
    assert len(numbers(islice(dataset.training_batches(2, seed=0), 2))) == 4


def test_no_more_than_a_few_batches_are_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read ahead counts batches; 64 of them would be thousands of images."""
    data = open_dataset(images(tmp_path), graph_of(["n", 3, 4, 5]), Preprocess(), 4)
    seen = []
    kind = type(data.samples)
    real = kind.__getitem__
    monkeypatch.setattr(kind, "__getitem__", lambda samples, index: seen.append(index) or real(samples, index))
    source = data.training_batches(8, seed=0)
    for _ in range(3):
        next(source)
    assert len(seen) <= 8 * (3 + 2 * data.decode_threads)


# --- memory -----------------------------------------------------------------------------------------------------------

LIMIT = 4 << 20  # bytes, of data ten times as large


def large(folder: Path) -> NDArray[np.float32]:
    values = np.memmap(folder / "raw", np.float32, "w+", shape=(640, 16384))
    values[:] = np.arange(16384)
    return values


def save_function(folder: Path) -> Path:
    """A generator over an array that is itself mapped."""
    np.save(folder / "x.npy", large(folder))
    (folder / "large_samples.py").write_text(
        f"import numpy as np\ndef one_by_one():\n    yield from np.load({str(folder / 'x.npy')!r}, mmap_mode='r')\n"
    )
    return Path("large_samples:one_by_one")


def save_large(name: str, save: Callable[..., None], **named: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        values = large(folder)
        save(folder / name, *([] if named else [values]), **dict.fromkeys(named, values))
        return folder / name

    return write


LARGE = {
    "npz": save_large("d.npz", np.savez, x=""),
    "compressed npz": save_large("d.npz", np.savez_compressed, x=""),
    "npy": save_large("d.npy", np.save),
    "generator": save_function,
}


@pytest.mark.parametrize("kind", LARGE)
def test_arrays_ten_times_as_large_as_the_limit_stay_on_disk(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that numpy and Python allocate; pages of mapped files are the system's to take back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = LARGE[kind](tmp_path)
    next(everything_once(open_dataset(path, graph_of(["n", 16384]), Preprocess(), None)))  # imports are not data
    sys.modules.pop("large_samples", None)
    tracemalloc.start()
    try:
        count = sum(len(x) for x in everything_once(open_dataset(path, graph_of(["n", 16384]), Preprocess(), None)))
        assert tracemalloc.get_traced_memory()[1] < LIMIT
    finally:
        tracemalloc.stop()
    assert count == 640


def everything_once(data: Dataset) -> Iterator[NDArray[Any]]:
    for batch in data.batches(4):
        assert batch.inputs["x"][0, -1] == 16383
        yield batch.inputs["x"]
