"""The four networks that training speed is measured on, and their export to ONNX as a network that still trains."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

CLASSES = 10


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    Attributes:
        build: Makes the network, in training mode.
        image: Shape of one input sample.
        batch: Samples per step.
        compared: Whether it is one of the four that PyTorch is compared on.
    """

    build: Callable[[], nn.Module]
    image: tuple[int, int, int]
    batch: int
    compared: bool = True


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class Residual(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """`body(x) + shortcut(x)`, with a Relu behind it or not."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, *, relu: bool = True) -> None:
        super().__init__()
        self.body, self.shortcut, self.relu = body, shortcut, nn.ReLU() if relu else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Both ways, added."""
        result: torch.Tensor = self.relu(self.body(x) + self.shortcut(x))
        return result


def _head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]


def resnet20() -> nn.Module:
    """He et al. 2016, section 4.2, with 1x1 convolutions where the width changes."""
    layers: list[nn.Module] = [*_conv_norm(3, 16, 3), nn.ReLU()]
    width = 16
    for outputs, stride in [(16, 1)] * 3 + [(32, 2)] + [(32, 1)] * 2 + [(64, 2)] + [(64, 1)] * 2:
        body = nn.Sequential(*_conv_norm(width, outputs, 3, stride), nn.ReLU(), *_conv_norm(outputs, outputs, 3))
        layers.append(Residual(body, nn.Identity() if width == outputs else _conv_norm(width, outputs, 1, stride)))
        width = outputs
    return nn.Sequential(*layers, *_head(width))


def vgg() -> nn.Module:
    """Pairs of 3x3 convolutions of 64, 128 and 256 channels on 32x32 images, halved by pooling."""
    layers: list[nn.Module] = []
    width = 3
    for outputs in (64, 128, 256):
        for inputs in (width, outputs):
            layers += [*_conv_norm(inputs, outputs, 3), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
        width = outputs
    return nn.Sequential(*layers, *_head(width))


def bottlenecks() -> nn.Module:
    """The first stage of ResNet-50: three bottlenecks of 64 to 256 channels on 56x56 maps."""
    layers: list[nn.Module] = []
    for inputs in (64, 256, 256):
        body = nn.Sequential(
            *_conv_norm(inputs, 64, 1), nn.ReLU(), *_conv_norm(64, 64, 3), nn.ReLU(), *_conv_norm(64, 256, 1)
        )
        layers.append(Residual(body, nn.Identity() if inputs == 256 else _conv_norm(inputs, 256, 1)))
    return nn.Sequential(*layers, *_head(256))


def inverted_residuals() -> nn.Module:
    """Blocks of MobileNetV2: widened six times, a depthwise 3x3 convolution, and narrow again."""
    layers: list[nn.Module] = [*_conv_norm(3, 32, 3, 2), nn.ReLU6()]
    width = 32
    for outputs, stride in ((24, 2), (24, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1)):
        wide = 6 * width
        body = nn.Sequential(
            *_conv_norm(width, wide, 1),
            nn.ReLU6(),
            *_conv_norm(wide, wide, 3, stride, wide),
            nn.ReLU6(),
            *_conv_norm(wide, outputs, 1),
        )
        layers.append(Residual(body, nn.Identity(), relu=False) if width == outputs and stride == 1 else body)
        width = outputs
    return nn.Sequential(*layers, *_head(width))


def wide() -> nn.Module:
    """Forty 1x1 convolutions of 512 channels on 14x14 maps: 20,000 units to decide about."""
    layers: list[nn.Module] = [*_conv_norm(3, 512, 1), nn.ReLU()]
    for _ in range(39):
        layers += [*_conv_norm(512, 512, 1), nn.ReLU()]
    return nn.Sequential(*layers, *_head(512))


SETTINGS = {
    "resnet20": Setting(resnet20, (3, 32, 32), 64),
    "vgg": Setting(vgg, (3, 32, 32), 32),
    "bottleneck": Setting(bottlenecks, (64, 56, 56), 32),
    "mobilenetv2": Setting(inverted_residuals, (3, 128, 128), 32),
    "wide": Setting(wide, (3, 14, 14), 16, compared=False),
}


def make(setting: Setting, seed: int = 0) -> nn.Module:
    """The network with seeded weights, in training mode; exporters store equal tensors once, so none are equal."""
    torch.manual_seed(seed)
    network = setting.build().train()
    with torch.no_grad():
        for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
            for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                assert values is not None
                values += 0.01 * torch.rand_like(values)
    return network


def export(network: nn.Module, setting: Setting) -> onnx.ModelProto:
    """The network as ONNX, with batch norm kept apart; the network stays as it is."""
    stream = io.BytesIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, *setting.image),),
            stream,
            dynamo=False,
            opset_version=17,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        )
    network.train()
    return onnx.load_model_from_string(stream.getvalue())


def samples(setting: Setting, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One batch of random images and labels."""
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((setting.batch, *setting.image)).astype(np.float32)
    return images, rng.integers(0, CLASSES, setting.batch)
