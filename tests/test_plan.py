"""Plans: what is written can be read, and what does not fit the model is refused with the reason."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CASES, Case

from models import load
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.errors import UsageError
from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.runs.plan import PLAN_FORMAT, Plan, is_for_another, make_plan, plan_mask, read_plan

PRUNABLE = [case for case in CASES if case.widths]
SHA = "0123456789abcdef" * 4


@cache
def units_of(case: Case) -> Units:
    return discover(load(case.model))


def named(name: str) -> Units:
    return units_of(next(case for case in CASES if case.name == name))


def some_mask(units: Units) -> Mask:
    mask = np.random.default_rng(3).random(units.num_units) >= 0.6
    mask[[group.first for group in units.groups]] = True
    return mask


def written(plan: Plan | dict[str, Any] | str, folder: Path) -> Path:
    path = folder / "plan.json"
    text = plan if isinstance(plan, str) else json.dumps(plan) if isinstance(plan, dict) else plan.model_dump_json()
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("case", PRUNABLE, ids=str)
def test_a_plan_survives_json(case: Case, tmp_path: Path) -> None:
    """Writing, reading and resolving a plan gives back the same mask."""
    units = units_of(case)
    for mask in (some_mask(units), np.ones(units.num_units, dtype=bool)):
        plan = make_plan(units, mask, SHA)
        again = read_plan(written(plan, tmp_path))
        assert again == plan
        np.testing.assert_array_equal(plan_mask(again, units, SHA), mask)


def test_the_file_has_the_documented_form(tmp_path: Path) -> None:
    """Six input channels as 2 x 3: unit 1 of the first group is channels 1 and 4; of the second, 1 and 3 of four."""
    units = named("Conv-grouped-equal-positions")
    plan = make_plan(units, np.array([True, False, True, True, False]), SHA)
    assert json.loads(written(plan, tmp_path).read_text("utf-8")) == {
        "format": "onnx-dnscp-plan/1",
        "model_sha256": SHA,
        "groups": [
            {"id": 0, "width": 3, "removed": [1], "slices": [
                {"tensor": "w1", "axis": 0, "indices": {"1": [1, 4]}},
                {"tensor": "wg", "axis": 1, "indices": {"1": [1]}},
            ]},
            {"id": 1, "width": 2, "removed": [1], "slices": [
                {"tensor": "wg", "axis": 0, "indices": {"1": [1, 3]}},
                {"tensor": "bg", "axis": 0, "indices": {"1": [1, 3]}},
                {"tensor": "w2", "axis": 1, "indices": {"1": [1, 3]}},
            ]},
        ],
        "consumers": {
            "b": {"weight": "wg", "input_channels": [1, 4]},
            "y": {"weight": "w2", "input_channels": [1, 3]},
        },
    }  # fmt: skip


def test_a_flattened_channel_is_several_input_positions() -> None:
    """Behind a Flatten of 4 x 4 maps, channel 2 is positions 32 to 47 of the Gemm; named by its output."""
    plan = make_plan(named("Flatten-Gemm"), np.array([True, True, False, True]), SHA)
    assert plan.consumers["y"].input_channels == list(range(32, 48))


def test_named_nodes_are_listed_by_name() -> None:
    plan = make_plan(named("Conv-2d-named"), np.array([False, True, True, True, True]), SHA)
    assert list(plan.consumers) == ["second"]


def test_slices_and_consumers_may_be_left_out(tmp_path: Path) -> None:
    """A plan made by hand needs the groups only."""
    plan = {"format": PLAN_FORMAT, "model_sha256": SHA, "groups": [{"id": 1, "width": 2, "removed": [0]}]}
    mask = plan_mask(read_plan(written(plan, tmp_path)), named("Conv-grouped-equal-positions"), SHA)
    assert mask.tolist() == [True, True, True, False, True]


@pytest.mark.parametrize("sha256", ["", "f" * 64])
def test_a_plan_for_no_file_or_for_another_one_of_the_same_structure_fits(sha256: str, tmp_path: Path) -> None:
    """Groups alone are enough where no file is named; where another one is, slices or consumers have to agree."""
    units = named("residual-chain")
    plan = edited(("model_sha256",), sha256)
    expected = plan_mask(read_plan(written({**plan, "model_sha256": SHA}, tmp_path)), units, SHA)
    bare = {**plan, "consumers": {}, "groups": [{**group, "slices": []} for group in plan["groups"]]}
    for good in (plan, {**plan, "consumers": {}}, {**bare, "consumers": plan["consumers"]}):
        parsed = read_plan(written(good, tmp_path))
        np.testing.assert_array_equal(plan_mask(parsed, units, SHA), expected)
        assert is_for_another(parsed, SHA) == bool(sha256)
    parsed = read_plan(written(bare, tmp_path))
    if not sha256:
        np.testing.assert_array_equal(plan_mask(parsed, units, SHA), expected)
        return
    with pytest.raises(
        UsageError, match=r"another model: it names sha256 f{12}\.\.\., this file has 0123456789ab\.\.\."
    ):
        plan_mask(parsed, units, SHA)


def edited(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A good plan as JSON, with one value replaced."""
    units = named("residual-chain")
    mask = np.ones(units.num_units, dtype=bool)
    mask[[1, 2, 5]] = False
    plan: Any = json.loads(make_plan(units, mask, SHA).model_dump_json())
    place = plan
    for key in path[:-1]:
        place = place[key]
    assert place[path[-1]] != value
    place[path[-1]] = value
    return dict(plan)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("groups", 0, "id"), 7, "names group 7; the model has groups 0 to 1"),
        (("groups", 0, "id"), -1, "names group -1; the model has groups 0 to 1"),
        (("groups", 0, "width"), 6, "Group 0 of the plan has width 6; in the model it is 4"),
        (("groups", 0, "removed"), [4], "Group 0 of the plan removes channel 4; it has 0 to 3"),
        (("groups", 0, "removed"), [-1], "Group 0 of the plan removes channel -1; it has 0 to 3"),
        (("groups", 0, "removed"), [1], "Group 0 of the plan gives slices of 'w1' axis 0 that do not match"),
        (("groups", 0, "slices", 0, "tensor"), "w9", "gives slices of 'w9' axis 0 that do not match"),
        (("groups", 0, "slices", 0, "axis"), 1, "gives slices of 'w1' axis 1 that do not match"),
        (("groups", 0, "slices", 0, "indices"), {"1": [1], "2": [3]}, "gives slices of 'w1' axis 0 that do not match"),
        (("consumers", "c", "input_channels"), [1], "consumer 'c' lists input channels that do not match"),
        (("consumers", "c", "weight"), "w1", "consumer 'c' reads 'wc', not 'w1'"),
        (("consumers", "nobody"), {"weight": "wc", "input_channels": [1]}, "consumer 'nobody' lists input channels"),
    ],
)  # fmt: skip
def test_a_plan_that_does_not_fit_is_refused(
    path: tuple[str | int, ...], value: Any, message: str, tmp_path: Path
) -> None:
    """One wrong value anywhere is found, and the message says where."""
    plan = edited_or_added(path, value)
    with pytest.raises(UsageError, match=message):
        plan_mask(read_plan(written(plan, tmp_path)), named("residual-chain"), SHA)


def edited_or_added(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    if path[-1] == "nobody":
        plan = edited(("model_sha256",), "")
        plan["model_sha256"] = SHA
        plan["consumers"]["nobody"] = value
        return plan
    return edited(path, value)


def test_slices_that_leave_out_a_tensor_are_refused(tmp_path: Path) -> None:
    plan = edited(("model_sha256",), "")
    plan["model_sha256"] = SHA
    del plan["groups"][0]["slices"][-1]
    with pytest.raises(UsageError, match="Group 0 of the plan leaves out 'wf' axis 0, which its channels run through"):
        plan_mask(read_plan(written(plan, tmp_path)), named("residual-chain"), SHA)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "plan.json' is not a valid plan: at the top level: Invalid JSON"),
        ('{"format": "onnx-dnscp-plan/1", "groups": [', "at the top level: Invalid JSON"),
        ("[1, 2]", "is not a valid plan: at the top level: .*object"),
        (
            '{"format": "onnx-dnscp-plan/2", "model_sha256": "", "groups": []}',
            "at format: Input should be 'onnx-dnscp-plan/1'",
        ),
        (
            '{"format": "onnx-dnscp-plan/1", "model_sha256": "", "groups": [{"id": 0, "width": 4}]}',
            "at groups.0.removed: Field required",
        ),
        (
            '{"format": "onnx-dnscp-plan/1", "model_sha256": "", "groups": [], "extra": 1}',
            "at extra: Extra inputs are not permitted",
        ),
        (
            '{"format": "onnx-dnscp-plan/1", "model_sha256": "", "groups": [{"id": 0, "width": 4, "removed": [1.5]}]}',
            "at groups.0.removed.0: .*integer",
        ),
    ],
)
def test_broken_files_are_refused(content: str, message: str, tmp_path: Path) -> None:
    """The message names the file and the place."""
    with pytest.raises(UsageError, match=message):
        read_plan(written(content, tmp_path))


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Cannot read the plan '.*missing.json': No such file"):
        read_plan(tmp_path / "missing.json")
    with pytest.raises(UsageError, match=r"Cannot read the plan .*: Is a directory"):
        read_plan(tmp_path)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UsageError, match=r"Cannot read the plan '.*binary.json'"):
        read_plan(tmp_path / "binary.json")
