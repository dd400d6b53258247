"""An array in an .npy file, or a folder of them, which is what an .npz file is when it is unpacked; both are mapped.

`digits.npy` is for a model with one input, and class numbers lie beside it in `digits-labels.npy`. In a folder, files
are named like inputs and outputs, and class numbers are in `labels.npy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onnx_dnscp.data.arrays import array_dataset, names_wanted
from onnx_dnscp.data.convert import Conversion
from onnx_dnscp.data.dataset import LABELS_KEY, Dataset, data_source
from onnx_dnscp.data.mapped import MappedArray, read_header
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import DataError
from onnx_dnscp.model.graph import Graph
from onnx_dnscp.model.runtime import first_line

_SUFFIX = ".npy"


def with_labels(path: Path) -> list[Path]:
    """A file, and behind it that of its class numbers, if it is an .npy file that has one."""
    beside = path.with_name(f"{path.stem}-{LABELS_KEY}{_SUFFIX}")
    return [path, beside] if path.suffix == _SUFFIX and beside.is_file() else [path]


@data_source
def open_npy(path: Path, graph: Graph, preprocess: Preprocess) -> Dataset | None:
    """Open an .npy file; None for other paths."""
    if path.suffix != _SUFFIX or not path.is_file():
        return None
    if len(graph.inputs) != 1:
        raise DataError(
            f"The model has {len(graph.inputs)} inputs ({', '.join(graph.inputs)}), and {str(path)!r} feeds one; give "
            "a folder of .npy files named like the inputs, or an .npz file."
        )
    return _dataset(dict(zip([*graph.inputs, LABELS_KEY], with_labels(path), strict=False)), path, graph, preprocess)


def arrays_in(folder: Path) -> dict[str, Path]:
    """Name of every array in a folder of .npy files, with its file; empty for other paths."""
    return {file.stem: file for file in sorted(folder.glob(f"*{_SUFFIX}"))} if folder.is_dir() else {}


@data_source
def open_npy_folder(path: Path, graph: Graph, preprocess: Preprocess) -> Dataset | None:
    """Open a folder with .npy files in it; None for other paths."""
    files = arrays_in(path)
    if not files:
        return None
    wanted = names_wanted(files, Conversion(graph, preprocess, str(path)), path, graph)
    return _dataset({name: files[name] for name in wanted}, path, graph, preprocess)


def _dataset(files: Mapping[str, Path], path: Path, graph: Graph, preprocess: Preprocess) -> Dataset:
    return array_dataset({name: _mapped(file) for name, file in files.items()}, path, graph, preprocess)


def _mapped(path: Path) -> MappedArray:
    what = repr(str(path))
    try:
        with path.open("rb") as file:
            shape, order, dtype = read_header(file, f"The data {what}")
            return MappedArray(file, what, file.tell(), dtype, shape, order)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"Cannot read the data {what}: {first_line(error)}; save a plain array again with numpy.save."
        ) from error
