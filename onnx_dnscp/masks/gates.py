"""Gates: masks whose values a method learns, and that the weights behind them can take over exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.errors import RequestError
from onnx_dnscp.model.units import Units, with_fixed


def melted(
    units: Units, weights: Mapping[str, NDArray[Any]], gates: NDArray[np.floating]
) -> dict[str, NDArray[np.floating]]:
    """Stored tensors of all consumers, multiplied by the gates of the units that they read.

    With these weights, and all gates at 1, the network computes the same: W[:, u] * gate_u behind each mask.

    Args:
        units: What discovery found.
        weights: By stored tensor name; not modified.
        gates: (units,) the factors.

    Raises:
        RequestError: A weight is stored as integers, which cannot take over a factor.
    """
    factors = with_fixed(gates, 1.0)
    result: dict[str, NDArray[np.floating]] = {}
    for weight, consumer in {(c.weight, c.axis): c for c in units.consumers}.items():
        name = weight[0]
        value = result.get(name, weights[name])
        if value.dtype.kind in "iu":
            raise RequestError(f"The weight {name!r} is stored in {value.dtype}, which can take over no gate.")
        result[name] = (value * factors[consumer.stored_rows(value.shape)]).astype(value.dtype)
    return result
