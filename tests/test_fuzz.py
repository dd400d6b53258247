"""Damaged files: what the fuzzer in `fuzzing/` has found stays found, and a little of it runs here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fuzzing.damaged_models import damaged_model, seed_models
from fuzzing.worker import GOOD, KINDS, Worker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnx_dnscp.cli.main import run
from onnx_dnscp.errors import ModelError
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.load import load_model

HERE = Path(__file__).parent
FOUND = sorted((HERE / "fuzz").glob("*.onnx"))
# Files on which ONNX Runtime 1.19 ends its process; other versions may refuse or run them.
CRASHES = [path for path in FOUND if path.name.startswith("crash")]
MODEL = ModelError.exit_code
CASES_PER_KIND = {"model": 25, "plan": 6, "config": 6, "data": 12}


@pytest.fixture(scope="module")
def seeds() -> list[onnx.ModelProto]:
    return seed_models()


@pytest.mark.parametrize("path", [p for p in FOUND if p not in CRASHES], ids=lambda path: path.stem)
def test_what_was_found_is_refused_with_a_sentence(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each of these ended in an unexpected exception, or did not end; a few are odd and no more."""
    refused = not path.name.startswith("accepted")
    assert run(["inspect", str(path)]) == (MODEL if refused else 0)
    assert capfd.readouterr().err.count("Error: ") == refused


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork, so nobody watches there")
@pytest.mark.parametrize("path", CRASHES[:1], ids=lambda path: path.stem)
def test_a_file_that_crashes_the_runtime_ends_with_a_sentence(path: Path) -> None:
    command = [sys.executable, "-m", "onnx_dnscp", "inspect", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, MODEL)
    assert done.stderr.count("Error: ") == (done.returncode == MODEL)


@pytest.mark.no_cover
@settings(max_examples=100, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(number=st.integers(0, 2**32))
def test_a_damaged_model_is_read_or_refused(
    number: int, seeds: list[onnx.ModelProto], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Before the runtime sees it: any other exception is a bug."""
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(damaged_model(seeds, np.random.default_rng(number))[0])
    said = "It is read."
    try:
        assert read_graph(load_model(path).proto).nodes
    except ModelError as error:
        said = str(error)
    assert said.endswith(".")


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_damaged_files_of_each_kind(kind: str) -> None:
    """Through the whole command line, in a process that may crash with the runtime but not otherwise."""
    if kind == "data":
        pytest.importorskip("pyarrow")
    worker = Worker()
    rows: list[dict[str, Any]] = [worker.judge(kind, number, 1) for number in range(CASES_PER_KIND[kind])]
    worker.close()
    allowed = (*GOOD, "crash") if kind == "model" else GOOD
    assert [row for row in rows if row["outcome"] not in allowed] == []
    assert "refused" in {row["outcome"] for row in rows}
