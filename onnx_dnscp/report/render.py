"""The page as HTML: one file, and nothing in it that a browser would fetch or that a model could smuggle in.

Templates escape whatever they show, and control characters are spelled out. The one script and the one style sheet are
named by their hashes in a content security policy, so that a browser runs no other, and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from onnx_dnscp.report.curves import Curves
from onnx_dnscp.report.page import Page
from onnx_dnscp.system.wording import printable


def render(page: Page) -> str:
    """The HTML file."""
    style, script = _asset("style.css"), _asset("script.js")
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'"
    environment = Environment(
        loader=PackageLoader("onnx_dnscp.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": lambda share: f"{share:.1%}", "breakable": _breakable}
    return environment.get_template("page.html").render(
        page=page,
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        readouts=_readouts(page.curves),
    )


def _shown(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _breakable(text: str) -> Markup:
    """`text` that may be broken behind the characters that names are put together with."""
    return Markup("<wbr>").join(re.split(r"(?<=[./_:])", printable(text)))


def _asset(name: str) -> str:
    """A file of this package that goes into the page as it is."""
    return resources.files("onnx_dnscp.report").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _readouts(curves: Curves | None) -> dict[str, Any]:
    """Values of the curves, for the script that reads them out under the pointer."""
    if curves is None:
        return {}
    charts = {
        chart.key: {"points": [[round(x, 1), float(f"{y:.4g}")] for x, y in chart.points], "percent": chart.percent}
        for chart in curves.charts
    }
    return {"steps": curves.steps, "charts": charts}
