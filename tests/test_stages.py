"""Stages take a value and give a value; a run is a recipe of them, in one round or several."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cases import CASES, Case
from disturbed import OPTIONS, RESNET, Result, spelled
from mask_samples import some_masks, units_of
from toy_methods import GATED, GATES, in_rounds, registered

import onnx_dnscp
from models import assert_same, inputs_at, load, run, stored_arrays
from onnx_dnscp.data.synthetic import synthetic_dataset
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.masks.methods import METHODS
from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.runs.keeper import Keeper, Opening
from onnx_dnscp.runs.options import PruneOptions
from onnx_dnscp.runs.run_directory import RunDirectory, RunRecord
from onnx_dnscp.stages.job import Job, make_budget
from onnx_dnscp.stages.part import Part, budget_of, part_of
from onnx_dnscp.stages.pruning import Pruning
from onnx_dnscp.stages.recipe import make_recipe, run_stages, trained
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import plan_cuts
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.training.stage import StageId

ROUNDING = 1e-5
KILLED = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[2])
from onnx_dnscp.masks.methods import METHODS
from onnx_dnscp.measure import latency
from onnx_dnscp.training.optimizers import Optimizer
from toy_methods import GATED, in_rounds

METHODS["rounds"], METHODS["gated"] = in_rounds("dnscp", 2), GATED
latency.ROUNDS, latency.SECONDS_PER_RUN = 1, 0.001
real, left = Optimizer.update, [int(sys.argv[3])]

def deadly(*arguments):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)

Optimizer.update = deadly
from onnx_dnscp.cli.main import main
main(json.loads(sys.argv[1]))
"""


def job_for(model: onnx.ModelProto, **settings: Any) -> tuple[Job, Keeper]:
    """What stages need, with no file anywhere."""
    loaded = load(model)
    options = PruneOptions(threads=1, batch_size=16, epochs=1, finetune_epochs=1, **settings)
    units = discover(loaded)
    data = synthetic_dataset(units.graph, units.trace.shapes_of(units.graph.inputs), 0) if options.train else None
    job = Job(loaded, units, make_budget(units, options), data, None, None, options)
    record = RunRecord(model=Path("m"), model_sha256="", output=Path("o"), fingerprints={}, **dict(options))
    return job, Keeper(Opening(record, loaded, units), None, Path("nowhere"), lambda progress: None)


def test_stages_need_no_files_and_leave_their_input_as_it_was(tiny_model: onnx.ModelProto) -> None:
    """Without training: choose, then cut. Every stage gives a new value."""
    job, keeper = job_for(tiny_model, train=False, ratio=0.5)
    before = tiny_model.SerializeToString()
    begun = Pruning.begin(job.loaded.proto, job.units, ("first",))
    choose, cut = make_recipe(job)
    chosen = choose.carry_out(begun, job, keeper)
    assert begun.mask.all()
    assert begun.checked is None
    assert job.budget.ratio(chosen.mask) >= 0.5
    assert chosen.is_whole
    done = cut.carry_out(chosen, job, keeper)
    assert done.checked is not None
    assert done.notes == ("first",)
    assert not done.is_whole
    feeds = inputs_at(tiny_model, 2, 8)
    assert_same(run(done.model, feeds), run(mask_model(tiny_model, job.units, done.mask), feeds), tol=ROUNDING)
    assert tiny_model.SerializeToString() == before


@pytest.mark.needs_training
def test_two_rounds_end_at_the_target_with_a_checked_model(
    tiny_model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second round works on what the first has left, and counts in the original."""
    monkeypatch.setattr("onnx_dnscp.data.synthetic.NUM_SAMPLES", 64)
    with registered("rounds", in_rounds("dnscp", 2)):
        job, keeper = job_for(tiny_model, ratio=0.5, method="rounds")
        recipe = make_recipe(job)
        names = ["train", "cut", "fine-tune", "train-2", "cut-2", "fine-tune-2"]
        assert [str(stage.id) for stage in recipe] == names
        outcome = run_stages(recipe, Pruning.begin(job.loaded.proto, job.units), job, keeper)
    pruning = outcome.pruning
    assert pruning.checked is not None
    assert 0.5 <= job.budget.ratio(pruning.mask) < 0.5 + 1 / job.units.num_units
    assert list(keeper.states) == list(trained(recipe))
    first = [event for event in keeper.log.history.events if event.round == 1]
    assert first, "the first round removes something"
    assert len(first) < len(keeper.log.history.events), "and so does the second"
    gone = np.ones(job.units.num_units, dtype=bool)
    for event in keeper.log.history.events:
        start = job.units.groups[event.group].first
        gone[[start + unit for unit in event.dropped]] = False
        gone[[start + unit for unit in event.recovered]] = True
    np.testing.assert_array_equal(gone, pruning.mask, "events count units of the original")
    phases = [step.phase for step in keeper.log.steps]
    assert list(dict.fromkeys(phases)) == ["train", "fine-tune", "train-2", "fine-tune-2"]
    rates = [step.learning_rate for step in keeper.log.steps]
    assert rates == sorted(rates, reverse=True), "one cosine over all rounds"


@pytest.mark.parametrize("case", [case for case in CASES if case.widths], ids=str)
def test_a_cut_network_is_known_as_part_of_the_original(case: Case) -> None:
    """Cutting twice is cutting once by the lifted mask; what cannot be told apart stays."""
    whole = units_of(case)
    job, _ = job_for(case.model, train=False, ratio=0.0)
    for seed, first in enumerate(some_masks(whole)):
        cut = apply_cuts(case.model, whole, plan_cuts(whole, first))
        part = part_of(job, replace(Pruning.begin(case.model, whole), model=cut, mask=first))
        assert (part.lift(np.ones(part.units.num_units, dtype=bool)) == first).all()
        if not part.units.num_units:
            continue
        second = _second_mask(part, seed)
        twice = apply_cuts(cut, part.units, plan_cuts(part.units, second))
        once = apply_cuts(case.model, whole, plan_cuts(whole, part.lift(second)))
        arrays = stored_arrays(once)
        for name, value in stored_arrays(twice).items():
            if value.dtype.kind == "f" and name in arrays:
                np.testing.assert_array_equal(value, arrays[name], name)


def _second_mask(part: Part, seed: int) -> Mask:
    """A random one that leaves no group empty and what is frozen alone."""
    rng = np.random.default_rng(seed)
    units: Units = part.units
    mask = (rng.random(units.num_units) < 0.6) | part.frozen
    mask[[group.first for group in units.groups]] = True
    return np.asarray(mask)


def test_the_budget_of_a_later_round_counts_in_the_original(tiny_model: onnx.ModelProto) -> None:
    """What is gone already counts; half of the rest is not half of the network."""
    job, _ = job_for(tiny_model, train=False, ratio=0.5, metric="params", align=1)
    units = job.units
    first = np.ones(units.num_units, dtype=bool)
    first[units.groups[0].first] = False
    cut = apply_cuts(tiny_model, units, plan_cuts(units, first))
    part = part_of(job, replace(Pruning.begin(tiny_model, units), model=cut, mask=first))
    budget = budget_of(job, part, 0.4)
    everything = np.ones(part.units.num_units, dtype=bool)
    assert budget.ratio(everything) == job.budget.ratio(first) > 0
    mask = budget.final_mask(np.arange(part.units.num_units, dtype=float))
    assert budget.ratio(mask) == job.budget.ratio(part.lift(mask)) >= 0.4


def test_what_the_user_excludes_stays_in_every_round(tiny_model: onnx.ModelProto) -> None:
    """Channels that the head reads are frozen in the second round, too, and do not count."""
    job, _ = job_for(tiny_model, train=False, ratio=0.5, metric="channels", exclude=("head",))
    units = job.units
    [kept] = [group for group in units.groups if "head" in group.consumers]
    [other] = [group for group in units.groups if group is not kept]
    first = np.ones(units.num_units, dtype=bool)
    first[other.first] = False
    cut = apply_cuts(tiny_model, units, plan_cuts(units, first))
    part = part_of(job, replace(Pruning.begin(tiny_model, units), model=cut, mask=first))
    assert part.frozen.sum() == kept.width
    mask = part.lift(budget_of(job, part, 0.5).final_mask(np.arange(part.units.num_units, dtype=float)))
    assert mask[kept.slice].all()
    assert (~mask[other.slice]).sum() == other.width // 2


# --- from the command line --------------------------------------------------------------------------------------------


def command(method: str, folder: Path, data: Path) -> list[str]:
    options = {**OPTIONS, "metric": "channels", "align": 1}
    call = ["prune", str(RESNET), "-o", str(folder / "out.onnx"), f"--data={data}", f"--method={method}"]
    return [*call, *spelled(options), "--run-dir", str(folder / "run")]


@pytest.fixture(scope="module")
def known_methods() -> Any:
    """The toy methods, known by name."""
    with registered("rounds", in_rounds("dnscp", 2)), registered("gated", GATED):
        yield METHODS


# Six updates of each phase, or three where there are two rounds.
@pytest.mark.needs_training
@pytest.mark.parametrize(("method", "count"), [("rounds", 5), ("rounds", 9), ("rounds", 12), ("gated", 4)])
def test_a_killed_run_of_several_rounds_or_own_parameters_ends_like_an_undisturbed_one(
    method: str, count: int, few_digits: Path, tmp_path: Path, known_methods: Any
) -> None:
    """In fine-tuning, in the second round's masked training and fine-tuning; with gates of the method's own."""
    whole = tmp_path / "whole"
    whole.mkdir()
    settings = {**OPTIONS, "metric": "channels", "align": 1, "method": method}
    onnx_dnscp.prune(RESNET, whole / "out.onnx", data=few_digits, run_dir=whole / "run", **settings)
    arguments = [json.dumps(command(method, tmp_path, few_digits)), str(Path(__file__).parent), str(count)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    onnx_dnscp.resume(tmp_path / "run")
    Result(tmp_path).assert_same(Result(whole))


@pytest.mark.needs_training
def test_gates_of_a_method_are_learned_and_melted_into_the_file(
    few_digits: Path, tmp_path: Path, known_methods: Any
) -> None:
    """They move, they decide, and what is saved is verified against the masked model that has them in its weights."""
    report = onnx_dnscp.prune(
        RESNET, tmp_path / "out.onnx", data=few_digits, run_dir=tmp_path / "run", epochs=2, finetune_epochs=0,
        method="gated", ratio=0.3, metric="channels", batch_size=16, learning_rate=0.05, threads=1,
        loss="cross-entropy", repair=False,
    )  # fmt: skip
    assert report.ratio >= 0.3
    assert report.max_relative_error <= report.tolerance
    stored = {tensor.name for tensor in onnx.load(tmp_path / "out.onnx").graph.initializer}
    assert stored <= {tensor.name for tensor in onnx.load(RESNET).graph.initializer}, "no gate is in the file"
    assert GATES in {value.name for value in onnx.load(tmp_path / "run/artifacts/training_model.onnx").graph.input}


def test_a_run_removes_its_own_checkpoints_only(tmp_path: Path) -> None:
    """What else lies in the folder is somebody's."""
    with RunDirectory.new(tmp_path / "run") as directory:
        theirs = [directory.path / name for name in ("data.npz", "train-set.npz", "train.npz.bak")]
        for path in (*theirs, *(directory.path / name for name in ("train.npz", "fine-tune-2.unproven.npz"))):
            path.write_bytes(b"")
        directory.close(b"{}")
        left = {path for path in directory.path.iterdir() if not path.name.startswith(".")}
        assert left == {*theirs, directory.path / "report.json"}


def test_the_first_round_has_the_names_that_runs_of_one_round_have() -> None:
    """Checkpoints and lines of the log are called by the kind alone."""
    assert [str(StageId(1, "train")), str(StageId(2, "fine-tune"))] == ["train", "fine-tune-2"]
