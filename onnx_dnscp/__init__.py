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
    from onnx_dnscp.commands.inspect import Inspection, inspect
    from onnx_dnscp.commands.prune import prune, resume
    from onnx_dnscp.commands.prune_report import PruneReport
    from onnx_dnscp.commands.run_directory import preprocess_of
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
    from onnx_dnscp.evaluation import Evaluation
    from onnx_dnscp.options import PruneOptions
    from onnx_dnscp.plan import Plan

__all__ = [
    "ApplyReport",
    "Comparison",
    "DataError",
    "DivergenceError",
    "Evaluation",
    "Inspection",
    "Interrupted",
    "ModelError",
    "Plan",
    "Preprocess",
    "PruneError",
    "PruneOptions",
    "PruneReport",
    "RequestError",
    "UsageError",
    "VerificationError",
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
    "Evaluation": "evaluation",
    "Inspection": "commands.inspect",
    "Plan": "plan",
    "Preprocess": "data.preprocess",
    "PruneOptions": "options",
    "PruneReport": "commands.prune_report",
    "apply": "commands.apply",
    "compare": "commands.compare",
    "evaluate": "commands.evaluate",
    "inspect": "commands.inspect",
    "preprocess_of": "commands.run_directory",
    "prune": "commands.prune",
    "resume": "commands.prune",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
