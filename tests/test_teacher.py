"""The teacher of self-distillation: asked at every step or once for all samples, it says the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import onnx_dnscp
from models import filled
from onnx_dnscp.data.arrays import ArraySamples
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.errors import RequestError
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.runs.options import PruneOptions
from onnx_dnscp.training.losses import teacher as teacher_module
from onnx_dnscp.training.losses.teacher import CachedTeacher, LiveTeacher
from onnx_dnscp.training.setup import Trainer

COUNT, BATCH = 10, 4  # the last batch of a pass over the data is a half one
TAPS = ["y", "rows"]
# One output per sample, and one with several rows per sample, as detectors have.
NET = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[{batch}, 2, 6, 6] x) => (float[{batch}, 3] y, float[R, 4] rows) <float[4, 2, 3, 3] w, float[3, 4] v> {{
  a = Conv(x, w)  r = Relu(a)  p = GlobalAveragePool(r)  f = Flatten(p)  y = Gemm<transB = 1>(f, v)
  t = Transpose<perm = [0, 2, 3, 1]>(a)  s = Constant<value_ints = [-1, 4]>()  rows = Reshape(t, s) }}"""


def network(batch: int | str = "N") -> onnx.ModelProto:
    return filled(NET.format(batch=batch))


def dataset() -> Dataset:
    values = np.random.default_rng(0).standard_normal((COUNT, 2, 6, 6)).astype(np.float32)
    return Dataset(ArraySamples({"x": values}), False, "numbers")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Samples of every run of a model so far."""
    seen: list[int] = []
    real = Session.run

    def counted(self: Session, feeds: Any, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        seen.append(len(next(iter(feeds.values()))))
        return real(self, feeds, outputs)

    monkeypatch.setattr(Session, "run", counted)
    return seen


@pytest.mark.parametrize("fixed", [False, True], ids=["any batch", "fixed batch"])
def test_cached_answers_are_those_of_the_model(fixed: bool) -> None:
    """Bit by bit on one thread, in any order of samples; a model of fixed batch size gets its last batch filled up."""
    model, data = network(BATCH if fixed else "N"), dataset()
    live, cached = LiveTeacher(model, 1), CachedTeacher(model, data, BATCH, 1)
    for batch in islice(data.training_batches(BATCH, seed=1), 6):
        expected, found = live.answers(batch, TAPS), cached.answers(batch, TAPS)
        assert found["rows"].shape == (BATCH * 16, 4)
        for tap in TAPS:
            np.testing.assert_array_equal(found[tap], expected[tap], strict=True)


def test_the_model_runs_once_over_the_data_however_long_training_takes(runs: list[int]) -> None:
    """Three batches, and samples of the first one mixed; batches of another size are looked up as well."""
    data = dataset()
    cached = CachedTeacher(network(), data, BATCH)
    for size in (BATCH, 2):
        for batch in islice(data.training_batches(size, seed=1), 8):
            assert cached.answers(batch, ["y"])["y"].shape == (size, 3)
    assert runs == [BATCH] * 4


@pytest.mark.parametrize(
    "output",
    ["z = Transpose<perm = [1, 0]>(y)", "k = ReduceMean<axes = [0], keepdims = 1>(y)  z = Sub(y, k)"],
    ids=["samples on the second axis", "less the mean over the batch"],
)
def test_what_depends_on_the_rest_of_the_batch_is_refused(output: str) -> None:
    """Looked up for other batches, it would be wrong."""
    text = NET.replace("float[{batch}, 3] y,", "float[A, B] z,").replace("t = ", f"{output}  t = ")
    model, data = filled(text.format(batch="N")), dataset()
    with pytest.raises(RequestError, match=r"--cache-teacher cannot keep 'z'"):
        CachedTeacher(model, data, BATCH).answers(next(data.training_batches(BATCH, 0)), ["z"])


def test_the_memory_is_said_before_it_is_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """10 samples of 3 and of 16 x 4 float32 are 2680 bytes, and a fifth of what is free is left to training."""
    data = dataset()
    first = next(data.training_batches(BATCH, 0))
    caplog.set_level(logging.INFO, "onnx_dnscp")
    monkeypatch.setattr(teacher_module, "_MIB", 1)  # messages count bytes here
    monkeypatch.setattr(teacher_module, "free_memory", lambda: 3349)
    with pytest.raises(RequestError, match=r"needs 2680\.0 MiB .* 10 samples, and 3349\.0 MiB .* free; leave it out"):
        CachedTeacher(network(), data, BATCH).answers(first, TAPS)
    assert not caplog.records
    monkeypatch.setattr(teacher_module, "free_memory", lambda: 3350)
    CachedTeacher(network(), data, BATCH).answers(first, TAPS)
    assert "10 samples in memory: 2680.0 MiB" in caplog.text


def test_more_than_any_machine_has_is_refused_at_once() -> None:
    """Terabytes, by what the system says of its memory; to allocate them first would be an error of numpy."""

    class Endless:
        def __len__(self) -> int:
            return 10**12

        def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
            return {"x": np.zeros((2, 6, 6), np.float32)}

    data = Dataset(Endless(), False, "endless")
    with pytest.raises(RequestError, match=r"of memory are free; leave it out, or train on fewer samples"):
        CachedTeacher(network(), data, BATCH).answers(next(data.batches(BATCH)), TAPS)


def trainer(data: Dataset, **options: Any) -> Trainer:
    model = network()
    return Trainer(model, read_graph(model), data, ("y", 3), PruneOptions(cache_teacher=True, **options).training)


def test_options_that_leave_nothing_to_keep_are_refused() -> None:
    """Another loss asks no teacher, and samples that are drawn anew have no answers that could be kept."""
    with pytest.raises(RequestError, match=r"for self-distillation, and the loss is cross-entropy; leave it out"):
        trainer(replace(dataset(), has_labels=True), loss="cross-entropy").check()
    with pytest.raises(RequestError, match=r"those of '.*' are drawn anew every time they are read; leave it out"):
        trainer(replace(dataset(), fixed=False)).check()
    trainer(dataset()).check()


@pytest.mark.needs_training
@pytest.mark.parametrize("kind", ["digits in shards", "made-up inputs, accumulated"])
def test_a_run_ends_with_the_same_file(kind: str, tiny_path: Path, tmp_path: Path, runs: list[int]) -> None:
    """Byte by byte on one thread; and the original is not run for the second phase again."""
    settings: dict[str, Any] = {"epochs": 1, "finetune_epochs": 2, "threads": 1, "loss": "distill", "batch_size": 64}
    if kind == "digits in shards":
        settings |= {"threads": 2, "data": tmp_path / "few.npz"}
        images = np.random.default_rng(0).random((200, 1, 8, 8), dtype=np.float32)
        np.savez(tmp_path / "few.npz", image=images)
    else:
        settings |= {"accumulate": 2}
    results, counts = [], []
    for cached in (False, True):
        runs.clear()
        onnx_dnscp.prune(tiny_path, tmp_path / "out.onnx", cache_teacher=cached, **settings)
        results.append((tmp_path / "out.onnx").read_bytes())
        counts.append(runs.count(64))
    assert results[0] == results[1]
    assert counts[1] < counts[0]


@pytest.mark.needs_training
def test_both_phases_share_the_answers(runs: list[int]) -> None:
    """The second view of a trainer runs nothing but the check of its first batch, which it looks up too."""
    data = dataset()
    shared = trainer(data, batch_size=BATCH, loss="distill")
    shared.view(shared.original)
    after_first = len(runs)
    assert after_first == 4
    _, loss = shared.view(shared.original)
    loss.feeds(next(data.training_batches(BATCH, 3)))
    assert len(runs) == after_first


def test_free_memory_is_a_plausible_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From Linux's own estimate, and from free pages where there is none."""
    from onnx_dnscp.system import memory

    ask: Callable[[], int | None] = memory.free_memory
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemFree: 3 kB\nMemAvailable:   5 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    assert ask() == 5 * 1024
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    monkeypatch.setattr(memory.os, "sysconf", {"SC_AVPHYS_PAGES": 7, "SC_PAGE_SIZE": 4096}.__getitem__, raising=False)
    assert ask() == 7 * 4096
    monkeypatch.delattr(memory.os, "sysconf")
    assert ask() is None
