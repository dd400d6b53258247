"""Runs whose reports are tested: a small real one, one of a hostile model, and made-up ones of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

import onnx_dnscp
from onnx_dnscp.report.record import RunFiles
from onnx_dnscp.runs.inspection import GroupReport, Inspection, LockedReport
from onnx_dnscp.runs.run_directory import RunLog, RunRecord
from onnx_dnscp.training.loop import moving_steps
from onnx_dnscp.training.method import MaskEvent, MaskHistory
from onnx_dnscp.training.progress import Progress

MODELS = Path(__file__).parents[1] / "models"
# Six steps in each phase, with masks that come back.
SMALL_RUN: dict[str, Any] = {
    "epochs": 2, "finetune_epochs": 2, "batch_size": 16, "learning_rate": 0.5, "c_rate": 0.0, "seed": 3, "threads": 1,
    "loss": "cross-entropy", "repair": False,
}  # fmt: skip
BAD_NAME = '</script><img src=x onerror="window.hacked=1">&amp;\u202e'


def small_run(folder: Path) -> Path:
    """The run directory of a short training of the digits network; its model and data lie elsewhere."""
    with np.load(MODELS / "digits-train.npz") as arrays:
        np.savez(folder / "few.npz", image=arrays["image"][:48], labels=arrays["labels"][:48])
    few = folder / "few.npz"
    resnet, result, run = MODELS / "digits-resnet.onnx", folder / "out.onnx", folder / "run"
    onnx_dnscp.prune(resnet, result, run_dir=run, data=few, test_data=few, **SMALL_RUN)
    return run


def hostile_run(model: onnx.ModelProto, folder: Path) -> Path:
    """The run directory of a model whose nodes, tensors and file have names that would like to be HTML."""
    names: dict[str, str] = {}
    for node in model.graph.node:
        node.name = f"{BAD_NAME}{node.name}"
        for names_of in (node.input, node.output):
            for i, name in enumerate(names_of):
                if name not in ("image", "logits"):
                    names_of[i] = names.setdefault(name, f"<b onclick='hacked()'>{name}")
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    path = folder / "<i>it's ${7*7} {{7*7}}.onnx"
    path.write_bytes(model.SerializeToString())
    onnx_dnscp.prune(path, folder / "out.onnx", run_dir=folder / "run", train=False)
    return folder / "run"


def chain(num_groups: int, *, width: int = 64, skip: int = 1, steps: int = 200, loss: float = 0.5) -> RunFiles:
    """An unfinished run of a network whose n-th layer makes group n and reads the `skip` groups before it."""
    layers = [f"stage{n // 10}.block{n % 10}.a_rather_long_name_as_exporters_like_them.conv" for n in range(num_groups)]
    readers = {n: [*layers[n + 1 : n + 1 + skip], "head"][: max(1, skip)] for n in range(num_groups)}
    groups = [
        GroupReport(
            id=n,
            width=width,
            excluded=0,
            consumers=readers[n],
            producers=[layers[n]],
            params_share=1 / (n + 1),
            macs_share=n / num_groups,
        )
        for n in range(num_groups)
    ]
    reason = "the operator NonMaxSuppression at node 'boxes' has no rule and sees every channel"
    locked = LockedReport(width=10, tensors=["head.weight"], reasons=[reason], consumers=[], producers=["head"])
    inspection = Inspection(
        model="chain.onnx", sha256="0", params=10**6, macs=10**8, prunable_channels=num_groups * width,
        locked_channels=10, convolution_channels=num_groups * width, prunable_convolution_channels=num_groups * width,
        groups=groups, locked=[locked], weight_nodes=[*layers, "head"],
    )  # fmt: skip
    record = RunRecord(model=Path("/m/chain.onnx"), model_sha256="0", output=Path("/m/out.onnx"), fingerprints={})
    log = RunLog(
        [Progress("train", s, steps, loss, s / steps / 2, 0, 1.0, 0.1, 1.0) for s in range(1, steps + 1)],
        _history(num_groups, width, steps),
    )
    return RunFiles(record, inspection, None, log, None)


def _history(num_groups: int, width: int, steps: int) -> MaskHistory:
    """Channels that fall at random every seventh step, sometimes come back, and are settled in the end."""
    rng = np.random.default_rng(0)
    settled = moving_steps(steps)
    events = []
    for group in range(num_groups):
        mask = np.ones(width, dtype=bool)
        for step in (*range(0, settled, 7), settled):
            turned = rng.random(width) < np.where(mask, 0.03, 0.02)
            fell, back = (tuple(map(int, np.flatnonzero(turned & side))) for side in (mask, ~mask))
            if fell or back:
                events.append(MaskEvent(step, group, fell, back, settling=step == settled))
            mask ^= turned
    return MaskHistory(sorted(events, key=lambda event: event.step))
