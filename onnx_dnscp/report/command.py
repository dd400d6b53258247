"""The command that repeats a run, from what its record says."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.runs.options import PruneOptions
from onnx_dnscp.runs.run_directory import RunRecord

_UNBOUND = 1 - 1e-9  # a search without a ratio looks at all below 1


def command_line(record: RunRecord) -> str:
    """The shell command with every option that is not at its default, and file names as short as they can be."""
    short = short_names(path for path in (record.model, record.output, record.data, record.test_data) if path)
    words = ["onnx-dnscp", "prune", short[record.model], "-o", short[record.output]]
    defaults = PruneOptions()
    for name in PruneOptions.model_fields:
        value = getattr(record, name)
        is_searched = name == "ratio" and record.max_drop is not None and value > _UNBOUND
        if value == getattr(defaults, name) or is_searched:
            continue
        if isinstance(value, Preprocess):
            chosen = {field: getattr(value, field) for field in Preprocess.model_fields}
            usual = Preprocess()
            words += [w for f, v in chosen.items() if v != getattr(usual, f) for w in _preprocess_words(f, v)]
        else:
            words += _words(name, short.get(value, value) if isinstance(value, Path) else value)
    return shlex.join(words)


def short_names(paths: Iterable[Path]) -> dict[Path, str]:
    """Each path by its last parts, as many as tell it from the others; the folders above are nobody's business."""
    known = list(dict.fromkeys(paths))
    return {path: _tail(path, [other for other in known if other != path]) for path in known}


def _tail(path: Path, others: Sequence[Path]) -> str:
    for length in range(1, len(path.parts) + 1):
        tail = path.parts[-length:]
        if all(other.parts[-length:] != tail for other in others):
            break
    return Path(*tail).as_posix()


def _words(name: str, value: Any) -> Iterator[str]:
    option = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        yield option if value else option.replace("--", "--no-", 1)
        return
    for single in value if isinstance(value, tuple) else (value,):
        yield from (option, str(single))


def _preprocess_words(name: str, value: Any) -> Iterator[str]:
    """Means and deviations are one word, sizes two."""
    if name == "size":
        return iter(("--size", *map(str, value)))
    return _words(name, ",".join(map(str, value)) if isinstance(value, tuple) else value)
