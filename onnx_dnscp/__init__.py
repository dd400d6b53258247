"""Prune the channels of an ONNX network while it learns: ONNX in, smaller and faster ONNX out.

Names are imported when they are asked for, because the process that watches over the command line (`supervisor.py`)
needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx_dnscp.commands.apply import ApplyReport, apply
    from onnx_dnscp.commands.compare import Comparison, compare
    from onnx_dnscp.commands.evaluate import evaluate
    from onnx_dnscp.commands.inspect import inspect
    from onnx_dnscp.commands.prune import prune, resume
    from onnx_dnscp.data.preprocess import Preprocess
    from onnx_dnscp.errors import (
        DataError,
        DivergenceError,
        Interrupted,
        ModelError,
        PruneError,
        RequestError,
        UsageError,
        VerificationError,
    )
    from onnx_dnscp.measure.evaluation import Evaluation
    from onnx_dnscp.runs.inspection import Inspection
    from onnx_dnscp.runs.options import PruneOptions
    from onnx_dnscp.runs.plan import Plan
    from onnx_dnscp.runs.prune_report import PruneReport
    from onnx_dnscp.runs.run_directory import preprocess_of
    from onnx_dnscp.runs.settings import PruneSettings
    from onnx_dnscp.training.progress import Listener, Progress

    __version__: str

__all__ = [
    "ApplyReport",
    "Comparison",
    "DataError",
    "DivergenceError",
    "Evaluation",
    "Inspection",
    "Interrupted",
    "Listener",
    "ModelError",
    "Plan",
    "Preprocess",
    "Progress",
    "PruneError",
    "PruneOptions",
    "PruneReport",
    "PruneSettings",
    "RequestError",
    "UsageError",
    "VerificationError",
    "__version__",
    "apply",
    "compare",
    "evaluate",
    "inspect",
    "preprocess_of",
    "prune",
    "resume",
]

_HOMES = {
    "ApplyReport": "commands.apply",
    "Comparison": "commands.compare",
    "Evaluation": "measure.evaluation",
    "Inspection": "runs.inspection",
    "Listener": "training.progress",
    "Plan": "runs.plan",
    "Preprocess": "data.preprocess",
    "Progress": "training.progress",
    "PruneOptions": "runs.options",
    "PruneReport": "runs.prune_report",
    "PruneSettings": "runs.settings",
    "apply": "commands.apply",
    "compare": "commands.compare",
    "evaluate": "commands.evaluate",
    "inspect": "commands.inspect",
    "preprocess_of": "runs.run_directory",
    "prune": "commands.prune",
    "resume": "commands.prune",
}


if not TYPE_CHECKING:  # which would find any name then

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "__version__":
            return import_module("importlib.metadata").version("onnx-dnscp")
        return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
