"""Files as they come: many opsets, odd names, several inputs, leftovers, external data, functions, bodies."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import pytest
from cases import CASES, ENDS, Case, case
from mask_samples import ROUNDING, some_masks, units_of
from onnx import helper, numpy_helper
from oracle import set_inputs_to_zero

from models import all_graphs, assert_same, copied, filled, inputs_at, load, passes_full_check, run, stored_arrays
from onnx_dnscp import Plan, RequestError, UsageError, VerificationError, apply, inspect, prune
from onnx_dnscp.cli import main as cli
from onnx_dnscp.commands.prune import PruneReport
from onnx_dnscp.commands.saving import MAX_FILE, model_file
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.measure.samples import verification_batches
from onnx_dnscp.measure.verify import verify
from onnx_dnscp.model.load import load_model
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.runs.plan import make_plan
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import plan_cuts
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.surgery.weights import copy_with_weights


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


def test_an_operator_without_a_kernel_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The runtime's own words, in one sentence."""
    body = "a = Conv(x, w1) b = DeformConv(a, w2, offset) y = Conv(b, w3)"
    weights = "float[4, 3, 1, 1] w1, float[5, 4, 1, 1] w2, float[2, 5, 1, 1] w3, float[1, 2, 6, 6] offset"
    rare = case("rare", "DeformConv", body, (), weights, inputs="float[1, 3, 6, 6] x", opset=19, ir=9)
    (tmp_path / "in.onnx").write_bytes(rare.model.SerializeToString())
    assert cli.run(["prune", str(tmp_path / "in.onnx"), "--no-train"]) == 3
    out, err = capfd.readouterr()
    assert not out
    assert "cannot be loaded by ONNX Runtime" in err.strip().splitlines()[-1]
    assert "DeformConv" in err.strip().splitlines()[-1]


# --- leftovers, names, inputs and outputs -----------------------------------------------------------------------------


def test_a_second_network_in_the_file_is_pruned_too(tmp_path: Path) -> None:
    """Two networks that share nothing; one has an idle node, the file an unused weight."""
    both = case(
        "both",
        "Conv",
        "a = Conv(x, w1) idle = Relu(a) y = Conv(a, w2) b = Conv(z, w3) c = Relu(b) q = Conv(c, w4)",
        (4, 6),
        ENDS + ", float[6, 5, 3, 3] w3, float[2, 6, 1, 1] w4, float[7] nobody, int64[1] none = {3}",
        inputs="float[N, 3, H, W] x, float[M, 5, 9, 9] z",
        outputs="float[N, 2, P, Q] y, float[M, 2, 7, 7] q",
    )
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
    network = case(
        "scalars",
        "Conv",
        "a = Conv(x, w1) b = Mul(a, scale) c = Gather(table, at) d = Add(b, c) y = Conv(d, w2)",
        (4,),
        ENDS + ", float[9, 4, 1, 1] table",
        inputs="float scale, int64 at, float[N, 3, H, W] x",
    )
    report, _ = pruned(network.model, tmp_path)
    assert [group.width for group in report.groups] == [4]


def test_old_files_list_new_initializers_among_the_inputs(tmp_path: Path) -> None:
    """IR 3: one Reshape target for tensors of different widths must become two, both of them graph inputs."""
    old = case(
        "old",
        "Conv",
        "a = Conv(x, w1) b = Conv(x, w2) g = GlobalAveragePool(a) h = GlobalAveragePool(b) r = Reshape(g, to) "
        "s = Reshape(h, to) u = MatMul(r, w3) v = MatMul(s, w4) y = Add(u, v)",
        (4, 4),
        "float[4, 3, 1, 1] w1, float[4, 3, 1, 1] w2, float[4, 2] w3, float[4, 2] w4, int64[2] to = {0, 4}",
        opset=8,
        ir=3,
        outputs="float[N, 2] y",
    )
    report, saved = pruned(old.model, tmp_path)
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


def test_text_that_is_no_utf8_is_carried_over(tmp_path: Path) -> None:
    """Old exporters wrote comments in the encoding of their machine."""
    weights = "float[64, 3, 3, 3] w1, float[2, 64, 3, 3] w2"
    model = copied(case("n", "Conv", "a = Conv(x, w1) y = Conv(a, w2)", (64,), weights).model)
    comment = "comment" * 30  # longer than 127 bytes
    model.doc_string = model.graph.doc_string = model.graph.node[0].doc_string = comment
    model.graph.initializer[0].doc_string = model.producer_name = comment
    foreign = "\u6ce8\u91ca".encode("gbk").ljust(len(comment), b"!")
    path = tmp_path / "in.onnx"
    path.write_bytes(model.SerializeToString().replace(comment.encode(), foreign))
    prune(path, tmp_path / "out.onnx", train=False)
    assert (tmp_path / "out.onnx").read_bytes().count(foreign) == 5


# --- external data ----------------------------------------------------------------------------------------------------


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
    onnx.save(
        copied(network),
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=one_file,
        location="in.data",
        size_threshold=0,
    )
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


def test_pruning_to_two_files_and_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was saved in two files can be pruned again; a second result takes the place of the first."""
    weights = "float[256, 3, 3, 3] w1, float[256] b1, float[2, 256, 3, 3] w2"
    network = case("n", "Conv", "a = Conv(x, w1, b1) r = Relu(a) y = Conv(r, w2)", (256,), weights).model
    (tmp_path / "in.onnx").write_bytes(network.SerializeToString())
    for module in ("prune_stages", "apply"):
        monkeypatch.setattr(f"onnx_dnscp.commands.{module}.model_file", partial(model_file, limit=100))
    report = prune(tmp_path / "in.onnx", tmp_path / "half.onnx", plan_out=tmp_path / "plan.json", train=False)
    assert report.after.file_bytes == sum((tmp_path / f"half.onnx{end}").stat().st_size for end in ("", ".data"))
    check_saved(
        network, onnx.load(tmp_path / "half.onnx"), Plan.model_validate_json((tmp_path / "plan.json").read_text())
    )
    apply(tmp_path / "in.onnx", tmp_path / "plan.json", tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx.data").read_bytes() == (tmp_path / "half.onnx.data").read_bytes()
    with pytest.raises(UsageError, match="is the input itself"):
        prune(tmp_path / "half.onnx", tmp_path / "half.onnx.data", train=False)
    for _ in range(2):
        prune(tmp_path / "half.onnx", tmp_path / "quarter.onnx", train=False)
        assert [t.dims[0] for t in onnx.load(tmp_path / "quarter.onnx").graph.initializer] == [64, 64, 2]


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
def test_nothing_is_written_over_data_that_the_model_reads(
    output: str, network: onnx.ModelProto, tmp_path: Path
) -> None:
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


# --- model-local functions --------------------------------------------------------------------------------------------


FUNCTIONS = """
<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
net (float[N, 3, H, W] x) => (float[N, 2, P, Q] y)
<float[4, 3, 1, 1] w1, float[6, 4, 1, 1] w2, float[5, 6, 1, 1] w3, float[2, 5, 1, 1] w4>
{ a = local.block(x, w1) b = local.block(a, w2) c = local.private(b) y = Conv(c, w4) }
<domain: "local", opset_import: ["" : 17, "local" : 1]>
block (i, w) => (o) { t = Conv(i, w) o = local.activation(t) }
<domain: "local", opset_import: ["" : 17]>
activation (i) => (o) { half = Constant<value = float {0.5}>() s = Mul(i, half) o = Relu(s) }
<domain: "local", opset_import: ["" : 17]>
private (i) => (o) { w = Constant<value = float[5, 6, 1, 1] {WEIGHTS}>() o = Conv(i, w) }
"""


def with_functions() -> onnx.ModelProto:
    """Two calls of one function that calls another; a third function keeps its own weight."""
    values = ", ".join(f"{v:.3f}" for v in np.random.default_rng(5).standard_normal(30))
    return filled(FUNCTIONS.replace("WEIGHTS", values))


def test_model_local_functions(tmp_path: Path) -> None:
    """Each call may end with other widths, so the saved file has nodes instead; a function's own weight stays whole."""
    model = with_functions()
    path = tmp_path / "in.onnx"
    path.write_bytes(model.SerializeToString())
    found = inspect(path)
    assert [group.width for group in found.groups] == [4]
    assert any("stored inside a function" in reason for locked in found.locked for reason in locked.reasons)
    assert (found.convolution_channels, found.prunable_convolution_channels) == (4 + 6 + 5 + 2, 4)
    report = prune(path, tmp_path / "out.onnx", plan_out=tmp_path / "plan.json", train=False)
    assert any("functions were replaced by their nodes" in note for note in report.notes)
    saved = onnx.load(tmp_path / "out.onnx")
    assert not saved.functions
    plan = Plan.model_validate_json((tmp_path / "plan.json").read_text())
    assert {consumer.weight for consumer in plan.consumers.values()} <= {t.name for t in model.graph.initializer}
    check_saved(onnx.inliner.inline_local_functions(model), saved, plan)
    apply(path, tmp_path / "plan.json", tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "out.onnx").read_bytes()


def test_functions_with_external_data(tmp_path: Path) -> None:
    """Weights of the graph lie in another file, while functions are inlined before it is read."""
    model = with_functions()
    onnx.save(copied(model), tmp_path / "in.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    prune(tmp_path / "in.onnx", tmp_path / "out.onnx", plan_out=tmp_path / "plan.json", train=False)
    plan = Plan.model_validate_json((tmp_path / "plan.json").read_text())
    check_saved(onnx.inliner.inline_local_functions(model), onnx.load(tmp_path / "out.onnx"), plan)


def test_functions_without_a_removal(tmp_path: Path) -> None:
    """A ratio of 0 still gives a right file."""
    model = with_functions()
    (tmp_path / "in.onnx").write_bytes(model.SerializeToString())
    prune(tmp_path / "in.onnx", tmp_path / "out.onnx", train=False, ratio=0)
    feeds = inputs_at(model, 2, 7)
    assert_same(run(onnx.load(tmp_path / "out.onnx"), feeds), run(model, feeds), tol=ROUNDING)


def test_a_weight_in_a_branch_of_a_function_is_private_too(tmp_path: Path) -> None:
    """The plan could not name it, however deep it lies."""
    model = filled("""
        <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        net (float[N, 3, H, W] x, bool flag) => (float[N, 2, P, Q] y)
        <float[4, 3, 1, 1] w1> { a = Conv(x, w1) y = local.either(a, flag) }
        <domain: "local", opset_import: ["" : 17]>
        either (i, f) => (o) {
          o = If(f)<then_branch = yes () => (float[N, 2, H, W] t)
                    { w = Constant<value = float[2, 4, 1, 1] {1, 2, 3, 4, 5, 6, 7, 8}>() t = Conv(i, w) },
                    else_branch = no () => (float[N, 2, H, W] e)
                    { v = Constant<value = float[2, 4, 1, 1] {8, 7, 6, 5, 4, 3, 2, 1}>() e = Conv(i, v) }> }""")
    (tmp_path / "in.onnx").write_bytes(model.SerializeToString())
    found = inspect(tmp_path / "in.onnx")
    assert not found.groups
    assert any("stored inside a function" in reason for locked in found.locked for reason in locked.reasons)


def test_a_function_of_another_opset_stays_whole(tmp_path: Path) -> None:
    """It cannot be inlined; the channels that it reads stay, the others go, and the file keeps the function."""
    model = filled("""
        <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        net (float[N, 3, H, W] x) => (float[N, 2, P, Q] y)
        <float[4, 3, 1, 1] w1, float[6, 4, 1, 1] w2, float[2, 6, 1, 1] w3>
        { a = Conv(x, w1) b = local.old(a) c = Conv(b, w2) y = Conv(c, w3) }
        <domain: "local", opset_import: ["" : 16]> old (i) => (o) { o = Relu(i) }""")
    report, saved = pruned(model, tmp_path)
    assert [group.width for group in report.groups] == [6]
    assert len(saved.functions) == 1
    assert not any("functions were replaced" in note for note in report.notes)
    locked = inspect(tmp_path / "in.onnx").locked
    assert any("operator old of domain 'local'" in reason for entry in locked for reason in entry.reasons)


# --- bodies -----------------------------------------------------------------------------------------------------------

BRANCHED = [
    chosen for chosen in CASES if "bool flag" in chosen.text and "{1}" not in chosen.text.split("bool flag")[1][:8]
]


@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize("chosen", BRANCHED, ids=str)
def test_whichever_branch_runs_it_is_right(chosen: Case, flag: bool) -> None:
    """Discovery runs one of them; the other is checked here as well, against the plan alone."""
    units = units_of(chosen)
    for mask in some_masks(units):
        after = apply_cuts(chosen.model, units, plan_cuts(units, mask))
        silenced = set_inputs_to_zero(chosen.model, make_plan(units, mask, "0"))
        feeds = inputs_at(chosen.model, 2, 9) | {"flag": np.array(flag)}
        assert_same(run(after, feeds), run(silenced, feeds), tol=ROUNDING)


@pytest.mark.parametrize("name", ["If-convolution-pairs", "Loop-convolution-pair", "Scan-convolution-pair"])
def test_networks_with_bodies_go_through_the_whole_command(name: str, tmp_path: Path) -> None:
    report, _ = pruned(next(chosen for chosen in CASES if chosen.name == name).model, tmp_path, ratio=0.4)
    assert report.ratio >= 0.4


def test_both_branches_are_verified_before_saving() -> None:
    """A mistake in the branch that a flag of 0 does not take is caught, without data."""
    chosen = next(chosen for chosen in CASES if chosen.name == "If-convolution-pairs")
    units = units_of(chosen)
    mask = next(some_masks(units))
    after = apply_cuts(chosen.model, units, plan_cuts(units, mask))
    batches = verification_batches(units.graph, units.trace, None)
    masked = mask_model(chosen.model, units, mask)
    verify(after, masked, batches)
    for weight in ("wt", "we"):
        values = stored_arrays(after)[weight]
        with pytest.raises(VerificationError):
            verify(copy_with_weights(after, {weight: values * 1.01}), masked, batches)


@pytest.mark.parametrize("name", ["p", "y", "s", ""])
def test_a_name_that_nodes_inside_and_outside_share(name: str, tmp_path: Path) -> None:
    """Node names repeat across graphs in real files; the plan then goes by outputs."""
    model = copied(next(chosen for chosen in CASES if chosen.name == "If-convolution-pairs").model)
    for graph in all_graphs(model.graph):
        for node in graph.node[-1:]:
            node.name = name
    report, _ = pruned(model, tmp_path)
    assert report.after.params < report.before.params


@pytest.mark.needs_training
def test_weights_in_the_body_of_a_loop_are_not_trained(tmp_path: Path) -> None:
    """The runtime has no gradient through a Loop; the refusal names the node and the way out."""
    model = next(chosen for chosen in CASES if chosen.name == "Loop-convolution-pair").model
    (tmp_path / "in.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(RequestError, match=r"no gradient passes Loop node '\w'.*--no-train"):
        prune(tmp_path / "in.onnx", tmp_path / "out.onnx", epochs=1)


@pytest.mark.needs_training
def test_weights_in_the_branch_that_is_taken_are_trained(tmp_path: Path) -> None:
    """Where a stored flag decides, the branch is part of the network, and the other one is only cut."""
    model = filled_flag(next(chosen for chosen in CASES if chosen.name == "If-convolution-pairs").model)
    (tmp_path / "in.onnx").write_bytes(model.SerializeToString())
    report = prune(tmp_path / "in.onnx", tmp_path / "out.onnx", epochs=1, finetune_epochs=1, batch_norm="frozen")
    assert report.after.params < report.before.params
    before, after = (
        {name: value for name, value in stored_arrays(onnx.load(path)).items() if value.ndim > 1}
        for path in (tmp_path / "in.onnx", tmp_path / "out.onnx")
    )
    known = {name: set(before[name].ravel().tolist()) for name in after}
    learned = {name for name, value in after.items() if not set(value.ravel().tolist()) <= known[name]}
    assert learned
    assert learned != set(after)


def filled_flag(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its flag stored: samples have a batch axis, a flag has none."""
    result = copied(model)
    for info in [info for info in result.graph.input if info.name == "flag"]:
        result.graph.input.remove(info)
        result.graph.initializer.append(numpy_helper.from_array(np.array(True), "flag"))
    return result


def test_declared_shapes_inside_bodies_follow() -> None:
    """5 channels minus one in the value_info and the result of a branch."""
    chosen = next(chosen for chosen in CASES if chosen.name == "If-constants-in-branches")
    units = units_of(chosen)
    mask = np.ones(units.num_units, dtype=bool)
    mask[[group.first for group in units.groups]] = False
    after = apply_cuts(chosen.model, units, plan_cuts(units, mask))
    declared = {
        info.name: info.type.tensor_type.shape.dim[1].dim_value
        for graph in all_graphs(after.graph)
        for info in (*graph.value_info, *graph.output)
    }
    assert declared == {"p": 4, "t": 5, "e": 5, "y": 2}


def test_a_weight_of_a_body_that_hides_an_outer_one_is_left_alone() -> None:
    """Both are called w2; the body is opaque, and surgery must cut the outer tensor only."""
    model = filled("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 3, H, W] x, bool flag) => (float[N, 2, H, W] y)
        <float[4, 3, 1, 1] w1, float[2, 4, 1, 1] w2>
        { a = Conv(x, w1) b = Conv(a, w2)
          s = If(flag)<then_branch = yes () => (float[N, 2, H, W] t) <float[2, 3, 1, 1] w2> { t = Conv(x, w2) },
                       else_branch = no () => (float[N, 2, H, W] e) <float[2, 3, 1, 1] w3> { e = Conv(x, w3) }>
          y = Add(b, s) }""")
    units = discover(load(model))
    assert [group.width for group in units.groups] == [4]
    mask = np.array([False, True, False, True])
    after = apply_cuts(model, units, plan_cuts(units, mask))
    shapes = [tuple(t.dims) for graph in all_graphs(after.graph) for t in graph.initializer if t.name == "w2"]
    assert shapes == [(2, 2, 1, 1), (2, 3, 1, 1)]
    masked = mask_model(model, units, mask)
    for flag in (False, True):
        feeds = inputs_at(model, 2, 9) | {"flag": np.array(flag)}
        assert_same(run(after, feeds), run(masked, feeds), tol=ROUNDING)
