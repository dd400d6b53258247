"""The geometry of one two-dimensional convolution, read from `Conv` or `ConvGrad`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import onnx

from onnx_dnscp.model.editor import attributes

Pair = tuple[int, int]
_AXES = 2


def is_convolution(node: onnx.NodeProto) -> bool:
    """Whether the node is ONNX's own `Conv`."""
    return node.op_type == "Conv" and not node.domain


def is_convolution_gradient(node: onnx.NodeProto) -> bool:
    """Whether the node is the runtime's `ConvGrad`."""
    return node.op_type == "ConvGrad"


@dataclass(frozen=True)
class Convolution:
    """Sizes of a convolution y = w * x.

    Attributes:
        x: (N, C, H, W).
        w: (O, C / group, *kernel).
        y: (N, O, H', W').
        begins: Padding above and to the left.
        ends: Padding below and to the right.
    """

    x: tuple[int, ...]
    w: tuple[int, ...]
    y: tuple[int, ...]
    strides: Pair
    dilations: Pair
    begins: Pair
    ends: Pair
    group: int

    @classmethod
    def read(cls, node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> Convolution | None:
        """The convolution of a `Conv` node, or of the one that a `ConvGrad` belongs to; None if shapes are unknown."""
        first = 1 if is_convolution_gradient(node) else 0
        x, w = (shapes.get(name, ()) for name in node.input[first : first + 2])
        given = attributes(node)
        if len(x) != _AXES + 2 or len(w) != _AXES + 2 or given.get("auto_pad", "NOTSET") != "NOTSET":
            return None
        strides = tuple(given.get("strides") or (1, 1))
        dilations = tuple(given.get("dilations") or (1, 1))
        pads = tuple(given.get("pads") or (0, 0, 0, 0))
        begins, ends = pads[:_AXES], pads[_AXES:]
        space = tuple(
            (size + begin + end - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, dilation, begin, end in zip(
                x[2:], w[2:], strides, dilations, begins, ends, strict=True
            )
        )
        return cls(x, w, (x[0], w[0], *space), strides, dilations, begins, ends, given.get("group", 1))

    @property
    def kernel(self) -> tuple[int, ...]:
        """Height and width of the kernel."""
        return self.w[2:]

    @property
    def positions(self) -> int:
        """Elements of the kernel."""
        return prod(self.kernel)

    @property
    def depthwise(self) -> bool:
        """Whether every channel has its own kernel and stays alone."""
        return self.group > 1 and self.group == self.x[1] == self.w[0]

    @property
    def spread(self) -> tuple[int, ...]:
        """Height and width of y with `stride - 1` zeros behind every row and column."""
        return tuple(size * stride for size, stride in zip(self.y[2:], self.strides, strict=True))

    def mirrored_pads(self, space: tuple[int, ...]) -> list[int] | None:
        """Pads with which the flipped kernel leads from the gradient of y, spread out to `space`, to that of x.

        None where the kernel does not reach all of the padding.
        """
        reach = [d * (k - 1) for d, k in zip(self.dilations, self.kernel, strict=True)]
        begins = [r - b for r, b in zip(reach, self.begins, strict=True)]
        ends = [x - s - b + r for x, s, b, r in zip(self.x[2:], space, begins, reach, strict=True)]
        pads = [*begins, *ends]
        return pads if min(pads) >= 0 else None
