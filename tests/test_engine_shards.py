"""Shards of a batch run side by side give the gradients of the whole batch."""

from __future__ import annotations

import numpy as np
import pytest
from training_cases import NETWORKS, feeds, network, some_mask

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.losses.cross_entropy import CrossEntropy
from onnx_dnscp.training.setup import num_shards
from onnx_dnscp.training.view import build_view


@pytest.mark.needs_training
@pytest.mark.parametrize("name", list(NETWORKS))
def test_two_shards_equal_one_batch_when_batch_norm_is_frozen(name: str) -> None:
    """Losses and gradients are means over samples, so the mean over equal shards is the same up to rounding."""
    model, units = network(name)
    mask = some_mask(units)
    rng = np.random.default_rng(8)
    samples = Batch({"x": rng.standard_normal((8, 2, 6, 6)).astype(np.float32)}, rng.integers(0, 3, 8))
    results = []
    for shards in (1, 2):
        size = 8 // shards
        view = build_view(model, {"x": (size, 2, 6, 6)}, units=units, batch_norm="frozen")
        loss = CrossEntropy((size, 3))
        loss.attach(view)
        results.append(OrtEngine(view, threads=1, shards=shards).gradients(feeds(loss, samples, mask)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    for tensor, gradient in results[0][1].items():
        np.testing.assert_allclose(results[1][1][tensor], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.needs_training
def test_shards_run_twice_give_the_same_bits() -> None:
    """Two threads finish in any order; sums do not depend on it, and no run writes into what another returned."""
    model, units = network("residual with batch norm")
    loss = CrossEntropy((4, 3))
    view = build_view(model, {"x": (4, 2, 6, 6)}, units=units)
    loss.attach(view)
    rng = np.random.default_rng(8)
    samples = Batch({"x": rng.standard_normal((8, 2, 6, 6)).astype(np.float32)}, rng.integers(0, 3, 8))
    engines = [OrtEngine(view, threads=1, shards=2) for _ in range(2)]
    losses, gradients = zip(
        *(engine.gradients(feeds(loss, samples, some_mask(units))) for engine in engines), strict=True
    )
    assert losses[0] == losses[1]
    kept = {name: gradient.copy() for name, gradient in gradients[0].items()}
    engines[0].gradients(feeds(loss, Batch({"x": -samples.inputs["x"]}, samples.labels), some_mask(units)))
    for name, gradient in kept.items():
        np.testing.assert_array_equal(gradients[0][name], gradient)
        np.testing.assert_array_equal(gradients[1][name], gradient)


def test_shards_are_equal_and_not_too_small() -> None:
    """At most one per core, each at least 32 samples; a batch that does not divide stays whole."""
    assert num_shards(64, 2) == 2
    assert num_shards(64, 16) == 2
    assert num_shards(256, 4) == 4
    assert num_shards(63, 2) == 1
    assert num_shards(65, 2) == 1
    assert num_shards(64, 1) == 1
