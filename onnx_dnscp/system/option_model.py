"""Options that check themselves, and say in one sentence what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from reprlib import repr as shortened
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from pydantic.functional_validators import ModelWrapValidatorHandler
from typing_extensions import Self

from onnx_dnscp.errors import UsageError

EXPERT: JsonDict = {"expert": True}


class OptionModel(BaseModel):
    """Options that are made from names and values.

    The description of a field is its help, on the command line and in the documentation. Its `json_schema_extra` says
    how it is shown there: in which "group", as what "metavar", with which "choices" that its type does not tell, and
    whether it is for an "expert". A check of several fields raises `UsageError` itself.

    Attributes:
        other_names: By which a field is known as well. `no_x=True` is understood as `x=False` in any case.

    Raises:
        UsageError: An option is unknown, given twice or cannot have its value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    other_names: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, given: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return check(cls._by_right_names(given) if isinstance(given, dict) else given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            what = first["msg"].removeprefix("Value error, ").replace("Input", "it", 1)
            if not first["loc"]:  # it is no set of options at all, which whoever holds it can name
                raise
            option = str(first["loc"][0])
            raise UsageError(f"Option {option!r} cannot be {shortened(first['input'])}: {what}.") from None

    @classmethod
    def _by_right_names(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in given.items():
            right = cls.other_names.get(name, name)
            if name.startswith("no_") and is_switch(cls.model_fields.get(name[3:])):
                if not isinstance(value, bool):
                    raise UsageError(f"Option {name!r} cannot be {shortened(value)}: it should be True or False.")
                right, value = name[3:], not value
            if right in values:
                raise UsageError(f"Option {right!r} is given twice, the second time as {name!r}.")
            if right not in cls.model_fields:
                raise UsageError(f"There is no option {name!r}; {cls._hint(name)}")
            values[right] = value
        return values

    @classmethod
    def _hint(cls, name: str) -> str:
        """What someone may have meant by a name that is not known."""
        for outer, field in cls.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, OptionModel) and name in kind.model_fields:
                return f"it is one of {kind.__name__}: {outer}={kind.__name__}({name}=...)."
        switches = (f"no_{known}" for known, field in cls.model_fields.items() if is_switch(field))
        meant = nearest(name, [*cls.model_fields, *cls.other_names, *switches])
        if not meant:
            return f"{cls.__name__}.model_fields lists all."
        return f"did you mean {cls.other_names.get(meant, meant)!r}?"


def is_switch(field: FieldInfo | None) -> bool:
    """Whether the field is either on or off (or, as None, not decided)."""
    return field is not None and bool in (field.annotation, *get_args(field.annotation))


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that `name` looks like a slip of; empty if there is none."""
    return next(iter(get_close_matches(name, list(known), 1)), "")
