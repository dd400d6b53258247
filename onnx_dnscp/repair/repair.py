"""Repair a masked network operator by operator, so that its layers say again what they said in the original."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.repair.batch_norm import estimate_statistics
from onnx_dnscp.repair.compensation import Moments, stretch
from onnx_dnscp.repair.least_squares import Normal
from onnx_dnscp.repair.observe import observe
from onnx_dnscp.repair.sites import Matrix, RepairSite, find_sites
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.surgery.weights import copy_with_weights

Weights = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Repairs:
    """Which repairs to make.

    Attributes:
        compensate: Restore the mean of every operator's outputs, where something can shift them.
        least_squares: In addition, fit the weights that are left to the original's outputs.
        rescale: In addition, restore the deviations of the outputs.
        batch_norm: Estimate running statistics anew in the end.
        max_features: Beyond, the normal equations take too long, and mean and deviation are restored.
        rows_per_feature: Of the normal equations, at least.
        min_rows: At least, however few features there are.
    """

    compensate: bool = True
    least_squares: bool = True
    rescale: bool = False
    batch_norm: bool = False
    max_features: int = 6144
    rows_per_feature: int = 20
    min_rows: int = 20_000


def repair(
    model: onnx.ModelProto,
    units: Units,
    mask: Mask,
    batches: Sequence[Batch],
    repairs: Repairs | None = None,
    threads: int = 0,
) -> Weights:
    """New full-size weights for `model`, with which it answers as before once only the units of `mask` are left.

    Operators are repaired in the order of the graph, each behind repaired ones, so that errors do not add up. The graph
    stays as it is, and what reads removed channels keeps its values.

    Args:
        model: The model `units` was found in, or one that differs in its weights' values only; the reference.
        units: What discovery found.
        mask: (units,) True for the units that stay.
        batches: A few hundred samples; labels are not looked at.
        repairs: What to do.
        threads: Of ONNX Runtime.

    Returns:
        Stored tensor name to new values, those that change only.

    Raises:
        ModelError: ONNX Runtime cannot run the model.
    """
    repairs = repairs or Repairs()
    new: Weights = {}
    stored = read_graph(model).stored
    ordered = sorted(find_sites(units, mask), key=lambda site: site.level) if repairs.compensate else []
    for level, sites in groupby(ordered, key=lambda site: site.level):
        workers = [_Worker(site, ChainMap(new, stored), repairs, len(batches)) for site in sites]  # type: ignore[arg-type]
        masked = mask_model(copy_with_weights(model, new), units, mask)
        _let_look(workers, masked, model, batches, threads, np.random.default_rng(level))
        for worker in workers:
            new |= worker.result()
    if repairs.batch_norm:
        ranks = {name: len(shape) for name, shape in units.trace.shapes.items()}
        masked = mask_model(copy_with_weights(model, new), units, mask)
        new |= estimate_statistics(masked, units.graph, batches, ranks, threads)
    return new


def _let_look(
    workers: Sequence[_Worker],
    masked: onnx.ModelProto,
    model: onnx.ModelProto,
    batches: Sequence[Batch],
    threads: int,
    rng: np.random.Generator,
) -> None:
    """Show workers what they want to see of the masked and of the original model."""
    ours = observe(masked, _unique(name for worker in workers for name in worker.wanted), batches, threads)
    theirs = observe(model, _unique(name for worker in workers for name in worker.compared), batches, threads)
    for pair in zip(ours, theirs, strict=True):
        for worker in workers:
            worker.look(*pair, rng)


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


class _Worker:
    """Gathers what one operator needs, and repairs it.

    Args:
        site: The operator.
        values: Stored tensors as they are now.
        repairs: What to do.
        num_batches: How many batches it will look at.
    """

    def __init__(
        self, site: RepairSite, values: Mapping[str, NDArray[Any]], repairs: Repairs, num_batches: int
    ) -> None:
        self.site = site
        self._repairs = repairs
        self._stored = values[site.weight]
        self._kept = site.matrices(np.broadcast_to(site.keeps, self._stored.shape)).astype(bool)
        self._start = np.where(self._kept, site.matrices(self._stored), 0).astype(np.float64)
        self._shifted = None if site.shift is None else values[site.shift.tensor]
        groups, outputs, features = self._start.shape
        self._bias = np.zeros((groups, outputs))
        if site.shift is not None and site.shift.bias and self._shifted is not None:
            self._bias = (np.ravel(self._shifted) / site.shift.factor).reshape(groups, outputs)
        self._found, self._wished = Moments(groups * outputs), Moments(groups * outputs)
        self._normal: Normal | None = None
        if repairs.least_squares and features <= repairs.max_features:
            self._normal = Normal(self._start, self._kept[:, 0], self._bias, shifts=site.shift is not None)
        self._rows = -(-max(repairs.min_rows, repairs.rows_per_feature * features) // num_batches)

    @property
    def wanted(self) -> tuple[str, ...]:
        """Tensors of the masked model to look at."""
        residual = () if self.site.residual is None else (self.site.residual.tensor,)
        return (*((self.site.reads,) if self._normal else ()), self.site.makes, *residual)

    @property
    def compared(self) -> tuple[str, ...]:
        """Tensors of the original to look at."""
        return self.wanted[1:] if self._normal else self.wanted

    def look(
        self, ours: Mapping[str, NDArray[Any]], theirs: Mapping[str, NDArray[Any]], rng: np.random.Generator
    ) -> None:
        """Take in one batch of the masked and of the original model."""
        site = self.site
        self._found.add(ours[site.makes], site.channel_axis)
        wished = theirs[site.makes]
        if site.residual is not None:
            gain = (
                np.expand_dims(site.residual.gain, tuple(range(1, wished.ndim - 1)))
                if site.windows
                else site.residual.gain
            )
            wished = wished + gain * (theirs[site.residual.tensor] - ours[site.residual.tensor])
        self._wished.add(wished, site.channel_axis)
        if self._normal:
            self._normal.add(*site.samples(ours[site.reads], wished, self._rows, rng))

    def result(self) -> Weights:
        """The new weight and shift by stored name."""
        site = self.site
        shape = self._bias.shape
        wished, found = self._wished.mean.reshape(shape), self._found.mean.reshape(shape)
        deviations = np.sqrt(self._found.variance).reshape(shape)
        weight: Matrix
        mean: Matrix
        weight, mean = self._start, np.asarray(found - self._bias)  # of what the weight makes
        if self._normal:
            weight = self._normal.solve()
            mean, deviations = self._normal.predicted(weight)
        too_wide = self._repairs.least_squares and self._normal is None
        if self._repairs.rescale or too_wide:
            factors = stretch(
                np.sqrt(self._wished.variance).reshape(shape), deviations, np.asarray(mean, dtype=np.float64)
            )
            weight, mean = weight * factors[..., None], mean * factors
        new = {}
        if weight is not self._start:
            merged = np.where(self._kept, weight, site.matrices(self._stored))
            new[site.weight] = site.stored(merged, self._stored)
        if site.shift is not None and self._shifted is not None:
            moved = self._shifted + (site.shift.factor * (wished - mean - self._bias)).reshape(self._shifted.shape)
            new[site.shift.tensor] = moved.astype(self._shifted.dtype)
        return new if all(np.isfinite(value).all() for value in new.values()) else {}
