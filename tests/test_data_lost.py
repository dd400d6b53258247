"""Data that breaks while a run reads it: one sentence, exit code 4, and the run goes on once the data is back."""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_data import everything, graph_of, two_inputs
from numpy.typing import NDArray
from PIL import Image

import onnx_dnscp
from onnx_dnscp.cli.main import run
from onnx_dnscp.data.open import open_dataset
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import DataError

OPTIONS: dict[str, Any] = {
    "epochs": 2, "finetune_epochs": 1, "batch_size": 4, "threads": 1, "seed": 1, "checkpoint_every": 1,
    "preprocess": Preprocess(channels="gray"), "repair": False,
}  # fmt: skip
COUNT = 48  # twelve batches: far more than are read ahead


def gray(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8))


def folder_of_images(folder: Path) -> Path:
    for number in range(COUNT):
        path = folder / "images" / f"{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        gray(number).save(path)
    return folder / "images"


def tar_of_images(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder / "images"), "tar", folder_of_images(folder)))


def truncate_all(images: Path) -> None:
    for path in images.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:50])


def remove_all(images: Path) -> None:
    for path in images.rglob("*.png"):
        path.unlink()


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(2000)


def images_npy(folder: Path) -> Path:
    np.save(folder / "images.npy", np.random.default_rng(0).random((COUNT, 1, 8, 8)))
    return folder / "images.npy"


def images_npz(folder: Path) -> Path:
    np.savez(folder / "images.npz", image=np.random.default_rng(0).random((COUNT, 1, 8, 8)))
    return folder / "images.npz"


LOSSES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], None], str]] = {
    "truncated images": (
        folder_of_images,
        truncate_all,
        r"Cannot read the image '.*images/\d/\d+\.png': .*; put a whole",
    ),
    "removed images": (
        folder_of_images,
        remove_all,
        r"Cannot read the image '.*\d\.png': No such file or directory; put",
    ),
    "removed tar": (tar_of_images, Path.unlink, r"Cannot read the image '.*images\.tar/.*': No such file or directory"),
    "cut tar": (
        tar_of_images,
        cut,
        r"Cannot read the image '.*images\.tar/.*': the archive is cut off \(\d+ of \d+ bytes are left\)",
    ),
    "cut npy": (images_npy, cut, r"The data '.*images\.npy' was cut off while it was in use; put the old file back\."),
    "cut npz": (images_npz, cut, r"The data '.*images\.npz' was cut off while it was in use"),
}


@pytest.mark.needs_training
@pytest.mark.parametrize("case", LOSSES)
def test_a_run_whose_data_broke_goes_on_when_it_is_back(
    case: str, tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, damage, match = LOSSES[case]
    data = make(tmp_path)
    whole = tmp_path / f"whole-{data.name}"
    shutil.copytree(data, whole) if data.is_dir() else shutil.copy(data, whole)
    onnx_dnscp.prune(tiny_path, tmp_path / "undisturbed.onnx", data=data, **OPTIONS)
    seen: list[int] = []

    def listener(progress: Any) -> None:
        seen.append(progress.step)
        if len(seen) == 3:
            damage(data)

    resume = f"go on with: onnx-dnscp prune --resume {tmp_path / 'run'}"
    with pytest.raises(DataError, match=f"{match}.*{re.escape(resume)}$") as caught:
        onnx_dnscp.prune(
            tiny_path, tmp_path / "out.onnx", data=data, run_dir=tmp_path / "run", listener=listener, **OPTIONS
        )
    assert caught.value.exit_code == 4
    assert 3 <= len(seen) < 12, "in the middle of an epoch"
    assert not (tmp_path / "out.onnx").exists()
    assert run(["prune", "--resume", str(tmp_path / "run")]) in (2, 4), "before it is back, too"
    assert "Traceback" not in capsys.readouterr().err
    shutil.rmtree(data) if data.is_dir() else data.unlink(missing_ok=True)
    shutil.move(whole, data)
    assert run(["prune", "--resume", str(tmp_path / "run")]) == 0
    assert (tmp_path / "out.onnx").read_bytes() == (tmp_path / "undisturbed.onnx").read_bytes()


@pytest.mark.needs_training
def test_a_run_that_stops_before_any_checkpoint_does_not_say_that_something_is_kept(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder says what was asked for, so the run can begin anew."""
    data = folder_of_images(tmp_path)
    begin = f"Nothing was trained yet; begin anew with: onnx-dnscp prune --resume {tmp_path / 'run'}"
    monkeypatch.setattr("onnx_dnscp.stages.train.train_with_masks", lambda *_: _broken())
    with pytest.raises(DataError, match=f"{re.escape(begin)}$"):
        onnx_dnscp.prune(tiny_path, tmp_path / "out.onnx", data=data, run_dir=tmp_path / "run", **OPTIONS)
    monkeypatch.undo()
    assert onnx_dnscp.resume(tmp_path / "run").ratio > 0


def _broken() -> None:
    raise DataError("The data is gone.")


# --- arrays -----------------------------------------------------------------------------------------------------------


def npy(values: NDArray[Any], allow_pickle: bool = False) -> bytes:
    content = io.BytesIO()
    np.save(content, values, allow_pickle=allow_pickle)
    return content.getvalue()


GOOD = npy(np.arange(24, dtype=np.float32).reshape(6, 4))
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", r"Cannot read the data"),
    "text": (b"these are no numbers", r"Cannot read the data .*; save a plain array again with numpy\.save"),
    "cut header": (GOOD[:40], r"Cannot read the data"),
    "cut": (GOOD[:-1], r"Cannot read the data .* is cut off; save it again"),
    "no rows": (npy(np.zeros((0, 4))), r"is empty: array 'x' has shape \(0, 4\)"),
    "one number": (npy(np.array(1.0)), r"is empty: array 'x' has shape \(\)"),
    "objects": (
        npy(np.array([None]), allow_pickle=True),
        r"holds Python objects, which are never unpickled; save plain",
    ),
    "records": (npy(np.zeros(3, [("a", "f4"), ("b", "i2")])), r"'x' in .* has type .*; the model wants numbers"),
    "negative": (GOOD.replace(b"(6, 4)", b"(-6,4)"), r"Cannot read the data .*shape \(-6, 4\)"),
    "huge": (GOOD.replace(b"(6, 4), }" + b" " * 10, b"(99999999999, 4), }"), r"Cannot read the data .* is cut off"),
    "other header": (GOOD.replace(b"(6, 4)", b"(6, 4}"), r"Cannot read the data .*[Hh]eader"),
    "damaged header": (
        GOOD.replace(b"(6, 4)", b"((6, 4"),
        r"Cannot read the data .*: its header is damaged \(.+\); save ",
    ),
    "nan": (npy(np.array([[0, 1, 2, np.nan]])), r"'x' in .* has NaN or infinity in sample 0"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("kind", ["npy", "folder", "npz", "compressed npz"])
def test_a_broken_array_is_one_sentence(kind: str, case: str, tmp_path: Path) -> None:
    content, match = BROKEN[case]
    path = tmp_path / {"npy": "d.npy", "folder": "x.npy"}.get(kind, "d.npz")
    if "npz" in kind:
        method = zipfile.ZIP_STORED if kind == "npz" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("x.npy", content)
        match = match.replace("numpy\\.save", "numpy\\.savez").replace("a plain array", "plain arrays")
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=match) as caught:
        open_dataset(tmp_path if kind == "folder" else path, graph_of(["n", 4]), Preprocess(), None)
    assert "\n" not in str(caught.value)


def test_a_bit_that_fell_over_is_found_in_mapped_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((600, 4), np.float32))
    content = bytearray((tmp_path / "d.npz").read_bytes())
    content[5000] ^= 1
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(DataError, match="Bad CRC-32"):
        open_dataset(tmp_path / "d.npz", graph_of(["n", 4]), Preprocess(), None)


def test_an_array_that_unpacks_to_more_than_the_disk_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "d.npz", x=np.zeros((600, 4), np.float32))
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("onnx_dnscp.data.spool.shutil.disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"Array 'x\.npy' of .*d\.npz' takes at least .* TMPDIR"):
        open_dataset(tmp_path / "d.npz", graph_of(["n", 4]), Preprocess(), None)


def test_one_npy_file_does_not_feed_two_inputs(tmp_path: Path) -> None:
    (tmp_path / "d.npy").write_bytes(GOOD)
    with pytest.raises(
        DataError, match=r"The model has 2 inputs \(left, right\), and .*; give a folder of \.npy files"
    ):
        open_dataset(tmp_path / "d.npy", two_inputs(), Preprocess(), None)


def test_a_folder_of_arrays_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "z.npy").write_bytes(GOOD)
    with pytest.raises(DataError, match="no array named 'x', the model's input; it has z"):
        open_dataset(tmp_path, graph_of(["n", 4]), Preprocess(), None)


def test_labels_beside_an_npy_file_belong_to_its_fingerprint(tmp_path: Path) -> None:
    from onnx_dnscp.data.fingerprint import fingerprint

    (tmp_path / "d.npy").write_bytes(GOOD)
    found = [fingerprint(tmp_path / "d.npy")]
    for labels in (np.zeros(6, int), np.ones(6, int)):
        np.save(tmp_path / "d-labels.npy", labels)
        found.append(fingerprint(tmp_path / "d.npy"))
    assert len(set(found)) == 3
    assert everything(open_dataset(tmp_path / "d.npy", graph_of(["n", 4]), Preprocess(), None))[1] is not None


# --- the preprocessing of a run ---------------------------------------------------------------------------------------


def test_evaluate_prepares_samples_as_a_run_did(
    tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also partly: what the command line says wins."""
    data = folder_of_images(tmp_path)
    prepared = ["--channels", "gray", "--mean", "0.2", "--std", "0.5"]
    out = tmp_path / "out.onnx"
    call = [
        "prune",
        str(tiny_path),
        "-o",
        str(out),
        "--data",
        str(data),
        "--no-train",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    assert run([*call, *prepared]) == 0
    losses = []
    for more in ([*prepared], ["--run", str(tmp_path / "run")], ["--run", str(tmp_path / "run"), "--mean", "0.4"],
                 [*prepared[:2], "--mean", "0.4", "--std", "0.5"]):  # fmt: skip
        capsys.readouterr()
        assert run(["evaluate", str(out), "--data", str(data), "--json", *more]) == 0
        losses.append(capsys.readouterr().out)
    assert losses[0] == losses[1] != losses[2] == losses[3]
    assert onnx_dnscp.preprocess_of(tmp_path / "run") == Preprocess(channels="gray", mean=(0.2,), std=(0.5,))
    assert run(["compare", str(tiny_path), str(out), "--data", str(data), "--run", str(tmp_path / "run")]) == 0
    assert run(["evaluate", str(out), "--data", str(data), "--run", str(tmp_path)]) == 2
    assert "is no run directory" in capsys.readouterr().err
