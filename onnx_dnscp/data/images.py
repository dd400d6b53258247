"""Encoded images, wherever they are kept, as samples of a model with one image input."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper
from PIL import Image, UnidentifiedImageError

from onnx_dnscp.data.dataset import DECODE_THREADS, LABELS_KEY, Dataset, Sample
from onnx_dnscp.data.fit import cropped, padded, stretched
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import DataError
from onnx_dnscp.model.graph import Graph, dimensions
from onnx_dnscp.model.runtime import first_line

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
MAX_PIXELS = (1 << 30) // 12  # of one image, from which on PIL warns; a small file may claim many more
_MODES = {"rgb": "RGB", "bgr": "RGB", "gray": "L"}
_ADVICE = {1: "--channels gray", 3: "--channels rgb or bgr"}  # by the number of channels of the model


@dataclass(frozen=True)
class EncodedImages:
    """Images that are read one by one.

    Attributes:
        count: How many there are.
        name: What to call one of them in messages, by its position.
        read: Bytes of one image, by its position; may raise OSError.
        labels: (images,) class numbers, if there are any.
    """

    count: int
    name: Callable[[int], str]
    read: Callable[[int], bytes]
    labels: NDArray[np.int64] | None


class ImageSamples:
    """Images decoded when asked for."""

    def __init__(
        self,
        images: EncodedImages,
        *,
        name: str,
        size: tuple[int, int],
        nhwc: bool,
        preprocess: Preprocess,
        dtype: np.dtype[Any],
    ) -> None:
        self._images = images
        self.labels = images.labels
        self._name = name
        self._size = size
        self._nhwc = nhwc
        self._preprocess = preprocess
        self._dtype = dtype

    def __len__(self) -> int:
        return self._images.count

    def __getitem__(self, index: int) -> Sample:
        pixels = self._pixels(index)
        if self._preprocess.channels == "bgr":
            pixels = pixels[..., ::-1]
        values = self._preprocess.normalise(pixels, -1, default_scale=1 / 255 if self._dtype.kind == "f" else 1.0)
        if not self._nhwc:
            values = np.moveaxis(values, -1, 0)
        sample = {self._name: np.ascontiguousarray(values, dtype=self._dtype)}
        return sample if self.labels is None else {**sample, LABELS_KEY: self.labels[index]}

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        """(height, width, channels) of one image."""
        try:
            with Image.open(io.BytesIO(self._images.read(index))) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(
                        f"it has {image.width} x {image.height} pixels, more than {MAX_PIXELS / 1e6:.0f} million"
                    )
                converted = image.convert(_MODES[self._preprocess.channels])
        except (
            OSError,
            SyntaxError,
            ValueError,
            Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:
            raise DataError(
                f"Cannot read the image {self._images.name(index)!r}: {_reason(error)}; put a whole image in its "
                "place, or leave it out."
            ) from error
        pixels = np.asarray(self._fitted(converted))
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def _fitted(self, image: Image.Image) -> Image.Image:
        if self._preprocess.crop is not None:
            return cropped(image, self._size, self._preprocess.crop)
        if self._preprocess.pad is not None:
            return padded(image, self._size, self._preprocess.pad)
        return stretched(image, self._size)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is no image that can be decoded"
    return getattr(error, "strerror", None) or first_line(error)


def is_image(name: str) -> bool:
    """Whether a file is an image, by its suffix; hidden files and what macOS adds to archives are not."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith((".", "__MACOSX")) for part in path.parts)


def with_classes(names: Sequence[str]) -> tuple[list[str], NDArray[np.int64] | None]:
    """The images among some files, and the number of each one's class folder, in alphabetical order of the classes.

    Where there are class folders, images outside of them are left out; where there are none, there are no numbers.

    Args:
        names: Relative paths with forward slashes.
    """
    images = sorted(name for name in names if is_image(name))
    inside = [name for name in images if "/" in name]
    if not inside:
        return images, None
    _, numbers = np.unique([name.split("/")[0] for name in inside], return_inverse=True)
    return inside, numbers.astype(np.int64)


def image_dataset(images: EncodedImages, path: Path, graph: Graph, preprocess: Preprocess) -> Dataset:
    """The images as samples of the model's only input.

    Raises:
        DataError: There is none, or the model wants something else than such images.
    """
    if len(graph.inputs) != 1:
        raise DataError(
            f"The model has {len(graph.inputs)} inputs ({', '.join(graph.inputs)}); images feed one. "
            "Give an .npz file with an array per input."
        )
    if not images.count:
        raise DataError(f"The data {str(path)!r} is empty: it has no images in it.")
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
    samples = ImageSamples(images, name=name, size=(size[0], size[1]), nhwc=nhwc, preprocess=preprocess, dtype=dtype)
    return Dataset(samples, images.labels is not None, path.name, decode_threads=DECODE_THREADS)
