"""Images in .zip and .tar files are read like those of the folder they were made from."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_data import everything, graph_of, pixels_of, save_png

from onnx_dnscp.data.dataset import Dataset
from onnx_dnscp.data.open import open_dataset
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import DataError

Pack = Callable[[Path, Mapping[str, bytes]], Path]
FILES = ("zebra/0.png", "ant/1.png", "ant/0.png", "bee/deep/0.PNG")


def pack_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path.with_suffix(".zip")


def pack_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path.with_suffix(".tar"), "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path.with_suffix(".tar")


both = pytest.mark.parametrize("pack", [pack_zip, pack_tar])


def png(number: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels_of(number)).save(content, "PNG")
    return content.getvalue()


def opened(path: Path) -> Dataset:
    return open_dataset(path, graph_of(["n", 3, 4, 5]), Preprocess(), None)


@both
@pytest.mark.parametrize("root", ["", "images/", "./data/images/"])
def test_an_archive_holds_what_its_folder_holds(pack: Pack, root: str, tmp_path: Path) -> None:
    for number, name in enumerate(FILES):
        save_png(tmp_path / "images" / name, pixels_of(number))
    members = {root + name: png(number) for number, name in enumerate(FILES)}
    extras = {root + "ant/notes.txt": b"no image", "__MACOSX/ant/._1.png": b"nor this", root + "ant/.x.png": b""}
    values, labels = everything(opened(pack(tmp_path / "packed", members | extras)))
    wanted, wanted_labels = everything(opened(tmp_path / "images"))
    np.testing.assert_array_equal(values, wanted)
    assert labels is not None
    assert wanted_labels is not None
    assert labels.tolist() == wanted_labels.tolist() == [0, 0, 1, 2]


@both
def test_class_numbers_may_stand_beside_images(pack: Pack, tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for number in range(3):
        members |= {f"00{number}.png": png(number), f"00{number}.cls": f"{2 - number}\n".encode()}
    _, labels = everything(opened(pack(tmp_path / "shard", members)))
    assert labels is not None
    assert labels.tolist() == [2, 1, 0]
    del members["001.cls"]
    with pytest.raises(DataError, match=r"'001.png' has no '001.cls' beside it"):
        opened(pack(tmp_path / "shard", members))
    with pytest.raises(DataError, match=r"'001.cls' in .* is no class number: invalid literal"):
        opened(pack(tmp_path / "shard", members | {"001.cls": b"cat"}))


@both
def test_images_without_classes_have_no_labels(pack: Pack, tmp_path: Path) -> None:
    data = opened(pack(tmp_path / "flat", {"photos/a.png": png(0), "photos/b.png": png(1)}))
    assert not data.has_labels
    assert everything(data)[0].shape == (2, 3, 4, 5)


@both
@pytest.mark.parametrize("name", ["../0.png", "/etc/0.png", "a/../../0.png", "C:\\\\0.png"])
def test_members_outside_are_refused(pack: Pack, name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"outside of itself"):
        opened(pack(tmp_path / "bad", {"a/0.png": png(0), name: png(1)}))


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    path = pack_tar(tmp_path / "links", {"a/0.png": png(0)})
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("b/1.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert len(opened(path).samples) == 1


@both
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "nothing inside"])
def test_damaged_archives_are_refused(pack: Pack, damage: str, tmp_path: Path) -> None:
    path = pack(tmp_path / "bad", {} if damage == "nothing inside" else {f"c/{n}.png": png(n) for n in range(3)})
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[min(len(content) // 3, 1500) :]  # a .tar ends with thousands of zeros
    elif damage == "flipped":
        content[560:700] = bytes(b ^ 0xFF for b in content[560:700])
    path.write_bytes(b"" if damage == "empty" else bytes(content))
    with pytest.raises(DataError, match=r"Cannot read|is empty"):
        everything(opened(path))


def test_a_compressed_tar_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"unpack it to a .tar file or a folder"):
        opened(tmp_path / "x.tar.gz")
