"""What a convolution sees at a position: its input as rows of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.model.graph import Node
from onnx_dnscp.ops.padding import automatic_pads


@dataclass(frozen=True)
class Windows:
    """The geometry of one convolution over any number of spatial axes.

    Attributes:
        group: Its groups.
        kernel: Size along each spatial axis.
        strides: Steps between positions.
        dilations: Steps between the taps of the kernel.
        auto_pad: "SAME_UPPER" and the like, or "NOTSET".
        pads: Zeros before each spatial axis, then behind each; used with "NOTSET".
    """

    group: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    auto_pad: str
    pads: tuple[int, ...]

    @classmethod
    def of(cls, node: Node, x: tuple[int, ...], weight: tuple[int, ...]) -> Windows:
        """From a Conv node and the shapes of its operands."""
        kernel = weight[2:]
        ones, zeros = [1] * len(kernel), [0] * 2 * len(kernel)
        attributes = node.attributes
        return cls(
            x[1] // weight[1],
            kernel,
            tuple(attributes.get("strides", ones)),
            tuple(attributes.get("dilations", ones)),
            attributes.get("auto_pad", "NOTSET"),
            tuple(attributes.get("pads", zeros)),
        )

    def samples(
        self, x: NDArray[Any], y: NDArray[Any], limit: int, rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Features and outputs at up to `limit` positions.

        Args:
            x: (batch, channels, *spatial) input.
            y: (batch, outputs, *spatial) output.
            limit: How many positions to draw.
            rng: Draws them.

        Returns:
            (groups, positions, channels of the group * kernel) and (groups, positions, outputs of the group).
        """
        axes = tuple(range(2, x.ndim))
        extent = tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))
        padded = np.pad(x, ((0, 0), (0, 0), *self._pads(x.shape[2:])))
        view = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=axes)
        every = (slice(None),) * 2
        steps = tuple(slice(None, None, s) for s in (*self.strides, *self.dilations))
        view = view[every + steps]
        sizes = (len(x), *y.shape[2:])
        count = int(np.prod(sizes))
        flat = np.arange(count) if count <= limit else rng.choice(count, limit, replace=False)
        sample, *position = np.unravel_index(flat, sizes)
        rows = np.moveaxis(view, 1, x.ndim - 1)[(sample, *position)]  # (positions, channels, *kernel)
        outputs = np.moveaxis(y, 1, -1)[(sample, *position)]
        features = rows.reshape(len(flat), self.group, -1).swapaxes(0, 1)
        return features, outputs.reshape(len(flat), self.group, -1).swapaxes(0, 1)

    def _pads(self, space: tuple[int, ...]) -> list[tuple[int, int]]:
        if self.auto_pad in ("NOTSET", ""):
            half = len(self.pads) // 2
            return list(zip(self.pads[:half], self.pads[half:], strict=True))
        return automatic_pads(self.auto_pad, space, self.kernel, self.strides, self.dilations)
