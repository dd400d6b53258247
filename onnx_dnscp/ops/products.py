"""Sums of products: what MatMul, Gemm and Einsum have in common.

Every axis of every factor has a label. Labels of the result are kept, the others are summed over. A constant factor is
a weight: it reads along a summed axis and makes channels along an axis of its own. Between activations nothing reads:
what is summed over goes only as a whole, block by block (an attention head), and everything else passes to the result.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_dnscp.model.fields import IdField, collapse, on_axis, varying_axes
from onnx_dnscp.ops.elementwise import join_broadcast
from onnx_dnscp.ops.registry import Flow, Op, Read, Value


@dataclass(frozen=True)
class Factor:
    """One operand of a product.

    Attributes:
        operand: Its position among the node's inputs.
        labels: One per axis, all different; the same label in two factors is the same index.
    """

    operand: int
    value: Value
    labels: tuple[str, ...]


def product(flow: Flow, op: Op, factors: Sequence[Factor], kept: Sequence[str]) -> tuple[IdField, ...]:
    """Say in `flow` what a sum of products does, and return the fields of the result.

    Args:
        flow: Gets unions, reads, writes and locks.
        op: The node.
        factors: Where there are two and one of them is constant, it is a weight.
        kept: Labels of the result's axes; all other labels are summed over.
    """
    summed = tuple(dict.fromkeys(label for f in factors for label in f.labels if label not in kept))
    labels = (*kept, *summed)
    spread = [_spread(factor, labels) for factor in factors]
    inner = range(len(kept), len(labels))
    at = _the_weight(factors)
    if at is not None:
        other = 1 - at
        made = [axis for axis in range(len(kept)) if spread[other].shape[axis] == 1]
        flow.writes += [f for axis in made for f in spread[at].varying(axis)]
        rest = _read(flow, op, factors[other], factors[at], labels, summed)
        spread[other], spread[at] = (_with_fields(v, f) for v, f in zip((spread[other], spread[at]), rest, strict=True))
    return join_broadcast(flow, [_summed_over(flow, op, value, inner) for value in spread], op)


def _summed_over(flow: Flow, op: Op, value: Value, inner: range) -> Value:
    """What is left of a factor without its last axes, over which the node sums."""
    passed = flow.whole_blocks(value.fields, inner, f"no weight reads it: {op.node} sums over this axis")
    fields = tuple(collapse(f, inner).squeeze(tuple(inner)) for f in passed)
    return Value(value.name, value.shape[: inner.start], fields, value.reason)


def _the_weight(factors: Sequence[Factor]) -> int | None:
    """Position of the constant one of two factors; None where both or neither is, or there are not two."""
    constant = [factor.value.constant for factor in factors]
    return constant.index(True) if len(constant) == 2 and sum(constant) == 1 else None


def _spread(factor: Factor, labels: Sequence[str]) -> Value:
    """The factor with one axis per label, of size 1 where it has none."""
    value = factor.value
    order = [factor.labels.index(label) for label in labels if label in factor.labels]

    def arranged(shape: Sequence[int]) -> list[int]:
        return [shape[factor.labels.index(label)] if label in factor.labels else 1 for label in labels]

    fields = tuple(f.transpose(order).reshape(arranged(f.shape)) for f in value.fields)
    return Value(value.name, tuple(arranged(value.shape)), fields, value.reason, value.constant)


def _with_fields(value: Value, fields: Sequence[IdField]) -> Value:
    return Value(value.name, value.shape, tuple(fields), value.reason, value.constant)


def _read(
    flow: Flow, op: Op, x: Factor, weight: Factor, labels: Sequence[str], summed: Sequence[str]
) -> tuple[list[IdField], list[IdField]]:
    """Tie the summed axis of the activation to the weight's axis that reads it.

    A weight reads along one axis; where channels arrive on several summed axes it is the longest.

    Returns:
        Fields of the activation and of the weight, with an axis per label, that this leaves to be dealt with.
    """
    arrived, stored = _spread(x, labels), _spread(weight, labels)
    axes = _common_axes(x, weight, labels, summed)
    carrying = [axis for axis in axes if arrived.varying(axis)]
    if not carrying:
        reason = x.value.reason or f"{op.node} reads channels that are not prunable"
        return list(arrived.fields), _lock_axes(flow, stored, axes, reason)
    axis = max(carrying, key=lambda a: (arrived.shape[a], -a))
    arriving, read = flow.channel_vector(arrived, axis), flow.channel_vector(stored, axis)
    if read is None:
        one = stored.shape[axis] == 1
        for ids in arrived.varying(axis):
            flow.lock(ids, f"{op.node} reads one channel" if one else f"{op.node} reads it by {stored.reason}")
    elif arriving is not None:
        flow.unions.append((read, arriving))
        sizes = [arrived.shape[a] for a in axes]
        channels = np.broadcast_to(on_axis(arriving, list(axes).index(axis), len(axes)), sizes).ravel()
        place = weight.labels.index(axes[axis])
        flow.reads.append(Read(weight.operand, channels, on_axis(read, place, len(weight.labels))))
    return _off(axis, arrived), _off(axis, stored)


def _common_axes(x: Factor, weight: Factor, labels: Sequence[str], summed: Collection[str]) -> dict[int, str]:
    """Axes among `labels` over which both are summed, in the order of the activation."""
    return {labels.index(label): label for label in x.labels if label in summed and label in weight.labels}


def _lock_axes(flow: Flow, value: Value, axes: Collection[int], reason: str) -> list[IdField]:
    """Lock the fields that vary along some axes, and return the others."""
    for axis in axes:
        for ids in value.varying(axis):
            flow.lock(ids, reason)
    return [f for f in value.fields if set(axes).isdisjoint(varying_axes(f))]


def _off(axis: int, value: Value) -> list[IdField]:
    return [f for f in value.fields if axis not in varying_axes(f)]
