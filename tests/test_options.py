"""Options are written once: the command line, its help, Python's keywords and their errors agree."""

from __future__ import annotations

import inspect
import re
import rlcompleter
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_type_hints

import click
import pytest

import onnx_dnscp
from onnx_dnscp import Preprocess, PruneOptions, PruneSettings, UsageError
from onnx_dnscp.cli.main import cli, run
from onnx_dnscp.runs.run_directory import RunRecord

ROOT = Path(__file__).parents[1]
Captured = pytest.CaptureFixture[str]
PRUNE = cli.commands["prune"]
FIELDS = {**PruneOptions.model_fields, **Preprocess.model_fields}
DIFFER = {"preprocess": "its own fields are options"}
ONLY_ON_THE_COMMAND_LINE = {
    "output", "plan_out", "run_dir", "resumed", "config", "print_config", "quiet", "as_json", "help_all",
}  # fmt: skip


def shown(capsys: Captured, *words: str) -> str:
    assert run([*words]) == 0
    return capsys.readouterr().out


# --- one source -------------------------------------------------------------------------------------------------------


def test_options_of_the_command_line_are_the_fields_under_the_same_names() -> None:
    options = {str(p.name): p for p in PRUNE.params if isinstance(p, click.Option)}
    assert set(options) == set(FIELDS) - set(DIFFER) | ONLY_ON_THE_COMMAND_LINE
    assert all(f"--{name.replace('_', '-')}" in options[name].opts for name in FIELDS if name not in DIFFER)


def test_what_nobody_says_is_the_same_on_the_command_line_and_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the command line would repeat every default: it shows the ones that hold."""
    context = PRUNE.make_context("prune", ["m.onnx"])
    said = {name: context.params[name] for name in FIELDS if name not in DIFFER}
    preprocess = Preprocess(**{name: said.pop(name) for name in Preprocess.model_fields})
    assert PruneOptions(preprocess=preprocess, **said) == PruneOptions()


def test_keywords_for_type_checkers_are_the_fields() -> None:
    assert list(get_type_hints(PruneSettings)) == list(PruneOptions.model_fields)


def test_every_option_has_help_and_names_others_that_are_there() -> None:
    for name, field in FIELDS.items():
        text = field.description or ""
        assert text, name
        for other in re.findall("`(.+?)`", text):
            assert other.removeprefix("no_") in FIELDS, f"{name} names {other}"


def test_the_engine_has_one_value_so_far(capsys: Captured) -> None:
    assert PruneOptions().engine == "ort"
    assert run(["prune", "m.onnx", "--engine", "torch"]) == 2
    assert "'torch' is not 'ort'" in capsys.readouterr().err


# --- help -------------------------------------------------------------------------------------------------------------


def test_a_newcomer_sees_few_options_in_groups(capsys: Captured) -> None:
    text = shown(capsys, "prune", "--help")
    assert re.findall(r"^(\w.*):$", text, re.M) == ["What", "How much", "Data", "Training", "Run"]
    assert len(re.findall(r"^ +(?:-\w +)?--", text, re.M)) <= 21
    for wanted in ("--ratio", "--data", "--train/--no-train", "--resume", "--help-all"):
        assert wanted in text


def test_experts_see_all_options(capsys: Captured) -> None:
    text = shown(capsys, "prune", "--help-all")
    for parameter in PRUNE.params:
        assert isinstance(parameter, click.Argument) or all(word in text for word in parameter.opts)
    assert "Expert: how channels are chosen:" in text
    assert "magnitude-l2" in text
    assert "[range: 0<=x<1]" in text
    assert "--gamma" not in shown(capsys, "prune", "--help"), "looking once changes nothing"


@pytest.mark.parametrize("words", [[], ["prune"], ["evaluate"], ["compare"], ["inspect"]], ids=" ".join)
@pytest.mark.parametrize("server", ["GITHUB_ACTIONS", "NONE"])
def test_help_is_plain_where_there_is_no_terminal(
    words: list[str], server: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(server, "true")
    monkeypatch.setenv("COLUMNS", "80")
    text = shown(capsys, *words, "--help")
    assert text.isascii()
    assert "\x1b" not in text
    assert all(len(line) <= 80 and line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prune", "m.onnx", "--rati", "0.3"], "No such option '--rati'. (Did you mean one of: '--ratio'"),
        (["prun"], "No such command 'prun'. Did you mean 'prune'?"),
        (["prune"], "Missing argument 'MODEL'."),
        (["prune", "m.onnx", "--metric", "mac"], "'mac' is not one of 'channels', 'params', 'macs'."),
        (["prune", "--resume", "r", "--no-train"], "leave out '--no-train'."),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_wrong_usage_is_answered_plainly(words: list[str], message: str, capsys: Captured) -> None:
    assert run(words) == 2
    *usage, last = capsys.readouterr().err.splitlines()
    assert last.startswith("Error: ")
    assert message in last
    assert not usage or [line.split(":")[0].split("'")[0] for line in usage] == ["Usage", "Try ", ""]


def test_without_a_command_there_is_help(capsys: Captured) -> None:
    assert run([]) == 2
    assert "Commands:" in capsys.readouterr().err


# --- what people write ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"learning_rate": 0.1}, {"lr": 0.1}),
        ({"no_train": True}, {"train": False}),
        ({"no_train": False}, {"train": True}),
        ({"no_repair": True}, {"repair": False}),
        ({"no_restore_norm": True}, {"restore_norm": False}),
        ({"data": "a.npz", "exclude": ["a*"]}, {"data": Path("a.npz"), "exclude": ("a*",)}),
    ],
    ids=str,
)
def test_other_spellings_are_understood(given: dict[str, Any], meant: dict[str, Any]) -> None:
    assert PruneOptions(**given) == PruneOptions(**meant)
    assert PruneOptions(**given).model_fields_set == set(meant)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"ration": 0.5}, "There is no option 'ration'; did you mean 'ratio'?"),
    ({"prune_ratio": 0.5}, "There is no option 'prune_ratio'; did you mean 'ratio'?"),
    ({"epoch": 1}, "There is no option 'epoch'; did you mean 'epochs'?"),
    ({"learningrate": 0.1}, "There is no option 'learningrate'; did you mean 'lr'?"),
    ({"no_trian": True}, "There is no option 'no_trian'; did you mean 'no_train'?"),
    ({"mean": (0.5,)}, "There is no option 'mean'; it is one of Preprocess: preprocess=Preprocess(mean=...)."),
    ({"zzz": 1}, "There is no option 'zzz'; PruneOptions.model_fields lists all."),
    ({"lr": 0.1, "learning_rate": 0.2}, "Option 'lr' is given twice, the second time as 'learning_rate'."),
    ({"no_train": "x"}, "Option 'no_train' cannot be 'x': it should be True or False."),
    ({"ratio": 1.5}, "Option 'ratio' cannot be 1.5: it should be less than 1."),
    ({"ratio": float("nan")}, "Option 'ratio' cannot be nan: it should be a finite number."),
    ({"metric": "mac"}, "Option 'metric' cannot be 'mac': choose from channels, params, macs."),
    ({"augment": ["flop"]}, "Option 'augment' cannot be 'flop': it should be 'flip', 'crop' or 'resize-crop'."),
    ({"method": "best"}, "Option 'method' cannot be 'best': choose from dnscp, fpgm,"),
    ({"preprocess": 3}, "Option 'preprocess' cannot be 3: it should be a valid dictionary or instance of Preprocess."),
    ({"preprocess": {"men": 1}}, "There is no option 'men'; did you mean 'mean'?"),
]


@pytest.mark.parametrize(("given", "sentence"), WRONG, ids=[str(given) for given, _ in WRONG])
def test_what_is_wrong_is_told_in_one_sentence(given: dict[str, Any], sentence: str) -> None:
    for call in (PruneOptions, lambda **settings: onnx_dnscp.prune("no.onnx", **settings)):
        with pytest.raises(UsageError) as caught:
            call(**given)
        assert str(caught.value).startswith(sentence)
        assert "\n" not in str(caught.value)
        hidden = caught.value.__context__ is None or caught.value.__suppress_context__
        assert hidden, "no report of pydantic's behind it"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"std": (0.0,)}, "Option 'std' cannot be (0.0,): every standard deviation must be greater than 0."),
        ({"crop": 0.5, "pad": 1}, "Options 'crop' and 'pad' are two ways to keep proportions; give one of them."),
        ({"channel": "bgr"}, "There is no option 'channel'; did you mean 'channels'?"),
    ],
    ids=str,
)
def test_so_is_what_is_wrong_about_samples(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        Preprocess(**given)


def test_records_of_runs_are_options_too() -> None:
    """Files of earlier versions name the learning rate otherwise."""
    text = '{"model": "m", "model_sha256": "0", "output": "o", "fingerprints": {}, "learning_rate": 0.25}'
    assert RunRecord.model_validate_json(text).options == PruneOptions(lr=0.25)


# --- editors, notebooks, type checkers --------------------------------------------------------------------------------


def test_the_package_says_what_it_holds() -> None:
    assert onnx_dnscp.__version__ == version("onnx-dnscp")
    assert dir(onnx_dnscp) == sorted(onnx_dnscp.__all__)
    assert all(hasattr(onnx_dnscp, name) for name in dir(onnx_dnscp))
    completer = rlcompleter.Completer({"onnx_dnscp": onnx_dnscp})
    found = {name.rstrip("()") for name in completer.attr_matches("onnx_dnscp.pr")}  # type: ignore[attr-defined]
    assert found == {"onnx_dnscp.prune", "onnx_dnscp.preprocess_of"}


def test_looking_at_the_package_imports_nothing() -> None:
    code = "import sys, onnx_dnscp; dir(onnx_dnscp); print([m for m in sys.modules if m.startswith('onnx')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['onnx_dnscp']"


def test_listeners_are_public() -> None:
    assert onnx_dnscp.Progress.__doc__
    heard: list[onnx_dnscp.Progress] = []
    listener: onnx_dnscp.Listener = heard.append
    listener(onnx_dnscp.Progress("train", 1, 2, 0.5, 0.25, 0, 1.0, 0.01, 1.0))
    assert heard[0].step == 1


def test_a_notebook_shows_and_completes_the_keywords() -> None:
    parameters = inspect.signature(onnx_dnscp.prune).parameters
    assert set(PruneOptions.model_fields) < set(parameters)
    assert parameters["ratio"].default == 0.5
    assert "settings" not in parameters


def test_a_type_checker_finds_wrong_keywords(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "mine.py").write_text(
        "import onnx_dnscp\n"
        'onnx_dnscp.prune("m", ratio=0.5, lr=0.1, exclude=["a"], data="d.npz")\n'
        'onnx_dnscp.prune("m", ration=0.5)\n'
        'onnx_dnscp.prune("m", ratio="half")\n'
        'onnx_dnscp.prune("m", optimizer="sdg")\n'
        "onnx_dnscp.PruneOptions(ration=0.5)\n"
        "onnx_dnscp.Preprocess(men=0.5)\n"
        "onnx_dnscp.nothing\n"
    )
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(tmp_path / "mine.py")]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    lines = [int(line) for line in re.findall(r"mine\.py:(\d+): error", out)]
    assert lines == [3, 4, 5, 6, 7, 8], out
    assert 'Unexpected keyword argument "ration" for "prune"' in out
