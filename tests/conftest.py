"""Fixtures that several test files share: the shipped models and data, and a network small enough to damage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cores  # noqa: F401  (before numpy)
import numpy as np
import onnx
import pytest
from disturbed import OPTIONS, RESNET, STEPS, Result
from onnx import TensorProto, helper, numpy_helper

import onnx_dnscp
from onnx_dnscp.measure import latency
from onnx_dnscp.model.runtime import can_train

MODELS = Path(__file__).parent.parent / "models"
LATENCY_ROUNDS, LATENCY_SECONDS = latency.ROUNDS, latency.SECONDS_PER_RUN


@pytest.fixture(scope="session")
def resnet_path() -> Path:
    """Input `image` (N, 1, 8, 8), output `logits` (N, 10); residual blocks with batch norm."""
    return MODELS / "digits-resnet.onnx"


@pytest.fixture(scope="session")
def separable_path() -> Path:
    """Input `image` (N, 1, 8, 8), output `probabilities` (N, 10) behind a Softmax; depthwise convolutions."""
    return MODELS / "digits-separable.onnx"


@pytest.fixture(scope="session")
def train_data_path() -> Path:
    """1437 digits, `image` and `labels`."""
    return MODELS / "digits-train.npz"


@pytest.fixture(scope="session")
def test_data_path() -> Path:
    """360 digits that the models have not seen."""
    return MODELS / "digits-test.npz"


@pytest.fixture(scope="session")
def few_digits(train_data_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 48 digits: three steps of two batches of eight per epoch."""
    path = tmp_path_factory.mktemp("few") / "few.npz"
    with np.load(train_data_path) as arrays:
        np.savez(path, image=arrays["image"][:48], labels=arrays["labels"][:48])
    return path


@pytest.fixture(scope="session")
def undisturbed(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What a run leaves behind that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    report = onnx_dnscp.prune(RESNET, folder / "out.onnx", run_dir=folder / "run", data=few_digits, **OPTIONS)
    assert report.recovered > 0, "disturbed runs are to restore masks that move both ways"
    result = Result(folder)
    assert len(result.steps) == 2 * STEPS
    return result


@pytest.fixture
def tiny_model() -> onnx.ModelProto:
    """Conv (1 to 6) - Relu - Conv (6 to 4) - Relu - mean - Gemm (4 to 3); 10 prunable channels."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (6, 1, 3, 3), "b1": (6,), "w2": (4, 6, 3, 3), "w3": (3, 4)}
    weights = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w3"], ["logits"], name="head", transB=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph(nodes, "tiny", [image], [logits], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def tiny_path(tiny_model: onnx.ModelProto, tmp_path: Path) -> Path:
    """`tiny_model` in a folder of its own."""
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model.SerializeToString())
    return path


@pytest.fixture(scope="session", autouse=True)
def _quick_latency() -> Iterator[None]:
    """Latency is measured with few repeats; the numbers stay positive but mean little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "ROUNDS", 1)
        patch.setattr(latency, "SECONDS_PER_RUN", 0.001)
        yield


@pytest.fixture
def thorough_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency is measured as users have it."""
    monkeypatch.setattr(latency, "ROUNDS", LATENCY_ROUNDS)
    monkeypatch.setattr(latency, "SECONDS_PER_RUN", LATENCY_SECONDS)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line("markers", "needs_training: skipped where the installed ONNX Runtime cannot train")
    config.addinivalue_line("markers", "no_cover: takes long and runs lines that others run; not measured by --cov")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Python 3.13 and newer have no training runtime; everything else is tested there too."""
    if item.get_closest_marker("needs_training") and not can_train():
        pytest.skip("this ONNX Runtime cannot train")
