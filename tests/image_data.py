"""Small images and graphs for tests of data: made, packed, opened and read back."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.data.open import open_dataset
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.model.graph import Graph, read_graph

Pack = Callable[[Path, Mapping[str, bytes]], Path]


def graph_of(dims: Sequence[int | str], element_type: int = TensorProto.FLOAT, name: str = "x") -> Graph:
    """A model that hands its one input on."""
    values = [helper.make_tensor_value_info(n, element_type, dims) for n in (name, "y")]
    graph = helper.make_graph([helper.make_node("Identity", [name], ["y"])], "g", values[:1], values[1:])
    return read_graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def two_inputs() -> Graph:
    """`left` and `right`, (n, 4), summed to `y`."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 4]) for n in ("left", "right", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["left", "right"], ["y"])], "g", values[:2], values[2:])
    return read_graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def pixels_of(number: int, shape: tuple[int, ...] = (4, 5, 3)) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def save_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def png(number: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels_of(number)).save(content, "PNG")
    return content.getvalue()


def pack_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path.with_suffix(".zip")


def pack_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path.with_suffix(".tar"), "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path.with_suffix(".tar")


def opened(path: Path) -> Dataset:
    return open_dataset(path, graph_of(["n", 3, 4, 5]), Preprocess(), None)


def gather(batches: Sequence[Batch], name: str = "x") -> NDArray[Any]:
    return np.concatenate([b.inputs[name] for b in batches])


def everything(dataset: Dataset, batch: int = 3) -> tuple[NDArray[Any], NDArray[Any] | None]:
    batches = list(dataset.batches(batch))
    labels = [b.labels for b in batches if b.labels is not None]
    return gather(batches), np.concatenate(labels) if labels else None
