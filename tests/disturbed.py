"""Runs that somebody disturbs: what they are asked for, and what they leave behind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parents[1] / "models"
RESNET = MODELS / "digits-resnet.onnx"
STEPS = 6  # of each phase
# Everything that has a state: momentum, moving masks that come back, warm-up, accumulated batches, running statistics.
OPTIONS: dict[str, Any] = {
    "ratio": 0.5, "epochs": 2, "finetune_epochs": 2, "batch_size": 8, "accumulate": 2, "lr": 0.5,
    "c_rate": 0.0, "warmup": 2, "clip": 5.0, "seed": 3, "threads": 1, "checkpoint_every": 2, "gamma": 0.2,
    "loss": "cross-entropy",
}  # fmt: skip


def spelled(options: Mapping[str, Any]) -> list[str]:
    """Options as the command line says them."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]


class Result:
    """What a run left behind."""

    def __init__(self, folder: Path) -> None:
        self.model = (folder / "out.onnx").read_bytes()
        rows = [json.loads(line) for line in (folder / "run" / "steps.jsonl").read_text().splitlines()]
        self.steps = [{key: value for key, value in row.items() if key != "seconds_left"} for row in rows]
        self.masks = (folder / "run" / "masks.jsonl").read_text()
        self.plan = (folder / "run" / "plan.json").read_text()

    def assert_same(self, other: Result) -> None:
        """Every step, every drop and recovery, the plan, and the file byte for byte."""
        assert self.steps == other.steps
        assert self.masks == other.masks
        assert self.plan == other.plan
        assert self.model == other.model
