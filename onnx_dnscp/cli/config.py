"""Options of a command from a TOML file: what the command line does not say, the file may."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import tomli_w

from onnx_dnscp.errors import UsageError
from onnx_dnscp.system.option_model import nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_NOT_OF_A_RUN = ("config", "print_config", "resumed", "as_json", "quiet")  # what no file can ask for


def read_config(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Take the defaults of the command's parameters from a file; a click callback, to be called before others.

    Keys are the names of options without their dashes, and of arguments; `no-x = true` is `x = false`. A list stands
    for an option that is repeated or takes several values.

    Raises:
        UsageError: The file cannot be read, or says what the command does not know.
    """
    if path is None:
        return
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"Cannot read the config {str(path)!r}: {getattr(error, 'strerror', None) or error}."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The config {str(path)!r} is not TOML: {error}.") from error
    known = dict(_parameters(context.command))
    off = {option.lstrip("-"): parameter for parameter in known.values() for option in parameter.secondary_opts}
    for key, value in found.items():
        parameter = known.get(key) or off.get(key)
        if parameter is None:
            meant = nearest(key, known)
            hint = f"did you mean {meant!r}?" if meant else "'onnx-dnscp prune --help-all' lists the options."
            raise UsageError(f"The config {str(path)!r} has {key!r}, which is no option; {hint}")
        said = _as_text(parameter, key, value)
        context.default_map = {**(context.default_map or {}), str(parameter.name): not said if key in off else said}


def config_text(context: click.Context, leave_out: Collection[str] = ()) -> str:
    """Every option that has a value, but those to `leave_out`, as a file that `read_config` takes."""
    values: dict[str, Any] = {}
    for key, parameter in _parameters(context.command):
        value = context.params.get(str(parameter.name))
        if value is not None and value != () and parameter.name not in leave_out:
            values[key] = _as_toml(value)
    return tomli_w.dumps(values)


def _parameters(command: click.Command) -> Iterator[tuple[str, click.Parameter]]:
    """Key and parameter of all that a file may say."""
    for parameter in command.params:
        if parameter.name not in _NOT_OF_A_RUN:
            is_option = isinstance(parameter, click.Option)
            yield max(parameter.opts, key=len).lstrip("-") if is_option else str(parameter.name), parameter


def _as_text(parameter: click.Parameter, key: str, value: Any) -> Any:
    """The value as the command line would say it, so that both are checked by the same rules."""
    is_flag = isinstance(parameter, click.Option) and parameter.is_flag
    if is_flag or isinstance(value, (bool, Mapping)):
        if not (is_flag and isinstance(value, bool)):
            raise UsageError(f"The config says {key} = {value!r}; {_wanted(parameter, is_flag)}.")
        return value
    if not isinstance(value, list):
        return [str(value)] if parameter.multiple else str(value)
    if any(isinstance(one, (bool, list, Mapping)) for one in value):
        raise UsageError(f"The config says {key} = {value!r}; {_wanted(parameter, is_flag)}.")
    several = parameter.multiple or parameter.nargs != 1
    return [str(one) for one in value] if several else ",".join(str(one) for one in value)


def _wanted(parameter: click.Parameter, is_flag: bool) -> str:
    return "it is switched on by true and off by false" if is_flag else f"it takes {parameter.type.name}"


def _as_toml(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_as_toml(one) for one in value]
    return str(value) if isinstance(value, Path) else value
