"""What a case is, and short ways to write one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import onnx

from models import filled

IMAGE = "float[N, 3, H, W] x"  # everything dynamic but the channels
MAPS = "float[N, 2, P, Q] y"
SMALL = "float[N, 3, 6, 6] x"  # static space, dynamic batch
ROW = "float[N, 2] y"
ENDS = "float[4, 3, 1, 1] w1, float[2, 4, 1, 1] w2"  # x (3) -> a (4), b (4) -> y (2)
BRANCHES = "float[4, 3, 1, 1] w1, float[4, 3, 1, 1] w2, float[2, 4, 1, 1] w3"


@dataclass(frozen=True)
class Case:
    """One model and what discovery must find in it.

    Attributes:
        name: Test id.
        covers: Operators it was written for.
        text: The model.
        widths: Sorted widths of the prunable groups.
        reason: Regular expression that some locked reason must match; empty if nothing more than outputs is locked.
    """

    name: str
    covers: tuple[str, ...]
    text: str
    widths: tuple[int, ...]
    reason: str = ""

    def __str__(self) -> str:
        return self.name

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The parsed model with values; tests must not edit it."""
        return filled(self.text)

    @property
    def dynamic(self) -> bool:
        """Whether the first input has a dynamic axis."""
        return any(dim.dim_param for dim in self.model.graph.input[0].type.tensor_type.shape.dim)


def case(
    name: str,
    covers: str,
    body: str,
    widths: tuple[int, ...],
    weights: str = "",
    *,
    inputs: str = IMAGE,
    outputs: str = MAPS,
    opset: int = 17,
    ir: int = 8,
    reason: str = "",
) -> Case:
    """A case from the parts of its text."""
    contrib = ', "com.microsoft" : 1' if "com.microsoft." in body else ""
    header = f'<ir_version: {ir}, opset_import: ["" : {opset}{contrib}], metadata_props: ["author": "tests"]>'
    declared = f"<{weights}>" if weights else ""
    text = f"{header}\nnet ({inputs}) => ({outputs})\n{declared}\n{{ {body} }}"
    return Case(name, tuple(covers.split()), text, widths, reason)


def between(name: str, covers: str, body: str, weights: str = "", *, opset: int = 17, ir: int = 8) -> Case:
    """Convolution to `a` with 4 channels, `body` makes `b` with the same channels, convolution of `b`: one group of 4."""
    declared = ENDS + (f", {weights}" if weights else "")
    return case(name, covers, f"a = Conv(x, w1) {body} y = Conv(b, w2)", (4,), declared, opset=opset, ir=ir)


def joined(op: str, body: str, opset: int = 17) -> Case:
    """Two convolutions to `l` and `r`, which `body` joins position by position to `b`: one group of 4."""
    text = f"l0 = Conv(x, w1) r0 = Conv(x, w2) l = Tanh(l0) r = Tanh(r0) {body} y = Conv(b, w3)"
    return case(f"{op}-two-branches", op, text, (4,), BRANCHES, opset=opset)
