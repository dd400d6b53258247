"""Seconds and memory of discovery, planning and surgery, without verification; Torch-Pruning beside it.

    pip install -e ".[benchmarks]"
    python benchmarks/surgery.py compare    # real networks, turn and turn about with Torch-Pruning
    python benchmarks/surgery.py scaling    # time per node on graphs of 100 to 10,000 nodes
    python benchmarks/surgery.py memory     # peak memory on a network with large weights

Everything runs on one core, where the system can pin a process to one.
"""

from __future__ import annotations

import copy
import gc
import itertools
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import onnx
from synthetic_graphs import GRAPHS, wide_chain

from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.masks.budget import Budget
from onnx_dnscp.masks.dnscp import one_shot
from onnx_dnscp.measure.cost_registry import CostInputs
from onnx_dnscp.measure.costs import channels
from onnx_dnscp.model.load import LoadedModel, load_model
from onnx_dnscp.runs.plan import make_plan
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import plan_cuts

RATIO = 0.5
COMPARED = "resnet18 resnet50 mobilenetv2_wd2 densenet121 vgg11 efficientnet_b0 resnext50_32x4d shufflenetv2_w1"
IMAGE = 224
STAGES = ("discover", "select", "plan", "cut")
MEBIBYTE = 2**20


def prune_in_memory(loaded: LoadedModel) -> tuple[float, ...]:
    """Seconds of each stage: discovery, choice of channels, plan and decisions, surgery."""
    ticks = [time.perf_counter()]
    units = discover(loaded)
    ticks.append(time.perf_counter())
    mask = one_shot(units, Budget(units, channels(CostInputs(units)), RATIO), units.graph.stored)
    ticks.append(time.perf_counter())
    make_plan(units, mask, loaded.sha256)
    cuts = plan_cuts(units, mask)
    ticks.append(time.perf_counter())
    apply_cuts(loaded.proto, units, cuts)
    ticks.append(time.perf_counter())
    return tuple(after - before for before, after in itertools.pairwise(ticks))


def loaded_from_memory(model: onnx.ModelProto) -> LoadedModel:
    """`model` as the package loads it, by way of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        return load_model(path)


@click.group()
def main() -> None:
    """Measure discovery, planning and surgery."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


@main.command("compare")
@click.option("--networks", "names", default=COMPARED, help="pytorchcv names, separated by spaces.")
@click.option("--rounds", default=7, show_default=True)
def compare_command(names: str, rounds: int) -> None:
    """Take turns with Torch-Pruning on the same networks, at the same input size and ratio."""
    import torch
    import torch_pruning
    from exports import build, example, export
    from networks import NETWORKS

    torch.set_num_threads(1)
    print("| network | nodes | ours s | Torch-Pruning s | ratio | discover | select | plan | cut |")
    print("|---|---|---|---|---|---|---|---|---|")
    for network in (replace(n, shape=(3, IMAGE, IMAGE)) for n in NETWORKS if n.name in names.split()):
        model = build(network)
        image = example(network, 1)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            export(model, network, "script", path)
            loaded = load_model(path)

        def other(model: torch.nn.Module = model, image: torch.Tensor = image) -> float:
            own = copy.deepcopy(model)
            last = [m for m in own.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)][-1]
            gc.collect()
            started = time.perf_counter()
            importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
            pruner = torch_pruning.pruner.BasePruner(
                own, image, importance=importance, pruning_ratio=RATIO, ignored_layers=[last]
            )
            pruner.step()
            return time.perf_counter() - started

        try:
            stages, theirs = _take_turns(partial(prune_in_memory, loaded), other, rounds)
        except Exception as error:  # some networks are more than the other pruner can take
            print(f"| {network.name} | {len(loaded.proto.graph.node)} | {type(error).__name__}: {error} |", flush=True)
            continue
        ours = [sum(one) for one in stages]
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        middle = [statistics.median(column) for column in zip(*stages, strict=True)]
        print(
            f"| {network.name} | {len(loaded.proto.graph.node)} | {statistics.median(ours):.3f} "
            f"| {statistics.median(theirs):.3f} | {ratio:.2f} | {' | '.join(f'{m:.3f}' for m in middle)} |",
            flush=True,
        )


def _take_turns(
    ours: Callable[[], tuple[float, ...]], theirs: Callable[[], float], rounds: int
) -> tuple[list[tuple[float, ...]], list[float]]:
    """`rounds` results of each, one after the other, so that a busy machine slows both alike; one warm-up."""
    ours(), theirs()
    first, second = [], []
    for _ in range(rounds):
        gc.collect()
        first.append(ours())
        second.append(theirs())
    return first, second


@main.command("scaling")
@click.option("--nodes", default="100,1000,10000", show_default=True)
@click.option("--rounds", default=3, show_default=True)
def scaling_command(nodes: str, rounds: int) -> None:
    """Milliseconds per node of every stage, and how the total grows (1 is proportional to the number of nodes)."""
    print(f"| graph | nodes | s | ms per node | growth | {' | '.join(STAGES)} |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, make in GRAPHS.items():
        before: tuple[int, float] | None = None
        for count in map(int, nodes.split(",")):
            loaded = loaded_from_memory(make(count))
            size = len(loaded.proto.graph.node)
            best = min((prune_in_memory(loaded) for _ in range(rounds)), key=sum)
            total = sum(best)
            growth = "-" if before is None else f"{math.log(total / before[1]) / math.log(size / before[0]):.2f}"
            stages = " | ".join(f"{1000 * s / size:.3f}" for s in best)
            print(f"| {name} | {size} | {total:.3f} | {1000 * total / size:.3f} | {growth} | {stages} |", flush=True)
            before = (size, total)


@main.command("memory")
@click.option("--layers", default=8, show_default=True)
@click.option("--width", default=4096, show_default=True)
def memory_command(layers: int, width: int) -> None:
    """Peak resident memory of loading and of the stages, as multiples of the file's size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(wide_chain(layers, width), path)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            base, loading, stages = pool.apply(_peaks, (str(path),))
        size = path.stat().st_size / MEBIBYTE
    for what, peak in (("loading", loading), ("all stages", stages)):
        print(f"{what}: peak {peak - base:.0f} MiB over the empty process, {(peak - base) / size:.2f} x the file")


def _peaks(path: str) -> tuple[float, float, float]:
    """Peak resident MiB before loading, after loading and after all stages, in a process of its own."""
    prune_in_memory(loaded_from_memory(GRAPHS["chain"](10)))  # libraries are loaded and warm
    base = _peak()
    loaded = load_model(path)
    loading = _peak()
    prune_in_memory(loaded)
    return base, loading, _peak()


def _peak() -> float:
    """Peak resident MiB so far, from Linux; `getrusage` would hand down the parent's peak."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(status["VmHWM"].split()[0]) / 1024


if __name__ == "__main__":
    main()
