"""Recurrent layers: the input is read by a weight, the state is fed back and stays whole."""

from __future__ import annotations

import numpy as np

from onnx_dnscp.model.fields import on_axis
from onnx_dnscp.model.graph import Node
from onnx_dnscp.ops.macs import MacsRule, Shape, macs_rules_of_node
from onnx_dnscp.ops.registry import Flow, Op, Read, Refusal, op_rule

INPUT_AXIS = 2  # of X (steps, batch, input) or (batch, steps, input), and of W (directions, gates * hidden, input)
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


@op_rule(*GATES)
def recurrent(op: Op) -> Flow | Refusal:
    """W reads the input in every direction; R, the biases and the states keep the hidden size."""
    x, weight, feedback = op.data, op.operand(1), op.operand(2)
    if not weight.constant:
        return Refusal("its weight is computed from the input")
    flow = Flow(reason=f"made by {op.node}")
    state = f"recurrent state of {op.node}"
    flow.lock_other_axes(x, (INPUT_AXIS,), f"{op.node} steps over this axis")
    flow.lock_other_axes(weight, (INPUT_AXIS,), state)
    for value in op.inputs[2:]:
        for ids in () if value is None else value.fields:
            flow.lock(ids, state)
    flow.writes += feedback.varying(2)
    arriving, read = flow.channel_vector(x, INPUT_AXIS), flow.channel_vector(weight, INPUT_AXIS)
    if arriving is None:
        if read is not None:
            flow.lock(read, x.reason or f"{op.node} reads channels that are not prunable")
    elif read is None:
        flow.lock(arriving, f"{op.node} reads it by {weight.reason}")
    else:
        flow.unions.append((read, arriving))
        flow.reads.append(Read(1, arriving, on_axis(read, INPUT_AXIS, 3)))
    return flow


@macs_rules_of_node(*GATES)
def recurrent_macs(node: Node) -> tuple[MacsRule, ...]:
    """Every step multiplies the input by W (directions, gates * hidden, input) and the state by R."""

    def of_input(x: Shape, weight: Shape, y: Shape) -> float:
        return float(np.prod(x[:2]) * np.prod(weight))

    def of_state(x: Shape, weight: Shape, y: Shape) -> float:
        hidden = weight[1] / GATES[node.op_type]
        return float(np.prod(x[:2]) * np.prod(weight[:2]) * hidden)

    return of_input, of_state
