"""Transposed convolution, and what is one in disguise, as a plain convolution and a reordering of its channels.

Stride s makes s phases of output pixels per axis. Each phase is a plain convolution of the input with every s-th
element of the kernel, so one convolution with s times the channels and a DepthToSpace do the work, without the s*s
times more products that zeros between the pixels would cost.

Source: Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?", arXiv:1609.07009.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx_dnscp.training.decompositions.axis_maps import axis_attributes, run_alone
from onnx_dnscp.training.decompositions.registry import Site, decomposition


@dataclass(frozen=True)
class _Axis:
    """One spatial axis of a transposed convolution: `y[i * stride + t * dilation - begin] += x[i] * w[t]`.

    Attributes:
        size: Of the input.
        kernel: Elements of the kernel.
        outputs: Size of the output.
        begin: Pixels cut off before the first output; negative where zeros come first.
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    outputs: int
    begin: int

    @property
    def spread(self) -> int:
        """Distance of kernel elements in the stored weight; without phases the convolution can dilate by itself."""
        return self.dilation if self.stride > 1 else 1

    @property
    def taps(self) -> int:
        """Kernel size of the plain convolution."""
        return -(-((self.kernel - 1) * self.spread + 1) // self.stride)

    @property
    def conv_dilation(self) -> int:
        """Dilation of the plain convolution."""
        return self.dilation // self.spread

    @property
    def first(self) -> int:
        """First position of the plain convolution that is computed; position 0 sees the first pixel by its last tap."""
        return min(max(0, self.begin // self.stride), (self.taps - 1) * self.conv_dilation)

    @property
    def pads(self) -> tuple[int, int]:
        """Padding of the plain convolution."""
        reach = (self.taps - 1) * self.conv_dilation
        last = (self.begin + self.outputs - 1) // self.stride
        return reach - self.first, min(max(0, last - self.size + 1), reach)

    @property
    def positions(self) -> int:
        """Outputs of the plain convolution."""
        return self.size + sum(self.pads) - (self.taps - 1) * self.conv_dilation

    @property
    def borders(self) -> tuple[int, int]:
        """Zeros to add (negative: pixels to cut off) before and after the pixels of all phases."""
        before = self.first * self.stride - self.begin
        return before, self.outputs - before - self.positions * self.stride


@decomposition("ConvTranspose")
def conv_transpose(site: Site) -> str:
    """Any stride, dilation, padding and number of axes; the weight may be computed."""
    space, weight_shape = site.shape()[2:], site.shape(1)
    axes = [_axis(site, number, size, weight_shape[2 + number]) for number, size in enumerate(space)]
    y = _transposed_convolution(
        site, site.operand(0), site.operand(1), weight_shape[:2], site.attribute("group", 1), axes
    )
    if not site.operand(2):
        return y
    return site.emit("Add", y, site.reshape(site.operand(2), (1, -1, *[1] * len(axes))))


@decomposition("Col2Im")
def col2im(site: Site) -> str | None:
    """Sums of blocks are a transposed convolution whose kernel has a single 1 per input channel."""
    image, block = site.value(1), site.value(2)
    if image is None or block is None:
        return None
    num_axes, batch = len(image), site.shape()[0]
    ones, taps = [1] * num_axes, int(np.prod(block))
    pads = site.attribute("pads", [0] * 2 * num_axes)
    geometry = zip(
        image, block, site.attribute("strides", ones), site.attribute("dilations", ones), pads, pads[num_axes:],
        strict=False,
    )  # fmt: skip
    axes = [
        _Axis((size + begin + end - (k - 1) * dilation - 1) // stride + 1, int(k), stride, dilation, int(size), begin)
        for size, k, stride, dilation, begin, end in geometry
    ]
    channels = site.shape()[1] // taps
    blocks = site.reshape(site.operand(0), (batch * channels, taps, *[axis.size for axis in axes]))
    weight = site.constant(np.eye(taps).reshape(taps, 1, *block))
    y = _transposed_convolution(site, blocks, weight, (taps, 1), 1, axes)
    return site.reshape(y, (batch, channels, *[axis.outputs for axis in axes]))


def _axis(site: Site, number: int, size: int, kernel: int) -> _Axis:
    """One axis of a ConvTranspose; where its output begins is read off the runtime's answer to a numbered kernel."""
    own = axis_attributes(site, number)
    stride, dilation = own.get("strides", [1])[0], own.get("dilations", [1])[0]
    numbered = np.arange(1, kernel + 1, dtype=np.float32).reshape(1, 1, kernel)
    pixels = np.eye(size, dtype=np.float32)[:, None]
    answer = run_alone(site, [pixels, numbered], {**own, "group": 1})[:, 0]
    pixel, output = (int(found[0]) for found in np.nonzero(answer))
    begin = pixel * stride + (int(answer[pixel, output]) - 1) * dilation - output
    return _Axis(size, kernel, stride, dilation, answer.shape[1], begin)


def _transposed_convolution(
    site: Site, x: str, weight: str, channels: Sequence[int], group: int, axes: Sequence[_Axis]
) -> str:
    """Write the transposed convolution of x with a weight (channels, channels out of one group, *kernel)."""
    inputs, outputs = channels
    plain = site.emit(
        "Conv",
        x,
        _plain_weight(site, weight, (inputs, outputs), group, axes),
        group=group,
        dilations=[axis.conv_dilation for axis in axes],
        pads=[pads[side] for side in (0, 1) for pads in (axis.pads for axis in axes)],
    )
    if any(axis.stride > 1 for axis in axes):
        plain = _interleaved(site, plain, group * outputs, axes)
    return _pad_space(site, plain, [axis.borders for axis in axes])


def _interleaved(site: Site, x: str, outputs: int, axes: Sequence[_Axis]) -> str:
    """Write x, whose channels are the phases of all outputs, with the phases along its axes."""
    count = len(axes)
    apart = site.reshape(x, (-1, outputs, *[axis.stride for axis in axes], *[axis.positions for axis in axes]))
    order = [place for number in range(count) for place in (2 + count + number, 2 + number)]
    moved = site.emit("Transpose", apart, perm=[0, 1, *order])
    return site.reshape(moved, (-1, outputs, *[axis.positions * axis.stride for axis in axes]))


def _plain_weight(site: Site, weight: str, channels: Sequence[int], group: int, axes: Sequence[_Axis]) -> str:
    """The weight of the plain convolution: (group * outputs * phases, inputs / group, *taps)."""
    inputs, outputs = channels
    count = len(axes)
    borders = [(0, axis.taps * axis.stride - axis.kernel * axis.spread) for axis in axes]
    weight = _pad_space(site, _spread(site, weight, channels, axes), borders)
    taps_and_phases = (n for axis in axes for n in (axis.taps, axis.stride))
    weight = site.reshape(weight, (group, inputs // group, outputs, *taps_and_phases))
    taps, phases = ([3 + 2 * number + which for number in range(count)] for which in (0, 1))
    weight = site.emit("Transpose", weight, perm=[0, 2, *phases, 1, *taps])
    rows = group * outputs * int(np.prod([axis.stride for axis in axes]))
    weight = site.reshape(weight, (rows, inputs // group, *[axis.taps for axis in axes]))
    for number, axis in enumerate(axes):
        weight = _flip(site, weight, 2 + number, axis.taps)
    return weight


def _spread(site: Site, weight: str, channels: Sequence[int], axes: Sequence[_Axis]) -> str:
    """The weight with zeros between its taps, as the dilations say."""
    if all(axis.spread == 1 for axis in axes):
        return weight
    apart = site.reshape(weight, (*channels, *[n for axis in axes for n in (axis.kernel, 1)]))
    padded = _pad_space(site, apart, [border for axis in axes for border in ((0, 0), (0, axis.spread - 1))])
    return site.reshape(padded, (*channels, *[axis.kernel * axis.spread for axis in axes]))


def _flip(site: Site, x: str, axis: int, size: int) -> str:
    """Write x in reverse order; pieces are joined because the backward pass of Gather is slow."""
    if size == 1:
        return x
    site.emit("Split", x, site.integers([1] * size), outputs=size, axis=axis)
    return site.emit("Concat", *reversed(site.outputs_of_last()), axis=axis)


def _pad_space(site: Site, x: str, borders: Sequence[tuple[int, int]]) -> str:
    """Write x with zeros around its axes from the third on; negative counts cut off."""
    if not any(any(border) for border in borders):
        return x
    begins, ends = ([0, 0, *[border[side] for border in borders]] for side in (0, 1))
    return site.emit("Pad", x, site.integers([*begins, *ends]))
