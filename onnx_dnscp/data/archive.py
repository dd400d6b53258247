"""Images in a .zip or .tar file, read in place: nothing is unpacked to disk, and members are found by their position.

They lie in class folders as in a folder of images, or stand beside their class number as WebDataset names it: `17.jpg`
and `17.cls`.
"""

from __future__ import annotations

import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.data.dataset import Dataset, data_source
from onnx_dnscp.data.images import EncodedImages, image_dataset, is_image, with_classes
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import DataError
from onnx_dnscp.model.graph import Graph

MAX_MEMBER = 1 << 28  # bytes of one image or class number once unpacked; more is an archive that means harm
_CLASS = ".cls"

Read = Callable[[str], bytes]


@data_source
def open_zip(path: Path, graph: Graph, preprocess: Preprocess) -> Dataset | None:
    """Open a .zip file; None for other paths."""
    if path.suffix.lower() != ".zip" or not path.is_file():
        return None
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"Cannot read the data {str(path)!r}: {error}.") from error
    members = {}
    for info in archive.infolist():
        if stat.S_ISLNK(info.external_attr >> 16):
            _refuse_link(info.filename, path)
        elif not info.is_dir():
            members[info.filename] = info.file_size

    def read(name: str) -> bytes:
        try:
            return archive.read(name)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
            raise OSError(str(error)) from error  # damaged, encrypted or packed by an unknown method

    return _dataset(path, members, read, graph, preprocess)


@data_source
def open_tar(path: Path, graph: Graph, preprocess: Preprocess) -> Dataset | None:
    """Open a .tar file; None for other paths."""
    if not path.is_file() or not path.name.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")):
        return None
    if path.suffix.lower() != ".tar":
        raise DataError(
            f"The data {str(path)!r} is compressed as a whole, so that single images cannot be read from it; unpack it "
            "to a .tar file or a folder (images are compressed already)."
        )
    try:
        with tarfile.open(path, "r:") as archive:
            places = _places(archive, path)
            if _is_cut_off(path, archive.offset):
                raise tarfile.ReadError(f"it is cut off behind byte {archive.offset}")
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"Cannot read the data {str(path)!r}: {error}.") from error

    def read(name: str) -> bytes:
        offset, size = places[name]
        with path.open("rb") as file:  # anew, because samples are decoded by several threads
            file.seek(offset)
            content = file.read(size)
        if len(content) < size:
            raise OSError(f"the archive is cut off ({len(content)} of {size} bytes are left)")
        return content

    return _dataset(path, {name: size for name, (_, size) in places.items()}, read, graph, preprocess)


def _places(archive: tarfile.TarFile, path: Path) -> dict[str, tuple[int, int]]:
    """Where each file in a .tar file begins, and its size."""
    places = {}
    while (member := archive.next()) is not None:
        if member.size < 0:
            raise tarfile.ReadError(f"member {member.name!r} says that it has {member.size} bytes")
        if member.issym() or member.islnk():
            _refuse_link(member.name, path)
        elif member.isfile() and not member.issparse():
            places[member.name] = member.offset_data, member.size
        vars(archive)["members"].clear()  # they take more memory than what is needed of them
    return places


def _refuse_link(name: str, path: Path) -> None:
    if _is_read(name):
        raise DataError(
            f"The archive {str(path)!r} has a link {name!r} in it, and links are not followed; pack the file itself "
            "(tar --dereference --hard-dereference; zip without --symlinks)."
        )


def _is_read(name: str) -> bool:
    """Whether a member is an image or a class number."""
    return is_image(name) or name.endswith(_CLASS)


def _is_cut_off(path: Path, end: int) -> bool:
    """Whether something else than zeros follows the last member, which `tarfile` takes for the end in silence."""
    with path.open("rb") as file:
        file.seek(end)
        return bool(file.read(tarfile.BLOCKSIZE).strip(b"\0")) or path.stat().st_size < end


def _check_member(name: str, size: int, path: Path) -> None:
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or ".." in PurePosixPath(name).parts:
        raise DataError(f"The archive {str(path)!r} has a member {name!r} outside of itself; it is not read.")
    if size > MAX_MEMBER and _is_read(name):
        raise DataError(
            f"Member {name!r} of {str(path)!r} unpacks to {size / 1e6:,.0f} MB, which no image needs; leave it out."
        )


def _dataset(path: Path, sizes: Mapping[str, int], read: Read, graph: Graph, preprocess: Preprocess) -> Dataset:
    for name, size in sizes.items():
        _check_member(name, size, path)
    names = sorted(name for name in sizes if is_image(name))
    labels = _class_files(path, names, sizes, read)
    if labels is None:
        root = _root(names)
        found, labels = with_classes([name[len(root) :] for name in names])
        names = [root + name for name in found]
    images = EncodedImages(len(names), lambda index: f"{path}/{names[index]}", lambda index: read(names[index]), labels)
    return image_dataset(images, path, graph, preprocess)


def _root(names: Sequence[str]) -> str:
    """The innermost folder that all images lie in, with a slash; archives are often made from outside of it."""
    folders = [PurePosixPath(name).parent.as_posix() for name in names]
    common = posixpath.commonpath(folders) if folders else ""
    return "" if common in ("", ".") else names[0][: names[0].index(common) + len(common) + 1]


def _class_files(path: Path, names: Sequence[str], sizes: Mapping[str, int], read: Read) -> NDArray[np.int64] | None:
    """The class number that stands beside each image, or None where there are no such files."""
    beside = [f"{name.rsplit('.', 1)[0]}{_CLASS}" for name in names]
    if not any(name in sizes for name in beside):
        return None
    labels = []
    for image, name in zip(names, beside, strict=True):
        if name not in sizes:
            raise DataError(f"In {str(path)!r}, {image!r} has no {name!r} beside it, as others have.")
        try:
            labels.append(int(read(name)))
        except (OSError, ValueError) as error:
            raise DataError(f"{name!r} in {str(path)!r} is no class number: {error}.") from error
    return np.array(labels, dtype=np.int64)
