"""Which channel counts ONNX Runtime is fast with on this CPU: one chain of convolutions, many widths.

    python benchmarks/alignment.py

Prints milliseconds per call and the ratio to the widest chain; all widths run in turn in one process, on one thread.
"""

from __future__ import annotations

import click
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx_dnscp.measure.latency import latencies

WIDTHS = (64, 63, 62, 60, 56, 52, 50, 48, 44, 40, 36, 34, 33, 32, 31, 28, 24, 20, 16, 12, 8)


def chain(width: int, size: int, depth: int, rng: np.random.Generator) -> onnx.ModelProto:
    """`depth` convolutions 3x3 with ReLU, all `width` wide, on images of `size` x `size`."""
    nodes, weights, x, channels = [], [], "x", 3
    for i in range(depth):
        weight = rng.standard_normal((width, channels, 3, 3)) / np.sqrt(9 * channels)
        weights += [numpy_helper.from_array(weight.astype(np.float32), f"w{i}")]
        nodes += [helper.make_node("Conv", [x, f"w{i}"], [f"c{i}"], pads=[1] * 4)]
        nodes += [helper.make_node("Relu", [f"c{i}"], [f"r{i}"])]
        x, channels = f"r{i}", width
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])
    output = helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, width, size, size])
    graph = helper.make_graph(nodes, "chain", [image], [output], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@click.command()
@click.option("--size", default=32, show_default=True, help="Height and width of the image.")
@click.option("--depth", default=6, show_default=True)
def main(size: int, depth: int) -> None:
    """Time one chain of convolutions at many widths."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((1, 3, size, size)).astype(np.float32)
    seconds = latencies([chain(width, size, depth, rng) for width in WIDTHS], {"x": image}, threads=1)
    for width, time in zip(WIDTHS, seconds, strict=True):
        print(f"{width:3d} channels  {1000 * time:7.3f} ms  {time / seconds[0]:.2f}")


if __name__ == "__main__":
    main()
