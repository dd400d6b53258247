"""Public networks, whole: pruned by half, right when checked from outside, and as small as their structure allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
from oracle import set_inputs_to_zero
from real_networks import light_network, text_networks

from models import assert_same, inputs_at, passes_full_check, run
from onnx_dnscp import Plan, prune

pytestmark = pytest.mark.no_cover

RATIO = 0.5
ROUNDING = 1e-5  # of the largest output; sums of deep networks come in another order


@dataclass(frozen=True)
class Expected:
    """What may be left of a network once half of its channels are gone.

    A chain of convolutions keeps a quarter; layers that read the image or write the classes keep a half.

    Attributes:
        params: Share of the params.
        macs: Share of the MACs.
        size: Of the dynamic axes of the input.
    """

    name: str
    params: float
    macs: float
    size: int = 224

    def __str__(self) -> str:
        return self.name


LIGHT = [
    Expected("bvlc_alexnet", 0.36, 0.70),  # local response normalisation sees the channels of the first layers
    Expected("densenet121", 0.30, 0.27),
    Expected("inception_v1", 0.30, 0.40),
    Expected("inception_v2", 0.29, 0.28),
    Expected("resnet50", 0.28, 0.27),
    Expected("shufflenet", 0.44, 0.36),
    Expected("squeezenet", 0.37, 0.35),
    Expected("vgg19", 0.27, 0.27),
    Expected("zfnet512", 0.35, 0.60),  # again
]
TEXT = [
    Expected("det", 0.28, 0.24, size=96),
    Expected("cls", 0.30, 0.33, size=48),
    Expected("rec", 0.40, 0.30, size=48),
]


@pytest.mark.parametrize("expected", LIGHT, ids=str)
def test_public_networks_with_random_weights(expected: Expected, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    onnx.save(light_network(expected.name), path)
    check_pruning(path, expected, tmp_path)


@pytest.mark.parametrize("expected", TEXT, ids=str)
def test_text_recognition_networks_with_trained_weights(
    expected: Expected, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    assert pytestconfig.cache is not None
    path = text_networks(pytestconfig.cache.mkdir("networks"))[expected.name]
    check_pruning(path, expected, tmp_path)


def check_pruning(path: Path, expected: Expected, folder: Path) -> None:
    """Prune by half without training, and check the saved file against the original and the plan alone."""
    output, plan_path = folder / "pruned.onnx", folder / "plan.json"
    report = prune(path, output, plan_out=plan_path, train=False, ratio=RATIO)
    assert report.after.params <= expected.params * report.before.params
    assert report.after.macs <= expected.macs * report.before.macs
    original, pruned = onnx.load(path), onnx.load(output)
    assert not passes_full_check(original) or passes_full_check(pruned)
    for model in (original, pruned):
        put_out_what_is_squashed(model)
    silenced = set_inputs_to_zero(original, Plan.model_validate_json(plan_path.read_text()))
    feeds = inputs_at(original, 1, expected.size, seed=1)
    assert_same(run(pruned, feeds), run(silenced, feeds), tol=ROUNDING)


def put_out_what_is_squashed(model: onnx.ModelProto) -> None:
    """Let the model put out what a final Sigmoid or Softmax reads, in place: saturated outputs hide errors."""
    makers = {name: node for node in model.graph.node for name in node.output}
    for output in model.graph.output:
        node = makers[output.name]
        if node.op_type in ("Sigmoid", "Softmax"):
            output.CopyFrom(onnx.ValueInfoProto(name=node.input[0]))  # the runtime finds the type out
