"""Runs that are killed at moments that nobody chose; `kill.py` does the same for longer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.mark.needs_training
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_run_can_be_killed_at_any_moment(tmp_path: Path) -> None:
    """One run within the write of a checkpoint, one after a random share of its time, one twice; all end alike."""
    from kill import kill  # needs what Windows has not

    outcomes = kill(tmp_path, kills=2, writes=1, lives=2, samples=128, threads=1, seed=0)
    assert len(outcomes) == 3
    assert all(outcome.same_file and outcome.difference == 0 for outcome in outcomes), outcomes
