"""Three groups of units for tests of masks and methods, and what methods are asked for."""

from __future__ import annotations

import numpy as np
import onnx
from budgets import budget_of
from onnx import numpy_helper

from onnx_dnscp.discovery.discover import discover_units
from onnx_dnscp.masks.methods import MethodSettings
from onnx_dnscp.masks.ranked import RankedSchedule
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.units import Units
from onnx_dnscp.tracing.trace import trace

CHAIN = """
<ir_version: 8, opset_import: ["" : 17]>
chain (float[N, 3, 8, 8] x) => (float[N, 2, 8, 8] y)
<float[8, 3, 3, 3] wa, float[6, 8, 1, 1] wb, float[5, 8, 3, 3] wc, float[2, 11, 1, 1] wd>
{
  a = Conv<pads = [1, 1, 1, 1]>(x, wa)
  r = Relu(a)
  b = Conv(r, wb)
  c = Conv<pads = [1, 1, 1, 1]>(r, wc)
  j = Concat<axis = 1>(b, c)
  y = Conv(j, wd)
}"""


def chain_units(seed: int = 0) -> Units:
    """Three groups of 8, 6 and 5 units; the first is read by two convolutions."""
    model = onnx.parser.parse_model(CHAIN)
    rng = np.random.default_rng(seed)
    for declared in model.graph.value_info:
        shape = [d.dim_value for d in declared.type.tensor_type.shape.dim]
        values = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, declared.name))
    graph = read_graph(model)
    return discover_units(graph, trace(graph))


def group_units(units: Units, width: int) -> slice:
    """The units of the only group of this width."""
    [group] = [g for g in units.groups if g.width == width]
    return slice(group.first, group.first + width)


def settings_for(units: Units, ratio: float, schedule: RankedSchedule | None = None, seed: int = 0) -> MethodSettings:
    """A target in channels."""
    return MethodSettings(units, budget_of(units, "channels", ratio), np.random.default_rng(seed), schedule)
