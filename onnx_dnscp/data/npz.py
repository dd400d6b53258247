"""Arrays in an .npz file.

Those that were saved without compression stay where they are and are mapped; others are unpacked once, a piece at a
time, into a temporary file.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

from onnx_dnscp.data.arrays import array_dataset, names_wanted
from onnx_dnscp.data.convert import Conversion
from onnx_dnscp.data.dataset import Dataset, data_source
from onnx_dnscp.data.mapped import MappedArray, read_header
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.data.spool import Spool
from onnx_dnscp.errors import DataError
from onnx_dnscp.model.graph import Graph
from onnx_dnscp.model.runtime import first_line

_SUFFIX = ".npy"  # of the members
_PIECE = 1 << 18  # bytes read at a time; zipfile holds several times as many
_LOCAL_HEADER = "<26xHH"  # what stands before a member's name ends with the lengths of name and extras


@data_source
def open_npz(path: Path, graph: Graph, preprocess: Preprocess) -> Dataset | None:
    """Open an .npz file; None for other paths."""
    if path.suffix != ".npz" or not path.is_file():
        return None
    try:
        if not zipfile.is_zipfile(path):
            raise DataError(
                f"Cannot read the data {str(path)!r}: it is no .npz archive or is cut off; save it again with "
                "numpy.savez."
            )
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(_SUFFIX): info for info in archive.infolist()}
            wanted = names_wanted(members, Conversion(graph, preprocess, str(path)), path, graph)
            arrays = {name: _array(archive, members[name], path) for name in wanted}
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"Cannot read the data {str(path)!r}: {first_line(error)}; save plain arrays again with numpy.savez."
        ) from error
    return array_dataset(arrays, path, graph, preprocess)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> MappedArray:
    """The array of one member, all of whose bytes are read once, because this is what checks them."""
    what = repr(str(path))
    is_plain = info.compress_type == zipfile.ZIP_STORED
    spool = None if is_plain else Spool(f"Array {info.filename!r} of {what}", info.file_size)
    with archive.open(info) as member:
        shape, order, dtype = read_header(member, f"Array {info.filename!r} in {what}")
        start = member.tell()
        while piece := member.read(_PIECE):
            if spool is not None:
                spool.append(piece)
    if spool is not None:
        return MappedArray(spool.finish(), what, 0, dtype, shape, order)
    with path.open("rb") as file:
        position = _position(file, info)
        return MappedArray(file, what, position + start, dtype, shape, order, limit=position + info.file_size)


def _position(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin."""
    file.seek(info.header_offset)
    lengths = struct.unpack(_LOCAL_HEADER, file.read(struct.calcsize(_LOCAL_HEADER)))
    return info.header_offset + struct.calcsize(_LOCAL_HEADER) + int(sum(lengths))
