"""Which of the runtime's faster kernels this processor has."""

from __future__ import annotations

import platform
from functools import cache

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

from onnx_dnscp.model.runtime import SILENT
from onnx_dnscp.ops.table import MICROSOFT
from onnx_dnscp.training.rewrites.pen import BLOCKED_DOMAIN

_PROCESSORS = ("x86_64", "amd64")
_BLOCKS = (16, 8)  # channels per block with AVX512 and with AVX2; other processors have none
_SIZE = 6  # of the square image that a kernel is tried on


@cache
def channel_block() -> int:
    """Channels per block of the runtime's NCHWc convolutions on this processor; 0 if it has none.

    The block follows the instruction set and nothing tells it, so a convolution of one pixel is tried with weights in
    the layout of each candidate. With the wrong block the result is wrong, or the kernel refuses to run.
    """
    if platform.machine().lower() not in _PROCESSORS:  # elsewhere the operators exist, and crash
        return 0
    return next((block for block in _BLOCKS if _works(block)), 0)


def _works(block: int) -> bool:
    channels = 2 * max(_BLOCKS)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, channels, _SIZE, _SIZE)).astype(np.float32)
    weight = rng.standard_normal((channels, channels, 1, 1)).astype(np.float32)
    blocked = weight.reshape(channels // block, block, channels // block, block).transpose(0, 2, 3, 1)
    nodes = [
        helper.make_node("ReorderInput", ["x"], ["x blocks"], domain=BLOCKED_DOMAIN),
        helper.make_node("Conv", ["x blocks", "w"], ["y blocks"], domain=BLOCKED_DOMAIN, kernel_shape=[1, 1]),
        helper.make_node("ReorderOutput", ["y blocks"], ["y"], domain=BLOCKED_DOMAIN, channels=channels),
    ]
    feeds = {"x": x, "w": np.ascontiguousarray(blocked).reshape(weight.shape)}
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape) for n, v in feeds.items()]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)]
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(d, 1) for d in (MICROSOFT, BLOCKED_DOMAIN))]
    model = helper.make_model(helper.make_graph(nodes, "trial", inputs, outputs), opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        (y,) = session.run(None, feeds)
    except Exception:  # the runtime's exception classes share no public base
        return False
    return bool(np.allclose(y, np.einsum("oi,nihw->nohw", weight[..., 0, 0], x), rtol=1e-4, atol=1e-4))
