"""Make the two small networks and the data files in this folder, from scratch and without torch.

    pip install "onnx-dnscp[models]"
    python models/make_models.py

The data are scikit-learn's handwritten digits (1,797 images of 8x8 pixels, from the UCI Optical Recognition of
Handwritten Digits set), split four to one. Both networks are trained with this package's own engine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from onnx_dnscp import evaluate
from onnx_dnscp.data.arrays import ArraySamples
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.loop import Phase, fine_tune
from onnx_dnscp.training.losses.cross_entropy import CrossEntropy
from onnx_dnscp.training.optimizers import OptimizerSettings
from onnx_dnscp.training.schedule import Schedule
from onnx_dnscp.training.stage import StageId
from onnx_dnscp.training.view import build_view

FOLDER = Path(__file__).parent
SEED = 0
BATCH = 64
EPOCHS = 30
LEARNING_RATE = 0.05
OPSET = 17
IR_VERSION = 8
EPSILON = 1e-5


@dataclass
class Network:
    """Collects nodes and randomly initialised weights (He et al. 2015)."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def node(self, op_type: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Append a node called like its output."""
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def conv_norm(self, x: str, name: str, shape: tuple[int, ...], *, relu: bool = True, **attributes: Any) -> str:
        """Convolution without bias, batch norm and maybe ReLU; `shape` is the weight's."""
        fan_in = int(np.prod(shape[1:]))
        weight = self.rng.standard_normal(shape) * np.sqrt(2 / fan_in)
        self.weights[f"{name}.weight"] = weight.astype(np.float32)
        pads = [shape[2] // 2] * 4
        y = self.node("Conv", [x, f"{name}.weight"], f"{name}.conv", pads=pads, **attributes)
        parameters = {"scale": 1.0, "bias": 0.0, "mean": 0.0, "var": 1.0}
        for key, value in parameters.items():
            self.weights[f"{name}.norm.{key}"] = np.full(shape[0], value, dtype=np.float32)
        norm = [f"{name}.norm.{key}" for key in parameters]
        y = self.node("BatchNormalization", [y, *norm], f"{name}.norm", epsilon=EPSILON)
        return self.node("Relu", [y], f"{name}.relu") if relu else y

    def classifier(self, x: str, channels: int, name: str) -> str:
        """Global average, flatten, fully connected to ten classes."""
        self.weights["fc.weight"] = (self.rng.standard_normal((10, channels)) / np.sqrt(channels)).astype(np.float32)
        self.weights["fc.bias"] = np.zeros(10, dtype=np.float32)
        y = self.node("GlobalAveragePool", [x], "pool")
        y = self.node("Flatten", [y], "flatten")
        return self.node("Gemm", [y, "fc.weight", "fc.bias"], name, transB=1)

    def model(self, name: str, output: str) -> onnx.ModelProto:
        """The finished model: images (N, 1, 8, 8) in 0..1 to ten scores."""
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", 10])],
            [numpy_helper.from_array(value, key) for key, value in self.weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def residual_network() -> onnx.ModelProto:
    """Three residual stages; the middle one halves the image and widens with a 1x1 shortcut. Batch norm unfolded."""
    net = Network(np.random.default_rng(SEED))
    x = net.conv_norm("image", "stem", (32, 1, 3, 3))
    for name, inner, outer, stride in (("a", 32, 32, 1), ("b", 64, 64, 2), ("c", 64, 64, 1)):
        channels = 32 if name in "ab" else 64
        y = net.conv_norm(x, f"{name}1", (inner, channels, 3, 3), strides=[stride, stride])
        y = net.conv_norm(y, f"{name}2", (outer, inner, 3, 3), relu=False)
        if channels != outer:
            x = net.conv_norm(x, f"{name}s", (outer, channels, 1, 1), relu=False, strides=[stride, stride])
        x = net.node("Relu", [net.node("Add", [y, x], f"{name}.add")], f"{name}.out")
    return net.model("digits-resnet", net.classifier(x, 64, "logits"))


def separable_network() -> onnx.ModelProto:
    """Depthwise-separable convolutions and two branches that are concatenated."""
    net = Network(np.random.default_rng(SEED))
    x = net.conv_norm("image", "stem", (32, 1, 3, 3))
    x = net.conv_norm(x, "dw1", (32, 1, 3, 3), group=32)
    x = net.conv_norm(x, "pw1", (48, 32, 1, 1))
    left = net.conv_norm(x, "left.dw", (48, 1, 3, 3), group=48, strides=[2, 2])
    left = net.conv_norm(left, "left.pw", (48, 48, 1, 1))
    right = net.node("MaxPool", [x], "right.pool", kernel_shape=[2, 2], strides=[2, 2])
    right = net.conv_norm(right, "right.pw", (32, 48, 1, 1))
    x = net.node("Concat", [left, right], "join", axis=1)
    x = net.conv_norm(x, "dw2", (80, 1, 3, 3), group=80)
    x = net.conv_norm(x, "pw2", (96, 80, 1, 1))
    return net.model("digits-separable", net.classifier(x, 96, "logits"))


def train(model: onnx.ModelProto, dataset: Dataset) -> onnx.ModelProto:
    """The model with trained weights and running statistics."""
    view = build_view(model, dataset.input_shapes(BATCH))
    loss = CrossEntropy((BATCH, 10))
    loss.attach(view)
    phase = Phase(
        stage=StageId(1, "fine-tune"),
        engine=OrtEngine(view, optimizer=OptimizerSettings(weight_decay=5e-4), threads=1),
        loss=loss,
        batches=partial(dataset.training_batches, BATCH, SEED),
        schedule=Schedule(LEARNING_RATE, EPOCHS * (len(dataset.samples) // BATCH)),
    )
    fine_tune(phase, phase.begin(), 0.0, 0, lambda state, progress: None)
    return copy_with_weights(model, phase.engine.parameters)


def fold_batch_norm(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function with every batch norm folded into the convolution before it."""
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "BatchNormalization":
            nodes.append(node)
            continue
        conv = nodes[-1]
        scale, bias, mean, variance = (weights.pop(name) for name in node.input[1:5])
        factor = scale / np.sqrt(variance + EPSILON)
        weights[conv.input[1]] = weights[conv.input[1]] * factor[:, None, None, None]
        weights[conv.name + ".bias"] = bias - mean * factor
        conv.input.append(conv.name + ".bias")
        conv.output[0] = node.output[0]
    graph = helper.make_graph(
        nodes,
        model.graph.name,
        model.graph.input,
        model.graph.output,
        [numpy_helper.from_array(value.astype(np.float32), key) for key, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def with_softmax(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with probabilities instead of logits as its output, as many exporters leave it."""
    model.graph.node.append(helper.make_node("Softmax", ["logits"], ["probabilities"], name="softmax", axis=1))
    model.graph.output[0].name = "probabilities"
    return model


def main() -> None:
    """Write the data and both models, and print their test accuracies."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    split = train_test_split(images, labels.astype(np.int64), test_size=0.2, stratify=labels, random_state=SEED)
    train_images, test_images, train_labels, test_labels = split
    np.savez_compressed(FOLDER / "digits-train.npz", image=train_images, labels=train_labels)
    np.savez_compressed(FOLDER / "digits-test.npz", image=test_images, labels=test_labels)
    dataset = Dataset(ArraySamples({"image": train_images, "labels": train_labels}), True, "digits-train.npz")
    made = {
        "digits-resnet.onnx": train(residual_network(), dataset),
        "digits-separable.onnx": with_softmax(fold_batch_norm(train(separable_network(), dataset))),
    }
    for name, model in made.items():
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, FOLDER / name)
        print(f"{name}: test accuracy {evaluate(FOLDER / name, FOLDER / 'digits-test.npz').accuracy:.2%}")


if __name__ == "__main__":
    main()
