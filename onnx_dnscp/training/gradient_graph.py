"""The gradient graph of a training view: forward and backward pass, plain ONNX.

ONNX Runtime builds and tries it in a child process (`gradient_worker.py`), which a foreign model may crash.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from threading import Lock, Timer
from typing import Any

import onnx
from onnx import TensorProto, helper

from onnx_dnscp.errors import RequestError
from onnx_dnscp.model.runtime import first_line
from onnx_dnscp.training import gradient_worker
from onnx_dnscp.training.gradient_worker import read_frame, write_frame
from onnx_dnscp.training.passes.names import name_nodes
from onnx_dnscp.training.passes.relu_grad import replace_relu_grad
from onnx_dnscp.training.passes.straight_through import pass_gradients_through_masks
from onnx_dnscp.training.rewrites.apply import rewrite
from onnx_dnscp.training.view import LOSS, TrainingView

logger = logging.getLogger("onnx_dnscp")

TIME_LIMIT = 900.0  # seconds; a network of 10,000 nodes takes half a minute and one trial step


def build_gradient_graph(view: TrainingView, *, rewrites: bool = False) -> onnx.ModelProto:
    """The forward and backward graph of a view, with gradients passed straight through its masks, run once on zeros.

    Outputs are the loss, `<name>_grad` for each trainable tensor that the loss depends on, and the view's own.

    Args:
        view: With its loss attached; not modified.
        rewrites: Whether the graph is rewritten for speed, unless the runtime cannot run what comes out.

    Raises:
        RequestError: ONNX Runtime has no gradient for some operator, or crashes on the model.
    """
    model = onnx.ModelProto()
    model.CopyFrom(view.model)
    model.graph.output.insert(0, helper.make_tensor_value_info(LOSS, TensorProto.FLOAT, []))
    name_nodes(model)
    try:
        serialized = model.SerializeToString()
    except ValueError as error:  # protobuf cannot write more than 2 GB
        size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
        raise RequestError(
            f"The tensors that do not learn take {size / 1e9:.1f} GB, and ONNX Runtime can train with 2 GB; "
            "use --no-train."
        ) from error
    built = onnx.load_model_from_string(_WORKER.build(serialized, view.trainable))
    pass_gradients_through_masks(built, set(view.masks))
    replace_relu_grad(built)
    name_nodes(built)
    if rewrites:
        faster = onnx.ModelProto()
        faster.CopyFrom(built)
        rewrite(faster)
        try:
            _WORKER.run(faster.SerializeToString())
        except RequestError as error:
            logger.warning("training runs without rewrites for speed, because of them: %s", error)
        else:
            return faster
    _WORKER.run(built.SerializeToString())
    return built


class _Worker:
    """One child process, started when it is first needed and again after a crash.

    Starting it takes half a second, most of it the import of the runtime, so it stays for the next model.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0  # process that started it; a fork of that one must not read the same pipe
        self._lock = Lock()
        atexit.register(self._end)

    def build(self, forward: bytes, trainable: Collection[str]) -> bytes:
        """The serialized gradient graph of a forward graph.

        Raises:
            RequestError: The child reports an error, crashes or takes longer than `TIME_LIMIT`.
        """
        return self._ask(forward, trainable=list(trainable), loss=LOSS)

    def run(self, gradient_graph: bytes) -> None:
        """Load and run a gradient graph, which raises the same errors."""
        self._ask(gradient_graph)

    def _ask(self, model: bytes, **request: Any) -> bytes:
        request["path"] = list(map(str, sys.path))
        with self._lock:
            process = self._running()
            requests, answers = process.stdin, process.stdout
            assert requests, "the child was started with pipes"
            assert answers, "the child was started with pipes"
            started = time.monotonic()
            timer = Timer(TIME_LIMIT, process.kill)
            timer.start()
            try:
                write_frame(requests, json.dumps(request).encode())
                write_frame(requests, model)
                error = json.loads(read_frame(answers))["error"]
                built = read_frame(answers)
            except (OSError, EOFError):
                self._end()
                late = time.monotonic() - started >= TIME_LIMIT
                raise RequestError(_late() if late else _crashed(process.returncode)) from None
            except BaseException:  # an interrupt; what the child still says would answer the next request
                self._end()
                raise
            finally:
                timer.cancel()
        if error is not None:
            raise RequestError(
                f"ONNX Runtime cannot differentiate this model: {first_line(error)}. Prune it with --no-train."
            )
        return built

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None or self._owner != os.getpid():
            pipe = subprocess.PIPE
            command = [sys.executable, str(Path(gradient_worker.__file__))]
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
            self._owner = os.getpid()
        return self._process

    def _end(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
        self._process = None


def _late() -> str:
    return f"ONNX Runtime took longer than {TIME_LIMIT:.0f} s to build the gradients of this model; use --no-train."


def _crashed(status: int) -> str:
    how = f"signal {-status}" if status < 0 else f"exit code {status}"
    return f"ONNX Runtime crashed ({how}) while it built the gradients of this model; prune it with --no-train."


_WORKER = _Worker()
