"""Images in Parquet files are read like those of a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_data import everything, opened, pixels_of, png, save_png

from onnx_dnscp.errors import DataError

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")


def write(path: Path, columns: dict[str, Any]) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=3)
    return path


@pytest.mark.parametrize("style", ["bytes", "structures"])
def test_rows_are_images_with_their_class_numbers(style: str, tmp_path: Path) -> None:
    count = 150  # more than are read at a time
    encoded = [png(number % 7) for number in range(count)]
    column = encoded if style == "bytes" else [{"bytes": content, "path": "a.png"} for content in encoded]
    data = opened(write(tmp_path / "d.parquet", {"image": column, "label": [n % 5 for n in range(count)]}))
    for number in range(7):
        save_png(tmp_path / "images" / "c" / f"{number}.png", pixels_of(number))
    wanted, _ = everything(opened(tmp_path / "images"))
    values, labels = everything(data)
    np.testing.assert_array_equal(values, wanted[np.arange(count) % 7])
    assert labels is not None
    assert labels.tolist() == [n % 5 for n in range(count)]
    np.testing.assert_array_equal(data.samples[11]["x"], wanted[4])


def test_a_file_is_not_read_as_a_whole(tmp_path: Path) -> None:
    """32 row groups of 1 MiB; what is read of one is given back before the next."""
    noise = np.random.default_rng(0)
    path = tmp_path / "d.parquet"
    schema = pyarrow.schema([("image", pyarrow.binary())])
    with pyarrow.parquet.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for _ in range(32):
            writer.write_table(pyarrow.table({"image": [png(0) + noise.bytes(1 << 14)] * 64}, schema))
    code = """
import sys, pyarrow
from image_data import opened
from pathlib import Path
print(len(opened(Path(sys.argv[1])).samples), pyarrow.default_memory_pool().max_memory())
"""
    command = [sys.executable, "-c", code, str(path)]  # the pool of this process may have seen more
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    count, peak = map(int, done.stdout.split())
    assert count == 32 * 64
    assert peak < 16 << 20


def test_without_class_numbers_there_are_no_labels(tmp_path: Path) -> None:
    data = opened(write(tmp_path / "d.parquet", {"photo": [png(0)], "label": ["cat"], "other": [1]}))
    assert not data.has_labels


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1], "b": ["x"]}, r"no column of encoded images; it has a, b"),
        ({"a": [b"1"], "b": [b"2"]}, r"several columns of bytes \(a, b\); call that of the images 'image'"),
        ({"image": [b"x", None]}, r"Row 1 of .* has no image in column 'image'"),
        ({"image": [b"x", b"y"], "label": [1, None]}, r"Row 1 of .* has no number in column 'label'"),
        ({"image": [b"no image"]}, r"Cannot read the image '.*d.parquet, row 0': it is no image that can be decoded"),
    ],
)
def test_what_cannot_be_used_is_refused(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        opened(write(tmp_path / "d.parquet", columns))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "d.parquet", {"image": [png(0)] * 20})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"Cannot read the data '.*d.parquet'"):
        opened(path)
