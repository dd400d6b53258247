"""Options from a TOML file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnx_dnscp.cli.main import run

Captured = pytest.CaptureFixture[str]


def write(folder: Path, text: str) -> str:
    path = folder / "run.toml"
    path.write_text(text)
    return str(path)


def printed(capsys: Captured, *arguments: str) -> str:
    assert run(["prune", *arguments, "--print-config"]) == 0
    return capsys.readouterr().out


def test_a_run_follows_its_config_and_the_command_line_wins(tiny_path: Path, tmp_path: Path, capsys: Captured) -> None:
    config = write(
        tmp_path,
        f'model = "{tiny_path.as_posix()}"\noutput = "{(tmp_path / "small.onnx").as_posix()}"\n'
        "ratio = 0.2\nno-train = true\nalign = 2\n",
    )
    assert run(["prune", "--config", config, "--ratio", "0.4", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ratio_asked"] == 0.4
    assert (tmp_path / "small.onnx").exists()


def test_what_is_printed_is_a_config_that_means_the_same(tmp_path: Path, capsys: Captured) -> None:
    given = ["m.onnx", "--ratio", "0.25", "--mean", "0.4,0.5,0.6", "--size", "32", "48", "--exclude", "a*"]
    given += ["--exclude", "b", "--no-repair", "--cache-teacher", "--lr", "0.003", "--data", "some data.npz"]
    first = printed(capsys, *given)
    assert printed(capsys, "--config", write(tmp_path, first)) == first
    for line in ('model = "m.onnx"', "ratio = 0.25", "repair = false", "lr = 0.003", 'data = "some data.npz"'):
        assert line in first.splitlines()


def test_a_search_keeps_its_own_defaults(tmp_path: Path, capsys: Captured) -> None:
    keys = {line.split(" = ")[0] for line in printed(capsys, "m.onnx", "--max-drop", "1").splitlines()}
    assert "max-drop" in keys
    assert not keys & {"ratio", "metric"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "'epoch', which is no option; did you mean 'epochs'?"),
        ("zzz = 3", "'zzz', which is no option; 'onnx-dnscp prune --help-all' lists the options"),
        ("[training]\nepochs = 3", "'training', which is no option"),
        ("[train]\nepochs = 3", "train = {'epochs': 3}; it is switched on by true and off by false"),
        ("epochs = 2.5", "'2.5' is not a valid integer"),
        ("epochs = true", "epochs = True; it takes integer range"),
        ("no-train = 1", "it is switched on by true and off by false"),
        ("exclude = [[1]]", "it takes text"),
        ("size = [1]", "2 values are required, but 1 was given"),
        ("ratio = 1.5", "1.5 is not in the range"),
        ("threads = 1000000", "1000000 is not in the range"),
        ("ratio =", "is not TOML"),
        ("resume = 'x'", "'resume', which is no option"),
    ],
)
def test_bad_configs_are_refused_in_one_sentence(text: str, message: str, tmp_path: Path, capsys: Captured) -> None:
    assert run(["prune", "m.onnx", "--config", write(tmp_path, text), "--print-config"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_missing_config_and_one_beside_resume_are_refused(tmp_path: Path, capsys: Captured) -> None:
    assert run(["prune", "m.onnx", "--config", str(tmp_path / "none.toml")]) == 2
    assert "Cannot read the config" in capsys.readouterr().err
    assert run(["prune", "--resume", str(tmp_path), "--config", write(tmp_path, "seed = 1")]) == 2
    assert "leave out '--config'" in capsys.readouterr().err
