"""The whole line on the shipped models: from a file to a smaller file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import onnx_dnscp
from models import filled
from onnx_dnscp.errors import UsageError, VerificationError
from onnx_dnscp.training.progress import Progress

pytestmark = pytest.mark.no_cover

MODELS = Path(__file__).parents[1] / "models"
RESNET, SEPARABLE = MODELS / "digits-resnet.onnx", MODELS / "digits-separable.onnx"
TRAIN, TEST = MODELS / "digits-train.npz", MODELS / "digits-test.npz"


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quarter of the training images without labels."""
    path = tmp_path_factory.mktemp("data") / "unlabelled.npz"
    np.savez(path, image=np.load(TRAIN)["image"][::4])
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights(path: Path) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


@pytest.mark.needs_training
@pytest.mark.usefixtures("thorough_latency")
def test_channels_come_back_and_the_accuracy_stays(tmp_path: Path) -> None:
    """Shorter than the README's run: recoveries happen, half of the MACs go, 97 % of the digits are still read."""
    before = digest(RESNET)
    seen: list[Progress] = []
    report = onnx_dnscp.prune(
        RESNET,
        tmp_path / "out.onnx",
        data=TRAIN,
        test_data=TEST,
        metric="macs",
        align=1,
        ratio=0.5,
        epochs=3,
        finetune_epochs=1,
        learning_rate=0.1,
        c_rate=0.01,
        threads=2,
        listener=seen.append,
    )
    assert report.recovered > 0
    assert report.loss == "cross-entropy"
    assert 0.5 <= report.ratio < 0.52
    assert report.after.macs <= 0.5 * report.before.macs
    assert report.after.accuracy is not None
    assert report.after.accuracy >= 0.97
    assert report.max_relative_error < 1e-5
    assert digest(RESNET) == before
    assert {p.phase for p in seen} == {"train", "fine-tune"}
    assert max(p.recovered for p in seen) == report.recovered
    assert seen[-1].seconds_left == 0


@pytest.mark.needs_training
@pytest.mark.parametrize("model", [RESNET, SEPARABLE], ids=lambda p: p.stem)
def test_the_same_seed_gives_the_same_file(tmp_path: Path, model: Path, unlabelled: Path) -> None:
    """Byte for byte on one thread; another seed gives another file."""
    files = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = tmp_path / f"{name}.onnx"
        onnx_dnscp.prune(model, out, data=unlabelled, epochs=1, finetune_epochs=1, seed=seed, threads=1)
        files.append(digest(out))
    assert files[0] == files[1] != files[2]


@pytest.mark.needs_training
def test_without_labels_the_network_learns_from_the_original(tmp_path: Path, unlabelled: Path) -> None:
    """Self-distillation is chosen, and training beats cutting at once by far."""
    options = {"metric": "macs", "ratio": 0.6, "data": unlabelled, "test_data": TEST}
    cut = onnx_dnscp.prune(SEPARABLE, tmp_path / "cut.onnx", train=False, repair=False, **options)
    trained = onnx_dnscp.prune(
        SEPARABLE, tmp_path / "trained.onnx", epochs=4, finetune_epochs=4, learning_rate=0.05, batch_size=32, **options
    )
    assert trained.loss == "distill"
    assert cut.after.accuracy is not None
    assert trained.after.accuracy is not None
    assert trained.after.accuracy > cut.after.accuracy + 0.2
    assert trained.after.agreement is not None


@pytest.mark.needs_training
def test_without_data_it_works_and_says_so(tmp_path: Path) -> None:
    """Synthetic inputs must not disturb the running statistics of batch norm."""
    report = onnx_dnscp.prune(RESNET, tmp_path / "out.onnx", epochs=1, finetune_epochs=1, ratio=0.25)
    assert any("synthetic" in note for note in report.notes)
    original, pruned = weights(RESNET), weights(tmp_path / "out.onnx")
    mean = pruned["stem.norm.mean"]
    assert set(mean.tolist()) <= set(original["stem.norm.mean"].tolist())
    assert not set(pruned["stem.weight"].ravel().tolist()) <= set(original["stem.weight"].ravel().tolist())


@pytest.mark.needs_training
def test_adamw_and_frozen_batch_norm(tmp_path: Path, unlabelled: Path) -> None:
    """Other optimiser, other batch norm: still verified and as small as asked."""
    report = onnx_dnscp.prune(
        RESNET,
        tmp_path / "out.onnx",
        data=unlabelled,
        epochs=1,
        finetune_epochs=1,
        optimizer="adamw",
        batch_norm="frozen",
        metric="params",
        ratio=0.4,
    )
    assert report.after.params <= 0.6 * report.before.params
    assert set(weights(tmp_path / "out.onnx")["a1.norm.var"].tolist()) <= set(weights(RESNET)["a1.norm.var"].tolist())


@pytest.mark.parametrize("model", [RESNET, SEPARABLE], ids=lambda p: p.stem)
def test_one_shot_needs_no_data_and_only_removes(tmp_path: Path, model: Path) -> None:
    """Every weight of the result is a slice of the original's; nothing was trained."""
    report = onnx_dnscp.prune(model, tmp_path / "out.onnx", train=False, ratio=0.3)
    assert report.recovered == report.dropped == 0
    original = weights(model)
    for name, value in weights(tmp_path / "out.onnx").items():
        assert set(value.ravel().tolist()) <= set(original[name].ravel().tolist())
    assert sum(g.width - g.kept for g in report.groups) == round(0.3 * sum(g.width for g in report.groups) + 0.4999)


def test_aligned_counts(tmp_path: Path) -> None:
    """All kept counts are multiples of 8, and the target is still met."""
    report = onnx_dnscp.prune(RESNET, tmp_path / "out.onnx", train=False, metric="macs", ratio=0.5, align=8)
    assert all(group.kept % 8 == 0 for group in report.groups)
    assert 0.5 <= report.ratio < 0.55


def test_a_ratio_of_zero_changes_nothing(tmp_path: Path) -> None:
    """Pruning nothing is the identity, byte for byte."""
    onnx_dnscp.prune(RESNET, tmp_path / "out.onnx", train=False, ratio=0)
    original = onnx.load(RESNET)
    assert (tmp_path / "out.onnx").read_bytes() == original.SerializeToString(deterministic=True)


@pytest.mark.needs_training
def test_training_that_goes_astray_in_the_write_back_is_caught(
    tmp_path: Path, unlabelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If fine-tuned weights did not flow back as trained, the embedded full-size model would disagree: no file."""
    from onnx_dnscp.stages import part as module

    def off_by_a_little(full: np.ndarray, small: np.ndarray, keeps: object) -> np.ndarray:
        result = right(full, small, keeps)  # type: ignore[arg-type]
        return result * np.float32(1.01)

    right = module.embed_array
    monkeypatch.setattr(module, "embed_array", off_by_a_little)
    with pytest.raises(VerificationError, match="nothing was saved"):
        onnx_dnscp.prune(RESNET, tmp_path / "out.onnx", data=unlabelled, epochs=1, finetune_epochs=1)
    assert list(tmp_path.iterdir()) == []


def test_options_and_settings_together_are_refused(tmp_path: Path) -> None:
    """Neither may be ignored silently."""
    with pytest.raises(UsageError, match="ratio"):
        onnx_dnscp.prune(RESNET, tmp_path / "out.onnx", options=onnx_dnscp.PruneOptions(), ratio=0.3)


@pytest.mark.needs_training
def test_a_consumer_that_does_not_learn_is_judged_by_what_is_stored(tmp_path: Path, unlabelled: Path) -> None:
    """A weight of 8 bits behind DequantizeLinear gets no gradient; the rest trains and the run is verified."""
    model = onnx.load(SEPARABLE)
    [weight] = [t for t in model.graph.initializer if t.name == "pw2.weight"]
    scale = np.abs(numpy_helper.to_array(weight)).max() / 127
    eighth = numpy_helper.from_array(np.rint(numpy_helper.to_array(weight) / scale).astype(np.int8), "pw2.int8")
    model.graph.initializer.remove(weight)
    model.graph.initializer.extend([eighth, numpy_helper.from_array(np.asarray(scale), "pw2.scale")])
    node = onnx.helper.make_node("DequantizeLinear", ["pw2.int8", "pw2.scale"], ["pw2.weight"], name="dequantize")
    model.graph.node.insert(0, node)
    onnx.save(model, tmp_path / "mixed.onnx")
    plan_path = tmp_path / "plan.json"
    report = onnx_dnscp.prune(
        tmp_path / "mixed.onnx", plan_out=plan_path, data=unlabelled, epochs=1, finetune_epochs=1, ratio=0.3
    )
    assert report.after.params < report.before.params
    slices = [s for group in json.loads(plan_path.read_text())["groups"] for s in group["slices"]]
    expected = numpy_helper.to_array(eighth)
    for axis in (0, 1):
        own = [s["indices"].values() for s in slices if (s["tensor"], s["axis"]) == ("pw2.int8", axis)]
        gone = [position for indices in own for positions in indices for position in positions]
        expected = np.delete(expected, np.array(gone, dtype=int), axis)
    assert expected.size < eighth.dims[0] * eighth.dims[1]
    np.testing.assert_array_equal(weights(tmp_path / "mixed.pruned.onnx")["pw2.int8"], expected)


def test_what_holds_at_one_image_size_only_is_not_saved(tmp_path: Path) -> None:
    """Which channels the last convolution reads depends on the image's height."""
    model = filled("""
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3, H, W] x) => (float[N, 2, H, W] y)
<float[120, 3, 1, 1] w1, float[2, 64, 1, 1] w2, int64[1] one = {1}, int64[1] two = {2}, int64[1] usual = {64}>
{
  a = Conv(x, w1)
  s = Shape(x)
  h = Gather(s, two)
  first = Sub(h, usual)
  b = Slice(a, first, h, one)
  y = Conv(b, w2)
}""")
    onnx.save(model, tmp_path / "in.onnx")
    with pytest.raises(VerificationError):
        onnx_dnscp.prune(tmp_path / "in.onnx", tmp_path / "out.onnx", train=False)
    assert not (tmp_path / "out.onnx").exists()
