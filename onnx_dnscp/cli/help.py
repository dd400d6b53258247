"""Help in groups, which a newcomer can read: what experts set is shown by --help-all alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click

Function = TypeVar("Function", bound=Callable[..., Any])

LOOK: dict[str, Any] = {
    "theme": "default-slim",  # no boxes, so that 80 columns hold text, and a pipe plain text
    "options_table_help_sections": ["help", "required", "default"],
    "default_string": "\\[default: {}]",
    "force_terminal": None,  # else rich-click colours what is piped on some build servers
}
_LOOK_OF_ALL = LOOK | {"options_table_help_sections": ["help", "required", "default", "range"]}
_ALL = f"{__name__}.all"  # key in a context's `meta`: whether experts asked


class Option(click.RichOption):
    """An option in a group of the help (`panel`).

    Attributes:
        expert: Whether only --help-all shows it.
    """

    def __init__(self, *args: Any, expert: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.expert = expert


class Command(click.RichCommand):
    """A command with options for experts, which come last in every group.

    Attributes:
        help_group: Of the option --help.
    """

    def __init__(self, *args: Any, help_group: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.help_group = help_group
        self.params.sort(key=_is_for_experts)

    def get_help(self, ctx: click.Context) -> str:
        """The help, without the spaces that fill lines; an option that is left out is hidden meanwhile."""
        help_option = ctx.command.get_help_option(ctx)
        if isinstance(help_option, click.RichOption):
            help_option.panel = self.help_group
        left_out = [] if ctx.meta.get(_ALL) else [p for p in self.params if isinstance(p, Option) and p.expert]
        for option in left_out:
            option.hidden = True
        try:
            return re.sub(" +$", "", super().get_help(ctx), flags=re.MULTILINE).rstrip()
        finally:
            for option in left_out:
                option.hidden = False

    def get_usage(self, ctx: click.Context) -> str:
        """The first line of messages about wrong usage, plain."""
        formatter = click.HelpFormatter(max_width=ctx.max_content_width)
        click.Command.format_usage(self, ctx, formatter)
        return formatter.getvalue().rstrip()


class Group(Command, click.RichGroup):  # type: ignore[misc]  # what RichGroup says of itself
    """A command with others below it."""

    command_class = Command


def help_all_option(group: str) -> Callable[[Function], Function]:
    """Give the command below the option --help-all."""
    about = "Show all options, those for experts too."
    return click.option(
        "--help-all", is_flag=True, is_eager=True, expose_value=False, callback=_show_all, panel=group, help=about
    )


def whole_help(context: click.Context) -> str:
    """The help with the options for experts, and with the ranges of all."""
    context.meta[_ALL] = True
    if isinstance(context, click.RichContext):
        context.help_config = click.RichHelpConfiguration(**_LOOK_OF_ALL)
    return context.get_help()


def _show_all(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        click.echo(whole_help(context))
        context.exit()


def _is_for_experts(parameter: click.Parameter) -> bool:
    return isinstance(parameter, Option) and parameter.expert
