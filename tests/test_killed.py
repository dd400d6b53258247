"""Runs that are killed at moments that nobody chose; `benchmarks/kill.py` does the same for longer."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "kill.py"


@pytest.mark.needs_training
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_run_can_be_killed_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run within the write of a checkpoint, one after a random share of its time, one twice; all end alike."""
    specification = importlib.util.spec_from_file_location("kill", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "kill", script)  # dataclasses look it up
    specification.loader.exec_module(script)
    outcomes = script.kill(tmp_path, kills=2, writes=1, lives=2, samples=128, threads=1, seed=0)
    assert len(outcomes) == 3
    assert all(outcome.same_file and outcome.difference == 0 for outcome in outcomes), outcomes
