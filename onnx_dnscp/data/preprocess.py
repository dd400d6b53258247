"""From a decoded image or array to what the model's input wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, field_validator, model_validator
from pydantic.config import JsonDict

from onnx_dnscp.errors import DataError, UsageError
from onnx_dnscp.system.option_model import EXPERT, OptionModel

Layout = Literal["nchw", "nhwc"]
ChannelOrder = Literal["rgb", "bgr", "gray"]


# Where an option stands in the help.
DATA: JsonDict = {"group": "Data"}
MORE_DATA = DATA | EXPERT


class Preprocess(OptionModel):
    """How samples are prepared: `(value * scale - mean) / std` per channel, then the layout.

    Raises:
        UsageError: An option is unknown, given twice or cannot have its value.
    """

    mean: tuple[float, ...] = Field(
        default=(0.0,),
        description="Subtracted per channel, after scaling; one value holds for all.",
        json_schema_extra=DATA,
    )
    std: tuple[float, ...] = Field(
        default=(1.0,), description="Divided by last, per channel; one value holds for all.", json_schema_extra=DATA
    )
    scale: float | None = Field(
        default=None,
        description="Factor on raw values. [default: 1/255 for images, unless the model takes integers; 1 for arrays]",
        json_schema_extra=MORE_DATA,
    )
    size: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None,
        description="Height and width of images. [default: the model's]",
        json_schema_extra={**MORE_DATA, "metavar": "H W"},
    )
    crop: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Take the middle of images in the model's proportions, and this share of its sides; 0.875 is what "
        "resizing to 256 and cropping to 224 does. [default: stretch the whole image]",
        json_schema_extra={**MORE_DATA, "metavar": "SHARE"},
    )
    pad: int | None = Field(
        default=None,
        ge=0,
        le=255,
        description="Keep the proportions of images and fill the sides with this value, such as 114 for YOLO networks.",
        json_schema_extra={**MORE_DATA, "metavar": "VALUE"},
    )
    layout: Layout | None = Field(
        default=None,
        description="Where the model wants channels. [default: what its input's shape says]",
        json_schema_extra=MORE_DATA,
    )
    channels: ChannelOrder = Field(default="rgb", description="Channel order of images.", json_schema_extra=MORE_DATA)

    @field_validator("std")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or any(not v > 0 for v in value):
            raise ValueError("every standard deviation must be greater than 0")
        return value

    @model_validator(mode="after")
    def _one_way_to_fit(self) -> Preprocess:
        if self.crop is not None and self.pad is not None:
            raise UsageError("Options 'crop' and 'pad' are two ways to keep proportions; give one of them.")
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
