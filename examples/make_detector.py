"""Make a network in the shape of a detector, and images without labels, for the tutorial about detectors.

    python examples/make_detector.py

Reads the digits classifier of `models/` and writes `detector.onnx`, `scenes-train.npz` and `scenes-test.npz`. A
classifier that ends with a mean over the image and a fully connected layer gives a map of scores when both slide over a
larger image (Sermanet et al. 2014, "OverFeat", section 3.5). It was never trained for that, so it finds few digits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MODELS = Path("models")
SIDE, DIGIT, STEP = 24, 8, 2  # pixels of a scene, of a digit and a window, between windows
WINDOWS = (SIDE - DIGIT) // STEP + 1
MOST_DIGITS, NUM_SCENES = 3, 128


def detector(classifier: onnx.ModelProto) -> onnx.ModelProto:
    """Per window of 8x8 pixels `scores` of ten digits and `ink`, from `image` (N, 1, SIDE, SIDE)."""
    body = [node for node in classifier.graph.node if node.op_type not in ("GlobalAveragePool", "Flatten", "Gemm")]
    window = [DIGIT // STEP] * 2  # in the last feature map
    heads = [
        helper.make_node("AveragePool", [body[-1].output[0]], ["mean"], name="mean", kernel_shape=window),
        helper.make_node("Conv", ["mean", "fc.weight", "fc.bias"], ["scores"], name="scores"),
        helper.make_node("AveragePool", ["image"], ["ink"], name="ink", kernel_shape=[DIGIT] * 2, strides=[STEP] * 2),
    ]
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in classifier.graph.initializer}
    weights["fc.weight"] = weights["fc.weight"][:, :, None, None]
    outputs = {"scores": 10, "ink": 1}
    graph = helper.make_graph(
        [*body, *heads],
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", c, WINDOWS, WINDOWS]) for n, c in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=classifier.opset_import, ir_version=classifier.ir_version)


def scenes(source: str, seed: int) -> NDArray[np.float32]:
    """(NUM_SCENES, 1, SIDE, SIDE) with up to MOST_DIGITS digits each, at random places."""
    rng = np.random.default_rng(seed)
    with np.load(MODELS / source) as arrays:
        digits = arrays["image"]
    result = np.zeros((NUM_SCENES, 1, SIDE, SIDE), np.float32)
    for scene in result[:, 0]:
        for pick in rng.integers(len(digits), size=rng.integers(1, MOST_DIGITS + 1)):
            top, left = rng.integers(0, SIDE - DIGIT + 1, 2)
            scene[top : top + DIGIT, left : left + DIGIT] = digits[pick, 0]
    return result


if __name__ == "__main__":
    onnx.save(detector(onnx.load(MODELS / "digits-resnet.onnx")), "detector.onnx")
    np.savez("scenes-train.npz", image=scenes("digits-train.npz", seed=0))
    np.savez("scenes-test.npz", image=scenes("digits-test.npz", seed=1))
