"""Torch-Pruning on the networks of `accuracy.py`: the same samples in the same order, the same optimiser."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from itertools import islice

import torch
import torch_pruning
from onnx_to_torch import OnnxNetwork, converted
from torch import nn

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.masks.budget import first_true
from onnx_dnscp.model.load import LoadedModel
from onnx_dnscp.training.optimizers import DEFAULT_CLIP, DEFAULT_MOMENTUM
from onnx_dnscp.training.schedule import Schedule

TAYLOR_BATCHES = 10  # as in Torch-Pruning's own example script
STEPS = 400  # of its pruning ratio, among which the one that meets the target is searched
WEIGHT_DECAY = 1e-4  # the default of `prune` with SGD, on tensors with more than one axis like there
EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Pruner:
    """One way of using Torch-Pruning.

    Attributes:
        taylor: Group Taylor importance, else group L2 magnitude.
        whole_net: Whether groups compete with each other; else each loses the same share.
    """

    taylor: bool
    whole_net: bool


ROWS = {
    "torch-pruning-magnitude": Pruner(taylor=False, whole_net=True),
    "torch-pruning-magnitude-local": Pruner(taylor=False, whole_net=False),
    "torch-pruning-taylor": Pruner(taylor=True, whole_net=True),
    "torch-pruning-taylor-local": Pruner(taylor=True, whole_net=False),
}


@dataclass(frozen=True)
class Outcome:
    """Accuracies (0..1) before and after training, what is left of MACs and params, and the seconds it took."""

    before: float
    after: float
    macs: float
    params: float
    seconds: float


def prune_with_torch(
    pruner: Pruner,
    loaded: LoadedModel,
    train: Dataset,
    measured: Dataset,
    *,
    ratio: float,
    align: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    threads: int,
) -> Outcome:
    """Cut to at least `ratio` of the MACs at once, then train for `epochs` along one cosine.

    Args:
        pruner: How.
        loaded: The ONNX file.
        train: Samples to train on.
        measured: Samples for the accuracies.
        ratio: Share of the MACs to remove.
        align: Channel counts are multiples of this.
        epochs: Of training, the whole budget.
        batch_size: Samples per step.
        learning_rate: The highest.
        seed: Of the order of samples.
        threads: Of PyTorch; 0 leaves them alone.
    """
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    started = time.monotonic()
    network = converted(loaded.proto, next(train.batches(EVALUATION_BATCH)))
    example = _images(next(train.batches(1)))
    small = _cut(pruner, network, example, train, ratio=ratio, align=align, batch_size=batch_size, seed=seed)
    cutting = time.monotonic() - started
    before = _accuracy(small, measured)
    started = time.monotonic()
    _train(small, train, epochs, batch_size, learning_rate, seed)
    training = time.monotonic() - started
    return Outcome(
        before=before,
        after=_accuracy(small, measured),
        macs=_macs(small, example) / _macs(network, example),
        params=_params(small) / _params(network),
        seconds=cutting + training,
    )


def _cut(
    pruner: Pruner,
    network: OnnxNetwork,
    example: torch.Tensor,
    train: Dataset,
    *,
    ratio: float,
    align: int,
    batch_size: int,
    seed: int,
) -> OnnxNetwork:
    """The network with the smallest pruning ratio at which at least `ratio` of the MACs are gone."""
    if pruner.taylor:
        for batch in islice(train.training_batches(batch_size, seed), TAYLOR_BATCHES):
            _loss(network, batch).backward()
    kinds = torch_pruning.importance
    importance = kinds.GroupTaylorImportance() if pruner.taylor else kinds.GroupMagnitudeImportance(p=2)
    limit = (1 - ratio) * _macs(network, example)

    def cut(step: int) -> OnnxNetwork:
        own = copy.deepcopy(network)
        for parameter, original in zip(own.parameters(), network.parameters(), strict=True):
            parameter.grad = None if original.grad is None else original.grad.clone()  # a deep copy has none
        torch_pruning.pruner.BasePruner(
            own,
            example,
            importance=importance,
            global_pruning=pruner.whole_net,
            pruning_ratio=step / STEPS,
            round_to=align if align > 1 else None,
            ignored_layers=[module for module in own.modules() if isinstance(module, nn.Linear)],
        ).step()
        return own

    step = first_true(STEPS - 1, lambda step: _macs(cut(step), example) <= limit)
    small = cut(step)
    if _macs(small, example) > limit:
        raise ValueError(f"Torch-Pruning cannot remove {ratio:.0%} of the MACs")
    small.zero_grad()
    return small


def _train(network: nn.Module, dataset: Dataset, epochs: int, batch_size: int, learning_rate: float, seed: int) -> None:
    """Cross-entropy, SGD with momentum, cosine: what the engine does, in place."""
    batch_size = min(batch_size, len(dataset.samples))
    schedule = Schedule(learning_rate, epochs * max(1, len(dataset.samples) // batch_size))
    parameters = list(network.parameters())
    optimizer = torch.optim.SGD(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in parameters if p.ndim <= 1]},
        ],
        momentum=DEFAULT_MOMENTUM,
    )
    network.train()
    for step, batch in enumerate(islice(dataset.training_batches(batch_size, seed), schedule.num_steps)):
        for group in optimizer.param_groups:
            group["lr"] = schedule(step)
        optimizer.zero_grad()
        _loss(network, batch).backward()
        torch.nn.utils.clip_grad_norm_(parameters, DEFAULT_CLIP)
        optimizer.step()
    network.eval()


def _images(batch: Batch) -> torch.Tensor:
    [images] = batch.inputs.values()
    return torch.from_numpy(images)


def _loss(network: nn.Module, batch: Batch) -> torch.Tensor:
    return nn.functional.cross_entropy(network(_images(batch)), torch.from_numpy(batch.labels))


def _accuracy(network: nn.Module, dataset: Dataset) -> float:
    correct = 0
    with torch.no_grad():
        for batch in dataset.batches(EVALUATION_BATCH):
            correct += int((network(_images(batch)).argmax(1).numpy() == batch.labels).sum())
    return correct / len(dataset.samples)


def _macs(network: nn.Module, example: torch.Tensor) -> int:
    """Multiply-accumulates of one sample in convolutions and linear layers."""
    total = 0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        total += output[0].numel() * module.weight[0].numel()

    kinds = (nn.Conv2d, nn.Linear)
    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        network(example)
    for hook in hooks:
        hook.remove()
    return total


def _params(network: nn.Module) -> int:
    """Parameters and running statistics, as a file stores them."""
    tensors = [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]
    return sum(tensor.numel() for tensor in tensors)
