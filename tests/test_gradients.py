"""Every operator's gradient against finite differences of the original model; see `gradient_check` for how exact."""

from __future__ import annotations

import numpy as np
import pytest
from gradient_check import GradientCase, check_gradients, gradient_case, measure_gradients, normal
from gradients import CASES, WITHOUT_GRADIENT

import onnx_dnscp.ops
import onnx_dnscp.training.passes.decompose  # noqa: F401
from models import Arrays, filled
from onnx_dnscp.ops.registry import ruled_operators
from onnx_dnscp.training.decompositions.registry import decomposed_operators
from onnx_dnscp.training.differentiable import passable_operators
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.view import build_view

pytestmark = pytest.mark.needs_training

COVERED = {operator for case in CASES for operator in case.covers}


def names(operators: tuple[tuple[str, str], ...]) -> set[str]:
    return {f"{domain}.{op_type}" if domain else op_type for domain, op_type in operators}


NEWEST = [pytest.param(case, case.opsets[-1], id=f"{case.name}-{case.opsets[-1]}") for case in CASES]
OLDER = [
    pytest.param(case, opset, id=f"{case.name}-{opset}", marks=pytest.mark.no_cover)
    for case in CASES
    for opset in case.opsets[:-1]
]


@pytest.mark.parametrize(("case", "opset"), [*NEWEST, *OLDER])
def test_gradients_agree_with_finite_differences(case: GradientCase, opset: int) -> None:
    """The view computes what the original does, and the engine's gradients are the slopes of the original."""
    check_gradients(case, opset)


def test_every_decomposition_has_a_case() -> None:
    """A rule nobody checks may be silently wrong."""
    assert names(decomposed_operators()) - COVERED == set()


def test_every_operator_has_a_case_or_a_reason() -> None:
    """What discovery lets channels through, training must differentiate, or say why not."""
    ruled = names(ruled_operators())
    assert ruled - COVERED - WITHOUT_GRADIENT.keys() == set()
    assert COVERED & WITHOUT_GRADIENT.keys() == set(), "these have both a case and a reason why there is none"
    assert WITHOUT_GRADIENT.keys() <= ruled


def test_every_operator_that_gradients_pass_has_a_case() -> None:
    """Where the loss is taken depends on this list."""
    assert names(passable_operators()) - COVERED == set()


def test_case_names_are_unique() -> None:
    """Two cases of one name would hide each other in a report."""
    seen = [case.name for case in CASES]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(("factor", "caught"), [(1.0, False), (1.001, True)])
def test_the_check_notices_a_gradient_that_is_off_by_a_thousandth(
    factor: float, caught: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tolerance bites: far below what a wrong formula gives."""
    step = OrtEngine.gradients

    def scaled(self: OrtEngine, feeds: Arrays) -> tuple[float, Arrays]:
        loss, gradients = step(self, feeds)
        return loss, {name: gradient * np.float32(factor) for name, gradient in gradients.items()}

    monkeypatch.setattr(OrtEngine, "gradients", scaled)
    case = gradient_case("MatMul", "MatMul", "y = MatMul(x, w)", x=normal(3, 4), w=normal(4, 5, seed=1))
    if caught:
        with pytest.raises(AssertionError, match="differs by"):
            check_gradients(case, 17)
    else:
        check_gradients(case, 17)


def test_the_check_notices_another_function() -> None:
    """A decomposition that computes something else fails before its gradients are looked at."""
    moved = {"m": normal(3), "v": np.ones(3)}
    scaled = {"x": normal(2, 3, 4), "s": normal(3, seed=1), "b": normal(3, seed=2)}
    body = "y = BatchNormalization(x, s, b, m, v)"
    case = gradient_case("by-the-batch", "", body, fixed="m v", batch_norm="train", **scaled, **moved)
    with pytest.raises(AssertionError, match="outputs differ"):
        check_gradients(case, 17)


def test_parameters_of_activations_and_norms_learn() -> None:
    """Slopes, scales and biases are weights like those of convolutions."""
    text = """<ir_version: 8, opset_import: ["" : 18]> net (float[2, 4, 3] x) => (float[2, 4, 3] y)
      <float[4, 1] slope, float[4] s, float[4] b, float[2] gs, float[2] gb, float[3] ls, float[3] lb>
      { p = PRelu(x, slope) i = InstanceNormalization(p, s, b) g = GroupNormalization<num_groups = 2>(i, gs, gb)
        y = LayerNormalization(g, ls, lb) }"""
    view = build_view(filled(text), {"x": (2, 4, 3)})
    assert view.trainable == ["slope", "s", "b", "gs", "gb", "ls", "lb"]


def test_float_kernels_behind_doubles_are_not_trusted() -> None:
    """ONNX Runtime's ReduceL2 for doubles rounds to single precision at opset 18: its differences would be noise."""
    case = gradient_case("ReduceL2", "", "y = ReduceL2<keepdims = 0>(x)", x=normal(2, 3, 4))
    assert measure_gradients(case.model(18), case.learned).precision != "double"
