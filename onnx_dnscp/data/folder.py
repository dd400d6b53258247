"""A folder of class folders of images; classes are numbered in alphabetical order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper
from PIL import Image, UnidentifiedImageError

from onnx_dnscp.data.dataset import LABELS_KEY, Dataset, Sample, data_source
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import DataError
from onnx_dnscp.graph import Graph, dimensions

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
DECODE_THREADS = 2  # decoding a small JPEG takes less than training on it; more threads would take its cores
_MODES = {"rgb": "RGB", "bgr": "RGB", "gray": "L"}
_ADVICE = {1: "--channels gray", 3: "--channels rgb or bgr"}  # by the number of channels of the model


class ImageSamples:
    """Images decoded when asked for."""

    def __init__(
        self,
        files: list[Path],
        labels: list[int],
        *,
        name: str,
        size: tuple[int, int],
        nhwc: bool,
        preprocess: Preprocess,
        dtype: np.dtype[Any],
    ) -> None:
        self._files = files
        self.labels = np.array(labels, dtype=np.int64)
        self._name = name
        self._size = size
        self._nhwc = nhwc
        self._preprocess = preprocess
        self._dtype = dtype

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        pixels = self._pixels(self._files[index])
        if self._preprocess.channels == "bgr":
            pixels = pixels[..., ::-1]
        values = self._preprocess.normalise(pixels, -1, default_scale=1 / 255 if self._dtype.kind == "f" else 1.0)
        if not self._nhwc:
            values = np.moveaxis(values, -1, 0)
        values = np.ascontiguousarray(values, dtype=self._dtype)
        return {self._name: values, LABELS_KEY: self.labels[index]}

    def _pixels(self, file: Path) -> NDArray[np.uint8]:
        """(height, width, channels) of one image."""
        try:
            with Image.open(file) as image:
                converted = image.convert(_MODES[self._preprocess.channels])
        except (OSError, UnidentifiedImageError, ValueError) as error:
            raise DataError(f"Cannot read the image {str(file)!r}: {error}.") from error
        if converted.size != self._size[::-1]:
            converted = converted.resize(self._size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(converted)
        return pixels[..., None] if pixels.ndim == 2 else pixels


@data_source
def open_folder(path: Path, graph: Graph, preprocess: Preprocess) -> Dataset | None:
    """Open a folder of class folders; None for other paths."""
    if not path.is_dir():
        return None
    if len(graph.inputs) != 1:
        raise DataError(
            f"The model has {len(graph.inputs)} inputs ({', '.join(graph.inputs)}); a folder of images feeds one. "
            "Give an .npz file with an array per input."
        )
    classes = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = [(f, i) for i, c in enumerate(classes) for f in sorted(c.rglob("*")) if f.suffix.lower() in SUFFIXES]
    if not found:
        raise DataError(f"The folder {str(path)!r} is empty: it has no class folders with images in them.")
    [(name, declared)] = graph.inputs.items()
    dims = dimensions(declared)
    if len(dims) != 4:
        raise DataError(f"The model's input {name!r} has {len(dims)} axes; images need 4, batch and channels included.")
    nhwc = preprocess.channels_last(dims)
    height, width, channels = (dims[1], dims[2], dims[3]) if nhwc else (dims[2], dims[3], dims[1])
    given = 1 if preprocess.channels == "gray" else 3
    if isinstance(channels, int) and channels != given:
        raise DataError(
            f"The model's input {name!r} has {channels} channel(s), and images read as {preprocess.channels} have "
            f"{given}; give {_ADVICE.get(channels, 'an .npz file')}."
        )
    size = preprocess.size or (height, width)
    if not isinstance(size[0], int) or not isinstance(size[1], int):
        raise DataError(f"The model's input {name!r} has no fixed height and width; say --size HEIGHT WIDTH.")
    dtype = helper.tensor_dtype_to_np_dtype(declared.tensor_type.elem_type)
    files, labels = [f for f, _ in found], [i for _, i in found]
    samples = ImageSamples(
        files, labels, name=name, size=(size[0], size[1]), nhwc=nhwc, preprocess=preprocess, dtype=dtype
    )
    return Dataset(samples, True, path.name, decode_threads=DECODE_THREADS)
