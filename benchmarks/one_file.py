"""Prune one file and check the result from outside; prints one JSON object.

    python benchmarks/one_file.py MODEL.onnx --ratio 0.5

The verdict is one of

    pruned     right, and most of the params are gone
    barely     right, but more than 60 % of the params are left
    refused    the package says why it cannot (exit codes 3 and 5)
    wrong      the pruned model does not compute what the plan says, or the package's own verification stopped it
    unchecked  pruned, but this script could not check it
    crash      anything else
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from floor import params_floor
from numpy.typing import NDArray
from onnx import helper
from silenced import UncheckedError, silence_consumers, without_squashing

from onnx_dnscp import PruneError, VerificationError, inspect, prune
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.masks.budget import Budget
from onnx_dnscp.masks.dnscp import one_shot
from onnx_dnscp.measure import latency
from onnx_dnscp.measure.cost_registry import CostInputs
from onnx_dnscp.measure.costs import channels
from onnx_dnscp.model.load import load_model
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.runs.plan import make_plan
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import plan_cuts

BARELY = 0.6  # share of params left above which the pruning did not reach much of the network
ENDS = ("graph input", "graph output")
EXPECTED = (3, 5)  # exit codes of a refusal: the file cannot be read, the request cannot be met
ROUNDING_FACTOR = 30.0  # removing channels reorders sums; the runtime's own optimisations show by how much that matters
ROUNDING_FLOOR = 1e-4
BATCH, SIZES = 1, (96, 224, 64, 320, 640)  # of dynamic axes; sizes are tried in turn

Arrays = dict[str, NDArray[Any]]


@dataclass
class FileResult:
    """One row of the table.

    Attributes:
        params_left: Share of the params; likewise `macs_left`.
        params_floor: What it would be if only the inputs and outputs held channels, and all others lost the same share.
        parity_error: Largest difference of an output from the silenced original, over the output's largest value.
        effect: The same between the silenced original and the original: how much there was to see.
        seconds_stages: Discovery, mask, plan and surgery, in memory.
        seconds_total: `inspect` and `prune`, with verification.
        bound: Channels that are locked by the graph's inputs and outputs alone: no pruner may touch them.
        locked_reasons: All other reasons with the number of channels they hold, most first.
    """

    verdict: str = "crash"
    reason: str = ""
    prunable: int | None = None
    channels: int | None = None
    bound: int | None = None
    params_left: float | None = None
    params_floor: float | None = None
    macs_left: float | None = None
    parity_error: float | None = None
    effect: float | None = None
    seconds_stages: float | None = None
    seconds_total: float | None = None
    locked_reasons: list[tuple[int, str]] = field(default_factory=list)


def measure(path: Path, ratio: float) -> FileResult:
    """Everything the table says about one file; no exception gets out."""
    result = FileResult()
    try:
        _inspect(path, result)
        with tempfile.TemporaryDirectory() as folder:
            _prune(path, ratio, Path(folder), result)
    except VerificationError as error:
        result.verdict, result.reason = "wrong", f"stopped by the package's own verification: {error}"
    except PruneError as error:
        result.verdict = "refused" if error.exit_code in EXPECTED else "crash"
        result.reason = str(error)
    except UncheckedError as error:
        result.verdict, result.reason = "unchecked", str(error)
    except Exception as error:
        result.verdict, result.reason = "crash", f"{type(error).__name__}: {error}"
    return result


def _inspect(path: Path, result: FileResult) -> None:
    started = time.perf_counter()
    found = inspect(path)
    result.seconds_total = time.perf_counter() - started
    result.prunable, result.channels = found.prunable_channels, found.prunable_channels + found.locked_channels
    widths: dict[str, int] = {}
    result.bound = 0
    for locked in found.locked:
        others = [reason for reason in locked.reasons if not reason.startswith(ENDS)]
        result.bound += 0 if others else locked.width
        for reason in others:
            widths[reason] = widths.get(reason, 0) + locked.width
    result.locked_reasons = sorted(((width, reason) for reason, width in widths.items()), reverse=True)


def _prune(path: Path, ratio: float, folder: Path, result: FileResult) -> None:
    assert result.seconds_total is not None
    output, plan = folder / "pruned.onnx", folder / "plan.json"
    started = time.perf_counter()
    report = prune(path, output, plan_out=plan, train=False, ratio=ratio, threads=1)
    result.seconds_total += time.perf_counter() - started
    result.params_left = report.after.params / report.before.params
    result.params_floor = params_floor(onnx.load(path), ratio)
    result.macs_left = report.after.macs / max(1, report.before.macs)
    result.seconds_stages = stage_seconds(path, ratio)
    consumers = json.loads(plan.read_text())["consumers"]
    tolerance = _compare(without_squashing(onnx.load(path)), without_squashing(onnx.load(output)), consumers, result)
    if result.parity_error is None or not result.parity_error <= tolerance:
        result.verdict, result.reason = "wrong", f"differs by {result.parity_error}, rounding explains {tolerance:.1e}"
    elif not result.effect:
        result.verdict, result.reason = "unchecked", "the outputs do not depend on what was removed"
    else:
        result.verdict = "barely" if result.params_left > BARELY else "pruned"
        if result.verdict == "barely" and result.locked_reasons:
            result.reason = "{} channels: {}".format(*result.locked_reasons[0])


def stage_seconds(path: Path, ratio: float) -> float:
    """Seconds for discovery, one-shot mask, plan and surgery of a model in memory."""
    loaded = load_model(path)
    started = time.perf_counter()
    units = discover(loaded)
    mask = one_shot(units, Budget(units, channels(CostInputs(units)), ratio), units.graph.stored)
    make_plan(units, mask, loaded.sha256)
    apply_cuts(loaded.proto, units, plan_cuts(units, mask))
    return time.perf_counter() - started


def _compare(original: onnx.ModelProto, pruned: onnx.ModelProto, consumers: Any, result: FileResult) -> float:
    """Set the parity error and the effect, and return what rounding explains."""
    silenced = silence_consumers(original, consumers)
    plain = Session(silenced, optimize=False, threads=1)
    feeds, expected = _first_that_runs(plain, original)
    if not all(np.isfinite(value).all() for value in expected.values()):
        raise UncheckedError("the outputs are not finite on random inputs")
    actual = Session(pruned, optimize=False, threads=1).run(feeds)
    result.parity_error = _difference(actual, expected)
    result.effect = _difference(Session(original, optimize=False, threads=1).run(feeds), expected)
    try:
        rounding = _difference(Session(silenced, threads=1).run(feeds), expected)
    except PruneError:  # a network that the runtime's graph optimisations break
        rounding = 0.0
    return max(ROUNDING_FACTOR * rounding, ROUNDING_FLOOR)


def _first_that_runs(session: Session, model: onnx.ModelProto) -> tuple[Arrays, Arrays]:
    rng = np.random.default_rng(1)
    failure: PruneError | None = None
    for size in SIZES:
        feeds = _inputs(model, size, rng)
        try:
            return feeds, session.run(feeds)
        except PruneError as error:
            failure = failure or error
    raise UncheckedError(f"no tried input size runs: {failure}")


def _inputs(model: onnx.ModelProto, size: int, rng: np.random.Generator) -> Arrays:
    stored = {t.name for t in model.graph.initializer}
    feeds: Arrays = {}
    for info in model.graph.input:
        if info.name not in stored:
            dims = info.type.tensor_type.shape.dim
            shape = [d.dim_value if d.dim_value > 0 else size if axis else BATCH for axis, d in enumerate(dims)]
            dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
            feeds[info.name] = rng.standard_normal(shape).astype(dtype)
    return feeds


def _difference(actual: Arrays, expected: Arrays) -> float:
    """Largest difference of any output, relative to that output's largest value; inf if a shape differs."""
    worst = 0.0
    for name, value in expected.items():
        if actual[name].shape != value.shape:
            return float("inf")
        if value.size and value.dtype.kind == "f":
            gap = np.abs(actual[name].astype(np.float64) - value.astype(np.float64)).max()
            worst = max(worst, float(gap / (np.abs(value.astype(np.float64)).max() or 1.0)))
    return worst


def send_row(answer: Connection, path: Path, ratio: float) -> None:
    """Send the row of one file as a dictionary; what a process of its own runs."""
    latency.ROUNDS, latency.SECONDS_PER_RUN = 1, 0.0  # latency is not what is asked here
    answer.send(asdict(measure(path, ratio)))


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--ratio", default=0.5, show_default=True)
def main(model: Path, ratio: float) -> None:
    """Print the row of MODEL as JSON."""
    click.echo(json.dumps(asdict(measure(model, ratio))))


if __name__ == "__main__":
    main()
