"""The command line: options to function calls, results to tables or JSON, errors to exit codes."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import BaseModel, ValidationError

from onnx_dnscp.cli import console
from onnx_dnscp.cli.config import config_text, read_config
from onnx_dnscp.commands.apply import apply
from onnx_dnscp.commands.compare import compare
from onnx_dnscp.commands.evaluate import evaluate
from onnx_dnscp.commands.inspect import inspect
from onnx_dnscp.commands.prune import prune, resume
from onnx_dnscp.commands.report import report
from onnx_dnscp.data.augment import AUGMENTATIONS
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import Interrupted, PruneError, RequestError, UsageError
from onnx_dnscp.masks.methods import METHODS
from onnx_dnscp.measure.metrics import COSTS
from onnx_dnscp.model.runtime import first_line, installed_packages
from onnx_dnscp.runs.options import DEFAULT_LEARNING_RATES, MAX_THREADS, PruneOptions
from onnx_dnscp.runs.run_directory import preprocess_of
from onnx_dnscp.system.interruption import interrupt_on_sigterm
from onnx_dnscp.system.wording import printable
from onnx_dnscp.training.optimizers import DEFAULT_CLIP, DEFAULT_MOMENTUM

EXIT_BUG = 1

Command = TypeVar("Command", bound=Callable[..., Any])
Checked = TypeVar("Checked", bound=BaseModel)
_PATH = click.Path(path_type=Path)
_DATA = (
    ".npz or .npy arrays, images in a folder, .zip, .tar or .parquet, or a function of yours as package.module:function"
)


class _Numbers(click.ParamType[tuple[float, ...]]):
    """Comma-separated numbers."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a comma-separated list of numbers, such as 0.485,0.456,0.406", param, ctx)


def _preprocess_options(command: Command) -> Command:
    """The options that say how samples are prepared."""
    for option in (
        click.option("--scale", type=float, help="Factor on raw values [default: 1/255 for images, 1 for arrays]."),
        click.option("--mean", type=_Numbers(), default="0", show_default=True, help="Subtracted per channel."),
        click.option("--std", type=_Numbers(), default="1", show_default=True, help="Divided by, per channel."),
        click.option("--size", type=(int, int), help="Height and width of images [default: the model's]."),
        click.option("--crop", type=click.FloatRange(0, 1, min_open=True), metavar="SHARE",
                     help="Take the middle of images in the model's proportions, and this share of its sides; 0.875 "
                          "is what resizing to 256 and cropping to 224 does [default: stretch the whole image]."),
        click.option("--pad", type=click.IntRange(0, 255), metavar="VALUE",
                     help="Keep the proportions of images and fill the sides with this value; 114 is what YOLO "
                          "networks want."),
        click.option("--layout", type=click.Choice(["nchw", "nhwc"]), help="Where the model wants channels."),
        click.option("--channels", type=click.Choice(["rgb", "bgr", "gray"]), default="rgb", show_default=True,
                     help="Channel order of images."),
    ):  # fmt: skip
        command = option(command)
    return command


def _node_patterns(command: Command) -> Command:
    """The options that say which nodes' channels may go."""
    for option in (
        click.option("--only", multiple=True, metavar="PATTERN",
                     help="Prune only channels that nodes of this name read or make (* ? [] match); repeatable."),
        click.option("--exclude", multiple=True, metavar="PATTERN",
                     help="Keep every channel that nodes of this name read or make; repeatable."),
    ):  # fmt: skip
        command = option(command)
    return command


def _optimizer_options(command: Command) -> Command:
    """The options that say how weights move."""
    for option in reversed((
        click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True),
        click.option("--accumulate", type=click.IntRange(min=1), default=1, show_default=True,
                     help="Batches per step; their gradients are averaged."),
        click.option("--optimizer", type=click.Choice(list(DEFAULT_LEARNING_RATES)), default="sgd", show_default=True),
        click.option("--lr", "learning_rate", type=click.FloatRange(min=0, min_open=True),
                     help="Highest learning rate, which falls along one cosine over both phases "
                          "[default: 0.01 for sgd, 0.001 for adamw]."),
        click.option("--warmup", type=click.FloatRange(min=0), default=0, show_default=True,
                     help="Steps in which it rises to that first; below 1, a share of the phase with masks."),
        click.option("--momentum", type=click.FloatRange(0, 1, max_open=True), default=DEFAULT_MOMENTUM,
                     show_default=True, help="Of sgd; the first beta of adamw."),
        click.option("--weight-decay", type=click.FloatRange(min=0),
                     help="Of weights, not of biases and norms [default: 0.0001 for sgd, 0.01 for adamw]."),
        click.option("--clip", type=click.FloatRange(min=0), default=DEFAULT_CLIP, show_default=True,
                     help="Largest norm of a step's gradient; 0 leaves it alone."),
    )):  # fmt: skip
        command = option(command)
    return command


def _like_run(command: Command) -> Command:
    """The option that takes those of `_preprocess_options` from a run."""
    return click.option(
        "--run",
        type=_PATH,
        is_eager=True,
        expose_value=False,
        callback=_read_preprocess,
        metavar="RUN",
        help="Prepare samples as the run in this folder did; the command line wins.",
    )(command)


def _read_preprocess(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Take the defaults of how samples are prepared from a run directory; a click callback."""
    if path is not None:
        context.default_map = {name: value for name, value in preprocess_of(path) if value is not None}


def _refuse_others(context: click.Context, *allowed: str) -> None:
    """Make sure that no parameter was given besides these."""
    for parameter in context.command.params:
        given = context.get_parameter_source(str(parameter.name)) is click.core.ParameterSource.COMMANDLINE
        if given and parameter.name not in allowed:
            raise UsageError(
                f"--resume goes on with the model and the options of the run; leave out {parameter.opts[-1]!r}."
            )


def _take_preprocess(values: dict[str, Any]) -> Preprocess:
    names = ("scale", "mean", "std", "size", "crop", "pad", "layout", "channels")
    return _checked(Preprocess, **{name: values.pop(name) for name in names})


def _checked(kind: type[Checked], **values: Any) -> Checked:
    """Options as a value of `kind`; what is out of range is wrong usage."""
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"Option {where}: {what}." if where else f"{what[0].upper()}{what[1:]}.") from error


_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")


def _show(result: BaseModel, as_json: bool, table: Callable[[Any], None], *, quiet: bool = False) -> None:
    if as_json:
        click.echo(result.model_dump_json(indent=1))
    elif not quiet:
        table(result)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="onnx-dnscp")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(debug: bool) -> None:
    """Prune the channels of an ONNX network while it learns (DNS-CP)."""
    console.send_log_to_stderr()
    runtimes = installed_packages()
    if len(runtimes) > 1:
        logging.getLogger("onnx_dnscp").warning(
            "warning: %s are installed and overwrite each other; keep one", " and ".join(runtimes)
        )


@cli.command("inspect")
@click.argument("model", type=_PATH)
@_node_patterns
@_json_option
def inspect_command(model: Path, exclude: tuple[str, ...], only: tuple[str, ...], as_json: bool) -> None:
    """Show what can be pruned in MODEL, what cannot, and why."""
    _show(inspect(model, exclude=exclude, only=only), as_json, console.show_inspection)


@cli.command("prune")
@click.argument("model", type=_PATH, required=False)
@click.option("-o", "--output", type=_PATH, help="Where to save [default: <stem>.pruned.onnx beside MODEL].")
@click.option(
    "--ratio",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.5,
    help="Share to remove; with --max-drop, at most [default: 0.5; with --max-drop, as much as possible].",
)
@click.option(
    "--metric",
    type=click.Choice(list(COSTS)),
    default="channels",
    help="What the ratio counts [default: channels; with --max-drop, macs].",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="Search the deepest cut that loses no more percentage points of accuracy on --test-data or held-out samples "
    "(without labels: of agreement with MODEL).",
)
@click.option(
    "--max-runs",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Runs with training that --max-drop may take.",
)
@click.option(
    "--align",
    type=click.IntRange(min=1),
    help="Keep a multiple of this many channels per group [default: up to 16 with --metric macs, else 1].",
)
@_node_patterns
@click.option("--data", type=_PATH, help=f"Training samples: {_DATA}.")
@click.option(
    "--augment",
    multiple=True,
    type=click.Choice(list(AUGMENTATIONS)),
    help="Change training images whenever they are read; repeatable, in this order.",
)
@click.option("--test-data", type=_PATH, help="Samples for the accuracy in the report.")
@click.option(
    "--hold-out",
    type=click.FloatRange(0, 1, max_open=True),
    default=0,
    help="Share of --data to take for that instead, and not to train on [default: 0; with --max-drop, 0.2].",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Passes over the data while channels fall and come back.",
)
@click.option(
    "--finetune-epochs", type=click.IntRange(min=0), default=5, show_default=True, help="Passes after surgery."
)
@click.option("--no-train", is_flag=True, help="Prune at once by the weights alone; needs no data.")
@_optimizer_options
@click.option(
    "--loss",
    type=click.Choice(["auto", "cross-entropy", "bce", "distill", "mse", "l1"]),
    default="auto",
    show_default=True,
    help="auto: cross-entropy and self-distillation with labels, the latter alone without; bce: binary cross-entropy "
    "of each class; mse, l1: distance of outputs from arrays of the data named like them.",
)
@click.option(
    "--distill-weight",
    type=click.FloatRange(min=0),
    help="Of self-distillation beside a loss with labels.  [default: 2 with --loss auto, else 0]",
)
@click.option(
    "--hint-weight",
    type=click.FloatRange(min=0),
    default=0,
    show_default=True,
    help="Of tensors inside the network beside its outputs in self-distillation.",
)
@click.option(
    "--cache-teacher",
    is_flag=True,
    help="Self-distillation asks the original once about all samples and keeps its answers in memory.",
)
@click.option(
    "--batch-norm",
    type=click.Choice(["auto", "train", "frozen"]),
    default="auto",
    show_default=True,
    help="Whether batch norm follows the training data.",
)
@click.option(
    "--restore-norm/--no-restore-norm",
    default=None,
    help="Train a network without any norm with batch norm, and fold it away again [default: classifiers].",
)
@click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    default="dnscp",
    show_default=True,
    help="How the channels that go are chosen.",
)
@click.option(
    "--schedule",
    type=click.Choice(["one-shot", "iterative"]),
    help="Choose all at the start, or step by step [default: dynamic for dnscp, else one-shot].",
)
@click.option(
    "--rule",
    type=click.Choice(["doc", "patent", "tf2"]),
    default="doc",
    show_default=True,
    help="Which description of DNS-CP is followed.",
)
@click.option(
    "--sensitivity",
    type=click.FloatRange(min=0),
    help="How much dnscp spares groups of channels that matter more to the outputs, as measured on --data "
    "[default: 0.3; with --no-train, by trial].",
)
@click.option(
    "--repair/--no-repair",
    default=None,
    help="Fit weights that stay to make up for those that go, before training [default: with --data].",
)
@click.option(
    "--c-rate",
    type=click.FloatRange(0, 3),
    default=0.1,
    show_default=True,
    help="Half width of the band between dropping and recovering, in layer deviations.",
)
@click.option(
    "--gamma",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-4,
    show_default=True,
    help="How fast mask updates become rarer.",
)
@click.option(
    "--power",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Exponent of that decay.",
)
@click.option("--plan-out", type=_PATH, help="Write the plan (which channels went) to this file.")
@click.option("--run-dir", type=_PATH, help="Folder for the run's record and its checkpoints.")
@click.option(
    "--checkpoint-every",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Steps between checkpoints in the run directory.",
)
@click.option(
    "--resume",
    "resumed",
    type=_PATH,
    metavar="RUN",
    help="Go on with the run in this folder, without MODEL; of all other options only --lr and --json may be given.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--threads", type=click.IntRange(0, MAX_THREADS), default=0, help="Of ONNX Runtime [default: its choice]."
)
@click.option(
    "--config",
    type=_PATH,
    is_eager=True,
    expose_value=False,
    callback=read_config,
    help="TOML file of options, called as here without dashes; the command line wins.",
)
@click.option("--print-config", is_flag=True, help="Print the options that are in effect as such a file, and end.")
@_preprocess_options
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and errors only; with --json, the result too.")
@_json_option
@click.pass_context
def prune_command(
    context: click.Context,
    /,
    model: Path | None,
    output: Path | None,
    plan_out: Path | None,
    run_dir: Path | None,
    resumed: Path | None,
    print_config: bool,
    quiet: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Make MODEL smaller and faster, and save the result once it is verified."""
    # What these are by default is for a search to say.
    own = [n for n in ("ratio", "metric") if context.get_parameter_source(n) is click.core.ParameterSource.DEFAULT]
    if print_config:
        return click.echo(config_text(context, own if values["max_drop"] is not None else ()), nl=False)
    if resumed is not None:
        _refuse_others(context, "resumed", "learning_rate", "data", "test_data", "quiet", "as_json")
        with console.progress_listener(quiet=quiet) as listener:
            again = {name: values[name] for name in ("learning_rate", "data", "test_data")}
            report = resume(resumed, listener=listener, **again)
        return _show(report, as_json, console.show_prune, quiet=quiet)
    if model is None:
        raise click.MissingParameter(ctx=context, param_hint="'MODEL'", param_type="argument")
    preprocess = _take_preprocess(values)
    for name in own:
        del values[name]
    options = _checked(PruneOptions, train=not values.pop("no_train"), preprocess=preprocess, **values)
    with console.progress_listener(quiet=quiet) as listener:
        report = prune(model, output, plan_out=plan_out, run_dir=run_dir, listener=listener, options=options)
    _show(report, as_json, console.show_prune, quiet=quiet)


@cli.command("report")
@click.argument("run_dir", metavar="RUN", type=_PATH)
@click.option("-o", "--output", type=_PATH, help="Where to write it [default: RUN/report.html].")
@_json_option
def report_command(run_dir: Path, output: Path | None, as_json: bool) -> None:
    """Draw the report of the run in folder RUN again, or what is known of a run that has not ended."""
    _show(report(run_dir, output), as_json, console.show_report)


@cli.command("apply")
@click.argument("model", type=_PATH)
@click.argument("plan", type=_PATH)
@click.option("-o", "--output", type=_PATH, help="Where to save [default: <stem>.pruned.onnx beside MODEL].")
@_json_option
def apply_command(model: Path, plan: Path, output: Path | None, as_json: bool) -> None:
    """Cut the channels that PLAN removes out of MODEL."""
    _show(apply(model, plan, output), as_json, console.show_apply)


@cli.command("evaluate")
@click.argument("model", type=_PATH)
@click.option("--data", type=_PATH, required=True, help=f"Samples: {_DATA}.")
@click.option("--reference", type=_PATH, help="Count agreement with this model.")
@click.option("--limit", type=click.IntRange(min=1), help="Look at the first samples only.")
@_like_run
@_preprocess_options
@_json_option
def evaluate_command(
    model: Path, data: Path, reference: Path | None, limit: int | None, as_json: bool, **values: Any
) -> None:
    """Measure accuracy, loss and agreement of MODEL."""
    preprocess = _take_preprocess(values)
    result = evaluate(model, data, reference=reference, preprocess=preprocess, limit=limit)
    _show(result, as_json, console.show_evaluation)


@cli.command("compare")
@click.argument("first", type=_PATH)
@click.argument("second", type=_PATH)
@click.option("--data", type=_PATH, help="Compare accuracy on these samples too.")
@click.option(
    "--threads", type=click.IntRange(0, MAX_THREADS), default=0, help="Of ONNX Runtime [default: its choice]."
)
@_like_run
@_preprocess_options
@_json_option
def compare_command(first: Path, second: Path, data: Path | None, threads: int, as_json: bool, **values: Any) -> None:
    """Show FIRST and SECOND side by side: params, MACs, size, latency, outputs."""
    preprocess = _take_preprocess(values)
    _show(compare(first, second, data=data, preprocess=preprocess, threads=threads), as_json, console.show_comparison)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    interrupt_on_sigterm()
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    try:
        result = cli.main(args=arguments, prog_name="onnx-dnscp", standalone_mode=False)
        return result if isinstance(result, int) else 0  # click hands back --help's exit code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        interrupted = error.__cause__ if isinstance(error, click.Abort) else error  # click turns one into the other
        known = isinstance(interrupted, Interrupted)
        return _fail(str(interrupted) if known else "Interrupted; no model was written.", Interrupted.exit_code)
    except PruneError as error:
        if debug:
            traceback.print_exc()
        return _fail(str(error), error.exit_code)
    except MemoryError as error:
        if debug:
            traceback.print_exc()
        return _fail(f"There is not enough memory for this: {first_line(error)}.", RequestError.exit_code)
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _fail(
            f"Unexpected {type(error).__name__}: {first_line(error)}. This is a bug; run with 'onnx-dnscp --debug ...' "
            "and report what it prints.",
            EXIT_BUG,
        )


def _fail(message: str, code: int) -> int:
    click.echo(f"Error: {printable(message)}", err=True)
    return code
