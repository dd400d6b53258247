"""Networks with random weights, exported to ONNX the three ways people export them.

    python benchmarks/exports.py resnet18 FOLDER

Nothing is downloaded. Batch norm gets statistics that fit the network and then differ a little from it, so that an
export that keeps batch norm apart is a different test from one that folds it.
"""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from networks import EXPORTS, NETWORKS, Export, Network, export_path

CALIBRATION_BATCH = 4  # batch norm needs a few values per channel where the image has shrunk to one pixel


def build(network: Network, seed: int = 0) -> torch.nn.Module:
    """The network in evaluation mode, with seeded random weights and batch norm that fits them roughly."""
    vars(np).setdefault("int", int)  # pytorchcv 0.0.67, the last one that does not need torchvision, still says np.int
    from pytorchcv.model_provider import get_model

    torch.manual_seed(seed)
    sized = {"in_size": network.shape[1:]} if network.resizable else {}
    model: torch.nn.Module = get_model(network.name, pretrained=False, **sized).eval()
    _fit_final_pool(model, network.shape[1])
    for module in model.modules():
        _randomise(module)
    _calibrate(model, example(network, CALIBRATION_BATCH))
    return model


def _fit_final_pool(model: Any, size: int) -> None:
    """Pool over the whole of the last feature map, whose size pytorchcv writes into classifiers, for smaller images."""
    for name, module in model.named_modules():
        if name.endswith("final_pool") and isinstance(module, torch.nn.AvgPool2d):
            kernel: Any = module.kernel_size
            module.kernel_size = kernel * size // model.in_size[0]


def example(network: Network, batch: int) -> torch.Tensor:
    """A batch of random inputs."""
    return torch.randn(batch, *network.shape)


def _randomise(module: torch.nn.Module) -> None:
    """Give what an initialiser leaves at 0 or 1 values of its own; equal tensors would be stored once."""
    values: dict[str, Any] = dict(module.named_parameters(recurse=False))
    with torch.no_grad():
        for name, buffer in module.named_buffers(recurse=False):
            if name == "index":  # CondenseNet's selection of channels, which training would set
                buffer.copy_(torch.randperm(buffer.numel()))
        if "bias" in values:
            values["bias"].normal_(0.0, 0.1)
        if "weight" in values and values["weight"].ndim == 1:  # a scale of a normalisation, or slopes of a PReLU
            values["weight"].uniform_(*((0.1, 0.4) if isinstance(module, torch.nn.PReLU) else (0.6, 1.4)))


def _calibrate(model: torch.nn.Module, images: torch.Tensor) -> None:
    """Set running statistics to those of `images`, then move them a little."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # a plain average: one pass sets the statistics
        norm.reset_running_stats()
        norm.train()
    with torch.no_grad():
        model(images)
        for norm in norms:
            norm.momentum = 0.1
            norm.eval()
            if norm.running_mean is not None and norm.running_var is not None:
                norm.running_var.clamp_(min=1e-3)
                norm.running_mean.add_(0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean))
                norm.running_var.mul_(torch.empty_like(norm.running_var).uniform_(0.8, 1.2))


def export(model: torch.nn.Module, network: Network, how: Export, path: Path) -> None:
    """Write the network to `path`, which appears whole or not at all.

    script: TorchScript exporter, opset 13, batch norm kept as nodes, nothing folded, dynamic batch.
    folded: TorchScript exporter, opset 17, batch norm folded into convolutions, static shapes.
    dynamo: `torch.export`, its own default opset, static shapes.
    """
    partial = path.with_suffix(".partial")
    names: dict[str, Any] = {"input_names": ["image"]}
    arguments = (example(network, 1),)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "script":
            names["training"] = torch.onnx.TrainingMode.PRESERVE
            names["dynamic_axes"] = {"image": {0: "N"}}
            torch.onnx.export(
                model, arguments, str(partial), dynamo=False, opset_version=13, do_constant_folding=False, **names
            )
        elif how == "folded":
            torch.onnx.export(model, arguments, str(partial), dynamo=False, opset_version=17, **names)
        else:
            torch.onnx.export(model, arguments, str(partial), dynamo=True, external_data=False, verbose=False, **names)
    os.replace(partial, path)


@click.command()
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--exports", default=",".join(EXPORTS), show_default=True)
def main(name: str, folder: Path, exports: str) -> None:
    """Write NAME.<export>.onnx into FOLDER for every exporter, or NAME.<export>.onnx.txt with the error."""
    torch.set_num_threads(1)
    network = next(n for n in NETWORKS if n.name == name)
    wanted = [how for how in EXPORTS if how in exports.split(",")]
    missing = [how for how in wanted if not export_path(folder, name, how).exists()]
    model = build(network) if missing else None
    for how in missing:
        assert model is not None
        path = export_path(folder, name, how)
        try:
            export(model, network, how, path)
        except Exception as error:  # an exporter that cannot is a row of the table
            path.with_suffix(".txt").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
