"""How fast models run in ONNX Runtime on this machine, side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnx_dnscp.errors import ModelError
from onnx_dnscp.model.runtime import Session

ROUNDS = 15
TOGETHER = 1 << 28  # stored elements of all models up to which they are in memory together
SECONDS_PER_RUN = 0.02  # repeat small models within a round until the clock can tell


def latencies(models: Sequence[onnx.ModelProto], feeds: Mapping[str, NDArray[Any]], threads: int = 0) -> list[float]:
    """Median seconds of one call of each model on `feeds`.

    The models take turns within one process, so that a busy machine slows all of them alike; very large ones run one
    after the other, so that the runtime's copy of one of them is in memory at a time.

    Raises:
        ModelError: A model cannot be run.
    """
    if sum(math.prod(tensor.dims) for model in models for tensor in model.graph.initializer) > TOGETHER:
        return [seconds for model in models for seconds in _take_turns([model], feeds, threads)]
    return _take_turns(models, feeds, threads)


def about_seconds() -> float:
    """How long measuring two models takes that run quickly."""
    return 2 * ROUNDS * SECONDS_PER_RUN


def _take_turns(models: Sequence[onnx.ModelProto], feeds: Mapping[str, NDArray[Any]], threads: int) -> list[float]:
    sessions = [_session(model, threads) for model in models]
    repeats = []
    for session in sessions:
        session.run(feeds)
        started = time.perf_counter()
        session.run(feeds)
        repeats.append(max(1, round(SECONDS_PER_RUN / max(1e-6, time.perf_counter() - started))))
    times: list[list[float]] = [[] for _ in models]
    for _ in range(ROUNDS):
        for session, count, seen in zip(sessions, repeats, times, strict=True):
            started = time.perf_counter()
            for _ in range(count):
                session.run(feeds)
            seen.append((time.perf_counter() - started) / count)
    return [float(np.median(seen)) for seen in times]


def _session(model: onnx.ModelProto, threads: int) -> Session:
    """With graph optimisations, as everybody runs models; without, where they break a network that runs otherwise."""
    try:
        return Session(model, threads=threads)
    except ModelError:
        return Session(model, threads=threads, optimize=False)
