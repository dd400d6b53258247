"""Images in .zip and .tar files are read like those of the folder they were made from."""

from __future__ import annotations

import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_data import Pack, everything, opened, pack_tar, pack_zip, pixels_of, png, save_png

from onnx_dnscp.errors import DataError

FILES = ("zebra/0.png", "ant/1.png", "ant/0.png", "bee/deep/0.PNG")


both = pytest.mark.parametrize("pack", [pack_zip, pack_tar])


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


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("name", ["b/1.png", "a/0.cls"])
def test_links_in_a_tar_are_refused(kind: bytes, name: str, tmp_path: Path) -> None:
    """What is left out in silence would be missed; what is no image may be a link."""
    path = pack_tar(tmp_path / "links", {"a/0.png": png(0)})
    for linked in ("notes", name):
        with tarfile.open(path, "a") as archive:
            link = tarfile.TarInfo(linked)
            link.type, link.linkname = kind, "/etc/passwd"
            archive.addfile(link)
        if linked == "notes":
            assert len(opened(path).samples) == 1
    with pytest.raises(DataError, match=rf"has a link '{name}' in it, and links are not followed"):
        opened(path)


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    path = pack_zip(tmp_path / "links", {"a/0.png": png(0)})
    link = zipfile.ZipInfo("b/1.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match=r"has a link 'b/1.png' in it"):
        opened(path)


# --- bombs ------------------------------------------------------------------------------------------------------------


def test_a_member_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the archive says of it; a member that is larger than that fails its checksum."""
    monkeypatch.setattr("onnx_dnscp.data.archive.MAX_MEMBER", 1 << 16)
    path = pack_zip(tmp_path / "bomb", {"a/0.png": png(0), "a/1.png": b"0" * (1 << 17)})
    with pytest.raises(DataError, match=r"Member 'a/1.png' of .* unpacks to 0 MB, which no image needs; leave it out"):
        opened(path)
    content = path.read_bytes().replace((1 << 17).to_bytes(4, "little"), (1 << 10).to_bytes(4, "little"))
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"Cannot read the image '.*a/1.png': Bad CRC-32"):
        everything(opened(path))


@pytest.mark.parametrize("side", [9_500, 30_000])
def test_an_image_that_claims_too_many_pixels_is_not_decoded(side: int, tmp_path: Path) -> None:
    """PIL warns of the first and refuses the second."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ]
    packed = [struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks]
    path = pack_zip(tmp_path / "bomb", {"a/0.png": b"\x89PNG\r\n\x1a\n" + b"".join(packed)})
    with pytest.raises(
        DataError, match=r"Cannot read the image '.*a/0.png': .*pixels.*; put a whole image in its place"
    ):
        opened(path)


@pytest.mark.parametrize("size", [-512, -(1 << 40)])
def test_a_tar_that_leads_backwards_is_refused(size: int, tmp_path: Path) -> None:
    """Python's tarfile would read the same members for ever."""
    path = pack_tar(tmp_path / "back", {"a/0.png": png(0), "a/1.png": png(1)})
    content = bytearray(path.read_bytes())
    at = content.index(b"a/1.png")
    content[at + 124 : at + 136] = size.to_bytes(12, "big", signed=True)
    content[at + 148 : at + 156] = b"        "
    content[at + 148 : at + 156] = f"{sum(content[at : at + 512]):06o}\0 ".encode()
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"Cannot read the data '.*back.tar'"):
        opened(path)


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


def test_a_tar_that_is_cut_off_says_where(tmp_path: Path) -> None:
    """In the header of its second member, where tarfile sees an end."""
    path = pack_tar(tmp_path / "bad", {f"c/{n}.png": png(n)[:500] for n in range(3)})
    path.write_bytes(path.read_bytes()[: 2 * tarfile.BLOCKSIZE + 100])
    with pytest.raises(DataError, match="it is cut off behind byte 1024"):
        opened(path)


def test_a_compressed_tar_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"unpack it to a .tar file or a folder"):
        opened(tmp_path / "x.tar.gz")
