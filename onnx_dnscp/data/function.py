"""A user's own function that makes samples, by its name: `package.module:function`."""

from __future__ import annotations

import importlib
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from onnx_dnscp.errors import DataError, PruneError
from onnx_dnscp.model.runtime import first_line

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_OWN = Path(__file__).parents[1]


def is_function(path: Path) -> bool:
    """Whether what stands in the place of a path names a function; a file of such a name wins."""
    return _NAME.fullmatch(str(path)) is not None and not path.exists()


def load_function(name: str) -> Callable[[], Any]:
    """The function, from an installed package or from a module in the current folder.

    Raises:
        DataError: It cannot be had.
    """
    module_name, _, attribute = name.partition(":")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python -m` does
    importlib.invalidate_caches()
    try:
        with telling(name, "when it was imported"):
            found = importlib.import_module(module_name)
    except DataError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and f"{module_name}.".startswith(f"{cause.name}."):
            raise DataError(
                f"The data {name!r} cannot be had: there is no module {cause.name!r} in {folder!r} or among the "
                "installed packages; go to its folder, or install it."
            ) from error
        raise
    for part in attribute.split("."):
        if not hasattr(found, part):
            nearest = get_close_matches(part, dir(found), 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
            raise DataError(f"The data {name!r} cannot be had: {module_name!r} has no {part!r}{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise DataError(
            f"The data {name!r} is a {type(found).__name__}, and a function is needed that returns samples."
        )
    return found


@contextmanager
def telling(name: str, when: str) -> Iterator[None]:
    """Turn whatever a user's code raises into one sentence.

    Raises:
        DataError: It says what was raised, and in which line of the user's code.
    """
    try:
        yield
    except PruneError:
        raise
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {first_line(error)}" if str(error) else type(error).__name__
        raise DataError(f"The data {name!r} failed {when}: {what}{_place(error)}; correct it there.") from error


def _place(error: BaseException) -> str:
    """The innermost line of code that belongs neither to this package nor to another one."""
    others = {sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")} | {str(_OWN)}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        is_code = not frame.filename.startswith("<")
        if is_code and not any(Path(frame.filename).is_relative_to(folder) for folder in others):
            return f", at line {frame.lineno} of {frame.filename}"
    return ""
