"""Files that were made to do harm: what reads other files, never ends, fills the memory or crashes ONNX Runtime."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_dnscp.cli.main import run
from onnx_dnscp.errors import ModelError
from onnx_dnscp.model import runtime
from onnx_dnscp.model.load import load_model

MODEL = ModelError.exit_code
Refuse = Callable[[onnx.ModelProto, str], str]

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork, so nobody watches there")


@pytest.fixture
def assert_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Refuse:
    """`inspect` refuses a model with one sentence."""

    def check(model: onnx.ModelProto, match: str) -> str:
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match=match):
            load_model(path)
        assert run(["inspect", str(path)]) == MODEL
        return capfd.readouterr().err

    return check


# --- external data ----------------------------------------------------------------------------------------------------


def with_external(model: onnx.ModelProto, **entries: str) -> onnx.ModelProto:
    """`model` whose weight w2 says that its data is elsewhere."""
    tensor = next(t for t in model.graph.initializer if t.name == "w2")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return model


def w2(model: onnx.ModelProto) -> bytes:
    return bytes(next(t for t in model.graph.initializer if t.name == "w2").raw_data)


@pytest.mark.parametrize("location", ["sub/../w.bin", "./../{folder}/w.bin", "{absolute}/w.bin"])
def test_external_data_is_named_from_the_models_folder_downwards(
    location: str, tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse
) -> None:
    """Also where the way out leads in again."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "w.bin").write_bytes(w2(tiny_model))
    location = location.format(folder=tmp_path.name, absolute=tmp_path)
    assert_refused(with_external(tiny_model, location=location), "outside the model's folder; move the data file")


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights there")
@pytest.mark.parametrize("linked", ["file", "folder"])
def test_external_data_behind_a_symbolic_link_is_refused(
    linked: str, tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "w.bin").write_bytes(w2(tiny_model))
    (tmp_path / "link").symlink_to("real" if linked == "folder" else "real/w.bin")
    location = "link/w.bin" if linked == "folder" else "link"
    assert_refused(
        with_external(tiny_model, location=location), "symbolic link; put the data file itself beside the model"
    )


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({"offset": "-4"}, "that file has 864"),
        ({"offset": "868"}, "-4 bytes from position 868, and that file has 864"),
        ({"offset": "4", "length": "864"}, "864 bytes from position 4, and that file has 864"),
        ({"length": "-1"}, "-1 bytes from position 0"),
        ({"length": str(2**63 - 1)}, "that file has 864"),
        ({"offset": str(2**70)}, "that file has 864"),
        ({"length": "860"}, "damaged: its data does not fit its shape"),
        ({"length": "many"}, "cannot be read: invalid literal"),
        ({"location": "w.bin\0.txt"}, "cannot be read: .*null"),
        ({"location": "w" * 5000}, "cannot be read: File name too long"),
        ({"location": "."}, "no file; put the data file"),
    ],
)
def test_external_data_stays_within_its_file(
    entries: dict[str, str], match: str, tiny_model: onnx.ModelProto, tmp_path: Path, assert_refused: Refuse
) -> None:
    (tmp_path / "w.bin").write_bytes(w2(tiny_model))
    assert_refused(with_external(tiny_model, **{"location": "w.bin", **entries}), match)


def test_a_part_of_an_external_file_is_read(tiny_model: onnx.ModelProto, tmp_path: Path) -> None:
    """The refusals above are about the place, and the place counts."""
    values = w2(tiny_model)
    (tmp_path / "w.bin").write_bytes(b"????" + values + b"!")
    path = tmp_path / "model.onnx"
    model = with_external(tiny_model, location="w.bin", offset="4", length=str(len(values)))
    path.write_bytes(model.SerializeToString())
    loaded = load_model(path)
    assert w2(loaded.proto) == values
    assert loaded.size == path.stat().st_size + 864 + 5
    assert loaded.data_files == (tmp_path / "w.bin",)


def test_sparse_tensors_and_attributes_read_no_other_files(tiny_model: onnx.ModelProto, assert_refused: Refuse) -> None:
    """ONNX Runtime would look for what is left external in the current folder."""
    sparse = tiny_model.graph.sparse_initializer.add(dims=[4])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, dtype=np.float32), "s"))
    sparse.values.ClearField("raw_data")
    sparse.values.data_location = TensorProto.EXTERNAL
    sparse.values.external_data.add(key="location", value="../secret")
    assert_refused(tiny_model, "Tensor 's' of .*outside the model's folder")


# --- what is in the graph ---------------------------------------------------------------------------------------------


def test_a_function_that_calls_itself_is_refused(tiny_model: onnx.ModelProto, assert_refused: Refuse) -> None:
    call = helper.make_node("F", ["x"], ["y"], domain="local")
    with_functions(tiny_model, helper.make_function("local", "F", ["x"], ["y"], [call], tiny_model.opset_import))
    assert_refused(tiny_model, "Function 'F' of .* calls itself")


def test_a_few_functions_do_not_become_a_million_nodes(tiny_model: onnx.ModelProto, assert_refused: Refuse) -> None:
    """Each calls the one before it twice."""
    functions = []
    for level in range(40):
        names = ("Relu", "") if level == 0 else (f"F{level - 1}", "local")
        calls = [helper.make_node(names[0], [a], [b], domain=names[1]) for a, b in (("x", "t"), ("t", "y"))]
        functions.append(helper.make_function("local", f"F{level}", ["x"], ["y"], calls, tiny_model.opset_import))
    with_functions(tiny_model, *functions)
    assert_refused(tiny_model, f"stand for {2**40 + 6} nodes, which is too many")


def with_functions(model: onnx.ModelProto, *functions: onnx.FunctionProto) -> None:
    """`relu1` calls the last one."""
    model.functions.extend(functions)
    model.opset_import.append(helper.make_opsetid("local", 1))
    for function in functions:
        function.opset_import.append(helper.make_opsetid("local", 1))
    relu = next(node for node in model.graph.node if node.name == "relu1")
    relu.op_type, relu.domain = functions[-1].name, "local"


def test_deeply_nested_branches_are_refused(tiny_model: onnx.ModelProto, assert_refused: Refuse) -> None:
    """ONNX Runtime takes twice as long for each level."""
    relu = next(node for node in tiny_model.graph.node if node.name == "relu1")
    inner = onnx.NodeProto()
    inner.CopyFrom(relu)
    tiny_model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    output = onnx.ValueInfoProto(name="r1")
    idle = helper.make_graph([helper.make_node("Identity", ["c1"], ["r1"])], "idle", [], [output])
    for _ in range(30):
        body = helper.make_graph([inner], "body", [], [output])
        inner = helper.make_node("If", ["yes"], ["r1"], then_branch=body, else_branch=idle)
    relu.CopyFrom(inner)
    assert_refused(tiny_model, r"Node 'r1' \(If\) of .* has sub-graphs in 10 others")


WRONG_ATTRIBUTES = {
    "type": (helper.make_attribute("group", [1, 2]), "'group' of Node 'conv2' .* is of type INTS, where INT is needed"),
    "twice": (helper.make_attribute("pads", [1, 1, 1, 1]), "'pads' of .* is there twice"),
    "reference": (onnx.AttributeProto(name="group", type=2, ref_attr_name="g"), "refers to an attribute of a function"),
    "no type": (onnx.AttributeProto(name="group"), "'group' of .* is of type UNDEFINED, where INT is needed"),
}


@pytest.mark.parametrize("case", WRONG_ATTRIBUTES)
def test_an_attribute_that_the_operator_does_not_take_is_refused(
    case: str, tiny_model: onnx.ModelProto, assert_refused: Refuse
) -> None:
    attribute, match = WRONG_ATTRIBUTES[case]
    next(node for node in tiny_model.graph.node if node.name == "conv2").attribute.append(attribute)
    assert_refused(tiny_model, match)


def test_a_negative_size_is_refused(tiny_model: onnx.ModelProto, assert_refused: Refuse) -> None:
    """numpy would find out what -1 stands for."""
    next(t for t in tiny_model.graph.initializer if t.name == "b1").dims[0] = -1
    assert_refused(tiny_model, r"Tensor 'b1' of .* is damaged.*\(-1,\)")


def test_a_weight_that_is_stored_twice_is_refused(tiny_model: onnx.ModelProto, assert_refused: Refuse) -> None:
    """Nobody can say which one counts."""
    tiny_model.graph.initializer.append(tiny_model.graph.initializer[2])
    assert_refused(tiny_model, "Tensor 'w2' of .* is stored twice")


def test_an_input_that_is_no_tensor_is_refused(tiny_model: onnx.ModelProto, assert_refused: Refuse) -> None:
    kind = tiny_model.graph.input[0].type
    sequence = helper.make_sequence_type_proto(kind)
    kind.CopyFrom(sequence)
    assert_refused(tiny_model, "Input 'image' of .* is no tensor of a type")


def test_an_image_that_fills_the_memory_is_refused(
    tiny_model: onnx.ModelProto, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for axis in (2, 3):
        tiny_model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 100_000
    (tmp_path / "m.onnx").write_bytes(tiny_model.SerializeToString())
    assert run(["inspect", str(tmp_path / "m.onnx")]) == MODEL
    assert "tensor 'image' of shape (2, 1, 100000, 100000), which is too large" in capfd.readouterr().err


def endless(model: onnx.ModelProto) -> onnx.ModelProto:
    """A Loop without an end before the first convolution."""
    image = helper.make_tensor_value_info("s", TensorProto.FLOAT, None)
    made = helper.make_tensor_value_info("t", TensorProto.FLOAT, None)
    flags = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "on")]
    count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    nodes = [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Relu", ["s"], ["t"])]
    body = helper.make_graph(nodes, "body", [count, flags[0], image], [flags[1], made])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.insert(0, helper.make_node("Loop", ["", "yes", "image"], ["looped"], body=body))
    model.graph.node[1].input[0] = "looped"
    return model


def test_a_loop_without_an_end_is_stopped(
    tiny_model: onnx.ModelProto, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_LOOP_SECONDS", 0.3)
    (tmp_path / "m.onnx").write_bytes(endless(tiny_model).SerializeToString())
    assert run(["inspect", str(tmp_path / "m.onnx")]) == MODEL
    assert "its Loop may never end" in capfd.readouterr().err


# --- what crashes -----------------------------------------------------------------------------------------------------

WATCHED = """
import os, signal, sys, time
from pathlib import Path
from onnx_dnscp.system.supervisor import supervised, working_on
def work():
    {work}
sys.exit(supervised(work))
"""


def watched(work: str) -> subprocess.Popen[str]:
    """A process that does some work under supervision."""
    command = [sys.executable, "-c", WATCHED.format(work=work)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@posix
@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        ("return 5", 5, ""),
        (
            "working_on(Path('net.onnx')); os.kill(os.getpid(), signal.SIGSEGV)",
            MODEL,
            "(SIGSEGV) on the model 'net",
        ),
        ("working_on(Path('net.onnx')); os.abort()", MODEL, "crashes (SIGABRT) on the model 'net.onnx'; no model was"),
        ("os.abort()", 128 + signal.SIGABRT, "ended by SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL, "run out of memory"),
    ],
)
def test_whoever_dies_leaves_a_sentence(work: str, code: int, said: str) -> None:
    process = watched(work)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert said in err
    assert err.count("\n") == bool(said)


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signals_reach_the_one_who_works(name: str) -> None:
    """Once, and it ends as it wants."""
    work = (
        "seen = []\n"
        "    for n in (signal.SIGINT, signal.SIGTERM): signal.signal(n, lambda n, f: seen.append(n))\n"
        "    print('ready', flush=True)\n"
        "    while not seen: time.sleep(0.01)\n"
        "    time.sleep(0.3)\n"
        "    return 10 * len(seen) + seen[0]"
    )
    process = watched(work)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    process.communicate(timeout=60)
    assert process.returncode == 10 + getattr(signal, name)


@posix
def test_nobody_works_on_when_the_watching_process_is_killed() -> None:
    process = watched("print('ready', flush=True); time.sleep(600)")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate(timeout=60)  # ends when nobody holds the other end of the pipes any more
