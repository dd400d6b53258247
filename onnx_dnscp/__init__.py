"""Prune the channels of an ONNX network while it learns: ONNX in, smaller and faster ONNX out."""

from onnx_dnscp.commands.apply import ApplyReport, apply
from onnx_dnscp.commands.compare import Comparison, compare
from onnx_dnscp.commands.evaluate import evaluate
from onnx_dnscp.commands.inspect import Inspection, inspect
from onnx_dnscp.commands.prune import prune, resume
from onnx_dnscp.commands.prune_report import PruneReport
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
    "prune",
    "resume",
]
