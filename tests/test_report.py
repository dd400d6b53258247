"""The report of a run: what it says, from run directories and from made-up runs. `test_report_page.py` looks at it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from report_runs import SMALL_RUN, chain, hostile_run, small_run

import onnx_dnscp
from onnx_dnscp.cli import main as cli
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.report.command import command_line, short_names
from onnx_dnscp.report.curves import MAX_POINTS, averaged, make_curves, nice_ticks, smoothed
from onnx_dnscp.report.groups import make_rows
from onnx_dnscp.report.moves import MAX_COLUMNS, make_moves
from onnx_dnscp.report.network import LANE, MAX_LANES, Network, make_network
from onnx_dnscp.report.page import make_page
from onnx_dnscp.report.record import read_run
from onnx_dnscp.report.render import render
from onnx_dnscp.runs.options import PruneOptions
from onnx_dnscp.runs.run_directory import RunRecord

# --- what lies in the directory ---------------------------------------------------------------------------------------


@pytest.mark.needs_training
def test_a_run_leaves_a_report_that_can_be_drawn_again(trained: Path, tmp_path: Path) -> None:
    """Also where neither the model nor the data are any more."""
    first = (trained / "report.html").read_bytes()
    assert cli.run(["report", str(trained), "-o", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_bytes() == first


@pytest.mark.needs_training
def test_a_report_tells_nobody_where_files_lay(trained: Path) -> None:
    text = (trained / "report.html").read_text()
    assert str(trained.parent) not in text
    assert "digits-resnet.onnx" in text


@pytest.mark.needs_training
def test_accuracy_is_measured_after_every_epoch_but_the_last(trained: Path) -> None:
    """Two epochs of three steps in each phase; what they end with is measured anyway."""
    steps = [json.loads(line) for line in (trained / "steps.jsonl").read_text().splitlines()]
    measured = [(step["phase"], step["step"]) for step in steps if step["accuracy"] is not None]
    assert measured == [("train", 3), ("fine-tune", 3)]
    assert all(0.05 < step["accuracy"] <= 1 for step in steps if step["accuracy"] is not None)
    assert [what for *_, what in curve_of(trained, "accuracy").marks] == [
        "original", "step 3", "after surgery", "step 9", "result",
    ]  # fmt: skip


@pytest.mark.needs_training
def test_a_run_that_did_not_end_shows_what_is_known(trained: Path, tmp_path: Path) -> None:
    """The last line of a log may be half-written, and widths are what the masks say."""
    run = copy_of(trained, tmp_path, without=["report.json", "report.html"])
    whole = (run / "steps.jsonl").read_text().splitlines(keepends=True)
    (run / "steps.jsonl").write_text("".join(whole[:4]) + whole[4][:30])
    assert cli.run(["report", str(run)]) == 0
    text = (run / "report.html").read_text()
    assert "Not finished; training with masks, step 4 of 6 is kept" in text
    known = read_run(run)
    changes = [json.loads(line) for line in (run / "masks.jsonl").read_text().splitlines()]
    for row in make_rows(known):
        own = [c for c in changes if row.key == f"g{c['group']}"]
        if row.is_group:
            assert row.kept == row.width - sum(len(c["dropped"]) - len(c["recovered"]) for c in own)


def test_a_run_without_training_has_a_report(resnet_path: Path, tmp_path: Path) -> None:
    onnx_dnscp.prune(resnet_path, tmp_path / "out.onnx", run_dir=tmp_path / "run", train=False)
    page = make_page(read_run(tmp_path / "run"))
    assert page.is_done
    assert (page.moves, page.curves) == (None, None)
    assert "--no-train" in page.command


@pytest.mark.needs_training
def test_a_search_shows_its_cuts_and_the_training_of_the_best(
    resnet_path: Path, tmp_path: Path, data: dict[str, Any]
) -> None:
    found = onnx_dnscp.prune(
        resnet_path,
        tmp_path / "out.onnx",
        run_dir=tmp_path / "run",
        max_drop=100.0,
        max_runs=1,
        **{**data, "ratio": 0.4},
    )
    page = make_page(read_run(tmp_path / "run"))
    assert len(page.curve) == len(found.curve) > 0
    assert page.curves is not None
    assert "loses at most" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("name", ["options.json", "report.json", "inspection.json", "environment.json", "steps.jsonl"])
@pytest.mark.needs_training
def test_a_damaged_directory_is_named(
    name: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(trained, tmp_path)
    (run / name).write_text('{"what": \n')
    assert cli.run(["report", str(run)]) == 2
    assert str(run) in capsys.readouterr().err


def test_another_folder_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", str(tmp_path)]) == 2
    assert "is no run directory" in capsys.readouterr().err


@pytest.mark.needs_training
def test_a_full_disk_loses_only_the_picture(
    resnet_path: Path, tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def full(path: Path, content: bytes) -> None:
        raise onnx_dnscp.UsageError("no space")

    monkeypatch.setattr("onnx_dnscp.commands.report.write_bytes", full)
    onnx_dnscp.prune(resnet_path, tmp_path / "out.onnx", run_dir=tmp_path / "run", train=False)
    assert (tmp_path / "out.onnx").exists()
    assert (tmp_path / "run" / "report.json").exists()
    assert "no space" in caplog.text


# --- the command ------------------------------------------------------------------------------------------------------

OPTIONS: list[dict[str, Any]] = [
    {},
    {"ratio": 0.25, "metric": "params", "epochs": 7, "learning_rate": 0.03, "train": False, "exclude": ("a*", "b c")},
    {"repair": False, "cache_teacher": True, "optimizer": "adamw", "align": 4, "warmup": 0.1},
    {"repair": True, "preprocess": Preprocess(mean=(0.1, 0.2), std=(2.0, 3.0), size=(8, 9), layout="nhwc", scale=2.0)},
    {"data": Path("/a/train.npz"), "test_data": Path("/b/train.npz"), "max_drop": 1.5, "only": ("x",)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: " ".join(o) or "none")
def test_the_command_that_is_shown_means_the_same_run(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is parsed by the tool itself; only folders of files are left out."""
    record = RunRecord(
        model=Path("/m/net.onnx"), model_sha256="0", output=Path("/o/out.onnx"), fingerprints={}, **options
    )
    seen: list[Any] = []

    class Stop(Exception):  # noqa: N818 (no error)
        pass

    def caught(model: Path, output: Path, **rest: Any) -> None:
        seen.extend([model, output, rest["options"]])
        raise Stop

    monkeypatch.setattr(cli, "prune", caught)
    words = shlex.split(command_line(record))
    assert words.pop(0) == "onnx-dnscp"
    cli.run(words)
    model, output, understood = seen
    short = short_names(path for path in (options.get("data"), options.get("test_data")) if path)
    expected = {**options, **{k: Path(short[v]) for k, v in options.items() if isinstance(v, Path)}}
    assert (model, output) == (Path("net.onnx"), Path("out.onnx"))
    assert understood == PruneOptions(**expected)


def test_names_are_as_short_as_they_can_be() -> None:
    paths = [Path("/home/me/a/train.npz"), Path("/home/me/b/train.npz"), Path("/home/me/net.onnx")]
    assert list(short_names(paths).values()) == ["a/train.npz", "b/train.npz", "net.onnx"]


# --- parts of the page ------------------------------------------------------------------------------------------------


def test_the_map_counts_every_fall_and_return() -> None:
    """However many steps share a cell."""
    run = chain(5, steps=10 * MAX_COLUMNS)
    moves = make_moves(run, make_rows(run))
    assert moves is not None
    assert moves.columns <= MAX_COLUMNS + 1
    for i, lane in enumerate(moves.lanes):
        events = [e for e in run.log.history.events if e.group == i]
        ruled, settled = [e for e in events if not e.settling], [e for e in events if e.settling]
        assert sum(c.fell for c in lane.cells) == sum(len(e.dropped) for e in ruled) == lane.row.fell
        assert sum(c.came_back for c in lane.cells) == sum(len(e.recovered) for e in ruled) == lane.row.came_back
        assert sum(c.settled for c in lane.cells) == sum(len(e.dropped) for e in settled)
        assert all(0 <= cell.column < moves.columns for cell in lane.cells)
    assert sum(c.fell for c in moves.totals) == moves.fell
    assert max(moves.bar(c.fell) for c in moves.totals) <= moves.bar(moves.highest)
    assert moves.span(0) == "steps 0 to 10"


def test_shades_follow_the_share_of_the_group() -> None:
    run = chain(1, width=100)
    moves = make_moves(run, make_rows(run))
    assert moves is not None
    assert [moves.lanes[0].shade(number) for number in (1, 2, 3, 5, 6, 15, 16, 100)] == [1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(
    ("ends", "ticks"),
    [((0, 1), [0, 0.5, 1]), ((0, 0.23), [0, 0.1, 0.2]), ((0.955, 1), [0.96, 0.98, 1]), ((0, 330), [0, 200])],
)
def test_ticks_are_round(ends: tuple[float, float], ticks: Sequence[float]) -> None:
    assert nice_ticks(*ends, 3) == pytest.approx(ticks)


def test_long_curves_are_averaged_and_short_ones_are_not() -> None:
    points = [(float(i), float(i % 2)) for i in range(2 * MAX_POINTS)]
    assert averaged(points[:10]) == points[:10]
    assert averaged(points) == [(i + 0.5, 0.5) for i in range(0, 2 * MAX_POINTS, 2)]
    assert averaged([]) == []
    assert smoothed([(0, 1.0), (1, 4.0), (2, 1.0)]) == [(0, 2.5), (1, 2.0), (2, 2.5)]


def test_a_loss_that_never_changes_can_be_drawn() -> None:
    run = chain(1, loss=0.0)
    curves = make_curves(run)
    assert curves is not None
    assert all(chart.high > chart.low for chart in curves.charts)


def network_of(run: Any) -> Network:
    found = make_network(run, make_rows(run))
    assert found is not None
    return found


@pytest.mark.needs_training
def test_the_network_is_drawn_as_it_is_wired(trained: Path) -> None:
    """Two residual blocks: the trunk's group is read and made again, and the second has a convolution beside it."""
    network = network_of(read_run(trained))
    names = [box.name for box in network.boxes]
    assert names == ["Inputs", "Group 0", "Group 1", "Group 2", "Group 3", "Group 4", "Locked 0"]
    wires = {(names[a.source], names[a.target]): a.nodes for a in network.arcs}
    assert wires == {
        ("Inputs", "Group 0"): ("stem.conv",),
        ("Group 0", "Group 1"): ("a1.conv",),
        ("Group 1", "Group 0"): ("a2.conv",),
        ("Group 0", "Group 2"): ("b1.conv",),
        ("Group 2", "Group 3"): ("b2.conv",),
        ("Group 0", "Group 3"): ("bs.conv",),
        ("Group 3", "Group 4"): ("c1.conv",),
        ("Group 4", "Group 3"): ("c2.conv",),
        ("Group 3", "Locked 0"): ("logits",),
    }
    assert [a.nodes for a in network.arcs if a.goes_up] == [("a2.conv",), ("c2.conv",)]
    assert network.boxes[-1].reasons == ("graph output 'logits'",)


def test_only_the_stem_reads_the_inputs(separable_path: Path, tmp_path: Path) -> None:
    """Depthwise convolutions make channels and read no set of them, but pass on what others made."""
    onnx_dnscp.prune(separable_path, tmp_path / "out.onnx", run_dir=tmp_path / "run", train=False)
    network = network_of(read_run(tmp_path / "run"))
    assert any("dw" in node for box in network.boxes for node in box.producers), "there are depthwise convolutions"
    assert [(a.source, a.target, a.nodes) for a in network.arcs if not a.source] == [(0, 1, network.boxes[0].consumers)]
    assert len(network.boxes[0].consumers) == 1


def test_arcs_side_by_side_do_not_cover_each_other() -> None:
    network = network_of(chain(30, skip=3))
    for i, one in enumerate(network.arcs):
        for other in network.arcs[:i]:
            (a, b), (c, d) = sorted((one.source, one.target)), sorted((other.source, other.target))
            assert one.lane != other.lane or one.lane == MAX_LANES - 1 or b <= c or d <= a
    assert network.width >= LANE * (1 + max(arc.lane for arc in network.arcs))


def test_a_crowded_network_shows_long_arcs_on_demand_only() -> None:
    """Every group reads all before it, as in a densely connected network."""
    network = network_of(chain(120, skip=120))
    assert network.hidden > 0
    assert all(not arc.is_far or abs(arc.source - arc.target) > 4 for arc in network.arcs)
    assert network_of(chain(120)).hidden == 0


def test_inspection_names_who_makes_what_is_locked(tiny_path: Path) -> None:
    locked = onnx_dnscp.inspect(tiny_path).locked
    assert [(entry.producers, entry.reasons) for entry in locked] == [(["head"], ["graph output 'logits'"])]


# --- hostile names ----------------------------------------------------------------------------------------------------


def test_names_from_a_model_stay_text(tmp_path: Path, tiny_model: onnx.ModelProto) -> None:
    """Nothing that a model says can end an element, start one, or turn the text around."""
    text = (hostile_run(tiny_model, tmp_path) / "report.html").read_text()
    assert text.count("<script") == text.count("</script>") == 2
    assert "<img" not in text
    assert "\u202e" not in text
    assert "&lt;/script&gt;&lt;img src=x onerror=" in text


def test_a_page_for_every_state_renders() -> None:
    for groups in (0, 1, 120):
        assert "</html>" in render(make_page(chain(groups)))


# --- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of six steps in each phase; read only."""
    return small_run(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def data(trained: Path) -> dict[str, Any]:
    return {**SMALL_RUN, "data": trained.parent / "few.npz", "test_data": trained.parent / "few.npz"}


def copy_of(run: Path, folder: Path, without: Sequence[str] = ()) -> Path:
    copy = folder / "run"
    copy.mkdir()
    for file in run.iterdir():
        if file.is_file() and file.name not in without:
            (copy / file.name).write_bytes(file.read_bytes())
    return copy


def curve_of(run: Path, key: str) -> Any:
    curves = make_curves(read_run(run))
    assert curves is not None
    return next(chart for chart in curves.charts if chart.key == key)
