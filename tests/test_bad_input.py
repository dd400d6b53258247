"""Whatever is wrong with a model, data, a plan or a call: one clear sentence, the right exit code, nothing written."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from onnx_dnscp.cli.main import run
from onnx_dnscp.training.engines.ort import OrtEngine

BUG, USAGE, MODEL, DATA, REQUEST, INTERRUPTED = 1, 2, 3, 4, 5, 130

Refuse = Callable[..., str]
Arrays = Mapping[str, NDArray[Any]]


@pytest.fixture
def assert_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Refuse:
    """Run the command line, expect a failure, and return its one sentence."""

    def check(arguments: list[str | Path], code: int, match: str) -> str:
        before = files_of(tmp_path)
        found = run([str(a) for a in arguments])
        out, err = capfd.readouterr()
        assert found == code, err
        lines = err.strip().splitlines()
        sentences = [line for line in lines if line.startswith("Error:")]
        assert len(sentences) == 1, err
        assert lines[-1] == sentences[0], "the sentence comes last and is one line"
        assert re.search(match, sentences[0]), sentences[0]
        assert "Traceback" not in err
        assert out == ""
        assert files_of(tmp_path) == before, "a failure writes nothing, changes nothing and leaves no temporary files"
        return sentences[0]

    return check


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones included."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def write(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def tensor_of(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if n.name == name)


def one_node_model(op_type: str, *, domain: str = "", opsets: Mapping[str, int] | None = None) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node(op_type, ["x"], ["y"], name="only", domain=domain)], "g", values[:1], values[1:]
    )
    imports = [helper.make_opsetid(d, v) for d, v in (opsets or {"": 17}).items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


# --- the model file ---------------------------------------------------------------------------------------------------

COMMANDS = {
    "inspect": lambda model, tmp: ["inspect", model],
    "prune": lambda model, tmp: ["prune", model, "-o", tmp / "out.onnx", "--no-train"],
    "apply": lambda model, tmp: ["apply", model, tmp / "plan.json", "-o", tmp / "out.onnx"],
    "evaluate": lambda model, tmp: ["evaluate", model, "--data", tmp / "data.npz"],
    "compare": lambda model, tmp: ["compare", model, model],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_missing_model_is_named_by_every_command(command: str, tmp_path: Path, assert_refused: Refuse) -> None:
    assert_refused(COMMANDS[command](tmp_path / "none.onnx", tmp_path), MODEL, r"none\.onnx.*No such file")


def test_a_folder_is_no_model(tmp_path: Path, assert_refused: Refuse) -> None:
    assert_refused(["inspect", tmp_path], MODEL, "Is a directory")


UNREADABLE = {
    "empty": (b"", r"bad\.onnx.* is empty \(0 bytes\); export it again"),
    "text": (b"This is a note about a model.\n" * 20, r"bad\.onnx.*is not an ONNX model or is truncated \(600 bytes"),
    "json": (json.dumps({"format": "not onnx", "layers": [1, 2]}).encode(), r"bad\.onnx.*not an ONNX model"),
    "random": (np.random.default_rng(1).bytes(5000), r"bad\.onnx.*not an ONNX"),
    "no nodes": (helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString(), "no graph with nodes"),
}


@pytest.mark.parametrize("case", UNREADABLE)
@pytest.mark.parametrize("command", ["inspect", "prune"])
def test_a_file_that_is_no_model_is_refused(case: str, command: str, tmp_path: Path, assert_refused: Refuse) -> None:
    content, match = UNREADABLE[case]
    (tmp_path / "bad.onnx").write_bytes(content)
    assert_refused(COMMANDS[command](tmp_path / "bad.onnx", tmp_path), MODEL, match)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_model_is_refused(share: float, resnet_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    """Copies and downloads break off anywhere."""
    content = resnet_path.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: int(share * len(content))])
    assert_refused(
        COMMANDS["prune"](tmp_path / "cut.onnx", tmp_path), MODEL, r"cut\.onnx.*(truncated|no graph|damaged|made by)"
    )


@pytest.mark.no_cover
def test_random_damage_is_never_called_a_bug(tiny_model: onnx.ModelProto, tmp_path: Path) -> None:
    """One flipped byte may go unnoticed or make the file invalid; it never ends in an unexpected exception."""
    content = tiny_model.SerializeToString()
    rng = np.random.default_rng(2)
    structure = [i for i in range(len(content)) if i < 420 or i > len(content) - 120]  # nodes and declared shapes
    codes = set()
    for position in rng.choice(structure, 60, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= int(rng.integers(1, 256))
        (tmp_path / "flipped.onnx").write_bytes(damaged)
        code = run(["inspect", str(tmp_path / "flipped.onnx")])
        assert code in (0, MODEL), f"byte {position} became {damaged[position]}"
        codes.add(code)
    assert codes == {0, MODEL}


def test_an_input_that_nobody_makes_is_named_with_its_node(
    tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse
) -> None:
    node_of(tiny_model, "relu2").input[0] = "lost"
    path = write(tmp_path / "dangling.onnx", tiny_model)
    assert_refused(
        COMMANDS["prune"](path, tmp_path), MODEL, r"Node 'relu2' \(Relu\) of .*dangling\.onnx.* reads tensor 'lost'"
    )


def test_nodes_in_a_circle_are_refused(tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse) -> None:
    """No order is right for them."""
    first, second = tiny_model.graph.node[:2]
    first.input[0] = second.output[0]
    match = rf"reads tensor '{second.output[0]}', which nothing makes, or only what reads the node's own result"
    assert_refused(["inspect", write(tmp_path / "m.onnx", tiny_model)], MODEL, match)


def test_an_output_that_nobody_makes_is_named(
    tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse
) -> None:
    tiny_model.graph.output[0].name = "scores"
    assert_refused(
        ["inspect", write(tmp_path / "m.onnx", tiny_model)], MODEL, "Output 'scores' of .* is made by no node"
    )


def test_a_node_without_name_or_outputs_is_refused(
    tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse
) -> None:
    tiny_model.graph.node.append(helper.make_node("Relu", ["nothing"], []))
    assert_refused(["inspect", write(tmp_path / "m.onnx", tiny_model)], MODEL, "Relu.* reads tensor 'nothing'")


@pytest.mark.parametrize("name", ["w2", "b1"])
def test_a_tensor_with_too_few_bytes_is_named(
    name: str, tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse
) -> None:
    tensor = tensor_of(tiny_model, name)
    tensor.raw_data = tensor.raw_data[:-4]
    shape = re.escape(str(tuple(tensor.dims)))
    assert_refused(["inspect", write(tmp_path / "m.onnx", tiny_model)], MODEL, f"Tensor '{name}' of .*damaged.*{shape}")


def test_a_damaged_integer_tensor_is_named_too(
    tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse
) -> None:
    """Shapes and split sizes are stored like weights."""
    target = numpy_helper.from_array(np.array([0, 4], dtype=np.int64), "target")
    target.raw_data = target.raw_data[:-3]
    tiny_model.graph.initializer.append(target)
    flatten = node_of(tiny_model, "flatten")
    flatten.op_type = "Reshape"
    flatten.input.append("target")
    assert_refused(["inspect", write(tmp_path / "m.onnx", tiny_model)], MODEL, r"Tensor 'target' of .*damaged.*\(2,\)")


def test_nan_weights_are_refused(tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse) -> None:
    values = numpy_helper.to_array(tensor_of(tiny_model, "w2")).copy()
    values[1, 2, 0, 0] = np.nan
    tensor_of(tiny_model, "w2").CopyFrom(numpy_helper.from_array(values, "w2"))
    path = write(tmp_path / "m.onnx", tiny_model)
    assert_refused(COMMANDS["prune"](path, tmp_path), MODEL, r"Weight 'w2' of .*m\.onnx.* contains NaN")


def external(model: onnx.ModelProto, folder: Path, location: str) -> Path:
    """Save with `w2` in another file, which is written only if it lies inside the folder."""
    folder.mkdir(exist_ok=True)
    tensor = tensor_of(model, "w2")
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value=str(len(content)))
    (folder / Path(location).name).write_bytes(content)
    return write(folder / "model.onnx", model)


def test_external_data_beside_the_model_is_read(tiny_model: onnx.ModelProto, tmp_path: Path) -> None:
    """The refusals below are about the place, not about external data as such."""
    assert run(["inspect", str(external(tiny_model, tmp_path / "m", "weights.bin"))]) == 0


def test_missing_external_data_is_named(tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse) -> None:
    path = external(tiny_model, tmp_path / "m", "weights.bin")
    (tmp_path / "m" / "weights.bin").unlink()
    assert_refused(
        ["inspect", path], MODEL, r"Tensor 'w2' of .*'weights\.bin', which is missing; put it beside the model"
    )


def test_external_data_that_is_too_short_is_refused(
    tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse
) -> None:
    path = external(tiny_model, tmp_path / "m", "weights.bin")
    (tmp_path / "m" / "weights.bin").write_bytes(b"1234")
    assert_refused(["inspect", path], MODEL, r"model\.onnx")


@pytest.mark.parametrize("kind", ["parent", "absolute", "symlink", "deep parent", "no location"])
def test_external_data_cannot_leave_the_models_folder(
    kind: str, tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse
) -> None:
    """A model from the web must not read other files of this machine, even if they have the right size."""
    secret = tmp_path / "weights.bin"
    location = {
        "parent": "../weights.bin",
        "absolute": str(secret),
        "symlink": "link.bin",
        "deep parent": "a/../../weights.bin",
        "no location": "",
    }[kind]
    content = tensor_of(tiny_model, "w2").raw_data
    path = external(tiny_model, tmp_path / "m", location or "unused.bin")
    secret.write_bytes(content)
    if kind == "symlink":
        (tmp_path / "m" / "link.bin").unlink()
        (tmp_path / "m" / "link.bin").symlink_to(secret)
    if kind == "no location":
        tensor_of(tiny_model, "w2").external_data[0].value = ""
        write(path, tiny_model)
    match = f"Tensor 'w2' of .*{re.escape(repr(location))}, outside the model's folder; move the data file"
    assert_refused(["inspect", path], MODEL, match)


def test_an_operator_the_runtime_does_not_know_is_refused(tmp_path: Path, assert_refused: Refuse) -> None:
    path = write(tmp_path / "m.onnx", one_node_model("FlyToTheMoon"))
    assert_refused(COMMANDS["prune"](path, tmp_path), MODEL, "ONNX Runtime: .*FlyToTheMoon")


def test_a_domain_the_runtime_does_not_know_is_refused(tmp_path: Path, assert_refused: Refuse) -> None:
    path = write(tmp_path / "m.onnx", one_node_model("Relu", domain="my.own", opsets={"": 17, "my.own": 1}))
    assert_refused(["inspect", path], MODEL, r"ONNX Runtime: .*(my\.own|only)")


def test_shapes_that_do_not_fit_each_other_are_refused(
    tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse
) -> None:
    wrong = np.zeros((4, 5, 3, 3), dtype=np.float32)
    tensor_of(tiny_model, "w2").CopyFrom(numpy_helper.from_array(wrong, "w2"))
    assert_refused(["inspect", write(tmp_path / "m.onnx", tiny_model)], MODEL, "ONNX Runtime: .*conv2")


# --- requests that cannot be met --------------------------------------------------------------------------------------


def test_a_graph_without_convolutions_cannot_be_pruned(tmp_path: Path, assert_refused: Refuse) -> None:
    path = write(tmp_path / "m.onnx", one_node_model("Relu"))
    assert_refused(COMMANDS["prune"](path, tmp_path), REQUEST, "Nothing to prune: the model has no convolution")


def test_where_all_channels_are_locked_the_reason_is_given(tmp_path: Path, assert_refused: Refuse) -> None:
    weight = numpy_helper.from_array(np.ones((5, 1, 1, 1), dtype=np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 4, 4])
    y = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 5, 4, 4])
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["features"])], "g", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = write(tmp_path / "m.onnx", model)
    assert_refused(
        COMMANDS["prune"](path, tmp_path), REQUEST, "Nothing to prune: .* 1 convolution.*graph output 'features'"
    )


@pytest.mark.parametrize("ratio", ["-0.1", "1", "1.5", "abc", "nan", "inf", ""])
def test_a_ratio_out_of_range_is_wrong_usage(
    ratio: str, tiny_path: Path, tmp_path: Path, assert_refused: Refuse
) -> None:
    assert_refused(
        ["prune", tiny_path, "-o", tmp_path / "out.onnx", "--no-train", f"--ratio={ratio}"], USAGE, "[Rr]atio"
    )


def test_a_ratio_out_of_reach_says_how_far_it_can_go(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    """Two groups of 6 and 4 keep one channel each, so 8 of 10 can go."""
    call = ["prune", tiny_path, "-o", tmp_path / "out.onnx", "--no-train"]
    sentence = assert_refused(
        [*call, "--ratio", "0.9"], REQUEST, r"Ratio 0\.9 of channels is out of reach: .*at most 0\.8 "
    )
    told = re.search(r"at most (\S+)", sentence)
    assert told is not None
    assert run([str(a) for a in [*call, "--ratio", told[1]]]) == 0
    saved = onnx.load(tmp_path / "out.onnx")
    assert tuple(tensor_of(saved, "w2").dims) == (1, 1, 3, 3)


@pytest.mark.parametrize("metric", ["channels", "params", "macs"])
def test_the_ratio_that_the_message_names_can_be_had_in_every_metric(
    metric: str, tiny_path: Path, tmp_path: Path, assert_refused: Refuse
) -> None:
    call = ["prune", tiny_path, "-o", tmp_path / "out.onnx", "--no-train", "--metric", metric]
    sentence = assert_refused([*call, "--ratio", "0.999"], REQUEST, f"of {metric} is out of reach")
    told = re.search(r"at most (\S+)", sentence)
    assert told is not None
    assert run([str(a) for a in [*call, "--ratio", told[1]]]) == 0
    assert run([str(a) for a in [*call, "--ratio", str(float(told[1]) + 0.001)]]) == REQUEST


@pytest.mark.needs_training
def test_a_diverging_loss_ends_the_run_and_saves_nothing(
    tiny_path: Path, tmp_path: Path, assert_refused: Refuse
) -> None:
    save_digits(tmp_path / "d.npz", count=64)
    call = ["prune", tiny_path, "-o", tmp_path / "out.onnx", "--data", tmp_path / "d.npz", "--batch-size", "8"]
    assert_refused(
        [*call, "--lr", "1e9"],
        REQUEST,
        r"loss (became (nan|inf)|rose from \S+ to \S+) at step \d+ of the train phase; try a smaller --lr",
    )


# --- data -------------------------------------------------------------------------------------------------------------


def digits(count: int = 12) -> dict[str, NDArray[Any]]:
    """Arrays that fit the tiny model."""
    rng = np.random.default_rng(3)
    return {
        "image": rng.standard_normal((count, 1, 8, 8)).astype(np.float32),
        "labels": rng.integers(0, 3, count),
    }


def save_digits(path: Path, count: int = 12, **changes: Any) -> Path:
    arrays = {**digits(count), **changes}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def changed(array: NDArray[Any], index: tuple[int, ...], value: float) -> NDArray[Any]:
    result = array.copy()
    result[index] = value
    return result


IMAGES, LABELS = digits()["image"], digits()["labels"]

WRONG_ARRAYS: dict[str, tuple[Arrays, str]] = {
    "name": ({"image": None, "x": IMAGES}, r"no array named 'image', the model's input; it has labels, x\. Name"),
    "rank": ({"image": IMAGES[:, 0]}, r"'image' in .* have shape \(8, 8\); the model wants \(1, 8, 8\)"),
    "rank 1": ({"image": IMAGES[:, 0, 0, 0]}, r"have shape \(\); the model wants \(1, 8, 8\)"),
    "scalar": ({"image": np.float32(3)}, r"array 'image' has shape \(\)"),
    "fixed size": ({"image": np.zeros((12, 1, 9, 8), np.float32)}, r"have shape \(1, 9, 8\).* wants \(1, 8, 8\)"),
    "strings": ({"image": np.array(["cat"] * 12)}, r"'image' in .* has type <U3; the model wants numbers \(float32\)"),
    "complex": ({"image": IMAGES.astype(np.complex64)}, r"'image' in .* has type complex64; the model wants numbers"),
    "float labels": ({"labels": LABELS.astype(np.float32)}, "'labels' in .* has type float32; .* must be integers"),
    "string labels": ({"labels": np.array(["a"] * 12)}, "'labels' in .* has type <U1; .* must be integers"),
    "label too large": ({"labels": changed(LABELS, (5,), 3)}, r"Label 3 of sample 5 .* has 3 classes, 0 to 2"),
    "label negative": ({"labels": changed(LABELS, (7,), -1)}, r"Label -1 of sample 7 .* out of range"),
    "labels of rank 2": ({"labels": LABELS[:, None]}, r"'labels' in .* have shape \(12, 1\); .* one class number"),
    "lengths": ({"labels": LABELS[:10]}, r"different numbers of samples: image 12, labels 10"),
    "empty": ({"image": IMAGES[:0], "labels": LABELS[:0]}, r"is empty: array 'image' has shape \(0, 1, 8, 8\)"),
    "nan": ({"image": changed(IMAGES, (4, 0, 1, 1), np.nan)}, "'image' in .* NaN or infinity in sample 4"),
    "infinity": ({"image": changed(IMAGES, (9, 0, 1, 1), -np.inf)}, "'image' in .* NaN or infinity in sample 9"),
    "too large for float32": (
        {"image": changed(IMAGES.astype(np.float64), (2, 0, 0, 0), 1e300)},
        "'image' in .* NaN or infinity in sample 2",
    ),
}


@pytest.mark.parametrize("case", WRONG_ARRAYS)
def test_arrays_that_do_not_fit_are_refused(case: str, tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    changes, match = WRONG_ARRAYS[case]
    data = save_digits(tmp_path / "d.npz", **changes)
    assert_refused(["evaluate", tiny_path, "--data", data], DATA, match)
    assert_refused(["prune", tiny_path, "-o", tmp_path / "out.onnx", "--data", data], DATA, r"d\.npz")


def test_missing_data_is_named(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    assert_refused(["evaluate", tiny_path, "--data", tmp_path / "none.npz"], DATA, r"none\.npz' does not exist")


def test_data_of_an_unknown_kind_is_refused(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    (tmp_path / "d.csv").write_text("1,2,3")
    assert_refused(
        ["evaluate", tiny_path, "--data", tmp_path / "d.csv"], DATA, r"d\.csv' is of no known kind; give an \.npz"
    )


def test_the_other_data_options_are_checked_alike(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    missing = tmp_path / "none.npz"
    prune = ["prune", tiny_path, "-o", tmp_path / "out.onnx"]
    assert_refused([*prune, "--test-data", missing], DATA, "does not exist")
    assert_refused(["compare", tiny_path, tiny_path, "--data", missing], DATA, "does not exist")


def npy_bytes(tmp_path: Path) -> bytes:
    np.save(tmp_path / "one.npy", IMAGES)
    return (tmp_path / "one.npy").read_bytes()


def broken_zip(tmp_path: Path) -> bytes:
    np.savez_compressed(tmp_path / "whole.npz", **digits())
    content = bytearray((tmp_path / "whole.npz").read_bytes())
    content[200:260] = b"\xff" * 60
    return bytes(content)


def half_zip(tmp_path: Path) -> bytes:
    return save_digits(tmp_path / "whole.npz").read_bytes()[:1000]


BROKEN_NPZ: dict[str, Callable[[Path], bytes]] = {
    "text": lambda tmp: b"hello, I am not a zip archive",
    "empty file": lambda tmp: b"",
    "one array": npy_bytes,
    "half": half_zip,
    "damaged inside": broken_zip,
}


@pytest.mark.parametrize("case", BROKEN_NPZ)
def test_an_npz_that_is_no_whole_zip_is_refused(
    case: str, tiny_path: Path, tmp_path: Path, assert_refused: Refuse
) -> None:
    (tmp_path / "d.npz").write_bytes(BROKEN_NPZ[case](tmp_path))
    sentence = assert_refused(
        ["evaluate", tiny_path, "--data", tmp_path / "d.npz"], DATA, r"Cannot read the data .*d\.npz"
    )
    assert "pickle" not in sentence


def test_pickled_objects_are_not_loaded(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    """Unpickling runs code of whoever made the file."""
    marker = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return Path.touch, (marker,)  # type: ignore[return-value]

    objects = np.empty(12, dtype=object)
    objects[:] = [Trap() for _ in range(12)]
    save_digits(tmp_path / "d.npz", image=objects)
    assert_refused(["evaluate", tiny_path, "--data", tmp_path / "d.npz"], DATA, r"d\.npz.*[Oo]bject")
    assert not marker.exists()


def test_fewer_samples_than_a_fixed_batch_are_refused(
    tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse
) -> None:
    for value in (*tiny_model.graph.input, *tiny_model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 16
    path, data = write(tmp_path / "m.onnx", tiny_model), save_digits(tmp_path / "d.npz", count=12)
    match = r"d\.npz' holds 12 samples; the model takes 16 at a time"
    assert_refused(["evaluate", path, "--data", data], DATA, match)
    assert_refused(["prune", path, "-o", tmp_path / "out.onnx", "--no-train", "--data", data], DATA, match)


def test_cross_entropy_needs_labels(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    data = save_digits(tmp_path / "d.npz", labels=None)
    call = ["prune", tiny_path, "-o", tmp_path / "out.onnx", "--data", data, "--loss", "cross-entropy"]
    assert_refused(call, DATA, "--loss cross-entropy needs labels, and 'd.npz' has none; use --loss distill")


def test_cross_entropy_needs_scores(tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse) -> None:
    """The refusal shows what the model puts out instead."""
    tiny_model.graph.output.append(helper.make_tensor_value_info("p", TensorProto.FLOAT, ["N", 4, 1, 1]))
    path, data = write(tmp_path / "m.onnx", tiny_model), save_digits(tmp_path / "d.npz")
    match = r"one output of shape \(batch, classes\), and the model has 'logits' \['N', 3\], 'p' \['N', 4, 1, 1\]"
    assert_refused(["prune", path, "--data", data, "--loss", "cross-entropy"], REQUEST, match)


# --- folders of images ------------------------------------------------------------------------------------------------


def image_folder(folder: Path, *, classes: int = 3, each: int = 2) -> Path:
    rng = np.random.default_rng(4)
    for c in range(classes):
        (folder / f"class{c}").mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"class{c}" / f"{i}.png")
    return folder


def evaluate_gray(model: Path, folder: Path) -> list[str | Path]:
    return ["evaluate", model, "--data", folder, "--channels", "gray"]


def test_a_good_image_folder_is_accepted(tiny_path: Path, tmp_path: Path) -> None:
    """The refusals below are about the damage."""
    assert run([str(a) for a in evaluate_gray(tiny_path, image_folder(tmp_path / "images"))]) == 0


def test_an_empty_folder_is_refused(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    (tmp_path / "images").mkdir()
    assert_refused(evaluate_gray(tiny_path, tmp_path / "images"), DATA, "images' is empty: it has no images in it")


def test_images_without_class_folders_teach_no_classes(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    image_folder(tmp_path / "images")
    data = tmp_path / "images" / "class0"
    assert_refused(
        ["prune", tiny_path, "--data", data, "--channels", "gray", "--loss", "cross-entropy"],
        DATA,
        "needs labels, and .* has none",
    )


def test_more_class_folders_than_classes_are_refused(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    assert_refused(
        evaluate_gray(tiny_path, image_folder(tmp_path / "images", classes=4)), DATA, "Label 3 of sample 6 .*3 class"
    )


@pytest.mark.parametrize("position", ["class0/0.png", "class2/1.png"])
@pytest.mark.parametrize("damage", ["text", "empty", "cut", "flipped"])
def test_a_broken_image_is_named(
    position: str, damage: str, tiny_path: Path, tmp_path: Path, assert_refused: Refuse
) -> None:
    """The first image is read when the data is checked, the last in the middle of the work."""
    file = image_folder(tmp_path / "images") / position
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[:60]
    elif damage == "flipped":
        content[45:] = bytes(b ^ 0xFF for b in content[45:])
    file.write_bytes({"text": b"not an image", "empty": b""}.get(damage, bytes(content)))
    assert_refused(
        evaluate_gray(tiny_path, tmp_path / "images"), DATA, f"Cannot read the image '.*{re.escape(position)}'"
    )


def test_colour_images_for_a_gray_model_are_told_what_to_do(
    tiny_path: Path, tmp_path: Path, assert_refused: Refuse
) -> None:
    folder = image_folder(tmp_path / "images")
    assert_refused(
        ["evaluate", tiny_path, "--data", folder], DATA, r"has 1 channel\(s\), .* rgb have 3; give --channels gray"
    )


def test_an_image_folder_cannot_feed_two_inputs(tmp_path: Path, assert_refused: Refuse) -> None:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 1, 8, 8]) for n in ("left", "right", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["left", "right"], ["y"])], "g", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = write(tmp_path / "m.onnx", model)
    match = r"The model has 2 inputs \(left, right\); images feed one.*\.npz"
    assert_refused(evaluate_gray(path, image_folder(tmp_path / "images")), DATA, match)


def test_an_image_folder_cannot_feed_a_vector(tmp_path: Path, assert_refused: Refuse) -> None:
    path = write(tmp_path / "m.onnx", one_node_model("Relu"))
    assert_refused(evaluate_gray(path, image_folder(tmp_path / "images")), DATA, "input 'x' has 2 axes; images need 4")


# --- places to write to -----------------------------------------------------------------------------------------------


def test_output_in_a_missing_folder_is_refused(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    out = tmp_path / "none" / "out.onnx"
    assert_refused(
        ["prune", tiny_path, "-o", out, "--no-train"], USAGE, "the folder '.*none' does not exist; create it first"
    )


def test_output_that_is_a_folder_is_refused(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    assert_refused(["prune", tiny_path, "-o", tmp_path, "--no-train"], USAGE, "it is a folder; give a file name")


@pytest.mark.parametrize("spelling", ["same", "symlink", "relative", "dots"])
def test_the_input_is_never_overwritten(
    spelling: str, tiny_path: Path, tmp_path: Path, assert_refused: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.onnx").symlink_to(tiny_path)
    (tmp_path / "sub").mkdir()
    out = {
        "same": tiny_path,
        "symlink": Path("link.onnx"),
        "relative": Path("tiny.onnx"),
        "dots": Path("sub/../tiny.onnx"),
    }
    assert_refused(
        ["prune", tiny_path, "-o", out[spelling], "--no-train"], USAGE, "is the input itself; give another name"
    )
    assert_refused(
        ["apply", tiny_path, "plan.json", "-o", out[spelling]], USAGE, "is the input itself; give another name"
    )


def test_the_plan_is_not_written_over_the_model(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    out = tmp_path / "out.onnx"
    call = ["prune", tiny_path, "-o", out, "--no-train"]
    assert_refused([*call, "--plan-out", tiny_path], USAGE, r"tiny\.onnx")
    assert_refused([*call, "--plan-out", out], USAGE, r"out\.onnx")


def test_the_model_is_not_written_over_the_plan(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    plan = write_plan(tiny_path, tmp_path, {0: [1]})
    assert_refused(["apply", tiny_path, plan, "-o", plan], USAGE, r"plan\.json")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert_refused(
        ["prune", tiny_path, "-o", folder / "out.onnx", "--no-train"], USAGE, "Permission denied; choose another"
    )


def test_a_folder_that_takes_no_files_is_refused_before_the_work(
    tiny_path: Path, tmp_path: Path, assert_refused: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as above, also for root: the operating system says no."""

    def no(*args: Any, **kwargs: Any) -> tuple[int, str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", no)
    monkeypatch.setattr("onnx_dnscp.commands.prune_prepare.discover", lambda model: pytest.fail("the work has begun"))
    assert_refused(
        ["prune", tiny_path, "-o", tmp_path / "out.onnx", "--no-train"], USAGE, "Permission denied; choose another"
    )


def test_a_run_directory_that_is_a_file_is_refused(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    (tmp_path / "run").write_text("x")
    call = ["prune", tiny_path, "-o", tmp_path / "out.onnx", "--no-train", "--run-dir", tmp_path / "run"]
    assert_refused(call, USAGE, "run directory .*run': File exists")


def test_a_run_directory_is_not_used_twice(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.json").write_text("{}")
    call = ["prune", tiny_path, "-o", tmp_path / "out.onnx", "--no-train", "--run-dir", tmp_path / "run"]
    assert_refused(call, USAGE, "run' already holds a run")


# --- plans ------------------------------------------------------------------------------------------------------------


def write_plan(model: Path, folder: Path, removed: Mapping[int, list[int]], **changes: Any) -> Path:
    """A plan by hand for the tiny model, whose groups have 6 and 4 channels."""
    import hashlib

    groups = [{"id": i, "width": (6, 4)[i], "removed": units} for i, units in removed.items()]
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    plan = {"format": "onnx-dnscp-plan/1", "model_sha256": sha256, "groups": groups, **changes}
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder / "plan.json"


def test_a_plan_by_hand_is_applied(tiny_path: Path, tmp_path: Path) -> None:
    """The refusals below are about what is wrong with them."""
    plan = write_plan(tiny_path, tmp_path, {0: [0, 2], 1: [3]})
    assert run(["apply", str(tiny_path), str(plan), "-o", str(tmp_path / "out.onnx")]) == 0
    assert tuple(tensor_of(onnx.load(tmp_path / "out.onnx"), "w2").dims) == (3, 4, 3, 3)


def test_a_plan_for_the_network_before_more_training_is_applied_with_a_note(
    tiny_path: Path, tiny_model: onnx.ModelProto, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The hash is another one, and everything else is as the plan says."""
    plan, moved = tmp_path / "plan.json", tmp_path / "moved.onnx"
    assert run(["prune", str(tiny_path), "--no-train", "-o", str(tmp_path / "o.onnx"), f"--plan-out={plan}"]) == 0
    weight = tensor_of(tiny_model, "w2")
    weight.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(weight), "w2"))
    onnx.save(tiny_model, moved)
    capfd.readouterr()
    assert run(["apply", str(moved), str(plan), "-o", str(tmp_path / "out.onnx")]) == 0
    assert "Note: The plan was made for another file of the same structure." in capfd.readouterr().out


WRONG_PLANS: dict[str, tuple[dict[int, list[int]], dict[str, Any], int, str]] = {
    "another model": ({0: [1]}, {"model_sha256": "ab" * 32}, USAGE, r"for another model: it names sha256 abababababab"),
    "empties a group": ({1: [0, 1, 2, 3]}, {}, REQUEST, r"Group 1 \(read by head\) would lose all 4 channels"),
    "no such channel": ({0: [6]}, {}, USAGE, "Group 0 of the plan removes channel 6; it has 0 to 5"),
    "negative channel": ({0: [-1]}, {}, USAGE, "Group 0 of the plan removes channel -1"),
    "no such group": ({}, {"groups": [{"id": 9, "width": 2, "removed": []}]}, USAGE, "names group 9; .* 0 to 1"),
    "width": ({}, {"groups": [{"id": 0, "width": 7, "removed": []}]}, USAGE, "has width 7; in the model it is 6"),
    "format": ({}, {"format": "onnx-dnscp-plan/9"}, USAGE, r"plan\.json' is not a valid plan: at format"),
    "unknown key": ({}, {"gruops": []}, USAGE, r"plan\.json' is not a valid plan: at gruops"),
    "consumers": (
        {0: [1]},
        {"consumers": {"conv2": {"weight": "w2", "input_channels": [4]}}},
        USAGE,
        "consumer 'conv2' lists input channels that do not match",
    ),
}


@pytest.mark.parametrize("case", WRONG_PLANS)
def test_a_plan_that_does_not_fit_is_refused(
    case: str, tiny_path: Path, tmp_path: Path, assert_refused: Refuse
) -> None:
    removed, changes, code, match = WRONG_PLANS[case]
    plan = write_plan(tiny_path, tmp_path, removed, **changes)
    assert_refused(["apply", tiny_path, plan, "-o", tmp_path / "out.onnx"], code, match)


@pytest.mark.parametrize("content", [b"", b"drop everything", b"[1, 2]", b'{"format": ', b"\xff\xfe\x00"])
def test_a_plan_that_is_no_plan_is_refused(
    content: bytes, tiny_path: Path, tmp_path: Path, assert_refused: Refuse
) -> None:
    (tmp_path / "plan.json").write_bytes(content)
    assert_refused(["apply", tiny_path, tmp_path / "plan.json", "-o", tmp_path / "out.onnx"], USAGE, r"plan\.json'")


def test_a_missing_plan_is_named(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    call = ["apply", tiny_path, tmp_path / "none.json", "-o", tmp_path / "out.onnx"]
    assert_refused(call, USAGE, r"Cannot read the plan .*none\.json': No such file")


# --- wrong usage ------------------------------------------------------------------------------------------------------

WRONG_CALLS = {
    "unknown option": (["--fast"], "No such option.*--fast"),
    "unknown metric": (["--metric", "flops"], "flops"),
    "zero std": (["--std", "0"], r"std.* cannot be \(0\.0,\): .* greater than 0"),
    "one zero std": (["--std", "1,0,1"], r"std.* cannot be \(1\.0, 0\.0, 1\.0\): .* greater than 0"),
    "mean of letters": (["--mean", "abc"], "'abc' is not a comma-separated list of numbers"),
    "mean not finite": (["--mean", "nan"], "mean.* finite"),
    "scale not finite": (["--scale", "inf"], "scale.* finite"),
    "size of nothing": (["--size", "0", "8"], "size.* not in the range x>0"),
    "no epochs": (["--epochs", "0"], "--epochs"),
    "no learning rate": (["--lr", "0"], "--lr"),
    "learning rate not finite": (["--lr", "inf"], "finite"),
    "c out of range": (["--c-rate", "3.5"], "--c-rate"),
    "negative seed": (["--seed", "-1"], "--seed"),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_a_wrong_call_names_the_option(case: str, tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    options, match = WRONG_CALLS[case]
    assert_refused(["prune", tiny_path, "-o", tmp_path / "out.onnx", "--no-train", *options], USAGE, match)


def test_mean_and_std_must_fit_the_channels(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    data = save_digits(tmp_path / "d.npz")
    assert_refused(["evaluate", tiny_path, "--data", data, "--mean", "1,2,3"], DATA, "3 .*mean.* 1 channel")
    folder = image_folder(tmp_path / "images")
    assert_refused([*evaluate_gray(tiny_path, folder), "--std", "1,2"], DATA, "2 .*std.* 1 channel")


def test_a_missing_argument_is_named(assert_refused: Refuse) -> None:
    assert_refused(["inspect"], USAGE, "Missing argument 'MODEL'")
    assert_refused(["explode", "x"], USAGE, "No such command 'explode'")
    assert_refused(["evaluate", "x.onnx"], USAGE, "Missing option '--data'")


def test_models_with_other_inputs_are_not_compared(tiny_path: Path, tmp_path: Path, assert_refused: Refuse) -> None:
    other = write(tmp_path / "other.onnx", one_node_model("Relu"))
    assert_refused(["compare", tiny_path, other], USAGE, r"different inputs \(image and x\)")
    data = save_digits(tmp_path / "d.npz")
    assert_refused(
        ["evaluate", tiny_path, "--data", data, "--reference", other], USAGE, r"other\.onnx' has inputs x and outputs y"
    )


# --- interruptions and bugs -------------------------------------------------------------------------------------------


@pytest.mark.needs_training
def test_ctrl_c_while_training_writes_nothing(
    tiny_path: Path, tmp_path: Path, assert_refused: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []

    def interrupted(self: OrtEngine, feeds: Any) -> Any:
        steps.append(feeds)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return original(self, feeds)

    original = OrtEngine.gradients
    monkeypatch.setattr(OrtEngine, "gradients", interrupted)
    data = save_digits(tmp_path / "d.npz")
    call = ["prune", tiny_path, "-o", tmp_path / "out.onnx", "--data", data, "--batch-size", "2"]
    assert_refused([*call, "--plan-out", tmp_path / "plan.json"], INTERRUPTED, "Interrupted; no model was written")
    assert len(steps) == 3


def broken(*args: Any, **kwargs: Any) -> Any:
    raise LookupError("drawer 7 is empty\nsecond line")


def test_an_unexpected_exception_is_called_a_bug(
    tiny_path: Path, assert_refused: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnx_dnscp.commands.inspect.discover", broken)
    assert_refused(["inspect", tiny_path], BUG, "Unexpected LookupError: drawer 7 is empty. This is a bug; .*--debug")


def test_debug_shows_where_a_bug_is(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("onnx_dnscp.commands.inspect.discover", broken)
    assert run(["--debug", "inspect", str(tiny_path)]) == BUG
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "in broken" in err
    assert "Error: Unexpected LookupError" in err


def test_debug_shows_where_a_refusal_comes_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--debug", "inspect", str(tmp_path / "none.onnx")]) == MODEL
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.strip().splitlines()[-1].startswith("Error: Cannot read the model")
