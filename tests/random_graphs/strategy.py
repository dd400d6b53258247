"""Random valid ONNX networks as a hypothesis strategy: a list of abstract blocks, then the graph they describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from hypothesis import strategies as st
from numpy.typing import NDArray

from random_graphs import convolutions, elementwise, movement, reductions, sizes  # noqa: F401  (registers blocks)
from random_graphs.builder import Builder, Size, Style, Tensor
from random_graphs.convolutions import convolve
from random_graphs.reductions import linear, reduced
from random_graphs.registry import BLOCKS, Picks, Site

MAX_BLOCKS = 8
NUM_PICKS = 8
OPSETS = (17, 13, 11, 9, 8, 7, 10, 12, 14, 15, 16, 18, 19, 20, 21)
HEADS = ("conv", "pooled gemm", "mean matmul", "flat gemm", "flat reshape", "max conv", "none", "dead")
MORE = ("conv",) * 6 + ("residual",) * 3  # drawn more often, so that few networks are locked as a whole
PLAIN = (  # nothing in them needs a channel whole
    "conv", "activation", "residual", "depthwise", "batch_norm", "prelu", "gated", "with_constant", "dropout",
    "cast_and_back", "pool", "join_branches", "squeeze_excite", "resize", "swap_space", "squeeze_and_back",
)  # fmt: skip


@dataclass(frozen=True)
class Block:
    """One choice: which block, on which of the maps so far (0 is the newest), with which numbers."""

    kind: str
    back: int
    picks: tuple[int, ...]


@dataclass(frozen=True)
class RandomGraph:
    """A valid model and inputs for it.

    Attributes:
        unseen: Input shapes by name, at sizes that discovery does not run with (where they are dynamic).
    """

    model: onnx.ModelProto
    unseen: tuple[dict[str, tuple[int, ...]], ...]
    kinds: tuple[str, ...]

    def feeds(self, seed: int = 0) -> list[dict[str, NDArray[np.float32]]]:
        """Normal inputs for every unseen size."""
        rng = np.random.default_rng(seed)
        return [
            {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
            for shapes in self.unseen
        ]


def realise(style: Style, blocks: Sequence[Block], heads: Sequence[Block]) -> RandomGraph:
    """The graph that the choices describe: a stem, the blocks, and a head on what nothing has read."""
    b = Builder(style)
    maps = [convolve(b, b.input(3), 4, Picks([1]))]
    for chosen in blocks:
        x = maps[-1 - chosen.back % len(maps)]
        made = BLOCKS[chosen.kind](Site(b, x, maps, Picks(chosen.picks)))
        maps += made if isinstance(made, list) else [made] if made is not None else []
    left = [m for m in dict.fromkeys(maps) if m.name not in b.uses][::-1] or [maps[-1]]
    for number, x in enumerate(left):
        chosen = heads[min(number, len(heads) - 1)]
        kind = "conv" if chosen.kind == "dead" and not number else chosen.kind
        if kind != "dead":
            b.output(head(b, x, kind, Picks(chosen.picks)))
    worlds = range(1, len(b.worlds)) if style.dynamic_space or not style.batch else [0]
    unseen = tuple({t.name: t.shapes[world] for t in b.inputs} for world in worlds)
    return RandomGraph(b.model(), unseen, tuple(block.kind for block in blocks))


def head(b: Builder, x: Tensor, kind: str, pick: Picks) -> Tensor:
    """What turns a map into an output."""
    c, out = x.channels, pick(2, 3, 1)
    static = x.is_static(2) and x.is_static(3)
    if kind.startswith("flat") and static and c * x.shapes[0][2] * x.shapes[0][3] <= 6000:
        if kind == "flat gemm":
            axis = pick(1, -3) if b.opset >= 11 else 1
            rows = b.op("Flatten", [x], lambda n: (n[0], int(np.prod(n[1:]))), axis=axis)
        else:
            rows = b.reshape(x, [Size((0,)), Size((1, 2, 3))], pick.flag())
        hidden = b.op("Relu", [linear(b, rows, 5, bias=pick.flag(), gemm=pick.flag(), transposed=pick.flag())])
        return linear(b, hidden, out, bias=pick.flag(), gemm=True, transposed=pick.flag())
    if kind == "pooled gemm":
        pooled = b.op(pick("GlobalAveragePool", "GlobalMaxPool"), [x], lambda n: (*n[:2], 1, 1))
        rows = b.op("Flatten", [pooled], lambda n: n[:2])
        return linear(b, rows, out, bias=True, gemm=True, transposed=pick.flag())
    if kind == "mean matmul":
        return linear(b, reduced(b, "ReduceMean", x, [2, 3], keep=False), out, bias=pick.flag(), gemm=False)
    if kind == "max conv":
        pooled = b.op("GlobalMaxPool", [x], lambda n: (*n[:2], 1, 1))
        return b.op("Conv", [pooled, b.weight(out, c, 1, 1)], lambda n: (n[0], out, 1, 1))
    return x if kind == "none" else convolve(b, x, out, pick)


def styles(*, tied: bool = True) -> st.SearchStrategy[Style]:
    return st.builds(
        Style,
        opset=st.sampled_from(OPSETS),
        seed=st.integers(0, 999),
        batch=st.sampled_from([0, 1, 2]),
        dynamic_space=st.booleans(),
        mixed_spelling=st.booleans(),
        old_inputs=st.booleans(),
        node_names=st.sampled_from([0, 1, 2, 3]),
        declared=st.booleans(),
        litter=st.booleans(),
        tied=st.booleans() if tied else st.just(False),
    )


def blocks_of(kinds: Sequence[str]) -> st.SearchStrategy[Block]:
    numbers = st.tuples(*[st.integers(0, 11)] * NUM_PICKS)
    return st.builds(Block, kind=st.sampled_from(kinds), back=st.integers(0, 3), picks=numbers)


def random_graphs(
    kinds: Sequence[str] | None = None, heads: Sequence[str] = HEADS, *, tied: bool = True
) -> st.SearchStrategy[RandomGraph]:
    """Networks of up to `MAX_BLOCKS` blocks.

    Args:
        kinds: Names of the blocks to choose from; all by default.
        heads: Names of the heads.
        tied: Whether weights may be shared at will.
    """
    return st.builds(
        realise,
        style=styles(tied=tied),
        blocks=st.lists(blocks_of(kinds or (*MORE, *BLOCKS)), min_size=1, max_size=MAX_BLOCKS),
        heads=st.lists(blocks_of(heads), min_size=1, max_size=3),
    )
