"""Files as they come: many opsets, odd names, several inputs, leftovers, external data, functions, bodies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from cases import CASES, ENDS, Case, case
from onnx import helper, numpy_helper
from oracle import set_inputs_to_zero

from models import all_graphs, all_nodes, assert_same, copied, filled, inputs_at, run, stored_arrays, stored_tensors
from onnx_dnscp import ModelError, Plan, UsageError, apply, inspect, prune
from onnx_dnscp import cli
from onnx_dnscp.commands.prune import PruneReport
from onnx_dnscp.commands.saving import MAX_FILE, data_path, model_file
from onnx_dnscp.load import load_model
from onnx_dnscp.runtime import MAX_OPSET, Session, convert_opset
from test_surgery import ROUNDING, passes_full_check, removals, units_of

pytestmark = pytest.mark.usefixtures("quick_latency")
ONNX_TEXT = "<ir_version: 8, opset_import: [\"\" : 17]>\n"


def pruned(model: onnx.ModelProto, folder: Path, *, ratio: float = 0.5) -> tuple[PruneReport, onnx.ModelProto]:
    """Prune a file without training, and check what was saved against the original and the plan alone."""
    path, output, plan_path = folder / "in.onnx", folder / "out.onnx", folder / "plan.json"
    path.write_bytes(model.SerializeToString())
    report = prune(path, output, plan_out=plan_path, train=False, ratio=ratio)
    saved = onnx.load(output)
    check_saved(model, saved, Plan.model_validate_json(plan_path.read_text()))
    assert path.read_bytes() == model.SerializeToString()
    return report, saved


def check_saved(original: onnx.ModelProto, saved: onnx.ModelProto, plan: Plan) -> None:
    """At sizes that discovery did not see, the saved model is the original with the plan's inputs set to zero."""
    assert not passes_full_check(original) or passes_full_check(saved)
    assert (saved.ir_version, saved.opset_import) == (original.ir_version, original.opset_import)
    silenced = set_inputs_to_zero(original, plan)
    for batch, size in ((1, 8), (3, 12)):
        feeds = inputs_at(original, batch, size)
        expected, actual = Session(silenced, optimize=False).run(feeds), Session(saved, optimize=False).run(feeds)
        assert_same(actual, expected, tol=ROUNDING)


def spelled(opset: int) -> onnx.ModelProto:
    """Convolution, batch norm, pad, clip, pool, slice, split, reshape and Gemm as an opset spells them."""
    integers = "int64[4] target = {0, 2, 4, 1}, int64[2] flat = {0, 8}"
    pad, clip = "Pad<pads = [0, 0, 1, 1, 0, 0, 1, 1]>(r)", "Clip<min = -1.0, max = 3.0>(p)"
    cut, split = "Slice<axes = [1], starts = [0], ends = [8]>(m)", "Split<axis = 1, split = [4, 4]>(s)"
    if opset >= 10:
        integers += ", int64[1] at = {0}, int64[1] end = {8}, int64[1] ax = {1}"
        cut = "Slice(m, at, end, ax)"
    if opset >= 11:
        integers += ", int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}, float low = {-1}, float high = {3}"
        pad, clip = "Pad(r, pads)", "Clip(p, low, high)"
    if opset >= 13:
        integers += ", int64[2] parts = {4, 4}"
        split = "Split<axis = 1>(s, parts)"
    return filled(
        f"""<ir_version: {3 if opset < 9 else 8 if opset < 20 else 10}, opset_import: ["" : {opset}]>
        net (float[N, 3, H, W] x) => (float[N, 5] y)
        <float[10, 3, 3, 3] w1, float[10] b1, float[10] s1, float[10] t1, float[10] m1, float[10] pos_v1,
         float[8, 4, 1, 1] w2, float[5, 8] w3, float[5] b3, {integers}>
        {{ a = Conv<kernel_shape = [3, 3]>(x, w1, b1) n = BatchNormalization(a, s1, t1, m1, pos_v1) r = Relu(n)
           p = {pad} c = {clip} m = MaxPool<kernel_shape = [2, 2]>(c) s = {cut} left, right = {split}
           j = Add(left, right) k = Conv(j, w2) g = GlobalAveragePool(k) q = Reshape(g, target) f = Reshape(q, flat)
           y = Gemm<transB = 1>(f, w3, b3) }}"""
    )


@pytest.mark.parametrize("opset", range(7, onnx.defs.onnx_opset_version() + 1))
def test_every_opset_is_pruned(opset: int, tmp_path: Path) -> None:
    """4 pairs of split halves and 8 behind them; what the runtime is too old for goes through a converted copy."""
    report, saved = pruned(spelled(opset), tmp_path)
    assert sorted(group.width for group in report.groups) == [4, 4]
    assert saved.graph.node[0].output[0] == "a"


def test_an_operator_that_is_too_new_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It can neither be run nor converted; the sentence says what can be done."""
    new = case("new", "Swish", "a = Conv(x, w1) b = Swish(a) y = Conv(b, w2)", (4,), ENDS, opset=24, ir=11)
    (tmp_path / "in.onnx").write_bytes(new.model.SerializeToString())
    assert cli.run(["prune", str(tmp_path / "in.onnx"), "--no-train"]) == 3
    err = capfd.readouterr().err.strip().splitlines()
    assert err[-1].startswith("Error: The model uses opset 24; converting a working copy to opset 21")
    assert err[-1].endswith("Export it with opset 21.")
    assert [p.name for p in tmp_path.iterdir()] == ["in.onnx"]


# --- leftovers, names, inputs and outputs ------------------------------------------------------------------------------


def test_a_second_network_in_the_file_is_pruned_too(tmp_path: Path) -> None:
    """Two networks that share nothing; one has an idle node, the file an unused weight."""
    both = case("both", "Conv", "a = Conv(x, w1) idle = Relu(a) y = Conv(a, w2) b = Conv(z, w3) c = Relu(b) q = Conv(c, w4)", (4, 6),
                ENDS + ", float[6, 5, 3, 3] w3, float[2, 6, 1, 1] w4, float[7] nobody, int64[1] none = {3}",
                inputs="float[N, 3, H, W] x, float[M, 5, 9, 9] z", outputs="float[N, 2, P, Q] y, float[M, 2, 7, 7] q")  # fmt: skip
    report, saved = pruned(both.model, tmp_path)
    assert [group.width for group in report.groups] == [4, 6]
    assert sum(group.kept for group in report.groups) == 5
    assert [node.output[0] for node in saved.graph.node] == ["a", "idle", "y", "b", "c", "q"]
    assert {"nobody", "none"} <= {tensor.name for tensor in saved.graph.initializer}


def test_a_network_that_feeds_no_output_stays_as_it_is(tmp_path: Path) -> None:
    """Whoever left it there may want it; its last channels are read by nobody."""
    left = case("left", "Conv", "a = Conv(x, w1) y = Conv(a, w2) b = Conv(x, w3) c = Conv(b, w4)", (4, 6),
                ENDS + ", float[6, 3, 3, 3] w3, float[5, 6, 1, 1] w4")  # fmt: skip
    report, saved = pruned(left.model, tmp_path)
    assert [group.width for group in report.groups] == [4, 6]
    assert stored_arrays(saved)["w4"].shape[0] == 5


@pytest.mark.parametrize("names", [("", "", ""), ("same", "same", "same"), ("a", "y", "a")])
def test_empty_and_duplicate_node_names(names: tuple[str, str, str], tmp_path: Path) -> None:
    """The plan then calls a node by its first output; a name that is another node's output must not confuse it."""
    model = copied(case("n", "Conv", "a = Conv(x, w1) b = Relu(a) y = Conv(b, w2)", (4,), ENDS).model)
    for node, name in zip(model.graph.node, names, strict=True):
        node.name = name
    report, saved = pruned(model, tmp_path)
    assert [node.name for node in saved.graph.node] == list(names)
    assert [group.consumers for group in report.groups] == [["y"]]


def test_scalar_and_integer_inputs(tmp_path: Path) -> None:
    """Inputs without a batch axis, also in the first place."""
    model = case("s", "Conv", "a = Conv(x, w1) b = Mul(a, scale) c = Gather(table, at) d = Add(b, c) y = Conv(d, w2)", (4,),
                 ENDS + ", float[9, 4, 1, 1] table", inputs="float scale, int64 at, float[N, 3, H, W] x").model  # fmt: skip
    model = copied(model)
    path = tmp_path / "probe.onnx"
    path.write_bytes(model.SerializeToString())
    report = prune(path, tmp_path / "out.onnx", train=False)
    assert [group.width for group in report.groups] == [4]


def test_old_files_list_new_initializers_among_the_inputs(tmp_path: Path) -> None:
    """IR 3: one Reshape target for tensors of different widths must become two, both of them graph inputs."""
    text = case("old", "Conv", "a = Conv(x, w1) b = Conv(x, w2) g = GlobalAveragePool(a) h = GlobalAveragePool(b) r = Reshape(g, to) "
                "s = Reshape(h, to) u = MatMul(r, w3) v = MatMul(s, w4) y = Add(u, v)", (4, 4),
                "float[4, 3, 1, 1] w1, float[4, 3, 1, 1] w2, float[4, 2] w3, float[4, 2] w4, int64[2] to = {0, 4}",
                opset=8, ir=3, outputs="float[N, 2] y")  # fmt: skip
    model = filled(text.text)
    report, saved = pruned(model, tmp_path, ratio=0.5)
    assert [group.width for group in report.groups] == [4, 4]
    names = [tensor.name for tensor in saved.graph.initializer]
    assert {"x", *names} == {info.name for info in saved.graph.input}


def test_an_initializer_that_a_caller_may_override_is_treated_as_stored(tmp_path: Path) -> None:
    """From IR 4 on a weight that is also an input is a default; the shrunken input says its new shape."""
    model = copied(case("o", "Conv", "a = Conv(x, w1) y = Conv(a, w2)", (4,), ENDS).model)
    model.graph.input.append(helper.make_tensor_value_info("w2", onnx.TensorProto.FLOAT, (2, 4, 1, 1)))
    _, saved = pruned(model, tmp_path)
    declared = next(info for info in saved.graph.input if info.name == "w2")
    assert [dim.dim_value for dim in declared.type.tensor_type.shape.dim] == [2, 2, 1, 1]
    assert stored_arrays(saved)["w2"].shape == (2, 2, 1, 1)


# --- external data -----------------------------------------------------------------------------------------------------


@pytest.fixture
def network() -> onnx.ModelProto:
    """64 channels between two convolutions: three stored tensors, two of them big."""
    return case("n", "Conv", "a = Conv(x, w1, b1) r = Relu(a) y = Conv(r, w2)", (64,),
                "float[64, 3, 3, 3] w1, float[64] b1, float[2, 64, 3, 3] w2").model  # fmt: skip


@pytest.mark.parametrize("one_file", [True, False])
@pytest.mark.parametrize("folder", ["", "weights/deep"])
def test_external_data_of_every_layout(one_file: bool, folder: str, network: onnx.ModelProto, tmp_path: Path) -> None:
    """One file or one per tensor, beside the model or below; the result is one whole file and the input stays."""
    path = tmp_path / "in.onnx"
    onnx.save(copied(network), path, save_as_external_data=True, all_tensors_to_one_file=one_file, location="in.data", size_threshold=0)
    if folder:
        (tmp_path / folder).mkdir(parents=True)
        stored = onnx.load(path, load_external_data=False)
        for tensor in stored.graph.initializer:
            entry = next(e for e in tensor.external_data if e.key == "location")
            if (tmp_path / entry.value).exists():
                (tmp_path / entry.value).rename(tmp_path / folder / entry.value)
            entry.value = f"{folder}/{entry.value}"
        path.write_bytes(stored.SerializeToString())
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    report = prune(path, tmp_path / "out.onnx", plan_out=tmp_path / "plan.json", train=False)
    assert {p: p.read_bytes() for p in before} == before
    assert report.before.file_bytes == sum(map(len, before.values()))
    (tmp_path / "alone").mkdir()
    (tmp_path / "out.onnx").rename(tmp_path / "alone" / "out.onnx")
    saved = onnx.load(tmp_path / "alone" / "out.onnx")
    check_saved(network, saved, Plan.model_validate_json((tmp_path / "plan.json").read_text()))


@pytest.mark.parametrize("limit", [100, 7000])
def test_a_model_beyond_the_limit_is_written_as_two_files(limit: int, network: onnx.ModelProto, tmp_path: Path) -> None:
    """The structure and `<name>.data`; what is read back is the model, and nothing else lies about."""
    path = tmp_path / "big.onnx"
    file = model_file(network, path, limit=limit)
    file.write(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big.onnx", "big.onnx.data"]
    assert file.size == sum(p.stat().st_size for p in tmp_path.iterdir())
    assert len(file.content) < 3000
    loaded = load_model(path)
    assert loaded.size == file.size
    assert {n: a.tolist() for n, a in stored_arrays(loaded.proto).items()} == {
        n: a.tolist() for n, a in stored_arrays(network).items()
    }
    onnx.checker.check_model(str(path), full_check=True)
    feeds = inputs_at(network, 1, 8)
    assert_same(run(onnx.load(path), feeds), run(network, feeds), tol=0)


def test_a_model_below_the_limit_is_one_file(network: onnx.ModelProto, tmp_path: Path) -> None:
    file = model_file(network, tmp_path / "small.onnx", limit=MAX_FILE)
    file.write(tmp_path / "small.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["small.onnx"]
    assert onnx.load(tmp_path / "small.onnx") == network


def test_data_of_the_large_file_is_written_first_and_whole(
    network: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the second file cannot be written, the model that was there before is still there, and no leftovers."""
    path = tmp_path / "big.onnx"
    path.write_bytes(b"old")
    file = model_file(network, path, limit=100)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(UsageError, match=r"big\.onnx\.data.*No space left"):
        file.write(path)
    assert [p.name for p in tmp_path.iterdir()] == ["big.onnx"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("output", ["out.onnx", "out.onnx.data", "w.bin"])
def test_nothing_is_written_over_data_that_the_model_reads(output: str, network: onnx.ModelProto, tmp_path: Path) -> None:
    """Neither the model nor the data file of a large one, nor a plan, may take the place of the input's weights."""
    data = "w.bin" if output == "w.bin" else "out.onnx.data"
    path = tmp_path / "in.onnx"
    onnx.save(copied(network), path, save_as_external_data=True, location=data, size_threshold=0)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(UsageError, match="give another name"):
        prune(path, tmp_path / output, train=False)
    with pytest.raises(UsageError, match="give another name"):
        prune(path, tmp_path / "fine.onnx", plan_out=tmp_path / data, train=False)
    plan = Plan(model_sha256=load_model(path).sha256, groups=[])
    with pytest.raises(UsageError, match="give another name"):
        apply(path, plan, tmp_path / output)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
