"""The child process that builds gradients: whatever happens to it, the parent goes on and says so in a sentence."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from training_cases import view_of

from models import filled
from onnx_dnscp.errors import RequestError
from onnx_dnscp.training import gradient_graph, gradient_worker
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.gradient_graph import build_gradient_graph
from onnx_dnscp.training.view import LOSS, TrainingView, build_view

pytestmark = pytest.mark.needs_training


def crashing_view() -> TrainingView:
    """A symbolic batch under AveragePool: its gradient kernel divides by a size of 0."""
    view = view_of()
    assert "AveragePool" in {node.op_type for node in view.model.graph.node}
    view.model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    return view


def test_a_crash_leaves_the_parent_alive_and_is_one_sentence() -> None:
    """The next model gets its gradients from a new child."""
    with pytest.raises(RequestError, match=r"crashed \((signal|exit code) \d+\).*--no-train\.$"):
        build_gradient_graph(crashing_view())
    outputs = {output.name for output in build_gradient_graph(view_of()).graph.output}
    assert outputs == {LOSS, "w_grad"}


def test_a_rewrite_that_crashes_is_left_out(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The rewritten graph is tried in the child as well; training runs on the other one, and the log says so."""

    def rewrite(model: onnx.ModelProto) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(gradient_graph._WORKER, "run", lambda _: None)
            model.CopyFrom(build_gradient_graph(crashing_view()))

    with pytest.raises(RequestError, match="crashed"):
        build_gradient_graph(crashing_view())
    monkeypatch.setattr(gradient_graph, "rewrite", rewrite)
    caplog.set_level(logging.WARNING, "onnx_dnscp")
    view = view_of()
    engine = OrtEngine(view, threads=1)
    assert "runs without rewrites for speed, because of them: ONNX Runtime crashed" in caplog.text
    _, gradients = engine.gradients({"x": np.ones((4, 2, 6, 6), np.float32)})
    _, expected = OrtEngine(view, threads=1, rewrites=False).gradients({"x": np.ones((4, 2, 6, 6), np.float32)})
    np.testing.assert_array_equal(gradients["w"], expected["w"])


def test_a_graph_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rewritten graph that runs makes a trial of the other one needless; what is returned is what was tried."""
    tried: list[bytes] = []
    monkeypatch.setattr(gradient_graph._WORKER, "run", tried.append)
    for rewrites in (False, True):
        graph = build_gradient_graph(view_of(), rewrites=rewrites)
        assert tried.pop() == graph.SerializeToString()
        assert not tried


def test_one_child_serves_many_models() -> None:
    """Starting one costs half a second, so it stays."""
    build_gradient_graph(view_of())
    first = gradient_graph._WORKER._process
    build_gradient_graph(view_of("Tanh"))
    assert gradient_graph._WORKER._process is first


def test_a_child_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says how long; the next model gets a new child."""
    sleeper = "import time; time.sleep(60)"
    real = subprocess.Popen
    monkeypatch.setattr(gradient_graph, "TIME_LIMIT", 0.2)
    monkeypatch.setattr(gradient_graph, "_WORKER", gradient_graph._Worker())
    monkeypatch.setattr(subprocess, "Popen", lambda command, **pipes: real([command[0], "-c", sleeper], **pipes))
    with pytest.raises(RequestError, match=r"longer than 0 s"):
        build_gradient_graph(view_of())
    monkeypatch.undo()
    assert build_gradient_graph(view_of()).graph.node


def test_what_the_runtime_refuses_is_one_sentence() -> None:
    """The reason is the runtime's own first line."""
    view = view_of()
    for node in view.model.graph.node:
        if LOSS in node.output:
            node.op_type = "ReduceProd"
    with pytest.raises(RequestError, match=r"cannot differentiate this model: .*ReduceProd.*--no-train\.$"):
        build_gradient_graph(view)


def test_a_script_without_main_guard_can_train(tmp_path: Path) -> None:
    """The child never runs the caller's script again, as multiprocessing would."""
    onnx.save(view_of().model, str(tmp_path / "any.onnx"))
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent)]!r}\n"
        "from training_cases import view_of\n"
        "from onnx_dnscp.training.gradient_graph import build_gradient_graph\n"
        "print('once', len(build_gradient_graph(view_of()).graph.node) > 0)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "once True\n"
    assert not done.stderr


def test_what_the_runtime_prints_does_not_reach_the_answers(tmp_path: Path) -> None:
    """The child keeps the pipe to itself and sends prints to standard error."""
    pipe = subprocess.PIPE
    worker = Path(gradient_worker.__file__)
    noisy = tmp_path / "noisy.py"
    noisy.write_text(
        f"import os, runpy; main = runpy.run_path({str(worker)!r})\n"
        "def answer(request, forward):\n"
        "    os.write(1, b'noise'); print('more', flush=True); return None, forward[::-1]\n"
        "main['main'].__globals__['_answer'] = answer\n"
        "main['main']()\n"
    )
    child = subprocess.Popen([sys.executable, str(noisy)], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
    assert child.stdin
    assert child.stdout
    gradient_worker.write_frame(child.stdin, b"{}")
    gradient_worker.write_frame(child.stdin, b"abc")
    assert gradient_worker.read_frame(child.stdout) == b'{"error": null}'
    assert gradient_worker.read_frame(child.stdout) == b"cba"
    child.communicate()
    assert child.returncode == 0, "it ends when its pipe is closed"


def test_big_weights_stay_out_of_the_request() -> None:
    """Weights are inputs of the view, so what the child gets does not grow with them."""
    model = filled(
        '<ir_version: 8, opset_import: ["" : 17]> net (float[N, 512] x) => (float[N, 512] y) '
        "<float[512, 512] w, float[512, 512] v> { a = MatMul(x, w)  y = MatMul(a, v) }"
    )
    view = build_view(model, {"x": (4, 512)})
    assert view.model.ByteSize() < 10_000
    assert sum(value.nbytes for value in view.values.values()) == 2 * np.prod((512, 512, 4))
