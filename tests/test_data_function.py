"""Samples from a user's own function: every form it may hand over, and one sentence for whatever goes wrong in it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from image_data import everything, graph_of, two_inputs

import onnx_dnscp
from onnx_dnscp.cli.main import run
from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.data.open import open_dataset
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import DataError
from onnx_dnscp.model.graph import Graph

X = "import numpy as np\nx = np.arange(24, dtype=np.float32).reshape(6, 4)\n"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Write:
    """Saves a module in the current folder, and returns the name of its function `f`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def save(text: str, module: str = "own_samples", function: str = "f") -> Path:
        sys.modules.pop(module, None)
        path = tmp_path.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(X + text)
        return Path(f"{module}:{function}")

    return save


def opened(path: Path, graph: Graph | None = None) -> Dataset:
    return open_dataset(path, graph or graph_of(["n", 4]), Preprocess(), 3)


# --- forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "returned", ["x", "list(x)", "iter(x)", "[{'x': r} for r in x]", "{'x': x}", "[r.tolist() for r in x]"]
)
def test_samples_may_be_arrays_alone(returned: str, write: Write) -> None:
    data = opened(write(f"def f(): return {returned}"))
    values, labels = everything(data)
    np.testing.assert_array_equal(values, np.arange(24).reshape(6, 4))
    assert labels is None


def test_a_function_in_a_package_and_a_method_are_found(write: Write) -> None:
    text = "class Data:\n    @classmethod\n    def some(cls): return x[:2]\n"
    assert len(opened(write(text, "own_package.inner", "Data.some")).samples) == 2


def test_models_with_several_inputs_take_dicts_and_targets(write: Write) -> None:
    text = "def f():\n    for r in x: yield {'left': r, 'right': -r, 'y': 0 * r}, 1\n"
    data = opened(write(text), two_inputs())
    batch = next(data.batches(6))
    np.testing.assert_array_equal(batch.inputs["left"], -batch.inputs["right"])
    np.testing.assert_array_equal(batch.targets["y"], np.zeros((6, 4)))
    assert batch.labels is not None
    assert data.targets == ("y",)


def test_a_file_of_such_a_name_is_a_file(write: Write, tmp_path: Path) -> None:
    name = write("def f(): return x")
    (tmp_path / str(name)).write_text("no known kind")
    with pytest.raises(DataError, match="is of no known kind"):
        opened(name)


def test_random_samples_are_noticed(write: Write) -> None:
    """Nothing about them can be kept, and their number alone says whether they are the same."""
    text = "class f:\n    def __len__(self): return 6\n    def __getitem__(self, i): return x[i] + np.random.rand(4)\n"
    data = opened(write(text))
    assert not data.fixed
    assert data.fingerprint == "6 samples"


@pytest.mark.parametrize("returned", ["x", "iter(x)"])
def test_a_fingerprint_follows_the_samples(returned: str, write: Write) -> None:
    found = [opened(write(f"{before}\ndef f(): return {returned}")).fingerprint for before in ("", "", "x[-1] += 1")]
    assert found[0] == found[1] != found[2]


# --- what goes wrong --------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[str, str]] = {
    "no function": ("def g(): pass", r"'own_samples' has no 'f'; did you mean|'own_samples' has no 'f'\."),
    "no callable": ("f = x", r"is a ndarray, and a function is needed"),
    "error at import": (
        "1 / 0",
        r"failed when it was imported: ZeroDivisionError: .*, at line 3 of .*own_samples\.py;",
    ),
    "missing inside": (
        "import nowhere_at_all",
        r"when it was imported: ModuleNotFoundError: No module named 'nowhere_",
    ),
    "wants arguments": ("def f(path): pass", r"failed when it was called: TypeError: .*'path'; correct it there"),
    "exit": ("def f(): raise SystemExit('usage')", r"failed when it was called: SystemExit: usage, at line 3 of"),
    "nothing": ("def f(): pass", r"failed when it was iterated over: TypeError: 'NoneType'"),
    "tuple": ("def f(): return x, x", r"returned a tuple; return a list of samples"),
    "empty": ("def f(): return []", r"is empty: it holds no samples"),
    "empty iterator": ("def f(): return iter([])", r"is empty"),
    "no length": (
        "class f:\n    __getitem__ = x.__getitem__\n    def __len__(self): return 1 / 0",
        r"length was asked",
    ),
    "raises in the middle": (
        "def f():\n    yield from x[:2]\n    raise OSError('disk\\ngone')",
        r"failed at sample 2: OSError: disk, at line 5 of .*own_samples\.py; correct it there\.",
    ),
    "raises when asked": (
        "class f:\n    def __len__(self): return 6\n    def __getitem__(self, i): return x[i] if i < 3 else {}['key']",
        r"failed at sample [345]: KeyError: 'key', at line 5 of",
    ),
    "triple": ("def f(): return [(1, 2, 3)]", r"Sample 0 of .* is a tuple of 3; give \(inputs, label\) or a dict"),
    "batches": ("def f(): return iter([x])", r"have shape \(6, 4\); the model wants \(4\)"),
    "other shape": ("def f(): return [x[0], x[0, :2]]", r"Sample 1 of .* has 'x' float32 \(2,\), and the first has"),
    "other type": ("def f(): return iter([x[0], x[1] > 3])", r"Sample 1 of .* has 'x' bool \(4,\), and the first has"),
    "no label": ("def f(): return iter([(x[0], 1), x[1]])", r"Sample 1 of .* and the first has .*'labels' int64 \(\)"),
    "objects": ("def f(): return iter([np.array([None] * 4)])", r"'x' in .* has type object; the model wants numbers"),
    "ragged": ("def f(): return [[[1], [1, 2], 3, 4]]", r"failed at sample 0: ValueError: setting an array element"),
    "nan": ("x[4, 1] = np.nan\ndef f(): return iter(x)", r"'x' in .* has NaN or infinity in sample 4"),
    "nan when asked": ("x[4, 1] = np.nan\ndef f(): return list(x)", r"'x' in .* has NaN or infinity in sample 4"),
    "float label": (
        "def f(): return [(x[0], 0.5)]",
        r"'labels' in .* has type float64; class numbers must be integers",
    ),
    "label too large": ("def f(): return [(x[i], i) for i in range(6)]", r"Label 3 of sample 3 in .* is out of range"),
    "other name": ("def f(): return [{'z': x[0]}]", r"The model's input 'x' is missing in .*, which has no arrays"),
    "other arrays": ("def f(): return {'z': x}", r"no array named 'x', the model's input; it has z"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_goes_wrong_is_one_sentence(case: str, write: Write) -> None:
    text, match = WRONG[case]
    name = write(text)
    with pytest.raises(DataError, match=match) as caught:
        everything(opened(name))
    assert "\n" not in str(caught.value)
    assert "own_samples" in str(caught.value)


def test_one_array_does_not_feed_two_inputs(write: Write) -> None:
    with pytest.raises(DataError, match=r"is one array, and the model has 2 inputs \(left, right\)"):
        opened(write("def f(): return x"), two_inputs())


def test_a_missing_module_is_named(write: Write) -> None:
    with pytest.raises(DataError, match=r"there is no module 'nowhere' in '.*' or among the installed packages"):
        opened(Path("nowhere.samples:f"))


def test_an_endless_iterator_does_not_fill_the_disk(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write("def f():\n    while True: yield x[0]\n")
    room = iter([1 << 40, 1 << 40, 1000])
    monkeypatch.setattr("onnx_dnscp.data.spool.shutil.disk_usage", lambda _: type("Usage", (), {"free": next(room)}))
    monkeypatch.setattr("onnx_dnscp.data.spool._BETWEEN_LOOKS", 1 << 12)
    with pytest.raises(DataError, match=r"'x' of the samples of 'own_samples:f' takes at least .* no room for that"):
        opened(name)


# --- runs -------------------------------------------------------------------------------------------------------------

DIGITS = (
    "rng = np.random.default_rng(0)\nimages = rng.random((24, 1, 8, 8), np.float32)\n"
    "def listed(): return [(image, i % 3) for i, image in enumerate(images)]\n"
    "def streamed(): return iter(listed())\n"
)
OPTIONS: dict[str, Any] = {"epochs": 2, "finetune_epochs": 1, "batch_size": 8, "threads": 1, "checkpoint_every": 1}


@pytest.mark.needs_training
@pytest.mark.parametrize("function", ["listed", "streamed"])
def test_a_run_goes_on_where_it_was_if_its_function_is_named_again(
    function: str,
    write: Write,
    tiny_path: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Others' run directories do not make code run; the command to go on says the name."""
    name = write(DIGITS, function=function)
    seen: list[int] = []

    def stop(progress: Any) -> None:
        seen.append(progress.step)
        if len(seen) == 2:
            raise KeyboardInterrupt

    whole = onnx_dnscp.prune(tiny_path, tmp_path / "whole.onnx", data=name, **OPTIONS)
    with pytest.raises(onnx_dnscp.Interrupted, match=f"--resume {tmp_path / 'run'} --data own_samples:{function}"):
        onnx_dnscp.prune(tiny_path, tmp_path / "m.onnx", data=name, run_dir=tmp_path / "run", listener=stop, **OPTIONS)
    resume = ["prune", "--resume", str(tmp_path / "run")]
    assert run(resume) == 2
    assert (
        f"which is code; if you trust it, go on with: onnx-dnscp {' '.join(resume)} --data {name}"
        in capsys.readouterr().err
    )
    assert run([*resume, "--data", "others:f"]) == 2
    write(f"{DIGITS}images[0] += 1\n")
    assert run([*resume, "--data", str(name)]) == 2
    assert f"'{name}' gives other samples than when the run began" in capsys.readouterr().err
    write(DIGITS)
    assert run([*resume, "--data", str(name)]) == 0
    assert (tmp_path / "m.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()
    assert whole.before.accuracy is not None


def test_every_command_takes_functions(write: Write, tiny_path: Path, tmp_path: Path) -> None:
    name = str(write(DIGITS, function="listed"))
    (tmp_path / "run.toml").write_text(f'data = "{name}"\n')
    assert run(["evaluate", str(tiny_path), "--data", name]) == 0
    assert run(["compare", str(tiny_path), str(tiny_path), "--data", name]) == 0
    assert (
        run(["prune", str(tiny_path), "--no-train", "--test-data", name, "--config", str(tmp_path / "run.toml")]) == 0
    )
    assert onnx.load(tiny_path.with_name("tiny.pruned.onnx")).graph.node


def test_hold_out_and_shuffling_are_those_of_other_data(write: Write, tmp_path: Path) -> None:
    """The same samples in an .npz file come in the same order."""
    name = write("def f(): return iter(x)")
    np.savez(tmp_path / "x.npz", x=np.arange(24, dtype=np.float32).reshape(6, 4))
    batches = [opened(path).training_batches(2, seed=5) for path in (name, tmp_path / "x.npz")]
    for _ in range(5):
        np.testing.assert_array_equal(next(batches[0]).inputs["x"], next(batches[1]).inputs["x"])
