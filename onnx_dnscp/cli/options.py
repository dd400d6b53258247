"""Options of the command line from the fields of option models: types, ranges, choices, defaults and help."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import rich_click as click
from pydantic.fields import FieldInfo

from onnx_dnscp.cli.help import Option
from onnx_dnscp.system.option_model import OptionModel, is_switch

Function = TypeVar("Function", bound=Callable[..., Any])

_LIMITS = {"ge": ("min", False), "gt": ("min", True), "le": ("max", False), "lt": ("max", True)}  # True: it is open
_METAVARS = {int: "N", float: "X"}
_LONGEST_METAVAR = 30  # characters of choices; more go into the help


class Numbers(click.ParamType[tuple[float, ...]]):
    """Comma-separated numbers."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The numbers in a text such as 0.485,0.456,0.406."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a comma-separated list of numbers, such as 0.485,0.456,0.406", param, ctx)


def options_of(model: type[OptionModel], *names: str, group: str | None = None) -> Callable[[Function], Function]:
    """Give the command below an option for every field of the model that has a place in the help.

    Args:
        model: Says everything about them.
        names: Of fields; all if none are given.
        group: Where the help shows all of them, instead of where the model says.
    """

    def add(command: Function) -> Function:
        for name in reversed(names or tuple(model.model_fields)):
            field = model.model_fields[name]
            shown = field.json_schema_extra
            if isinstance(shown, dict) and "group" in shown:
                place = {"panel": group or shown["group"], "expert": not group and "expert" in shown}
                properties = _properties(field, shown) | place
                command = click.option(_declared(name, field), cls=Option, **properties)(command)
        return command

    return add


def _declared(name: str, field: FieldInfo) -> str:
    spelled = name.replace("_", "-")
    return f"--{spelled}/--no-{spelled}" if is_switch(field) else f"--{spelled}"


def _properties(field: FieldInfo, shown: dict[str, Any]) -> dict[str, Any]:
    """What `click.option` is to know of a field."""
    kind, default = _without_none(field.annotation), field.default
    found: dict[str, Any] = {"metavar": shown.get("metavar", _METAVARS.get(kind))}
    if get_origin(kind) is not tuple:
        found["type"] = _type(kind, field.metadata, shown.get("choices"))
    elif Ellipsis not in get_args(kind):
        found["type"] = tuple(_type(part) for part in get_args(kind))
    elif float in get_args(kind):
        found["type"] = Numbers()
        default = ",".join(f"{number:g}" for number in default)
    else:
        found |= {"type": _type(get_args(kind)[0]), "multiple": True}
    if default is not None or is_switch(field):
        found["default"] = default
    text = re.sub("`(.+?)`", lambda option: f"--{option[1].replace('_', '-')}", field.description or "")
    choices = ", ".join(getattr(found.get("type"), "choices", ()))
    if len(choices) > _LONGEST_METAVAR:
        about, bracket, default_text = text.partition(" [")
        found["metavar"], text = "NAME", f"{about} One of {choices}.{bracket}{default_text}"
    says_little = default is None or default is False or default == ()
    return found | {"help": text, "show_default": not says_little and "[default:" not in text}


def _without_none(annotation: Any) -> Any:
    """The type X of a field that is X or None."""
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    return kinds[0] if len(kinds) < len(get_args(annotation)) else annotation


def _type(kind: Any, rules: Iterable[Any] = (), choices: Iterable[str] | None = None) -> Any:
    """The type of a single value, with its limits."""
    if get_origin(kind) is Annotated:
        kind, *rules = get_args(kind)
    if choices is not None or get_origin(kind) is Literal:
        return click.Choice(list(choices or get_args(kind)))
    if kind is Path:
        return click.Path(path_type=Path)
    limits: dict[str, Any] = {}
    for rule in rules:
        for name, (end, is_open) in _LIMITS.items():
            if hasattr(rule, name):
                limits |= {end: getattr(rule, name), f"{end}_open": is_open}
    ranges = {int: click.IntRange, float: click.FloatRange}
    return ranges[kind](**limits) if limits else kind
