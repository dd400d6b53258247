"""Training images drawn anew whenever they are read, so that a network sees more than the data holds.

A sample's draw depends on the seed, the epoch and its position in it alone, so a resumed run sees what an undisturbed
one would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnx_dnscp.data.dataset import Dataset, Sample
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import DataError
from onnx_dnscp.model.graph import Graph, dimensions

AugmentationName = Literal["flip", "crop", "resize-crop"]
Picture = NDArray[Any]  # (height, width, channels)
Augmentation = Callable[[Picture, np.random.Generator], Picture]

PADDING = 1 / 8  # of height and width, on every side
AREA = (0.35, 1.0)  # share of the picture that is cut out: gentler than training from scratch, as weights are trained
ASPECT = (3 / 4, 4 / 3)  # width by height


def flip(picture: Picture, rng: np.random.Generator) -> Picture:
    """Left and right change places, every other time."""
    return picture[:, ::-1] if rng.random() < 0.5 else picture


def crop(picture: Picture, rng: np.random.Generator) -> Picture:
    """Shifted by up to `PADDING`; the border repeats the picture's edge.

    Source: He, Zhang, Ren and Sun 2016, "Deep Residual Learning for Image Recognition", section 4.2 (4 of 32 pixels).
    """
    height, width, _ = picture.shape
    pads = [round(PADDING * height), round(PADDING * width)]
    top, left = (int(rng.integers(0, 2 * pad + 1)) for pad in pads)
    padded = np.pad(picture, ((pads[0], pads[0]), (pads[1], pads[1]), (0, 0)), mode="edge")
    return padded[top : top + height, left : left + width]


def resize_crop(picture: Picture, rng: np.random.Generator) -> Picture:
    """A part of random size and aspect, enlarged to the whole.

    Source: Szegedy et al. 2015, "Going Deeper with Convolutions", section 6, with `AREA` from 0.35.
    """
    height, width, channels = picture.shape
    area, aspect = height * width * rng.uniform(*AREA), np.exp(rng.uniform(*np.log(ASPECT)))
    part = min(width, np.sqrt(area * aspect)), min(height, np.sqrt(area / aspect))
    left, top = rng.uniform(0, width - part[0]), rng.uniform(0, height - part[1])
    box = (left, top, left + part[0], top + part[1])
    planes = [
        Image.fromarray(np.ascontiguousarray(picture[..., c], dtype=np.float32)).resize(
            (width, height), Image.Resampling.BILINEAR, box=box
        )
        for c in range(channels)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


AUGMENTATIONS: dict[AugmentationName, Augmentation] = {"flip": flip, "crop": crop, "resize-crop": resize_crop}
assert set(AUGMENTATIONS) == set(get_args(AugmentationName))


@dataclass(frozen=True)
class Augment:
    """Augments one input of a sample.

    Attributes:
        name: The input.
        channels_last: Its layout.
        steps: In the order in which they are applied.
    """

    name: str
    channels_last: bool
    steps: tuple[Augmentation, ...]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample with another picture; the given one is left as it is."""
        picture = sample[self.name]
        changed = picture if self.channels_last else np.moveaxis(picture, 0, -1)
        for step in self.steps:
            changed = step(changed, rng)
        changed = changed if self.channels_last else np.moveaxis(changed, -1, 0)
        return {**sample, self.name: np.ascontiguousarray(changed, dtype=picture.dtype)}


def augmented(dataset: Dataset, graph: Graph, preprocess: Preprocess, names: Sequence[AugmentationName]) -> Dataset:
    """The same data, whose training batches are augmented.

    Raises:
        DataError: The samples are no float images, or say what outputs should be, which would no longer hold.
    """
    if not names:
        return dataset
    if len(graph.inputs) != 1 or dataset.targets:
        what = "known values of outputs" if dataset.targets else f"{len(graph.inputs)} inputs"
        raise DataError(f"--augment changes images alone, and {dataset.description!r} has {what}; leave it out.")
    [(name, declared)] = graph.inputs.items()
    picture = dataset.samples[0][name]
    if picture.ndim != 3 or picture.dtype.kind != "f":
        raise DataError(
            f"--augment needs float images with height, width and channels; samples for {name!r} have shape "
            f"{picture.shape} and type {picture.dtype}; leave it out."
        )
    steps = tuple(AUGMENTATIONS[step] for step in names)
    own = Augment(name, preprocess.channels_last(dimensions(declared)), steps)
    return replace(dataset, augment=own, fixed=False)
