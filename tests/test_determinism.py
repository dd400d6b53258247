"""The same inputs, seed and number of threads give the same files, byte for byte, in any process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from disturbed import OPTIONS, RESNET, Result, spelled

TIMES = ("seconds", "seconds_training", "seconds_fine_tuning", "speedup")


def report(folder: Path) -> dict[str, Any]:
    """What a run tells, without what the clock told it."""
    told: dict[str, Any] = json.loads((folder / "run" / "report.json").read_text())
    for name in TIMES:
        del told[name]
    for facts in (told["before"], told["after"]):
        del facts["latency_ms"]
    return told


@pytest.mark.needs_training
def test_two_processes_with_the_same_seed_leave_the_same_files(few_digits: Path, tmp_path: Path) -> None:
    """Each orders its sets in another way. The seed is not that of the runs that other tests disturb."""
    folders = [tmp_path / name for name in ("a", "b")]
    for hash_seed, folder in enumerate(folders, 1):
        folder.mkdir()
        # Aligned, because a note on the latency depends on the clock otherwise.
        call = ["prune", str(RESNET), f"--data={few_digits}", *spelled({**OPTIONS, "seed": 8, "align": 2})]
        call += ["--output=out.onnx", "--plan-out=plan.json", "--run-dir=run", "--quiet"]
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
        subprocess.run(
            [sys.executable, "-m", "onnx_dnscp", *call], cwd=folder, env=environment, check=True, timeout=300
        )
    first, second = map(Result, folders)
    first.assert_same(second)
    assert report(folders[0]) == report(folders[1])
    environments = [json.loads((folder / "run" / "environment.json").read_text()) for folder in folders]
    assert {**environments[0], "started": ""} == {**environments[1], "started": ""}
    for name in ("plan.json", "run/inspection.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
    for name in ("training", "eval", "optimizer"):
        assert contents(folders[0], name) == contents(folders[1], name)


def contents(folder: Path, name: str) -> list[list[bytes]]:
    """Parts of an artifact model; onnxruntime-training writes them in the order of a set."""
    graph = onnx.load(folder / "run" / "artifacts" / f"{name}_model.onnx").graph
    parts = (graph.node, graph.initializer, graph.input, graph.output)
    return [sorted(part.SerializeToString(deterministic=True) for part in some) for some in parts]
