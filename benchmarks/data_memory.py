"""How much memory data takes that is much larger than it: every kind of source, evaluated and trained on.

    python benchmarks/data_memory.py --megabytes 2000 --limit 200

Each command runs in a process of its own on `--megabytes` of data and on as much as `--limit`; growth is the difference
of their peaks. Peaks are of anonymous memory (RssAnon in /proc/PID/status, looked at a hundred times a second): pages
of mapped files, which the system takes back when it needs them, are in "resident" (VmHWM). Linux only.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SHAPE = (3, 32, 32)
SIDE = 256  # of images in files; they are resized to the model's input
IMAGE = 3 * SIDE * SIDE  # bytes of one, which is not compressed
ROWS = 256  # written at a time
INTERVAL = 0.01  # seconds between two looks
CALL = "import sys; from onnx_dnscp.cli.main import run; sys.exit(run(sys.argv[1:]))"  # in one process, to look at it
TRAIN = ["--epochs=1", "--finetune-epochs=0", "--batch-size=32", "--threads=1", "--loss=distill", "--no-repair"]

FUNCTIONS = """
import numpy as np
class Sequence:
    def __len__(self):
        return {count}
    def __getitem__(self, index):
        return np.random.default_rng(index).random({shape}, np.float32)
def iterator():
    samples = Sequence()
    return (samples[index] for index in range({count}))
"""


def make_model(path: Path) -> None:
    """A network that takes next to nothing: Conv - Relu - Conv - Relu - mean - Gemm."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (10, 8)}
    weights = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], strides=[4, 4]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w3"], ["logits"], transB=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *SHAPE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])
    graph = helper.make_graph(nodes, "small", [image], [logits], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def make_npy(folder: Path, size: int) -> Path:
    """`size` bytes of float32 samples."""
    count = size // (4 * int(np.prod(SHAPE)))
    rows = np.lib.format.open_memmap(folder / "d.npy", "w+", np.float32, (count, *SHAPE))
    rng = np.random.default_rng(0)
    for start in range(0, count, ROWS):
        rows[start : start + ROWS] = rng.random((min(ROWS, count - start), *SHAPE), np.float32)
    rows.flush()
    return folder / "d.npy"


def make_npz(folder: Path, size: int, method: int = zipfile.ZIP_STORED) -> Path:
    """The same in an .npz file."""
    with zipfile.ZipFile(folder / "d.npz", "w", method, compresslevel=1) as archive:
        archive.write(make_npy(folder, size), "image.npy")
    return folder / "d.npz"


def make_compressed(folder: Path, size: int) -> Path:
    """The same, compressed."""
    return make_npz(folder, size, zipfile.ZIP_DEFLATED)


def image_bytes() -> bytes:
    """A picture in a file of `IMAGE` bytes and some more."""
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "BMP")
    return content.getvalue()


def make_folder(folder: Path, size: int) -> Path:
    """`size` bytes of images."""
    (folder / "d").mkdir()
    for number in range(size // IMAGE):
        (folder / "d" / f"{number}.bmp").write_bytes(image_bytes())
    return folder / "d"


def make_zip(folder: Path, size: int) -> Path:
    """The same, packed."""
    with zipfile.ZipFile(folder / "d.zip", "w") as archive:
        for number in range(size // IMAGE):
            archive.writestr(f"{number}.bmp", image_bytes())
    return folder / "d.zip"


def make_tar(folder: Path, size: int) -> Path:
    """The same, packed."""
    with tarfile.open(folder / "d.tar", "w") as archive:
        for number in range(size // IMAGE):
            member = tarfile.TarInfo(f"{number}.bmp")
            member.size = len(image_bytes())
            archive.addfile(member, io.BytesIO(image_bytes()))
    return folder / "d.tar"


def make_parquet(folder: Path, size: int) -> Path:
    """The same in row groups of 64 images."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([("image", pyarrow.binary())])
    with pyarrow.parquet.ParquetWriter(folder / "d.parquet", schema, use_dictionary=False) as writer:
        for start in range(0, size // IMAGE, 64):
            images = [image_bytes()] * min(64, size // IMAGE - start)
            writer.write_table(pyarrow.table({"image": images}, schema))
    return folder / "d.parquet"


def make_function(name: str) -> Callable[[Path, int], Path]:
    """A function that makes `size` bytes of samples."""

    def make(folder: Path, size: int) -> Path:
        count = size // (4 * int(np.prod(SHAPE)))
        (folder / "samples.py").write_text(FUNCTIONS.format(count=count, shape=SHAPE))
        return Path(f"samples:{name}")

    return make


SOURCES: dict[str, Callable[[Path, int], Path]] = {
    ".npy": make_npy,
    ".npz": make_npz,
    ".npz, compressed": make_compressed,
    "folder of images": make_folder,
    ".zip": make_zip,
    ".tar": make_tar,
    ".parquet": make_parquet,
    "function: sequence": make_function("Sequence"),
    "function: iterator": make_function("iterator"),
}


def peaks(command: list[str], folder: Path) -> tuple[float, float]:
    """Peak of anonymous memory and of the resident set of a command, in MB."""
    call = [sys.executable, "-c", CALL, *command]
    with subprocess.Popen(call, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        anonymous = resident = ended = 0
        while not ended:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            status = {key: value.split()[0] for key, value in (line.split(":", 1) for line in lines) if value.strip()}
            anonymous = max(anonymous, int(status.get("RssAnon", 0)))  # KiB; a process that ends has none
            resident = max(resident, int(status.get("VmHWM", 0)))
            time.sleep(INTERVAL)
            ended, code = os.waitpid(process.pid, os.WNOHANG)
        process.returncode = os.waitstatus_to_exitcode(code)
        assert process.stderr is not None, "it is a pipe"
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {process.stderr.read()}")
    return anonymous * 1024 / 1e6, resident * 1024 / 1e6


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=2000, help="of data")
    parser.add_argument("--limit", type=int, default=200, help="MB that memory may grow by")
    parser.add_argument("--sources", nargs="*", choices=list(SOURCES), default=list(SOURCES))
    parser.add_argument("--commands", nargs="*", choices=["evaluate", "prune"], default=["evaluate", "prune"])
    arguments = parser.parse_args()
    print(f"| source | command | {arguments.limit} MB of data | {arguments.megabytes} MB | growth | resident |")
    print("|---|---|---|---|---|---|")
    grown = 0.0
    for source in arguments.sources:
        for command in arguments.commands:
            small, large = (measure(source, command, size) for size in (arguments.limit, arguments.megabytes))
            grown = max(grown, large[0] - small[0])
            cells = f"{small[0]:.0f} | {large[0]:.0f} | {large[0] - small[0]:+.0f} | {large[1]:.0f}"
            print(f"| {source} | `{command}` | {cells} |", flush=True)
    if grown > arguments.limit:
        raise SystemExit(f"Memory grew by {grown:.0f} MB.")


def measure(source: str, command: str, megabytes: int) -> tuple[float, float]:
    """Peaks of a command on so much data of one kind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "m.onnx")
        data = SOURCES[source](folder, megabytes * 10**6)
        return peaks([command, "m.onnx", "--data", str(data), *(TRAIN if command == "prune" else [])], folder)


if __name__ == "__main__":
    main()
