"""A folder of images, or of class folders of images; classes are numbered in alphabetical order."""

from __future__ import annotations

from pathlib import Path

from onnx_dnscp.data.dataset import Dataset, data_source
from onnx_dnscp.data.images import EncodedImages, image_dataset, with_classes
from onnx_dnscp.data.npy import arrays_in
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.model.graph import Graph


@data_source
def open_folder(path: Path, graph: Graph, preprocess: Preprocess) -> Dataset | None:
    """Open a folder; None for other paths."""
    if not path.is_dir() or arrays_in(path):
        return None
    names, labels = with_classes([f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file()])
    images = EncodedImages(
        len(names), lambda index: str(path / names[index]), lambda index: (path / names[index]).read_bytes(), labels
    )
    return image_dataset(images, path, graph, preprocess)
