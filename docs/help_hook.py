"""A hook of MkDocs: where a page says `<!-- help -->`, the help of every command with all its options."""

from __future__ import annotations

from collections.abc import Iterator

import rich_click as click

from onnx_dnscp.cli.help import whole_help
from onnx_dnscp.cli.main import cli

_COLUMNS = 100


def on_page_markdown(markdown: str, **_: object) -> str:
    """The page with the help; called by MkDocs for every page."""
    return markdown.replace("<!-- help -->", "\n".join(_sections())) if "<!-- help -->" in markdown else markdown


def _sections() -> Iterator[str]:
    group = click.RichContext(cli, info_name="onnx-dnscp", terminal_width=_COLUMNS, **cli.context_settings)
    for name in sorted(cli.commands):
        context = click.RichContext(cli.commands[name], parent=group, info_name=name, terminal_width=_COLUMNS)
        yield f"## {name}\n\n```text\n{whole_help(context)}\n```\n"
