"""The child process of `worker.py`: makes damaged inputs, gives them to the command line, and judges what it does.

Reads one JSON list `[kind, number, seed]` per line and answers with a JSON object before each command and one at the
end. Each input follows from these three, so that any case can be made again, in the folder `tests`:

    python -m fuzzing.judge model 17 0 FOLDER      # writes the file and prints the verdict
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import onnx
from oracle import set_inputs_to_zero

from fuzzing.damaged_files import damaged_config, damaged_data, damaged_plan, tiny_model
from fuzzing.damaged_models import damaged_model, seed_models
from onnx_dnscp import PruneError
from onnx_dnscp.cli.main import run
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.measure import latency
from onnx_dnscp.measure.verify import mean_error, relative_error
from onnx_dnscp.model.load import load_model
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.runs.plan import make_plan, plan_mask, read_plan

ROOM = 2 << 30  # bytes that a case may take beyond what the process had before it
TOLERANCE = 1e-3  # of an output's largest value, between the pruned model and the original with zeros in its weights
STEPPED_TOLERANCE = 2e-2  # the same of means, where a network rounds to quantisation steps
SURGERY_SHARE = 4  # every one of so many accepted models is also cut by `apply`
ODD_NUMBERS = "the network's own results are not finite"


@dataclass
class Verdict:
    """What became of one input.

    Attributes:
        outcome: accepted, refused, or what went wrong: traceback, wrong, unclear (a failure without its sentence).
        step: The last command that was called.
        code: Its exit code.
        how: What was done to the input.
        message: What it said, or what is wrong.
        checked: Whether a result was compared from outside.
        seconds: Processor time.
        megabytes: Largest growth of the process.
    """

    outcome: str = "refused"
    step: str = ""
    code: int = 0
    how: str = ""
    message: str = ""
    checked: bool = False
    seconds: float = 0.0
    megabytes: int = 0


class CaseEndedError(Exception):
    """A case that ends here: with a refusal, or with something that is wrong."""


class Judge:
    """Runs cases in a folder of its own.

    Args:
        folder: Where files go; emptied before each case.
        progress: Gets a line of JSON before each command.
    """

    def __init__(self, folder: Path, progress: TextIO | None = None) -> None:
        self.folder = folder
        self._progress = progress
        self._seeds = seed_models()

    def judge(self, kind: str, number: int, seed: int) -> Verdict:
        """Make and try one input."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        verdict = Verdict()
        rng = np.random.default_rng([seed, *kind.encode(), number])
        before, started = _resident(), time.process_time()
        _forget_peak()
        try:
            {"model": self._model, "plan": self._plan, "config": self._config, "data": self._data}[kind](rng, verdict)
            verdict.outcome = "accepted"
        except CaseEndedError:
            pass
        verdict.seconds = round(time.process_time() - started, 3)
        verdict.megabytes = max(0, _peak() - before) >> 20
        return verdict

    def _model(self, rng: np.random.Generator, verdict: Verdict) -> None:
        path, out, plan = (self.folder / name for name in ("fuzz.onnx", "out.onnx", "plan.json"))
        content, verdict.how = damaged_model(self._seeds, rng)
        path.write_bytes(content)
        (self.folder / "w.bin").write_bytes(bytes(64))
        found = json.loads(self._call(verdict, "inspect", path, "--json"))
        if not found["groups"]:
            return
        self._call(verdict, "prune", path, "--no-train", "-o", out, "--plan-out", plan, "--ratio", 0.3, "--align", 1)
        self._check(path, out, plan, verdict)
        if rng.integers(SURGERY_SHARE) == 0:
            again = self.folder / "again.onnx"
            self._call(verdict, "apply", path, plan, "-o", again)
            if again.read_bytes() != out.read_bytes():
                _wrong(verdict, "apply makes another file than prune")

    def _plan(self, rng: np.random.Generator, verdict: Verdict) -> None:
        path, out, plan = (self.folder / name for name in ("seed.onnx", "out.onnx", "plan.json"))
        for _ in range(100):  # until one has channels that can go
            path.write_bytes(self._seeds[int(rng.integers(len(self._seeds)))].SerializeToString())
            units = discover(load_model(path))
            if units.num_units:
                break
        mask = rng.random(units.num_units) >= 0.3
        good = make_plan(units, mask, load_model(path).sha256)
        content, verdict.how = damaged_plan(good.model_dump_json(), rng)
        plan.write_bytes(content)
        self._call(verdict, "apply", path, plan, "-o", out)
        whole = make_plan(units, plan_mask(read_plan(plan), units, good.model_sha256), good.model_sha256)
        plan.write_text(whole.model_dump_json())
        self._check(path, out, plan, verdict)

    def _config(self, rng: np.random.Generator, verdict: Verdict) -> None:
        path, config, out = (self.folder / name for name in ("seed.onnx", "run.toml", "out.onnx"))
        path.write_bytes(tiny_model().SerializeToString())
        content, verdict.how = damaged_config(rng)
        config.write_bytes(content)
        self._call(verdict, "prune", path, "--config", config, "--print-config")
        os.chdir(self.folder)  # a config may name files to write
        self._call(verdict, "prune", path, "--config", config, "--no-train", "-o", out)

    def _data(self, rng: np.random.Generator, verdict: Verdict) -> None:
        path = self.folder / "seed.onnx"
        path.write_bytes(tiny_model().SerializeToString())
        data, verdict.how = damaged_data(self.folder, rng)
        gray = [] if data.suffix == ".npz" else ["--channels", "gray"]
        self._call(verdict, "evaluate", path, "--data", data, *gray, "--json")
        if rng.integers(SURGERY_SHARE) == 0:
            out = self.folder / "out.onnx"
            self._call(verdict, "prune", path, "--data", data, *gray, "--no-train", "-o", out, "--ratio", 0.5)

    def _check(self, path: Path, out: Path, plan: Path, verdict: Verdict) -> None:
        """The pruned file computes what the original does with zeros in its weights, in sessions of their own."""
        loaded = load_model(path)
        try:
            silenced = set_inputs_to_zero(loaded.proto, read_plan(plan))
        except Exception as error:  # a way of writing weights that this check does not know
            verdict.message = f"not checked: {type(error).__name__}: {error}"[:200]
            return
        shapes = discover(loaded).trace
        feeds = _feeds(loaded.proto, shapes.shapes)
        try:
            expected = Session(silenced, optimize=False, threads=1).run(feeds)
        except PruneError as error:
            verdict.message = f"not checked: {error}"[:200]
            return
        try:
            actual = Session(onnx.load(out), optimize=False, threads=1).run(feeds)
        except PruneError as error:
            _wrong(verdict, f"the saved file does not run: {error}")
        stepped = any("Quantize" in node.op_type or "QLinear" in node.op_type for node in silenced.graph.node)
        error_of, allowed = (mean_error, STEPPED_TOLERANCE) if stepped else (relative_error, TOLERANCE)
        for name, value in expected.items():
            if value.dtype.kind not in "fiub":
                continue
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                verdict.message = ODD_NUMBERS
                return
            if not error_of(actual[name], value) <= allowed:
                _wrong(verdict, f"output {name!r} differs by {error_of(actual[name], value):.1e}")
        verdict.checked = True

    def _call(self, verdict: Verdict, *arguments: Any) -> str:
        """Standard output of a command that succeeds.

        Raises:
            CaseEndedError: It does not; the verdict says how.
        """
        verdict.step = str(arguments[0])
        if self._progress is not None:
            self._progress.write(json.dumps({"step": verdict.step, "how": verdict.how}) + "\n")
            self._progress.flush()
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            verdict.code = run(["--debug", *map(str, arguments)])
        said = err.getvalue().strip()
        if verdict.code == 0:
            return out.getvalue()
        last = said.splitlines()[-1] if said else ""
        verdict.message = said[-1500:] if verdict.code == 1 else last[:300]
        if verdict.code == 1:
            verdict.outcome = "traceback"
        elif not last.startswith("Error: "):
            verdict.outcome = "unclear"
        raise CaseEndedError


def _wrong(verdict: Verdict, message: str) -> None:
    verdict.outcome, verdict.message = "wrong", message
    raise CaseEndedError


def _feeds(model: onnx.ModelProto, shapes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    stored = {t.name for t in model.graph.initializer}
    feeds = {}
    for info in model.graph.input:
        if info.name not in stored:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
            values = rng.standard_normal(shapes[info.name]) * 2
            feeds[info.name] = np.asarray(values).astype(dtype)
    return feeds


def _status(key: str) -> int:
    """Bytes of one line of the process's own status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) << 10
    raise KeyError(key)


def _resident() -> int:
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Serve until the parent closes the pipe, or try one case."""
    latency.ROUNDS, latency.SECONDS_PER_RUN = 1, 0.001
    *case, folder = sys.argv[1:]
    if case:
        kind, number, seed = case
        print(json.dumps(asdict(Judge(Path(folder)).judge(kind, int(number), int(seed))), indent=1))
        return
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    judge = Judge(Path(folder), answers)
    judge.judge("model", 0, 0)  # whatever is loaded at first use is not counted
    limit = _status("VmData") + ROOM
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(asdict(judge.judge(*json.loads(line)))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
