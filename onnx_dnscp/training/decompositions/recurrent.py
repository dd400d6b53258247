"""Recurrent layers, step by step: the runtime cannot differentiate the loop inside them.

A layer of T steps becomes a dozen nodes per step and direction, so only short sequences are unrolled.

Source of the formulas: the operators' definitions, with ONNX's names: i, o, f, c are input, output, forget and cell
gate of an LSTM; z, r, h are update, reset and hidden gate of a GRU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_dnscp.training.decompositions.activations import PLAIN
from onnx_dnscp.training.decompositions.registry import Site, decomposition

LONGEST_SEQUENCE = 128  # steps: a bidirectional LSTM then has 3000 nodes, whose gradients take 13 s to build
_LENGTHS, _HIDDEN, _CELL, _PEEPHOLES = 4, 5, 6, 7  # operands

State = tuple[str, ...]


@dataclass(frozen=True)
class _Direction:
    """One direction of a layer, written up to its first step.

    Attributes:
        site: Where to write.
        activations: Names, in the operator's order.
        projected: Per step, input times W plus biases: (batch, gates * hidden).
        recurrent: R, transposed: (hidden, gates * hidden).
        hidden: Size of the state.
        state_bias: Recurrent half of the biases where the reset gate multiplies it, or "".
        peepholes: i, o, f of an LSTM: (hidden,) each, or nothing.
    """

    site: Site
    activations: tuple[str, ...]
    projected: list[str]
    recurrent: str
    hidden: int
    state_bias: str
    peepholes: tuple[str, ...]

    def activate(self, number: int, x: str) -> str:
        """Write one of the activations."""
        return self.site.emit(self.activations[number], x)

    def split(self, x: str, parts: Sequence[int]) -> list[str]:
        """Cut the last of two axes into pieces of so many gates each."""
        self.site.emit("Split", x, self.site.integers([p * self.hidden for p in parts]), outputs=len(parts), axis=1)
        return self.site.outputs_of_last()

    def gates(self, step: int, state: str) -> str:
        """All gates before their activations."""
        site = self.site
        return site.emit("Add", self.projected[step], site.emit("MatMul", state, self.recurrent))


Step = Callable[[_Direction, int, State], State]


@decomposition("RNN")
def rnn(site: Site) -> Sequence[str] | None:
    """H = f(X W + H R + b)."""
    return _unroll(site, 1, ("Tanh",), _rnn_step)


@decomposition("LSTM")
def lstm(site: Site) -> Sequence[str] | None:
    """Long short-term memory, with or without peepholes."""
    return None if site.attribute("input_forget", 0) else _unroll(site, 4, ("Sigmoid", "Tanh", "Tanh"), _lstm_step)


@decomposition("GRU")
def gru(site: Site) -> Sequence[str] | None:
    """Gated recurrent unit, the reset gate before or after the recurrent product."""
    after = bool(site.attribute("linear_before_reset", 0))
    return _unroll(site, 3, ("Sigmoid", "Tanh"), _gru_step_reset_after if after else _gru_step_reset_before)


def _rnn_step(layer: _Direction, step: int, state: State) -> State:
    return (layer.activate(0, layer.gates(step, state[0])),)


def _lstm_step(layer: _Direction, step: int, state: State) -> State:
    site, (hidden, cell) = layer.site, state
    i, o, f, c = layer.split(layer.gates(step, hidden), (1, 1, 1, 1))
    if layer.peepholes:
        i = site.emit("Add", i, site.emit("Mul", layer.peepholes[0], cell))
        f = site.emit("Add", f, site.emit("Mul", layer.peepholes[2], cell))
    kept = site.emit("Mul", layer.activate(0, f), cell)
    cell = site.emit("Add", kept, site.emit("Mul", layer.activate(0, i), layer.activate(1, c)))
    if layer.peepholes:
        o = site.emit("Add", o, site.emit("Mul", layer.peepholes[1], cell))
    return site.emit("Mul", layer.activate(0, o), layer.activate(2, cell)), cell


def _gru_step_reset_before(layer: _Direction, step: int, state: State) -> State:
    site = layer.site
    recurrent = layer.split(layer.recurrent, (2, 1))
    from_input = layer.split(layer.projected[step], (2, 1))
    both = site.emit("Add", from_input[0], site.emit("MatMul", state[0], recurrent[0]))
    z, r = layer.split(layer.activate(0, both), (1, 1))
    again = site.emit("MatMul", site.emit("Mul", r, state[0]), recurrent[1])
    return _mix(layer, z, site.emit("Add", from_input[1], again), state[0])


def _gru_step_reset_after(layer: _Direction, step: int, state: State) -> State:
    site = layer.site
    product = site.emit("MatMul", state[0], layer.recurrent)
    from_state = layer.split(site.emit("Add", product, layer.state_bias) if layer.state_bias else product, (2, 1))
    from_input = layer.split(layer.projected[step], (2, 1))
    z, r = layer.split(layer.activate(0, site.emit("Add", from_input[0], from_state[0])), (1, 1))
    again = site.emit("Mul", r, from_state[1])
    return _mix(layer, z, site.emit("Add", from_input[1], again), state[0])


def _mix(layer: _Direction, z: str, gate: str, hidden: str) -> State:
    """(1 - z) * h + z * H, as h + z * (H - h)."""
    site = layer.site
    new = layer.activate(1, gate)
    return (site.emit("Add", new, site.emit("Mul", z, site.emit("Sub", hidden, new))),)


def _unroll(site: Site, num_gates: int, default: tuple[str, ...], step: Step) -> Sequence[str] | None:
    """Write all directions of a layer; None for long sequences, sequences of different lengths and unusual options."""
    steps, batch, _ = site.shape()
    both = site.attribute("direction", "forward")
    count = 2 if both == "bidirectional" else 1
    names = site.attribute("activations", ())
    names = names or list(default * count)
    if _has_unusual_options(site) or not PLAIN.issuperset(names):
        return None
    hidden = site.shape(2)[-1]
    sequences, last = [], []
    for number in range(count):
        activations = tuple(names[number * len(default) : (number + 1) * len(default)])
        layer = _start(site, number, num_gates, activations)
        state = _first_state(site, number, (batch, hidden), 2 if num_gates == 4 else 1)
        places = range(steps) if both != "reverse" and number == 0 else range(steps)[::-1]
        outputs: dict[int, str] = {}
        for at in places:
            state = step(layer, at, state)
            outputs[at] = state[0]
        stacked = _join(site, [outputs[at] for at in range(steps)], 0)
        sequences.append(site.reshape(stacked, (steps, 1, batch, hidden)))
        last.append([site.reshape(name, (1, batch, hidden)) for name in state])
    finals = [_join(site, list(names), 0) for names in zip(*last, strict=True)]
    return [_join(site, sequences, 1), *finals]


def _has_unusual_options(site: Site) -> bool:
    """Whether a sequence is long, sequences are of different lengths, or there are options that are not spelled out."""
    steps, lengths = site.shape()[0], site.value(_LENGTHS)
    uneven = bool(site.operand(_LENGTHS)) and (lengths is None or bool(np.any(lengths != steps)))
    options = ("clip", "layout", "activation_alpha", "activation_beta")
    return steps > LONGEST_SEQUENCE or uneven or any(site.attribute(option) for option in options)


def _start(site: Site, number: int, num_gates: int, activations: tuple[str, ...]) -> _Direction:
    """Project the inputs of all steps at once."""
    steps, batch, inputs = site.shape()
    hidden = site.shape(2)[-1]
    width = num_gates * hidden
    weight = _transposed(site, _of_direction(site, 1, number, (width, inputs)))
    recurrent = _transposed(site, _of_direction(site, 2, number, (width, hidden)))
    rows = site.emit("MatMul", site.reshape(site.operand(0), (steps * batch, inputs)), weight)
    state_bias = ""
    if site.operand(3):
        bias = _of_direction(site, 3, number, (2 * width,))
        site.emit("Split", bias, site.integers([width, width]), outputs=2, axis=0)
        from_input, from_state = site.outputs_of_last()
        if site.attribute("linear_before_reset", 0):
            state_bias = from_state
        else:
            from_input = site.emit("Add", from_input, from_state)
        rows = site.emit("Add", rows, from_input)
    projected = [rows]
    if steps > 1:
        site.emit("Split", rows, site.integers([batch] * steps), outputs=steps, axis=0)
        projected = site.outputs_of_last()
    peepholes: tuple[str, ...] = ()
    if site.operand(_PEEPHOLES):
        joined = _of_direction(site, _PEEPHOLES, number, (3 * hidden,))
        site.emit("Split", joined, site.integers([hidden] * 3), outputs=3, axis=0)
        peepholes = tuple(site.outputs_of_last())
    return _Direction(site, activations, projected, recurrent, hidden, state_bias, peepholes)


def _of_direction(site: Site, position: int, number: int, shape: tuple[int, ...]) -> str:
    """One direction's part of an operand, reshaped."""
    operand = site.operand(position)
    if site.shape(position)[0] > 1:
        operand = site.emit("Gather", operand, site.integers(np.array(number)), axis=0)
    return site.reshape(operand, shape)


def _first_state(site: Site, number: int, shape: tuple[int, int], count: int) -> State:
    """Initial hidden state and, for an LSTM, cell; zeros where they are omitted."""
    return tuple(
        _of_direction(site, position, number, shape) if site.operand(position) else site.constant(np.zeros(shape))
        for position in (_HIDDEN, _CELL)[:count]
    )


def _transposed(site: Site, x: str) -> str:
    return site.emit("Transpose", x, perm=[1, 0])


def _join(site: Site, names: list[str], axis: int) -> str:
    return names[0] if len(names) == 1 else site.emit("Concat", *names, axis=axis)
