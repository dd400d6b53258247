"""Images of any size as images of the size that a model takes."""

from __future__ import annotations

from PIL import Image

RESAMPLING = Image.Resampling.BILINEAR


def stretched(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole image, whatever its proportions; `size` is (height, width)."""
    wanted = (size[1], size[0])
    return image if image.size == wanted else image.resize(wanted, RESAMPLING)


def cropped(image: Image.Image, size: tuple[int, int], share: float) -> Image.Image:
    """The middle of the image in the proportions of `size` (height, width).

    Args:
        image: Any image.
        size: What it becomes.
        share: Of the sides of the largest such part. What classifiers call "resize to 256, crop to 224" is 0.875.
    """
    height, width = size
    scale = share * min(image.width / width, image.height / height)
    left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    return image.resize((width, height), RESAMPLING, box=box)


def padded(image: Image.Image, size: tuple[int, int], value: int) -> Image.Image:
    """The whole image in its own proportions in the middle of `size` (height, width), as detectors want it.

    Args:
        image: Any image.
        size: What it becomes.
        value: Of all channels of what is left on two sides, 0..255.
    """
    height, width = size
    scale = min(width / image.width, height / image.height)
    inner = (max(1, round(image.height * scale)), max(1, round(image.width * scale)))
    whole = Image.new(image.mode, (width, height), (value,) * len(image.getbands()))
    whole.paste(stretched(image, inner), ((width - inner[1]) // 2, (height - inner[0]) // 2))
    return whole
