"""Damaged plan files, configs and data files."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tomli_w
from PIL import Image

from fuzzing.damaged_models import NAMES, ODD, ODD_FLOATS, Rng, damaged_bytes
from models import filled

TINY = """
<ir_version: 8, opset_import: ["" : 17]>
tiny (float[N, 1, 8, 8] image) => (float[N, 3] logits)
<float[6, 1, 3, 3] w1, float[6] b1, float[4, 6, 3, 3] w2, float[3, 4] w3>
{ a = Conv<pads = [1, 1, 1, 1]>(image, w1, b1) b = Relu(a) c = Conv<pads = [1, 1, 1, 1]>(b, w2) d = Relu(c)
  e = GlobalAveragePool(d) f = Flatten(e) logits = Gemm<transB = 1>(f, w3) }
"""
ODD_VALUES: tuple[Any, ...] = (*ODD, *ODD_FLOATS, *NAMES, True, False, None, [], {}, [1, "a"], {"a": 1}, "1e999", "-1")
CONFIG: dict[str, Any] = {
    "ratio": 0.5, "metric": "channels", "align": 1, "epochs": 1, "finetune-epochs": 0, "batch-size": 8, "lr": 0.01,
    "momentum": 0.9, "weight-decay": 1e-4, "optimizer": "sgd", "warmup": 0.1, "clip": 1.0, "loss": "auto",
    "batch-norm": "auto", "method": "magnitude", "rule": "doc", "c-rate": 0.1, "gamma": 1e-4, "power": 1.0, "seed": 1,
    "threads": 1, "mean": "0", "std": "1", "scale": 1.0,
    "exclude": ["none*"], "only": ["*"], "checkpoint-every": 10, "hold-out": 0.0,
}  # fmt: skip
KINDS = (".npz", ".zip", ".tar", ".parquet", "folder")
MEMBERS = ("../up.png", "/abs.png", "a/../../b.png", "c/\x00.png", "c/" + "d/" * 60 + "e.png", "c/x.png", "C:\\x.png")


def tiny_model() -> onnx.ModelProto:
    """Two convolutions and a Gemm, for images of 8 x 8 pixels."""
    return filled(TINY)


def damaged_plan(good: str, rng: Rng) -> tuple[bytes, str]:
    """A plan with odd values, or with damaged bytes."""
    if rng.random() < 0.3:
        return damaged_bytes(good.encode(), rng)
    plan = json.loads(good)
    done = [_damage(plan, rng) for _ in range(int(rng.integers(1, 3)))]
    return json.dumps(plan).encode(), " ".join(done)


def damaged_config(rng: Rng) -> tuple[bytes, str]:
    """A config with odd values, or with damaged bytes."""
    chosen = rng.permutation(list(CONFIG))[: int(rng.integers(1, 8))]
    config = {str(key): CONFIG[str(key)] for key in chosen}
    if rng.random() < 0.3:
        return damaged_bytes(tomli_w.dumps(config).encode(), rng)
    done = _damage(config, rng)
    try:
        return tomli_w.dumps(config).encode(), done
    except (TypeError, ValueError):  # TOML has no null
        return damaged_bytes(b"ratio = 0.5\n", rng)


def damaged_data(folder: Path, rng: Rng) -> tuple[Path, str]:
    """A data file, or a folder of images, with damaged bytes or odd contents."""
    kind = KINDS[int(rng.integers(len(KINDS)))]
    if kind == "folder":
        return _image_folder(folder / "images", rng)
    content, done = {".npz": _npz, ".zip": _zip, ".tar": _tar, ".parquet": _parquet}[kind](rng)
    if rng.random() < 0.5:
        content, how = damaged_bytes(content, rng)
        done = f"{done} {how}"
    path = folder / f"data{kind}"
    path.write_bytes(content)
    return path, f"{kind} {done}"


def _damage(value: Any, rng: Rng) -> str:
    """Change one place in nested dictionaries and lists."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    if not keys:
        return "nothing"
    key = keys[int(rng.integers(len(keys)))]
    if isinstance(value[key], (dict, list)) and value[key] and rng.random() < 0.75:
        return _damage(value[key], rng)
    how = int(rng.integers(4))
    odd = ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]
    if how == 0:
        del value[key]
    elif how == 1 and isinstance(value, dict):
        value[str(odd)] = value[key]
    elif how == 2 and isinstance(value, list):
        value.append(value[key])
    else:
        value[key] = odd
    return ("lost", "key", "doubled", "value")[how]


def _npz(rng: Rng) -> tuple[bytes, str]:
    how = int(rng.integers(7))
    image: Any = rng.random((6, 1, 8, 8)).astype(np.float32)
    labels: Any = rng.integers(0, 3, 6)
    if how == 1:
        image = image.reshape([(6, 64), (6, 8, 8), (1, 6, 8, 8), (6, 1, 1, 8, 8), (384,)][int(rng.integers(5))])
    elif how == 2:
        image.flat[:3] = [ODD_FLOATS[i] for i in rng.integers(len(ODD_FLOATS), size=3)]
    elif how == 3:
        labels = np.array([ODD[i] for i in rng.integers(len(ODD), size=6)], dtype=object)
        labels = labels if rng.random() < 0.5 else labels.astype(np.float64)
    elif how == 4:
        image = image.astype(["U4", "S4", "M8[s]", "c8", "O", "V8", "?", "i1"][int(rng.integers(8))])
    elif how == 5:
        image, labels = image[: int(rng.integers(7))], labels[: int(rng.integers(7))]
    elif how == 6:
        return _huge_npz(rng), "huge"
    file = io.BytesIO()
    np.savez_compressed(file, **{"image": image, "labels": labels, str(NAMES[int(rng.integers(4))]) or "z": labels})
    return file.getvalue(), ("good", "shape", "numbers", "labels", "type", "lengths", "huge")[how]


def _huge_npz(rng: Rng) -> bytes:
    """A few bytes that say they are an array of many."""
    shape = [(2**40, 1, 8, 8), (2**31, 1, 8, 8), (-1, 1, 8, 8), (10**5, 1, 800, 800), (0, 1, 8, 8)][
        int(rng.integers(5))
    ]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.npy", header.getvalue() + bytes(4096))
    return file.getvalue()


def _zip(rng: Rng) -> tuple[bytes, str]:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _members(rng):
            archive.writestr(name, content)
    return file.getvalue(), "members"


def _tar(rng: Rng) -> tuple[bytes, str]:
    file = io.BytesIO()
    mode = ("w", "w:gz", "w:xz")[int(rng.integers(3))]
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in _members(rng):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE)
            if rng.random() < 0.1:
                info.type, info.linkname, info.size = kinds[int(rng.integers(5))], "/etc/passwd", 0
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue(), mode


def _members(rng: Rng) -> list[tuple[str, bytes]]:
    members = [(f"class{i % 2}/{i}.png", _image(rng)) for i in range(4)]
    if rng.random() < 0.5:
        members.append((MEMBERS[int(rng.integers(len(MEMBERS)))], _image(rng)))
    return members


def _parquet(rng: Rng) -> tuple[bytes, str]:
    import pyarrow.parquet

    labels: list[Any] = [0, 1, 2]
    if rng.random() < 0.3:
        labels[0] = [2**62, -1, None, 3][int(rng.integers(4))]
    columns = {"image": [_image(rng) for _ in labels], "label": labels}
    if rng.random() < 0.3:
        columns["image"][0] = [None, b"", b"GIF89a"][int(rng.integers(3))]
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue(), "columns"


def _image_folder(folder: Path, rng: Rng) -> tuple[Path, str]:
    for i in range(4):
        path = folder / f"class{i % 2}" / f"{i}{('.png', '.jpg', '.bmp', '.tif')[i]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_image(rng, ("PNG", "JPEG", "BMP", "TIFF")[i]))
    return folder, "folder"


def _image(rng: Rng, kind: str = "PNG") -> bytes:
    """A small picture, one in four of them damaged, one in twenty a bomb."""
    sizes = (8, 8) if rng.random() < 0.9 else (1, int(rng.integers(1, 50)))
    file = io.BytesIO()
    if rng.random() < 0.05:
        Image.new("1", (12000, 12000)).save(file, "PNG")
        return file.getvalue()
    Image.fromarray(rng.integers(0, 256, sizes, dtype=np.uint8)).save(file, kind)
    return damaged_bytes(file.getvalue(), rng)[0] if rng.random() < 0.25 else file.getvalue()
