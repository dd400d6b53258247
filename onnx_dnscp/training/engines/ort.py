"""The default engine: ONNX Runtime builds the training graph, which is plain ONNX and runs in a plain session."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from onnx_dnscp.errors import RequestError
from onnx_dnscp.model.runtime import SILENT, can_train, first_line, installed_packages
from onnx_dnscp.training.engines.base import Feeds, StepResult
from onnx_dnscp.training.gradient_graph import build_gradient_graph
from onnx_dnscp.training.optimizers import OptimizerSettings, add_gradients, clip_gradients, make_optimizer
from onnx_dnscp.training.ranks import OneProcess, Ranks
from onnx_dnscp.training.view import LOSS, TrainingView
from onnx_dnscp.training.weights import HostParameters, Parameters, SlicedAxis, Vector


class OrtEngine:
    """Runs the gradient graph of one view in an inference session.

    Most backward kernels of the runtime use one core. So a batch can be cut into shards that run side by side, with
    gradients, losses and running statistics averaged; batch norm then normalises by the shard. All shards share one
    session: it holds no state between runs, and a run does not lock it.

    With the same number of threads and shards on the same processor, results are the same bit by bit.

    Args:
        view: The view with its loss attached, for one shard.
        optimizer: How weights move; SGD as usual if not given.
        threads: Threads inside one operator; 0 leaves the choice to the runtime.
        shards: Parts of a batch that run at the same time.
        ranks: The processes that train together; this one alone if not given.
        rewrites: Whether the graph is rewritten for speed; results then differ by rounding.

    Raises:
        RequestError: The installed runtime cannot train, or cannot differentiate this model.
    """

    def __init__(
        self,
        view: TrainingView,
        *,
        optimizer: OptimizerSettings | None = None,
        threads: int = 0,
        shards: int = 1,
        ranks: Ranks | None = None,
        rewrites: bool = True,
    ) -> None:
        if not can_train():
            raise RequestError(
                "Training needs the package 'onnxruntime-training-cpu', which Python 3.10 to 3.12 can install; this "
                f"environment runs {', '.join(installed_packages()) or 'ONNX Runtime'} without training. "
                "Prune with --no-train, or use such a Python."
            )
        gradient_graph = build_gradient_graph(view, rewrites=rewrites)
        outputs = {output.name for output in gradient_graph.graph.output}
        self.trainable = tuple(name for name in view.trainable if f"{name}_grad" in outputs)
        if not self.trainable:
            raise RequestError(
                f"None of the {len(view.trainable)} weights of the model that should learn receives a gradient, so it "
                "cannot be trained; use --no-train."
            )
        self._weights = {name: value.copy() for name, value in view.values.items()}
        self.parameters: Parameters = HostParameters(self._weights)
        settings = optimizer or OptimizerSettings()
        self._optimizer, self._clip = make_optimizer(settings, view.added), settings.clip
        self._ranks: Ranks = ranks or OneProcess()
        self._statistics = {old: new for old, new in view.statistics.items() if new in outputs}
        self._wanted = [LOSS, *(f"{name}_grad" for name in self.trainable), *self._statistics.values()]
        self._session = _session(gradient_graph, threads)
        self._lengths: dict[str, int] = {i.name: i.shape[0] if i.shape else 0 for i in self._session.get_inputs()}
        self._shards = shards
        self._pool = ThreadPoolExecutor(shards)

    @property
    def optimizer_state(self) -> Mapping[str, NDArray[Any]]:
        """The optimiser's own arrays."""
        return self._optimizer.state

    def restore(self, weights: Mapping[str, NDArray[Any]], optimizer_state: Mapping[str, NDArray[Any]]) -> None:
        """See `Engine.restore`."""
        self.parameters.write(weights)
        self._optimizer.state.update(optimizer_state)

    def step(self, batches: Iterable[Feeds], rate: float, derivatives: Sequence[SlicedAxis] = ()) -> StepResult:
        """See `Engine.step`."""
        losses: list[float] = []
        total: dict[str, NDArray[Any]] = {}
        for feeds in batches:
            loss, gradients = self.gradients(feeds)
            losses.append(loss)
            if total:
                add_gradients(total, gradients)
            else:
                total = gradients
        if len(losses) > 1:
            for gradient in total.values():
                gradient *= 1.0 / len(losses)
        loss = sum(losses) / len(losses)
        if self._ranks.size > 1:
            loss = self._mean_of_all(loss, total)
        norm = clip_gradients(total, self._clip)
        sums = tuple(self._derivatives(axis, total) for axis in derivatives)
        if math.isfinite(loss) and math.isfinite(norm):
            self._optimizer.update(self._weights, total, rate)
        return StepResult(loss, norm, sums)

    def _mean_of_all(self, loss: float, gradients: dict[str, NDArray[Any]]) -> float:
        """The mean loss over all processes; gradients and running statistics become theirs in place."""
        own = {LOSS: np.asarray(loss), **{name: self._weights[name] for name in self._statistics}}
        shared = self._ranks.mean({**own, **{f"{name}_grad": value for name, value in gradients.items()}})
        self.parameters.write({name: shared[name] for name in self._statistics})
        for name, gradient in gradients.items():
            gradient[...] = shared[f"{name}_grad"]
        return float(shared[LOSS])

    def _derivatives(self, axis: SlicedAxis, gradients: Mapping[str, NDArray[Any]]) -> Vector:
        weight, gradient = axis.rows(self._weights[axis.tensor]), axis.rows(gradients[axis.tensor])
        return np.asarray(np.einsum("ij,ij->i", weight, gradient), dtype=np.float64)

    def gradients(self, feeds: Feeds) -> tuple[float, dict[str, NDArray[Any]]]:
        """Loss and gradients for one batch; see `Engine.gradients`."""
        everything = {name: value for name, value in {**self._weights, **feeds}.items() if name in self._lengths}
        try:
            runs = list(self._pool.map(lambda i: self._run(everything, i), range(self._shards)))
        except Exception as error:
            raise RequestError(f"ONNX Runtime cannot train this model: {first_line(error)}. Use --no-train.") from error
        results = dict(zip(self._wanted, map(_mean, zip(*runs, strict=True)), strict=True))
        for old, new in self._statistics.items():
            self._weights[old][...] = results[new]
        return float(results[LOSS]), {name: results[f"{name}_grad"] for name in self.trainable}

    def _run(self, feeds: Mapping[str, NDArray[Any]], shard: int) -> list[NDArray[Any]]:
        """All wanted tensors for one shard; inputs of the full batch's length are cut, all others are shared."""
        own = {}
        for name, value in feeds.items():
            length = self._lengths[name]
            is_cut = length > 0 and self._shards > 1 and len(value) == length * self._shards
            own[name] = value[shard * length : (shard + 1) * length] if is_cut else value
        results: list[NDArray[Any]] = self._session.run(self._wanted, own)
        return results


def _mean(shards: tuple[NDArray[Any], ...]) -> NDArray[Any]:
    """Mean of one tensor over all shards, always summed in the same order, in the memory of the first."""
    total = np.asarray(shards[0])
    for value in shards[1:]:
        total += value
    if len(shards) > 1:
        total *= np.float32(1 / len(shards))
    return total


def _session(model: onnx.ModelProto, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting cores are given to others
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
