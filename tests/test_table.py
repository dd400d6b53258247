"""Nothing is registered twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import onnx_dnscp.ops
import onnx_dnscp.training.passes.decompose
from onnx_dnscp.data.dataset import data_source
from onnx_dnscp.data.npz import open_npz
from onnx_dnscp.masks.methods import METHODS
from onnx_dnscp.masks.registry import method
from onnx_dnscp.ops.macs import macs_rule
from onnx_dnscp.ops.registry import op_rule, ruled_operators
from onnx_dnscp.ops.resize import resize_rule
from onnx_dnscp.ops.table import Table
from onnx_dnscp.training.decompositions.registry import decomposed_operators, decomposition

assert onnx_dnscp.ops  # importing it registers the rules

REGISTERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "op": (op_rule("Relu"), r"op rule \('', 'Relu'\)"),
    "resize": (resize_rule("Reshape"), r"resize rule \('', 'Reshape'\)"),
    "MACs": (macs_rule("Conv"), r"MACs rule \('', 'Conv'\)"),
    "decomposition": (decomposition("GridSample", domain="com.microsoft"), r"\('com.microsoft', 'GridSample'\)"),
    "method": (method("random"), "pruning method 'random'"),
    "data source": (data_source, r"data source 'onnx_dnscp\.data\.npz\.open_npz'"),
}


@pytest.mark.parametrize("what", list(REGISTERS))
def test_registering_twice_raises(what: str) -> None:
    """The second entry is refused by name, and the first stays."""
    register, named = REGISTERS[what]
    before = ruled_operators(), decomposed_operators(), dict(METHODS)
    with pytest.raises(ValueError, match=f"{named} is registered twice"):
        register(open_npz)
    assert (ruled_operators(), decomposed_operators(), dict(METHODS)) == before


def test_entries_keep_the_order_of_registration() -> None:
    """Kinds of data are tried in it."""
    table: Table[str, int] = Table("number")
    for number, key in enumerate("cab"):
        table.add(key, number)
    assert list(table.items()) == [("c", 0), ("a", 1), ("b", 2)]
