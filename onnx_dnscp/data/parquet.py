"""Images in a Parquet file: a column of encoded images, and one of class numbers if there is one.

Rows of a Parquet file are compressed together and cannot be read one by one. So the encoded images are copied once, a
few at a time, into a temporary file without a name, from which they are read in any order.
"""

from __future__ import annotations

import threading
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from onnx_dnscp.data.dataset import Dataset, data_source
from onnx_dnscp.data.images import EncodedImages, image_dataset
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.data.spool import Spool
from onnx_dnscp.errors import DataError
from onnx_dnscp.model.graph import Graph

ROWS = 64  # read at a time
_LABELS = ("label", "labels", "class", "cls", "target")


@data_source
def open_parquet(path: Path, graph: Graph, preprocess: Preprocess) -> Dataset | None:
    """Open a .parquet file; None for other paths.

    Raises:
        DataError: pyarrow is not installed, the file cannot be read, or no single column holds images.
    """
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return None
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"The data {str(path)!r} needs the package 'pyarrow'; install it with: pip install 'onnx-dnscp[parquet]'."
        ) from error
    try:
        # Otherwise it reads all row groups ahead of the one that is asked for.
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            images = _unpacked(path, file)
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"Cannot read the data {str(path)!r}: {reason}") from error
    return image_dataset(images, path, graph, preprocess)


def _label_column(schema: Any) -> str | None:
    return next((name for name in _LABELS if name in schema.names and _is_integer(schema.field(name).type)), None)


def _unpacked(path: Path, file: Any) -> EncodedImages:
    schema = file.schema_arrow
    column = _image_column(path, schema)
    label = _label_column(schema)
    store, labels = _Store(path), array("q")
    for batch in file.iter_batches(ROWS, columns=[column] + ([label] if label else [])):
        for row in batch.to_pylist():
            value = row[column]
            content = value.get("bytes") if isinstance(value, dict) else value
            if not content:
                raise DataError(f"Row {len(store)} of {str(path)!r} has no image in column {column!r}.")
            if label and row[label] is None:
                raise DataError(f"Row {len(store)} of {str(path)!r} has no number in column {label!r}.")
            labels.append(row[label] if label else 0)
            store.append(content)
    numbers = np.array(labels, np.int64) if label else None
    return EncodedImages(len(store), lambda index: f"{path}, row {index}", store.read, numbers)


class _Store:
    """Pieces of bytes in a temporary file, for several threads."""

    def __init__(self, path: Path) -> None:
        self._spool = Spool(f"What {str(path)!r} holds")
        self._ends = array("q", [0])
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, content: bytes) -> None:
        self._ends.append(self._spool.append(content))

    def read(self, index: int) -> bytes:
        first, last = self._ends[index : index + 2]
        with self._lock:
            file = self._spool.finish()
            file.seek(first)
            return file.read(last - first)


def _image_column(path: Path, schema: Any) -> str:
    """The column of bytes, or of structures with a field `bytes` as Hugging Face writes them."""
    found = [field.name for field in schema if _holds_bytes(field.type)]
    if len(found) == 1:
        return str(found[0])
    if "image" in found:
        return "image"
    what = (
        f"several columns of bytes ({', '.join(found)}); call that of the images 'image'"
        if found
        else (f"no column of encoded images; it has {', '.join(schema.names) or 'none'}")
    )
    raise DataError(f"The data {str(path)!r} has {what}.")


def _holds_bytes(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_integer(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind))
