"""The state of a training phase, and how it is kept in a file.

A file is an .npz of plain arrays with a JSON header under `header`: nothing is pickled. It appears whole or not at all.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.errors import UsageError
from onnx_dnscp.model.runtime import first_line
from onnx_dnscp.model.units import Mask
from onnx_dnscp.system.atomic import atomic_file
from onnx_dnscp.training.stage import StageId

Array = NDArray[Any]

FORMAT = "onnx-dnscp-checkpoint/3"
_HEADER = "header"
_MASK = "mask"
_GROUPS = ("weights", "optimizer", "method")  # dictionaries of arrays, by attribute of the state


@dataclass
class PhaseState:
    """Where a phase is between two steps; whoever has this can go on as if nothing had happened.

    The position in the data is `step` too: batches are the same for the same seed.

    Attributes:
        stage: Which one.
        num_steps: Of the whole phase.
        step: Steps done.
        seconds: Spent on them.
        weights: Learned tensors and running statistics; read from the engine while the phase runs.
        optimizer: The optimiser's state; likewise.
        mask: (units,) for the next step; None before the first, and in a phase without masks.
        method: The pruning method's state: JSON values and arrays.
        notes: What the user should know about the training graph.
        first_loss: Of the first step; None before it.
        num_exploded: Steps in a row, up to now, whose loss was out of all proportion to it.
        whole: False while a step is changing the arrays.
    """

    stage: StageId
    num_steps: int
    step: int = 0
    seconds: float = 0.0
    weights: Mapping[str, Array] = field(default_factory=dict)
    optimizer: Mapping[str, Array] = field(default_factory=dict)
    mask: Mask | None = None
    method: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    first_loss: float | None = None
    num_exploded: int = 0
    whole: bool = True

    @property
    def is_done(self) -> bool:
        """Whether the phase is over."""
        return self.step >= self.num_steps

    @property
    def is_sound(self) -> bool:
        """Whether one can go on from here: between two steps, and the loss was no worse than usual."""
        return self.whole and self.num_exploded == 0

    def copy(self) -> PhaseState:
        """The same state in arrays of its own."""
        return deepcopy(replace(self, weights=dict(self.weights), optimizer=dict(self.optimizer)))


def save_state(path: Path, state: PhaseState, counts: Mapping[str, int]) -> None:
    """Write a state, whole or not at all.

    Args:
        path: Of the .npz file.
        state: Between two steps.
        counts: Numbers that `load_state` gives back.

    Raises:
        StorageError: The operating system refuses.
    """
    assert state.whole, "half a step is no state"
    header = {
        "format": FORMAT,
        "round": state.stage.round,
        "kind": state.stage.kind,
        "num_steps": state.num_steps,
        "step": state.step,
        "seconds": state.seconds,
        "method": {key: value for key, value in state.method.items() if not isinstance(value, np.ndarray)},
        "notes": state.notes,
        "first_loss": state.first_loss,
        "num_exploded": state.num_exploded,
        "counts": dict(counts),
    }
    arrays: dict[str, Any] = {_HEADER: np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)}
    if state.mask is not None:
        arrays[_MASK] = state.mask
    for group in _GROUPS:
        for name, value in getattr(state, group).items():
            if isinstance(value, np.ndarray):
                arrays[f"{group}/{quote(name)}"] = value  # quoted: zip archives cut names at NUL
    with atomic_file(path) as file:
        np.savez(file, **arrays)


def load_state(path: Path) -> tuple[PhaseState, dict[str, int]]:
    """Read what `save_state` wrote: the state and the counts.

    Raises:
        UsageError: The file cannot be read, is damaged, or was written by another version.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop(_HEADER).tobytes())
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']!r}, not {FORMAT!r}")
        stage = StageId(header["round"], header["kind"])
        mask = arrays.pop(_MASK, None)
        groups: dict[str, Any] = {"weights": {}, "optimizer": {}, "method": header["method"]}
        for key, value in arrays.items():
            group, name = key.split("/", 1)
            groups[group][unquote(name)] = value
        state = PhaseState(stage, header["num_steps"], header["step"], header["seconds"], mask=mask, **groups)
        state.first_loss, state.num_exploded = header["first_loss"], header["num_exploded"]
        state.notes, counts = tuple(header["notes"]), dict(header["counts"])
    except (OSError, LookupError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(
            f"The checkpoint {str(path)!r} cannot be read ({first_line(error)}); delete it to begin that phase again."
        ) from error
    return state, counts


def check_same(saved: Mapping[str, Array], current: Mapping[str, Array]) -> None:
    """Make sure that weights of a checkpoint are those of a training graph.

    Raises:
        UsageError: Names or shapes differ, so the checkpoint was written by another version of this tool.
    """
    known, wanted = ({name: value.shape for name, value in arrays.items()} for arrays in (saved, current))
    if known != wanted:
        first = min(name for name in {*known, *wanted} if known.get(name) != wanted.get(name))
        raise UsageError(
            f"The weights in the checkpoint are not those of this model's training graph ({first!r} is one that "
            "differs): another version of onnx-dnscp wrote it. Go on with that version, or begin again."
        )
