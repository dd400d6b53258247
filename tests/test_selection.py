"""What the user wants kept (`--exclude`, `--only`), how counts are rounded (`--align`), and what inspect counts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import onnx
import pytest
from budgets import budget_of
from cases import CASES, Case, case

from models import copied, inputs_at, load, run, stored_arrays
from onnx_dnscp import RequestError, apply, inspect, prune
from onnx_dnscp.cli.main import run as command
from onnx_dnscp.commands.prune import PruneReport
from onnx_dnscp.discovery.choose import frozen_units
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.masks.budget import ALIGN_SLACK
from onnx_dnscp.measure.costs import FAST_BLOCKS
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import plan_cuts

USAGE, REQUEST = 2, 5

SELECTIONS: list[tuple[dict[str, Sequence[str]], list[int]]] = [  # in tiny_model: kept of conv1's 6 and conv2's 4
    ({"exclude": ["conv1"]}, [6, 2]),  # 6 channels that it makes
    ({"exclude": ["head"]}, [3, 4]),  # 4 that it reads
    ({"only": ["conv1"]}, [3, 4]),
    ({"only": ["relu2", "pool"]}, [6, 2]),
    ({"only": ["conv?"], "exclude": ["conv1"]}, [6, 2]),
    ({"only": ["*"]}, [3, 2]),
    ({"only": ["[cr]*1"], "exclude": ["p*"]}, [3, 4]),
]


@pytest.mark.parametrize(("selection", "kept"), SELECTIONS, ids=str)
def test_excluded_channels_stay_byte_for_byte(
    selection: dict[str, Sequence[str]], kept: list[int], tiny_path: Path, tmp_path: Path
) -> None:
    """Half of what may go goes; the plan of the same groups gives the same file."""
    out, plan_path = tmp_path / "out.onnx", tmp_path / "plan.json"
    report = prune(tiny_path, out, plan_out=plan_path, train=False, ratio=0.5, **selection)
    if selection != {"only": ["*"]}:
        assert [group.kept for group in report.groups] == kept
    assert [group.width for group in report.groups] == [6, 4]
    assert report.ratio == 0.5
    before, after = stored_arrays(onnx.load(tiny_path)), stored_arrays(onnx.load(out))
    for name, tensor in before.items():
        if (kept[0] == 6 and name in ("w1", "b1")) or (kept[1] == 4 and name == "w3"):
            assert after[name].tobytes() == tensor.tobytes()
    apply(tiny_path, plan_path, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == out.read_bytes()


def test_excluded_weights_of_a_real_network(resnet_path: Path, tmp_path: Path) -> None:
    """Every stored tensor of an excluded convolution is in the result as it was; the others shrink."""
    model = onnx.load(resnet_path)
    node = next(n for n in model.graph.node if n.op_type == "Conv" and n.name)
    report = prune(resnet_path, tmp_path / "out.onnx", train=False, ratio=0.5, exclude=[node.name])
    before, after = stored_arrays(model), stored_arrays(onnx.load(tmp_path / "out.onnx"))
    assert [after[n].tobytes() for n in node.input[1:]] == [before[n].tobytes() for n in node.input[1:]]
    assert any(before[n].shape != after[n].shape for n in before)
    assert report.ratio == pytest.approx(0.5, abs=0.01)


def test_the_ratio_counts_what_may_go(tiny_path: Path, tmp_path: Path) -> None:
    """3 of conv2's 4 channels are 75 %; more is out of reach, and the message says so."""
    report = prune(tiny_path, tmp_path / "out.onnx", train=False, ratio=0.75, exclude=["conv1"])
    assert [group.kept for group in report.groups] == [6, 1]
    with pytest.raises(RequestError, match=r"Ratio 0\.8 of channels is out of reach: .*at most 0\.75"):
        prune(tiny_path, tmp_path / "more.onnx", train=False, ratio=0.8, exclude=["conv1"])
    report = prune(tiny_path, tmp_path / "macs.onnx", train=False, ratio=0.1, metric="macs", exclude=["conv1"])
    assert report.groups[0].kept == 6
    assert report.ratio >= 0.1


@pytest.mark.parametrize("option", ["--exclude", "--only"])
@pytest.mark.parametrize("name", ["prune", "inspect"])
def test_a_pattern_without_a_match_is_wrong_usage(
    name: str, option: str, tiny_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One sentence with names that would match; nothing is written."""
    extra = ["--no-train", "-o", str(tmp_path / "out.onnx")] if name == "prune" else []
    assert command([name, str(tiny_path), option, "conv*", option, "block*", *extra]) == USAGE
    out, err = capfd.readouterr()
    assert not out
    (sentence,) = [line for line in err.splitlines() if line.startswith("Error:")]
    assert f"{option} 'block*' matches no node" in sentence
    assert "'conv2' and 'head'" in sentence
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("patterns", [["--exclude", "*"], ["--only", "conv1", "--exclude", "conv2"]])
def test_nothing_left_to_prune_cannot_be_met(
    patterns: list[str], tiny_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call = ["prune", str(tiny_path), "--no-train", "-o", str(tmp_path / "out.onnx"), *patterns]
    assert command(call) == REQUEST
    assert "Error: Nothing to prune: --exclude and --only leave no channel" in capfd.readouterr().err
    assert not (tmp_path / "out.onnx").exists()


def test_inspect_shows_what_is_excluded(tiny_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Groups keep their numbers and widths; excluded channels are listed with that reason."""
    whole, part = inspect(tiny_path), inspect(tiny_path, exclude=["conv1"])
    assert [(g.id, g.width, g.excluded) for g in whole.groups] == [(0, 6, 0), (1, 4, 0)]
    assert [(g.id, g.width, g.excluded) for g in part.groups] == [(0, 6, 6), (1, 4, 0)]
    assert (whole.prunable_channels, part.prunable_channels) == (10, 4)
    assert (whole.prunable_convolution_channels, part.prunable_convolution_channels) == (10, 4)
    assert part.locked_channels == whole.locked_channels + 6
    excluded = [entry for entry in part.locked if entry.reasons == ["excluded by the user"]]
    assert [(entry.width, set(entry.tensors)) for entry in excluded] == [(6, {"w1", "b1", "w2"})]
    assert command(["inspect", str(tiny_path), "--only", "head"]) == 0
    assert "4 of 10 convolution channels prunable (4 units in 2 groups)" in capfd.readouterr().out


def test_command_line_and_function_agree(tiny_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Options are repeatable and mean what the keywords mean."""
    call = ["prune", str(tiny_path), "--no-train", "-o", str(tmp_path / "a.onnx"), "--json"]
    assert command([*call, "--only", "conv2", "--only", "pool", "--exclude", "conv1"]) == 0
    said = json.loads(capfd.readouterr().out)
    report = prune(tiny_path, tmp_path / "b.onnx", train=False, only=["conv2", "pool"], exclude=["conv1"])
    assert said["groups"] == [group.model_dump() for group in report.groups]
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.needs_training
def test_training_leaves_excluded_channels_alone(tiny_path: Path, tmp_path: Path) -> None:
    """No excluded channel falls, not even for a while."""
    run_dir = tmp_path / "run"
    report = prune(
        tiny_path, tmp_path / "out.onnx", run_dir=run_dir, exclude=["conv1"], ratio=0.5, epochs=2, finetune_epochs=1,
        batch_size=32, c_rate=0.0,
    )  # fmt: skip
    assert [group.kept for group in report.groups] == [6, 2]
    events = [json.loads(line) for p in run_dir.glob("*.jsonl") for line in p.read_text().splitlines()]
    assert events
    assert {event["group"] for event in events if "group" in event} == {1}


def test_frozen_units_are_those_that_matching_nodes_touch() -> None:
    """For every case and every node: the channels of tensors that it reads or makes, and no others."""
    for chosen in [c for c in CASES if c.widths][::14]:
        units = discover(load(chosen.model))
        for node in units.graph.nodes:
            if not any(node.outputs) or re.search(r"[\[\]*?]", node.label):
                continue
            same = [n for n in units.graph.nodes if fnmatchcase(n.label, node.label)]
            names = {name for n in same for name in (*n.inputs, *n.outputs)}
            expected = {int(u) for name in names for field in units.fields.get(name, ()) for u in field.ravel()} - {-1}
            assert set(np.flatnonzero(frozen_units(units, [node.label])).tolist()) == expected
            assert set(np.flatnonzero(~frozen_units(units, (), [node.label])).tolist()) == expected


# --- rounding ---------------------------------------------------------------------------------------------------------


def wide(width: int) -> Case:
    return case(f"wide-{width}", "Conv", "a = Conv(x, w1) b = Conv(a, w2) y = Conv(b, w3)", (width, width),
                f"float[{width}, 3, 3, 3] w1, float[{width}, {width}, 3, 3] w2, float[2, {width}, 1, 1] w3",
                inputs="float[N, 3, 12, 12] x")  # fmt: skip


@pytest.mark.parametrize(
    ("width", "target", "align"),
    [(64, 0.5, 16), (16, 0.5, 8), (8, 0.5, 4), (4, 0.5, 1), (64, 0.76, 8), (16, 0.7, 4), (64, 0.9, 1), (3, 0.2, 1)],
)
def test_macs_are_met_with_the_largest_fast_count_in_reach(width: int, target: float, align: int) -> None:
    """Worked out from the widths alone: what is left with `align` channels per layer, and 20 % slack."""

    def macs(kept: int) -> float:
        return 100 * 27 * kept + 64 * 9 * kept * kept + 64 * 2 * kept

    reach = {a: 1 - macs(min(a, width)) / macs(width) for a in FAST_BLOCKS}
    expected = next((a for a in FAST_BLOCKS if target <= ALIGN_SLACK * reach[a]), 1)
    assert expected == align
    units = discover(load(wide(width).model))
    assert budget_of(units, "macs", target, align=None).align == align


@pytest.mark.parametrize("metric", ["channels", "params"])
def test_other_metrics_are_met_to_within_one_unit(metric: str, tmp_path: Path) -> None:
    units = discover(load(wide(64).model))
    assert budget_of(units, metric, 0.5, align=None).align == 1


def saved_report(name: str, folder: Path, **settings: object) -> PruneReport:
    models = Path(__file__).parent.parent / "models"
    return prune(models / f"{name}.onnx", folder / "out.onnx", train=False, **settings)


@pytest.mark.parametrize("name", ["digits-resnet", "digits-separable"])
def test_shipped_models_get_fast_counts_for_macs_and_a_note(name: str, tmp_path: Path) -> None:
    """The note says what was done and how to undo it; the target is met all the same."""
    report = saved_report(name, tmp_path, metric="macs", ratio=0.5)
    (note,) = [note for note in report.notes if note.startswith("Groups keep multiples of")]
    found = re.search(r"Groups keep multiples of (\d+) channels.*--align 1", note)
    assert found is not None
    align = int(found[1])
    assert align in FAST_BLOCKS
    assert all(group.kept % align == 0 or group.kept == group.width for group in report.groups)
    assert report.ratio >= 0.5
    for settings in ({"metric": "macs", "align": 1}, {"metric": "channels"}, {"metric": "macs", "align": 8}):
        again = saved_report(name, tmp_path, ratio=0.5, **settings)
        assert not any(note.startswith("Groups keep multiples of") for note in again.notes)


def test_alignment_counts_channels_that_stay_by_wish(tmp_path: Path) -> None:
    """Excluded groups keep everything; the others keep multiples."""
    path = tmp_path / "in.onnx"
    path.write_bytes(wide(64).model.SerializeToString())
    report = prune(path, tmp_path / "out.onnx", train=False, metric="macs", ratio=0.4, only=["a"])
    first, second = report.groups
    assert second.kept == 64
    assert first.kept % 16 == 0
    assert report.ratio >= 0.4


# --- what inspect counts ----------------------------------------------------------------------------------------------


CONVOLUTIONS = ("Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "FusedConv", "DeformConv")
FLAT = [c for c in CASES if 1 not in c.widths and not {"If", "Loop", "Scan"} & {n.op_type for n in c.model.graph.node}]


@pytest.mark.parametrize("chosen", FLAT[::12], ids=str)
def test_convolution_channels_agree_with_a_plain_count(chosen: Case, tmp_path: Path) -> None:
    """Output channels as a run shows them, and how many of them vanish when units are cut one by one."""
    path = tmp_path / "m.onnx"
    path.write_bytes(chosen.model.SerializeToString())
    found, units = inspect(path), discover(load(chosen.model))
    before = channels(chosen.model)
    assert found.convolution_channels == sum(before)
    lost = 0
    for unit in range(units.num_units):
        after = channels(apply_cuts(chosen.model, units, plan_cuts(units, np.arange(units.num_units) != unit)))
        lost += sum(before) - sum(after)
    assert found.prunable_convolution_channels == lost
    names = [t.name for t in chosen.model.graph.initializer] + [
        n for node in chosen.model.graph.node for n in node.output
    ]
    for locked in found.locked:
        assert locked.reasons
        assert locked.tensors
        assert set(locked.tensors) <= set(names)
        assert all(re.search(r"graph (in|out)put '|node '|tensor '|channels of '", reason) for reason in locked.reasons)


def channels(model: onnx.ModelProto) -> list[int]:
    """Output channels of every convolution, from a run that puts them out."""
    probe = copied(model)
    made = [node.output[0] for node in model.graph.node if node.op_type in CONVOLUTIONS]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made if name not in known_outputs(model))
    seen = run(probe, inputs_at(model, 1, 12))
    return [seen[name].shape[1] for name in made]


def known_outputs(model: onnx.ModelProto) -> set[str]:
    return {output.name for output in model.graph.output}


def test_the_summary_line_counts_convolution_channels(resnet_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Worked out from the weights of the file: a ResNet's channels can all go."""
    model = onnx.load(resnet_path)
    weights = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if len(tensor.dims) == 4}
    total = sum(weights[node.input[1]] for node in model.graph.node if node.op_type == "Conv")
    assert command(["inspect", str(resnet_path)]) == 0
    assert f"{total} of {total} convolution channels prunable" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("align", "match"),
    [(1, "no multiple of 4; try --metric macs"), (2, "although its groups keep multiples of 2 channels")],
)
def test_a_result_that_is_not_faster_is_said_with_what_to_do(
    align: int, match: str, tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the multiple in effect, whether the user asked for it or not; a faster one needs no words."""
    times = [1.0, 2.0]
    monkeypatch.setattr("onnx_dnscp.commands.prune_report.latencies", lambda *_: list(times))
    slow = prune(tiny_path, tmp_path / "slow.onnx", train=False, ratio=0.2, metric="macs", align=align)
    assert [note for note in slow.notes if "not faster here" in note and match in note]
    times.reverse()
    fast = prune(tiny_path, tmp_path / "fast.onnx", train=False, ratio=0.2, metric="macs", align=align)
    assert not [note for note in fast.notes if "faster here" in note]
