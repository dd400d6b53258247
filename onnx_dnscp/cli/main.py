"""The command line: options to function calls, results to tables or JSON, errors to exit codes."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import rich_click as click
from click.core import ParameterSource
from pydantic import BaseModel

from onnx_dnscp.cli import console
from onnx_dnscp.cli.config import config_text, read_config
from onnx_dnscp.cli.help import LOOK, Function, Group, Option, help_all_option
from onnx_dnscp.cli.options import options_of
from onnx_dnscp.commands.apply import apply
from onnx_dnscp.commands.compare import compare
from onnx_dnscp.commands.evaluate import evaluate
from onnx_dnscp.commands.inspect import inspect
from onnx_dnscp.commands.prune import prune, resume
from onnx_dnscp.commands.report import report
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import Interrupted, PruneError, RequestError, UsageError
from onnx_dnscp.model.runtime import first_line, installed_packages
from onnx_dnscp.runs.options import PruneOptions
from onnx_dnscp.runs.run_directory import preprocess_of
from onnx_dnscp.system.interruption import interrupt_on_sigterm
from onnx_dnscp.system.wording import printable

EXIT_BUG = 1
_DEFAULT = ParameterSource.DEFAULT

WHAT, DATA, RUN = "What", "Data", "Run"  # groups of the help
_PATH = click.Path(path_type=Path)
_for_experts = partial(click.option, cls=Option, panel=RUN, expert=True)


def _like_run(command: Function) -> Function:
    """The option that takes those of `Preprocess` from a run."""
    return click.option(
        "--run",
        type=_PATH,
        is_eager=True,
        expose_value=False,
        callback=_read_preprocess,
        metavar="RUN",
        panel=DATA,
        help="Prepare samples as the run in this folder did; the command line wins.",
    )(command)


def _read_preprocess(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Take the defaults of how samples are prepared from a run directory; a click callback."""
    if path is not None:
        context.default_map = {name: value for name, value in preprocess_of(path) if value is not None}


def _refuse_others(context: click.Context, *allowed: str) -> None:
    """Make sure that no parameter was given besides these."""
    for parameter in context.command.params:
        given = context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
        if given and parameter.name not in allowed:
            is_off = parameter.secondary_opts and not context.params[str(parameter.name)]
            option = (parameter.secondary_opts if is_off else parameter.opts)[-1]
            raise UsageError(f"--resume goes on with the model and the options of the run; leave out {option!r}.")


def _take_preprocess(values: dict[str, Any]) -> Preprocess:
    return Preprocess(**{name: values.pop(name) for name in Preprocess.model_fields if name in values})


def _json_option(panel: str | None = None) -> Callable[[Function], Function]:
    about = "Print one JSON object on stdout and nothing else."
    return click.option("--json", "as_json", is_flag=True, panel=panel, help=about)


def _show(result: BaseModel, as_json: bool, table: Callable[[Any], None], *, quiet: bool = False) -> None:
    if as_json:
        click.echo(result.model_dump_json(indent=1))
    elif not quiet:
        table(result)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "rich_help_config": LOOK})
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
@options_of(PruneOptions, "only", "exclude", group="Options")
@_json_option()
def inspect_command(model: Path, exclude: tuple[str, ...], only: tuple[str, ...], as_json: bool) -> None:
    """Show what can be pruned in MODEL, what cannot, and why."""
    _show(inspect(model, exclude=exclude, only=only), as_json, console.show_inspection)


@cli.command("prune", help_group=RUN)
@click.argument("model", type=_PATH, required=False)
@click.option(
    "-o", "--output", type=_PATH, panel=WHAT, help="Where to save [default: <stem>.pruned.onnx beside MODEL]."
)
@options_of(PruneOptions)
@options_of(Preprocess)
@click.option("--run-dir", type=_PATH, panel=RUN, help="Folder for the run's record and its checkpoints.")
@click.option(
    "--resume",
    "resumed",
    type=_PATH,
    metavar="RUN",
    panel=RUN,
    help="Go on with the run in this folder, without MODEL; of all other options only --lr and --json may be given.",
)
@_for_experts("--plan-out", type=_PATH, help="Write the plan (which channels went) to this file.")
@_for_experts(
    "--config",
    type=_PATH,
    is_eager=True,
    expose_value=False,
    callback=read_config,
    help="TOML file of options, called as here without dashes; the command line wins.",
)
@_for_experts("--print-config", is_flag=True, help="Print the options that are in effect as such a file, and end.")
@_for_experts("-q", "--quiet", is_flag=True, help="Print warnings and errors only; with --json, the result too.")
@_json_option(panel=RUN)
@help_all_option(RUN)
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
    given = {name: value for name, value in values.items() if context.get_parameter_source(name) is not _DEFAULT}
    if print_config:
        # What these are by default is for a search to say.
        own = {"ratio", "metric"} - set(given) if values["max_drop"] is not None else ()
        return click.echo(config_text(context, own), nl=False)
    if resumed is not None:
        _refuse_others(context, "resumed", "lr", "data", "test_data", "quiet", "as_json")
        with console.progress_listener(quiet=quiet) as listener:
            again = {name: values[name] for name in ("lr", "data", "test_data")}
            report = resume(resumed, listener=listener, **again)
        return _show(report, as_json, console.show_prune, quiet=quiet)
    if model is None:
        raise click.MissingParameter(ctx=context, param_hint="'MODEL'", param_type="argument")
    preprocess = _take_preprocess(given)
    options = PruneOptions(preprocess=preprocess, **given)
    with console.progress_listener(quiet=quiet) as listener:
        report = prune(model, output, plan_out=plan_out, run_dir=run_dir, listener=listener, options=options)
    _show(report, as_json, console.show_prune, quiet=quiet)


@cli.command("report")
@click.argument("run_dir", metavar="RUN", type=_PATH)
@click.option("-o", "--output", type=_PATH, help="Where to write it [default: RUN/report.html].")
@_json_option()
def report_command(run_dir: Path, output: Path | None, as_json: bool) -> None:
    """Draw the report of the run in folder RUN again, or what is known of a run that has not ended."""
    _show(report(run_dir, output), as_json, console.show_report)


@cli.command("apply")
@click.argument("model", type=_PATH)
@click.argument("plan", type=_PATH)
@click.option("-o", "--output", type=_PATH, help="Where to save [default: <stem>.pruned.onnx beside MODEL].")
@_json_option()
def apply_command(model: Path, plan: Path, output: Path | None, as_json: bool) -> None:
    """Cut the channels that PLAN removes out of MODEL."""
    _show(apply(model, plan, output), as_json, console.show_apply)


@cli.command("evaluate")
@click.argument("model", type=_PATH)
@click.option("--data", type=_PATH, required=True, panel=DATA, help="Samples, of any kind that prune takes.")
@click.option("--reference", type=_PATH, help="Count agreement with this model.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Look at the first samples only.")
@_like_run
@options_of(Preprocess, group=DATA)
@_json_option()
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
@click.option("--data", type=_PATH, panel=DATA, help="Compare accuracy on these samples too.")
@options_of(PruneOptions, "threads", group="Options")
@_like_run
@options_of(Preprocess, group=DATA)
@_json_option()
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
        # Not rich-click's own `main`, which prints and exits by itself where no command is given.
        result = click.Command.main(cli, args=arguments, prog_name="onnx-dnscp", standalone_mode=False)
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
