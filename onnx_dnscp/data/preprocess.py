"""From a decoded image or array to what the model's input wants."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, field_validator

Layout = Literal["nchw", "nhwc"]
ChannelOrder = Literal["rgb", "bgr", "gray"]


class Preprocess(BaseModel):
    """How samples are prepared: `(value * scale - mean) / std` per channel, then the layout.

    Attributes:
        scale: Factor on the raw values; None means 1/255 for images and 1 for arrays.
        mean: Per channel (or one for all), subtracted after scaling.
        std: Per channel (or one for all), divided by last.
        size: (height, width) images are resized to; None takes the model's.
        layout: Where the model wants the channels; None reads it off the model's input shape.
        channels: Order of the channels of images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    scale: float | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    size: tuple[int, int] | None = None
    layout: Layout | None = None
    channels: ChannelOrder = "rgb"

    @field_validator("std")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or any(not v > 0 for v in value):
            raise ValueError("every standard deviation must be greater than 0")
        return value

    def is_identity(self) -> bool:
        """Whether arrays pass through unchanged."""
        return self.scale in (None, 1.0) and not any(self.mean) and all(v == 1.0 for v in self.std)

    def normalise(self, values: NDArray[Any], channel_axis: int, *, default_scale: float) -> NDArray[np.float32]:
        """Scaled and normalised float32 values; `channel_axis` says where mean and std apply."""
        scale = np.float32(default_scale if self.scale is None else self.scale)
        shape = [1] * values.ndim
        shape[channel_axis] = -1
        mean, std = (np.asarray(v, dtype=np.float32).reshape(shape) for v in (self.mean, self.std))
        return (values.astype(np.float32) * scale - mean) / std
