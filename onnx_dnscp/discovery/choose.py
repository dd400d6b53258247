"""Which units the user wants left alone: patterns of node names to units."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.errors import UsageError
from onnx_dnscp.model.units import FIXED, Units


def frozen_units(units: Units, exclude: Sequence[str] = (), only: Sequence[str] = ()) -> NDArray[np.bool_]:
    """(units,) True for those that must stay because the user said so.

    A channel belongs to a node when the node reads or makes it. Discovery is the same with and without patterns, so
    that groups keep their numbers and anybody can apply the plan.

    Args:
        units: What discovery found.
        exclude: Patterns of node names (as in a shell: * ? [abc]); channels of these nodes stay.
        only: Patterns of node names; only channels of these nodes may go. None given means all.

    Raises:
        UsageError: A pattern matches no node.
    """
    frozen = np.zeros(units.num_units, dtype=bool)
    if only:
        frozen = ~_touched(units, only, "--only")
    if exclude:
        frozen |= _touched(units, exclude, "--exclude")
    return frozen


def _touched(units: Units, patterns: Sequence[str], option: str) -> NDArray[np.bool_]:
    touched = np.zeros(units.num_units + 1, dtype=bool)  # one more, for FIXED = -1
    for pattern in patterns:
        nodes = [node for node in units.graph.nodes if node.outputs and fnmatchcase(node.label, pattern)]
        if not nodes:
            raise UsageError(
                f"{option} {pattern!r} matches no node; names are those that 'onnx-dnscp inspect' shows, here "
                f"{_examples(units)}, and * stands for anything."
            )
        for name in {name for node in nodes for name in (*node.inputs, *node.outputs)}:
            for field in units.fields.get(name, ()):
                touched[field.ravel()] = True
    touched[FIXED] = False
    return touched[:-1]


def _examples(units: Units) -> str:
    labels = list(dict.fromkeys(label for group in units.groups for label in group.consumers))
    return " and ".join(map(repr, labels[:2])) or "none"
