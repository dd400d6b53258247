"""The border to ONNX Runtime: sessions, and which of its packages is installed.

`onnxruntime`, `onnxruntime-training` and `onnxruntime-training-cpu` install the same import package
and overwrite each other, so what is there has to be asked for and not assumed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from onnx_dnscp.errors import ModelError
from onnx_dnscp.model.bfloat import uses_bfloat16, widen_bfloat16, widened
from onnx_dnscp.model.structure import BIG, all_nodes, join_weights, split_weights

MAX_OPSET = 21  # newest default-domain opset that onnxruntime 1.19 runs and trains
FIRST_IR_WITHOUT_INPUTS = 4  # before, every initializer had to be listed as a graph input
MAX_IR_VERSION = 10  # newest IR version that onnxruntime 1.19 reads
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-training", "onnxruntime-training-cpu")
_HEAVY = 1 << 26  # bytes of weights from which packed copies of them cost more than they speed up a run or two
# Seconds of processor time for a run of a network with a Loop, which may never end, and more for each byte of weights.
_LOOP_SECONDS, _LOOP_SECONDS_PER_BYTE = 5.0, 1e-6
_SILENT = 4  # onnxruntime's log level "fatal only": its messages reach the user as our errors


def installed_packages() -> list[str]:
    """Names of the installed distributions that provide the `onnxruntime` import package."""
    found = {str(d.metadata["Name"]).lower() for d in metadata.distributions() if d.metadata["Name"]}
    return [name for name in PACKAGES if name in found]


def can_train() -> bool:
    """Whether the installed ONNX Runtime can build gradient graphs."""
    from onnxruntime.capi import _pybind_state

    return hasattr(_pybind_state, "GradientGraphBuilder")


def default_opset(model: onnx.ModelProto) -> int:
    """Version of the default operator set that `model` imports (1 if it names none)."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


def working_copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with the same meaning that the installed runtime can load.

    The argument comes back unchanged when nothing stands in the way: opset and IR version in range, no two nodes
    with one name, no bfloat16. The copy is for running only; what is saved keeps the file's own.
    """
    names = [node.name for node in model.graph.node if node.name]
    in_range = default_opset(model) <= MAX_OPSET and model.ir_version <= MAX_IR_VERSION
    narrow = uses_bfloat16(model)
    if in_range and len(names) == len(set(names)) and not narrow:
        return model
    if narrow:
        wide = onnx.ModelProto()
        wide.CopyFrom(model)
        widen_bfloat16(wide)
        model = wide
    copy = convert_opset(model, min(default_opset(model), MAX_OPSET))
    for index, node in enumerate(copy.graph.node):
        node.name = f"{index}/{node.name}"
    return copy


def convert_opset(model: onnx.ModelProto, target: int) -> onnx.ModelProto:
    """A copy of `model` in another opset, with an IR version the runtime reads.

    Raises:
        ModelError: onnx cannot convert the model.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = max(copy.ir_version, FIRST_IR_WITHOUT_INPUTS)  # the converter loses initializers without an input
    if default_opset(model) != target:
        try:
            copy = onnx.version_converter.convert_version(copy, target)
        except Exception as error:
            raise ModelError(
                f"The model uses opset {default_opset(model)}; converting a working copy to opset {target} for ONNX "
                f"Runtime {ort.__version__} failed: {first_line(error)}. Export it with opset {target}."
            ) from error
    copy.ir_version = min(copy.ir_version, MAX_IR_VERSION)
    return copy


def first_line(error: BaseException) -> str:
    """First non-empty line of an error's text, without a final full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


@cache
def _takes_weights_apart() -> bool:
    """Whether the installed runtime takes weights from memory for tensors that the model declares as external.

    onnxruntime 1.19 does; later ones look for the file first.
    """
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[BIG + 1])
    values = np.zeros(BIG + 1, dtype=np.float32)
    tensor.raw_data = values.tobytes()
    node = onnx.helper.make_node("Identity", ["w"], ["y"])
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [BIG + 1])
    graph = onnx.helper.make_graph([node], "probe", [], [output], [tensor])
    opset = onnx.helper.make_opsetid("", MAX_OPSET)
    structure, apart = split_weights(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=MAX_IR_VERSION))
    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    given = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in apart.items()}
    for name, value in given.items():
        options.add_initializer(name, value)
    try:
        ort.InferenceSession(structure.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # the runtime's exception classes share no public base
        return False
    return True


class EndlessError(ModelError):
    """A run was stopped because it took too long."""


class Session:
    """One inference session on the CPU that reports failures as `ModelError`.

    Args:
        model: The graph to run; converted first if the runtime is too old for it.
        weights: Values of the tensors that `model` leaves empty, from `split_weights`; by default it is split here.
        more_outputs: Tensors to put out besides the model's own outputs.
        threads: Threads inside one operator; 0 leaves the choice to the runtime.
        optimize: Whether the runtime may rewrite the graph. Without, it reads the weights where they are; with, it
            makes a copy of them.
        what: How messages call this model.

    Raises:
        ModelError: The runtime refuses the graph.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        *,
        weights: Mapping[str, NDArray[Any]] | None = None,
        more_outputs: Iterable[str] = (),
        threads: int = 0,
        optimize: bool = True,
        what: str = "The model",
    ) -> None:
        self._what = what
        structure, apart = split_weights(model) if weights is None else (model, weights)
        self._limit = _seconds_for_loops(structure, apart)
        wanted = dict.fromkeys(more_outputs)
        for output in structure.graph.output:
            wanted.pop(output.name, None)
        structure.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        if not _takes_weights_apart():
            structure, apart = join_weights(structure, apart), {}
        serialized = working_copy(structure).SerializeToString()
        # The runtime does not copy these and needs them: for as long as the session lives, or until it has optimised.
        self._weights = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in widened(apart).items()}
        options = _options(threads, self._weights, optimize=optimize, heavy=_num_bytes(apart) > _HEAVY)
        try:
            self._session = ort.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's exception classes share no public base
            raise ModelError(f"{what} cannot be loaded by ONNX Runtime: {first_line(error)}.") from error
        if optimize:
            self._weights.clear()
        self.output_types = {o.name: str(o.type) for o in self._session.get_outputs()}

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Return the named outputs (all by default) for one set of inputs.

        Raises:
            ModelError: The runtime stops with an error.
            EndlessError: A Loop was stopped.
        """
        names = list(self.output_types) if outputs is None else list(outputs)
        options = ort.RunOptions()
        fed = widened(feeds)
        try:
            with _stopped_after(self._limit, options):
                results = self._session.run(names, fed, options)
        except Exception as error:
            if options.terminate:
                raise EndlessError(
                    f"{self._what} was stopped after {self._limit:.0f} s of processor time: its Loop may never end."
                ) from error
            raise ModelError(f"{self._what} cannot be run by ONNX Runtime: {first_line(error)}.") from error
        # An input that is asked for comes back in the memory it was fed from, which may have been made for this run.
        return {name: fed.get(name, np.asarray(value)) for name, value in zip(names, results, strict=True)}


def _seconds_for_loops(structure: onnx.ModelProto, weights: Mapping[str, NDArray[Any]]) -> float | None:
    """How long a run may take before it is taken to be endless; None where it has no Loop."""
    if any(node.op_type == "Loop" for node in all_nodes(structure.graph)):
        return _LOOP_SECONDS + _LOOP_SECONDS_PER_BYTE * _num_bytes(weights)
    return None


def _num_bytes(arrays: Mapping[str, NDArray[Any]]) -> int:
    return sum(array.nbytes for array in arrays.values())


def _options(threads: int, weights: Mapping[str, ort.OrtValue], *, optimize: bool, heavy: bool) -> ort.SessionOptions:
    """Options of a session, in which it finds the weights that its graph leaves empty."""
    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads
    if optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_external_initializers(list(weights), list(weights.values()))
        return options
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_mem_pattern = options.enable_cpu_mem_arena = False  # it runs once or twice
    if heavy:
        options.add_session_config_entry("session.disable_prepacking", "1")
    for name, value in weights.items():
        options.add_initializer(name, value)
    return options


@contextmanager
def _stopped_after(seconds: float | None, options: ort.RunOptions) -> Iterator[None]:
    """Make a run with these options end once the process has worked for so long."""
    if seconds is None:
        yield
        return
    done, deadline = threading.Event(), time.process_time() + seconds

    def watch() -> None:
        while not done.wait(0.2):
            if time.process_time() > deadline:
                options.terminate = True

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()
