"""The child process that builds and tries gradients: run as a script, it serves the requests on its pipes in turn.

The runtime's builder can crash on a foreign model, and so can the graph that it builds, which takes the whole process
along. So it gets one of its own. Nothing but the runtime is imported at first, which keeps the start short.

A request is two frames (8 bytes of length, then the payload): JSON with `path` (where to import from), then a model.
With `trainable` and `loss`, it is a forward graph that gradients are wanted of; without, it is a gradient graph to try.
The answer is JSON, where `error` is null or a text, and then the gradient graph, or nothing.
"""

from __future__ import annotations

import json
import os
import re
import struct
import sys
from collections.abc import Collection
from typing import IO, Any

_ERRORS_ONLY = 3  # log level: the builder reports every optimisation at the default level
_SILENT = 4  # as in runtime.py, which takes longer to import than all that is done here
_UNREACHABLE = re.compile("Cannot compute the partial derivative for '(.*)' as it's unreachable")
_LENGTH = struct.Struct("<Q")


def read_frame(stream: IO[bytes]) -> bytes:
    """The next payload. Raises `EOFError` where the other side has gone."""
    (length,) = _LENGTH.unpack(_read_all(stream, _LENGTH.size))
    return _read_all(stream, length)


def write_frame(stream: IO[bytes], payload: bytes) -> None:
    """Send one payload."""
    stream.write(_LENGTH.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def _read_all(stream: IO[bytes], length: int) -> bytes:
    payload = stream.read(length)
    if len(payload) < length:
        raise EOFError
    return payload


def _build(forward: bytes, trainable: Collection[str], loss: str) -> bytes:
    """The serialized gradient graph."""
    from onnxruntime.capi import _pybind_state as native

    options = native.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    names = set(trainable)
    optimized = native.get_optimized_model(forward, names, options)
    while True:
        try:
            builder = native.GradientGraphBuilder(optimized, {loss}, names, loss, options)
            builder.build()
            break
        except RuntimeError as error:
            unreachable = _UNREACHABLE.search(str(error))
            if unreachable is None or unreachable[1] not in names:
                raise
            names.remove(unreachable[1])  # only a comparison or a rounding reads it, say: it does not learn
    built: bytes = builder.get_model()
    if b"Split" in built:
        built = _with_whole_splits(built)
    return built


def _with_whole_splits(gradient_graph: bytes) -> bytes:
    """See `complete_split_gradients`; without it, the graph may not even load."""
    import onnx

    from onnx_dnscp.training.passes.split_grad import complete_split_gradients

    model = onnx.load_model_from_string(gradient_graph)
    complete_split_gradients(model)
    result: bytes = model.SerializeToString()
    return result


def _try(model: bytes) -> None:
    """Load a gradient graph and run it on zeros, which may end in an error (they are no real inputs), not in a crash.

    Raises:
        RuntimeError: The model cannot be loaded.
    """
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    kinds = {"tensor(float)": "f4", "tensor(double)": "f8", "tensor(float16)": "f2", "tensor(bool)": "?"}
    feeds = {
        i.name: np.zeros([d if isinstance(d, int) else 1 for d in i.shape], kinds.get(i.type) or i.type[7:-1])
        for i in session.get_inputs()
    }
    try:
        session.run(None, feeds)
    except Exception:  # the runtime's exception classes share no public base
        return


def _answer(request: dict[str, Any], model: bytes) -> tuple[str | None, bytes]:
    sys.path[:] = request["path"]
    try:
        if "trainable" in request:
            return None, _build(model, request["trainable"], request["loss"])
        _try(model)
        return None, b""
    except Exception as error:  # the bindings raise RuntimeError and their own classes
        return str(error) or type(error).__name__, b""


def main() -> None:
    """Serve until the parent closes the pipe."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the runtime prints must not end up among the answers
    while True:
        try:
            request, model = json.loads(read_frame(requests)), read_frame(requests)
        except EOFError:
            return
        error, built = _answer(request, model)
        write_frame(answers, json.dumps({"error": error}).encode())
        write_frame(answers, built)


if __name__ == "__main__":
    main()
