"""Facts about a model that several commands report."""

from __future__ import annotations

from pydantic import BaseModel

from onnx_dnscp.measure.costs import model_costs
from onnx_dnscp.model.graph import Graph
from onnx_dnscp.model.trace import Trace


class ModelFacts(BaseModel):
    """Size and speed of one model.

    Attributes:
        params: Stored floating-point elements.
        macs: Multiply-accumulates of one sample.
        file_bytes: The file with its external data.
        latency_ms: Median milliseconds of one call with one sample; None if not measured.
        accuracy: Share of right answers on the test data; None without labels.
        agreement: Share of answers equal to the original's; None without a classifier.
        output_error: Mean difference of outputs from the original's over their mean magnitude, on test data; None for a
            classifier.
        mean_squared_error: Of outputs from known values; None where the test data has none.
    """

    params: int
    macs: int
    file_bytes: int
    latency_ms: float | None = None
    accuracy: float | None = None
    agreement: float | None = None
    output_error: float | None = None
    mean_squared_error: float | None = None


def describe(graph: Graph, trace: Trace, file_bytes: int) -> ModelFacts:
    """Facts that need no run."""
    costs = model_costs(graph, trace)
    return ModelFacts(params=costs.params, macs=costs.macs, file_bytes=file_bytes)
