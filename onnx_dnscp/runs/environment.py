"""What a run was made with, for whoever wants to repeat it."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel

from onnx_dnscp.model.runtime import installed_packages
from onnx_dnscp.system.memory import usable_cores

_PACKAGES = ("onnx-dnscp", "onnx", "numpy")  # what the result depends on, besides ONNX Runtime


class Environment(BaseModel):
    """Machine and versions; nothing that tells whose machine it is.

    Attributes:
        started: When, in UTC, as ISO 8601.
        processor: What the processor calls itself.
        cores: As many as this process may use.
        packages: Distribution name to version.
    """

    started: str
    system: str
    python: str
    processor: str
    cores: int
    packages: dict[str, str]


def describe_environment() -> Environment:
    """Where this process runs, now."""
    return Environment(
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        processor=_processor(),
        cores=usable_cores(),
        packages={name: metadata.version(name) for name in (*_PACKAGES, *installed_packages())},
    )


def _processor() -> str:
    """The processor's own name where the system tells it, else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
