"""Which rewrites a gradient graph gets, and in which order."""

from __future__ import annotations

import onnx
from onnx import helper

from onnx_dnscp.model.editor import keep_needed
from onnx_dnscp.training.passes.names import name_nodes
from onnx_dnscp.training.rewrites.blocked_batch_norm import BlockedBatchNorm
from onnx_dnscp.training.rewrites.blocked_convolution import block_forward, block_input_gradient
from onnx_dnscp.training.rewrites.blocked_elementwise import block_elementwise
from onnx_dnscp.training.rewrites.blocked_weight_gradient import block_weight_gradient
from onnx_dnscp.training.rewrites.clip_gradient import replace_clip_gradient
from onnx_dnscp.training.rewrites.depthwise import block_depthwise, block_depthwise_gradient
from onnx_dnscp.training.rewrites.fusion import fuse_into_convolutions
from onnx_dnscp.training.rewrites.input_gradient import split_input_gradient
from onnx_dnscp.training.rewrites.kernels import channel_block
from onnx_dnscp.training.rewrites.pen import BLOCKED_DOMAIN, Pen, Rewrite


def rewrite(model: onnx.ModelProto, *, block: int | None = None) -> None:
    """Make a gradient graph faster, in place; what it computes changes by rounding only.

    Args:
        model: With concrete input shapes.
        block: Channels per block of the processor's convolution kernels, 0 for none; by default found by trial.
    """
    pen = Pen(model, channel_block() if block is None else block)
    pen.apply(replace_clip_gradient(model))
    rules: list[Rewrite] = [split_input_gradient]
    if pen.block:
        norm = BlockedBatchNorm(pen, model.graph.node)
        rules = [block_forward, block_depthwise, block_input_gradient, block_depthwise_gradient, *rules]
        rules += [norm.forward, norm.backward, block_elementwise]
    pen.apply(*rules)
    if pen.block:
        pen.apply(block_weight_gradient)
    keep_needed(model.graph, [output.name for output in model.graph.output])
    fuse_into_convolutions(model)
    name_nodes(model)
    if all(opset.domain != BLOCKED_DOMAIN for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(BLOCKED_DOMAIN, 1))
