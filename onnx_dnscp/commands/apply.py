"""`apply`: surgery only, from a plan made by anybody."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from onnx_dnscp.commands.saving import model_file, output_path
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.measure.samples import verification_batches
from onnx_dnscp.measure.verify import verify
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.load import load_model
from onnx_dnscp.runs.facts import ModelFacts, describe
from onnx_dnscp.runs.plan import Plan, is_for_another, plan_mask, read_plan
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import plan_cuts
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.tracing.trace import trace


class ApplyReport(BaseModel):
    """What applying a plan did.

    Attributes:
        notes: Things the user should know.
    """

    model: str
    output: str
    removed_channels: int
    before: ModelFacts
    after: ModelFacts
    max_relative_error: float
    tolerance: float
    notes: list[str] = []


def apply(model: str | Path, plan: str | Path | Plan, output: str | Path | None = None) -> ApplyReport:
    """Cut the channels that a plan removes, verify against the masked original, and save.

    Args:
        model: The ONNX file the plan was made for, or one of the same structure with other weights.
        plan: A plan file or a `Plan`.
        output: Where to save; `<stem>.pruned.onnx` beside the model by default.

    Raises:
        ModelError: The model cannot be read or run.
        UsageError: The plan is invalid or for another model, or the output cannot be written.
        RequestError: The plan would empty a group.
        VerificationError: The result does not compute what the masked model computes; nothing is saved.
    """
    loaded = load_model(model)
    target = output_path(loaded.path, output, *loaded.data_files, *([] if isinstance(plan, Plan) else [Path(plan)]))
    parsed = plan if isinstance(plan, Plan) else read_plan(plan)
    units = discover(loaded)
    mask = plan_mask(parsed, units, loaded.sha256)
    notes = (
        ["The plan was made for another file of the same structure."] if is_for_another(parsed, loaded.sha256) else []
    )
    pruned = apply_cuts(loaded.proto, units, plan_cuts(units, mask))
    masked = mask_model(loaded.proto, units, mask)
    checked = verify(pruned, masked, verification_batches(units.graph, units.trace, None))
    file = model_file(pruned, target)
    file.write(target)
    graph = read_graph(pruned)
    return ApplyReport(
        model=str(loaded.path),
        output=str(target),
        removed_channels=int((~mask).sum()),
        before=describe(units.graph, units.trace, loaded.size),
        after=describe(graph, trace(graph, like=units.trace), file.size),
        max_relative_error=checked.max_relative_error,
        tolerance=checked.tolerance,
        notes=notes,
    )
