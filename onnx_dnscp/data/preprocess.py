"""From a decoded image or array to what the model's input wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from onnx_dnscp.errors import DataError

Layout = Literal["nchw", "nhwc"]
ChannelOrder = Literal["rgb", "bgr", "gray"]


class Preprocess(BaseModel):
    """How samples are prepared: `(value * scale - mean) / std` per channel, then the layout.

    Attributes:
        scale: Factor on the raw values; None means 1/255 for images (1 where the model takes integers) and 1
            for arrays.
        mean: Per channel (or one for all), subtracted after scaling.
        std: Per channel (or one for all), divided by last.
        size: (height, width) images are resized to; None takes the model's.
        crop: Take the middle of images in the model's proportions, and of its sides this share (0..1); None stretches
            the whole image.
        pad: Keep the proportions of images, and fill what is left with this value (0..255); None stretches them.
        layout: Where the model wants the channels; None reads it off the model's input shape.
        channels: Order of the channels of images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    scale: float | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    size: tuple[PositiveInt, PositiveInt] | None = None
    crop: float | None = Field(default=None, gt=0, le=1)
    pad: int | None = Field(default=None, ge=0, le=255)
    layout: Layout | None = None
    channels: ChannelOrder = "rgb"

    @field_validator("std")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or any(not v > 0 for v in value):
            found = ", ".join(f"{v:g}" for v in value)
            raise ValueError(f"every standard deviation must be greater than 0, not {found or 'none'}")
        return value

    @model_validator(mode="after")
    def _one_way_to_fit(self) -> Preprocess:
        if self.crop is not None and self.pad is not None:
            raise ValueError("--crop and --pad are two ways to keep the proportions of images; give one of them")
        return self

    def channels_last(self, dims: Sequence[int | str | None]) -> bool:
        """Whether an input declared with `dims` has its channels behind height and width."""
        if self.layout is not None:
            return self.layout == "nhwc"
        return len(dims) == 4 and dims[1] not in (1, 3) and dims[3] in (1, 3)

    def is_identity(self) -> bool:
        """Whether arrays pass through unchanged."""
        return self.scale in (None, 1.0) and not any(self.mean) and all(v == 1.0 for v in self.std)

    def normalise(self, values: NDArray[Any], channel_axis: int, *, default_scale: float) -> NDArray[np.float32]:
        """Scaled and normalised float32 values; `channel_axis` says where mean and std apply.

        Raises:
            DataError: Mean or std has neither one value nor one per channel.
        """
        scale = np.float32(default_scale if self.scale is None else self.scale)
        shape = [1] * values.ndim
        shape[channel_axis] = -1
        channels = values.shape[channel_axis]
        for name, given in (("mean", self.mean), ("std", self.std)):
            if len(given) not in (1, channels):
                raise DataError(
                    f"{len(given)} values of {name} do not fit samples with {channels} channel(s); give one value, or "
                    "one per channel."
                )
        mean, std = (np.asarray(v, dtype=np.float32).reshape(shape) for v in (self.mean, self.std))
        return (values.astype(np.float32) * scale - mean) / std
