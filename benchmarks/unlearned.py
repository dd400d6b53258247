"""ResNet-20 trained without the validation part of `accuracy.py`, so that choices made on that part are not flattered.

    python benchmarks/unlearned.py --data-root FOLDER --output resnet20-unlearned.onnx

Same graph as `resnet20-conv-shortcut.onnx`, new weights: SGD with one learning-rate cycle, flip and pad-and-crop,
bfloat16 where the processor has it. A second file, `NAME-folded.onnx`, has its batch norm folded into the convolutions.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import onnx
import torch
from accuracy_data import CIFAR, NETWORKS, training_arrays
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx_to_torch import OnnxNetwork
from torch import nn

MAX_RATE = 0.2
WEIGHT_DECAY = 5e-4
PAD = 4
BATCH = 128


@click.command(help=(__doc__ or "").split("\n\n")[0])
@click.option("--data-root", type=click.Path(path_type=Path), required=True)
@click.option("--epochs", default=16, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(data_root: Path, epochs: int, seed: int, output: Path) -> None:
    """See the module."""
    torch.manual_seed(seed)
    model = onnx.load(data_root / NETWORKS["resnet20"].file)
    train, held_out = training_arrays(data_root)
    network = OnnxNetwork(model).to(memory_format=torch.channels_last)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    _train(network, train["input"], train["labels"], epochs)
    click.echo(f"accuracy on the held-out part: {_accuracy(network, held_out['input'], held_out['labels']):.2%}")
    onnx.save(_with_weights(model, network), output)
    onnx.save(_folded(onnx.load(output)), output.with_stem(f"{output.stem}-folded"))


def _train(network: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64], epochs: int) -> None:
    data, target = torch.from_numpy(images), torch.from_numpy(labels)
    steps = len(data) // BATCH
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others}], MAX_RATE, momentum=0.9, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, MAX_RATE, total_steps=epochs * steps, pct_start=0.25)
    network.train()
    for epoch in range(epochs):
        started, total = time.monotonic(), 0.0
        order = torch.randperm(len(data))
        for chosen in order[: steps * BATCH].split(BATCH):
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.cross_entropy(network(_augmented(data[chosen])), target[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        click.echo(f"epoch {epoch + 1}: loss {total / steps:.3f}, {time.monotonic() - started:.0f} s", err=True)
    network.eval()


def _augmented(images: torch.Tensor) -> torch.Tensor:
    """Each image flipped with chance 1/2 and cropped from a padded copy, then normalised."""
    n, _, height, width = images.shape
    padded = nn.functional.pad(images, (PAD,) * 4)
    top, left = (torch.randint(0, 2 * PAD + 1, (n, 1)) for _ in range(2))
    columns = torch.arange(width).expand(n, width)
    columns = torch.where(torch.rand(n, 1) < 0.5, columns, columns.flip(1)) + left
    rows = torch.arange(height) + top
    cut = padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (N, H, W, C)
    return _normalised(cut.permute(0, 3, 1, 2))


def _normalised(images: torch.Tensor) -> torch.Tensor:
    assert CIFAR.mean is not None
    assert CIFAR.std is not None
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (CIFAR.mean, CIFAR.std))
    return (images.float() * CIFAR.scale - mean) / std


def _accuracy(network: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    correct = 0
    with torch.no_grad():
        for part, target in zip(torch.from_numpy(images).split(500), torch.from_numpy(labels).split(500), strict=True):
            correct += int((network(_normalised(part)).argmax(1) == target).sum())
    return correct / len(labels)


def _with_weights(model: onnx.ModelProto, network: OnnxNetwork) -> onnx.ModelProto:
    """`model` with the weights of `network`, which was made from it."""
    made = {node.output[0]: node for node in model.graph.node}
    values: dict[str, NDArray[np.float32]] = {}
    for name, _, output in network.calls:
        part, node = network.parts[name], made[output]
        tensors = [getattr(part, n, None) for n in ("weight", "bias", "running_mean", "running_var")]
        stored = [t.detach().float().numpy() for t in tensors if t is not None]
        if isinstance(part, nn.Linear) and not any(a.name == "transB" and a.i for a in node.attribute):
            stored[0] = stored[0].T
        values.update(zip(node.input[1:], stored, strict=False))
    return _replaced(model, values)


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with every batch norm behind a convolution folded into it."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made = {node.output[0]: node for node in model.graph.node}
    values = {}
    for norm in [node for node in model.graph.node if node.op_type == "BatchNormalization"]:
        conv = made[norm.input[0]]
        scale, bias, mean, variance = (arrays[name] for name in norm.input[1:])
        epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        values[conv.input[1]] = (arrays[conv.input[1]] * factor[:, None, None, None]).astype(np.float32)
        old = arrays[conv.input[2]] if len(conv.input) > 2 else 0
        name = f"{conv.output[0]}_bias"
        conv.input[:] = [*conv.input[:2], name]
        conv.output[0] = norm.output[0]
        model.graph.initializer.append(numpy_helper.from_array((bias + (old - mean) * factor).astype(np.float32), name))
        model.graph.node.remove(norm)
    model = _replaced(model, values)
    used = {name for node in model.graph.node for name in node.input}
    unused = [tensor for tensor in model.graph.initializer if tensor.name not in used]
    for tensor in unused:
        model.graph.initializer.remove(tensor)
    onnx.checker.check_model(model, full_check=True)
    return model


def _replaced(model: onnx.ModelProto, values: dict[str, NDArray[np.float32]]) -> onnx.ModelProto:
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values[tensor.name]), tensor.name))
    return model


if __name__ == "__main__":
    main()
