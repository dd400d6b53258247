"""Einsum of any number of operands: one batched matrix product for each operand after the first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from onnx_dnscp.ops.einsum import equation_labels
from onnx_dnscp.training.decompositions.registry import Site, decomposition


@dataclass(frozen=True)
class _Term:
    """A tensor and the letters of its axes, each of them once."""

    name: str
    letters: str


@decomposition("Einsum")
def einsum(site: Site) -> str | None:
    """Contract from left to right; a letter is summed as soon as nothing else needs it.

    None where an axis of size 1 is stretched to another operand's.
    """
    shapes = [site.shape(position) for position in range(len(site.node.input))]
    labels, of_result = equation_labels(site.attribute("equation"), [len(shape) for shape in shapes])
    operands, result = [_letters(term) for term in labels], _letters(of_result)
    sizes: dict[str, int] = {}
    for letters, shape in zip(operands, shapes, strict=True):
        for letter, size in zip(letters, shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                return None
    total = None
    for position, letters in enumerate(operands):
        needed = set(result).union(*operands[position + 1 :])
        term = _diagonal(site, site.node.input[position], letters, sizes)
        if total is None:
            total = _sum_out(site, term, needed)
        else:
            total = _product(site, total, _sum_out(site, term, needed | set(total.letters)), needed, sizes)
    return None if total is None else _order(site, total, result)


def _letters(labels: Iterable[str]) -> str:
    """One letter per axis; those of an ellipsis become capital Greek letters, which no equation has."""
    return "".join(label if label.isalpha() else chr(ord("Α") + int(label[1:])) for label in labels)  # noqa: RUF001


def _diagonal(site: Site, x: str, letters: str, sizes: Mapping[str, int]) -> _Term:
    """Keep the elements where axes with the same letter agree: a product with the identity, summed over one of them."""
    while len(set(letters)) < len(letters):
        second = next(i for i, letter in enumerate(letters) if letter in letters[:i])
        size = sizes[letters[second]]
        shape = [1] * len(letters)
        shape[letters.index(letters[second])] = shape[second] = size
        kept = site.emit("Mul", x, site.constant(np.eye(size).reshape(shape)))
        x = site.reduce("ReduceSum", kept, [second], keepdims=False)
        letters = letters[:second] + letters[second + 1 :]
    return _Term(x, letters)


def _sum_out(site: Site, term: _Term, needed: Collection[str]) -> _Term:
    axes = [axis for axis, letter in enumerate(term.letters) if letter not in needed]
    if not axes:
        return term
    return _Term(site.reduce("ReduceSum", term.name, axes, keepdims=False), _only(term.letters, needed))


def _only(letters: str, chosen: Collection[str]) -> str:
    return "".join(letter for letter in letters if letter in chosen)


def _product(site: Site, a: _Term, b: _Term, needed: Collection[str], sizes: Mapping[str, int]) -> _Term:
    """Multiply two terms and sum over the letters that both have and nothing needs."""
    shared = set(a.letters).intersection(b.letters)
    batch, summed = _only(a.letters, shared.intersection(needed)), _only(a.letters, shared.difference(needed))
    rows, columns = _only(a.letters, set(a.letters) - shared), _only(b.letters, set(b.letters) - shared)
    lengths = {part: int(np.prod([sizes[letter] for letter in part])) for part in (batch, summed, rows, columns)}
    left = site.reshape(_order(site, a, batch + rows + summed), [lengths[p] for p in (batch, rows, summed)])
    right = site.reshape(_order(site, b, batch + summed + columns), [lengths[p] for p in (batch, summed, columns)])
    product = site.emit("MatMul" if summed else "Mul", left, right)  # without sums a product per element is faster
    letters = batch + rows + columns
    return _Term(site.reshape(product, [sizes[letter] for letter in letters]), letters)


def _order(site: Site, term: _Term, letters: str) -> str:
    if term.letters == letters:
        return term.name
    return site.emit("Transpose", term.name, perm=[term.letters.index(letter) for letter in letters])
