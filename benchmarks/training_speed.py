"""What training costs: speed beside PyTorch, rewrites, masks, teachers, what pruning saves, memory.

    python benchmarks/training_speed.py compare
    python benchmarks/training_speed.py masks
    python benchmarks/training_speed.py teacher
    python benchmarks/training_speed.py pruned
    python benchmarks/training_speed.py memory

Both sides of every comparison take turns, step by step, and medians are compared, so that a busy machine slows both
alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import click
import numpy as np
import onnx
import torch
from isolated import in_process
from torch import nn
from training_networks import CLASSES, SETTINGS, Setting, export, make, samples

from onnx_dnscp.data.arrays import ArraySamples
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.discovery.discover import discover_units
from onnx_dnscp.masks.budget import Budget
from onnx_dnscp.masks.dnscp import DnsCp, one_shot
from onnx_dnscp.measure.cost_registry import CostInputs
from onnx_dnscp.measure.costs import channels, macs
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import plan_cuts
from onnx_dnscp.tracing.trace import trace
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.losses.cross_entropy import CrossEntropy
from onnx_dnscp.training.losses.distillation import Distillation
from onnx_dnscp.training.losses.teacher import CachedTeacher, LiveTeacher
from onnx_dnscp.training.method import StepState
from onnx_dnscp.training.optimizers import OptimizerSettings
from onnx_dnscp.training.view import MASK_INPUT, build_view

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 1e-4
OPTIMIZER = OptimizerSettings("sgd", MOMENTUM, WEIGHT_DECAY, clip=0)
RATIO = 0.5
NUM_STEPS = 10_000  # of the run that mask decisions are taken from the middle of
ALIGNS = (1, 8, 16)
MEMORY_SECONDS = 300.0  # for one process
COMPARED = [name for name, setting in SETTINGS.items() if setting.compared]

Step = Callable[[], None]


def torch_step(setting: Setting, memory_format: torch.memory_format) -> Step:
    """One eager step of PyTorch."""
    network = make(setting).to(memory_format=memory_format)
    images, labels = map(torch.from_numpy, samples(setting))
    images = images.to(memory_format=memory_format)
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


class OurStep:
    """One step of the engine and the optimiser, with masks and their decisions if `masked`."""

    def __init__(
        self,
        setting: Setting,
        threads: int,
        *,
        model: onnx.ModelProto | None = None,
        rewrites: bool = True,
        masked: bool = False,
    ) -> None:
        model = export(make(setting), setting) if model is None else model
        images, labels = samples(setting)
        size = setting.batch // threads
        units = discover_units(graph := read_graph(model), trace(graph)) if masked else None
        view = build_view(model, {"image": (size, *setting.image)}, units=units, batch_norm="train")
        loss = CrossEntropy((size, CLASSES))
        loss.attach(view)
        self._engine = OrtEngine(view, optimizer=OPTIMIZER, threads=1, shards=threads, rewrites=rewrites)
        self._feeds = {"image": images, **loss.feeds(Batch({}, labels))}
        self._masks = None if units is None else _Masks(units, self._engine)
        self.decision_seconds: list[float] = []

    @property
    def num_units(self) -> int:
        """Units that masks switch."""
        return 0 if self._masks is None else self._masks.units.num_units

    def __call__(self) -> None:
        """Take the step."""
        if self._masks is not None:
            self._feeds[MASK_INPUT] = np.append(self._masks.mask, True).astype(np.float32)
        self._engine.step([self._feeds], LEARNING_RATE)
        if self._masks is not None:
            started = time.perf_counter()
            self._masks.decide()
            self.decision_seconds.append(time.perf_counter() - started)


class _Masks:
    """The DNS-CP method in the middle of a run."""

    def __init__(self, units: Units, engine: OrtEngine) -> None:
        self.units = units
        self._engine = engine
        self._method = DnsCp(units, Budget(units, channels(CostInputs(units)), RATIO), np.random.default_rng(0))
        self.mask: Mask = self._method.first_mask(engine.parameters)
        self._step = NUM_STEPS // 4

    def decide(self) -> None:
        """The mask of the next step."""
        self._step += 1
        self.mask = self._method.after_step(StepState(self._step, NUM_STEPS, self.mask, self._engine.parameters))


@click.group()
def main() -> None:
    """Measure training steps."""


@main.command("compare")
@click.option("--networks", "names", default=",".join(COMPARED), show_default=True)
@click.option("--threads", default=2, show_default=True, help="Cores of both; ours cuts the batch into so many parts.")
@click.option("--rounds", default=11, show_default=True, help="Steps of each.")
@click.option("--rewrites/--no-rewrites", default=True, help="Whether our gradient graph is rewritten for speed.")
def compare_command(names: str, threads: int, rounds: int, rewrites: bool) -> None:
    """Take turns with PyTorch, whose better memory format counts."""
    torch.set_num_threads(threads)
    print(
        "| network | batch | ours images/s | "
        f"PyTorch {torch.__version__} images/s | format | ratio | ratio of CPU time |"
    )
    print("|---|---|---|---|---|---|---|")
    formats = {"NCHW": torch.contiguous_format, "channels last": torch.channels_last}
    for name in names.split(","):
        setting = SETTINGS[name]
        theirs = {label: torch_step(setting, memory_format) for label, memory_format in formats.items()}
        ours = OurStep(setting, threads, rewrites=rewrites)
        walls, cpus = _take_turns([ours, *theirs.values()], rounds)
        best = min(range(1, len(walls)), key=walls.__getitem__)
        print(
            f"| {name} | {setting.batch} | {setting.batch / walls[0]:.1f} | {setting.batch / walls[best]:.1f} "
            f"| {list(theirs)[best - 1]} | {walls[best] / walls[0]:.2f} | {cpus[best] / cpus[0]:.2f} |",
            flush=True,
        )


@main.command("rewrites")
@click.option("--networks", "names", default=",".join(COMPARED), show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=11, show_default=True)
def rewrites_command(names: str, threads: int, rounds: int) -> None:
    """The engine with its rewrites beside the engine without."""
    print("| network | batch | images/s | without rewrites | ratio |")
    print("|---|---|---|---|---|")
    for name in names.split(","):
        setting = SETTINGS[name]
        steps = [OurStep(setting, threads, rewrites=rewrites) for rewrites in (True, False)]
        walls, _ = _take_turns(steps, rounds)
        rates = " | ".join(f"{setting.batch / wall:.1f}" for wall in walls)
        print(f"| {name} | {setting.batch} | {rates} | {walls[1] / walls[0]:.2f} |", flush=True)


@main.command("masks")
@click.option("--networks", "names", default="resnet20,wide", show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=11, show_default=True)
def masks_command(names: str, threads: int, rounds: int) -> None:
    """What masks cost: products in the graph, statistics, thresholds and draws."""
    print("| network | units | step ms | with masks ms | of which decisions ms | share |")
    print("|---|---|---|---|---|---|")
    for name in names.split(","):
        setting = SETTINGS[name]
        make_step = partial(OurStep, setting, threads)
        masked = make_step(masked=True)
        (plain, with_masks), _ = _take_turns([make_step(), masked], rounds)
        decisions = statistics.median(masked.decision_seconds)
        print(
            f"| {name} | {masked.num_units} | {1000 * plain:.1f} | {1000 * with_masks:.1f} | {1000 * decisions:.2f} "
            f"| {100 * (1 - plain / with_masks):.1f} % |",
            flush=True,
        )


class _DistilledStep:
    """One step of self-distillation of the engine and the optimiser, the teacher included."""

    def __init__(self, setting: Setting, threads: int, *, cached: bool) -> None:
        model = export(make(setting), setting)
        data = Dataset(ArraySamples({"image": samples(setting)[0]}), False, "random images")
        size = setting.batch // threads
        kept = CachedTeacher(model, data, setting.batch, threads) if cached else LiveTeacher(model, threads)
        self._loss = Distillation(kept, next(data.batches(size)))
        view = build_view(model, {"image": (size, *setting.image)}, batch_norm="train")
        self._loss.attach(view)
        self._engine = OrtEngine(view, optimizer=OPTIMIZER, threads=1, shards=threads)
        self._batch = next(data.batches(setting.batch))

    def __call__(self) -> None:
        """Take the step."""
        self._engine.step([{**self._batch.inputs, **self._loss.feeds(self._batch)}], LEARNING_RATE)


@main.command("teacher")
@click.option("--networks", "names", default="resnet20,mobilenetv2", show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=11, show_default=True)
def teacher_command(names: str, threads: int, rounds: int) -> None:
    """What the teacher of self-distillation costs, and what `--cache-teacher` saves."""
    print("| network | batch | step ms | with cached teacher ms | saved | saved CPU time |")
    print("|---|---|---|---|---|---|")
    for name in names.split(","):
        setting = SETTINGS[name]
        steps = [_DistilledStep(setting, threads, cached=cached) for cached in (False, True)]
        walls, cpus = _take_turns(steps, rounds)
        print(
            f"| {name} | {setting.batch} | {1000 * walls[0]:.1f} | {1000 * walls[1]:.1f} "
            f"| {100 * (1 - walls[1] / walls[0]):.1f} % | {100 * (1 - cpus[1] / cpus[0]):.1f} % |",
            flush=True,
        )


@main.command("pruned")
@click.option("--networks", "names", default="resnet20,vgg,bottleneck", show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=11, show_default=True)
def pruned_command(names: str, threads: int, rounds: int) -> None:
    """How much faster a network fine-tunes with half of its MACs, by what kept counts are multiples of."""
    print("| network | multiple of | MACs left | step ms | share of the original's time | of its CPU time |")
    print("|---|---|---|---|---|---|")
    for name in names.split(","):
        setting = SETTINGS[name]
        whole = export(make(setting), setting)
        pruned = [_half(whole, align) for align in ALIGNS]
        steps = [OurStep(setting, threads, model=model) for model in (whole, *(model for model, _ in pruned))]
        (original, *walls), (original_cpu, *cpus) = _take_turns(steps, rounds)
        for align, (_, left), wall, cpu in zip(ALIGNS, pruned, walls, cpus, strict=True):
            print(
                f"| {name} | {align} | {left:.2f} | {1000 * wall:.1f} | {wall / original:.2f} "
                f"| {cpu / original_cpu:.2f} |",
                flush=True,
            )


def _half(model: onnx.ModelProto, align: int) -> tuple[onnx.ModelProto, float]:
    """The model without half of its MACs, and the share of them that is left."""
    graph = read_graph(model)
    units = discover_units(graph, trace(graph))
    budget = Budget(units, macs(CostInputs(units)), RATIO, align=align)
    mask = one_shot(units, budget, graph.stored)
    return apply_cuts(model, units, plan_cuts(units, mask)), 1 - budget.ratio(mask)


@main.command("memory")
@click.option("--networks", "names", default="resnet20,vgg,mobilenetv2", show_default=True)
@click.option("--threads", default=2, show_default=True)
def memory_command(names: str, threads: int) -> None:
    """What steps add to a process at their peak, by batch size; reads Linux's /proc."""
    print("| network | batch | MiB |")
    print("|---|---|---|")
    for name in names.split(","):
        for factor in (1, 2, 4):
            setting = replace(SETTINGS[name], batch=SETTINGS[name].batch * factor // 2)
            added = in_process(_send_peak, (setting, threads), MEMORY_SECONDS)
            print(f"| {name} | {setting.batch} | {added['mebibytes']:.0f} |", flush=True)


def _send_peak(answer: Connection, setting: Setting, threads: int) -> None:
    """Send what three steps add; what a process of its own runs."""
    step = OurStep(setting, threads)
    before = _mebibytes("VmRSS")
    for _ in range(3):
        step()
    answer.send({"mebibytes": _mebibytes("VmHWM") - before})


def _mebibytes(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)[field].split()[0]) / 1024


def _take_turns(steps: Sequence[Step], rounds: int) -> tuple[list[float], list[float]]:
    """Median seconds, and median CPU seconds of this process, of every step; two warm-ups each."""
    walls: list[list[float]] = [[] for _ in steps]
    cpus: list[list[float]] = [[] for _ in steps]
    for turn in range(-2, rounds):
        for step, wall, cpu in zip(steps, walls, cpus, strict=True):
            started, started_cpu = time.perf_counter(), time.process_time()
            step()
            if turn >= 0:
                wall.append(time.perf_counter() - started)
                cpu.append(time.process_time() - started_cpu)
    return [statistics.median(w) for w in walls], [statistics.median(c) for c in cpus]


if __name__ == "__main__":
    main()
