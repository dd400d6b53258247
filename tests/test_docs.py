"""The documentation: its site can be built, its commands do what it says, and what it names exists."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tokenize
from pathlib import Path

import numpy as np
import onnx
import pytest
from markdown_commands import Step, missing_line, run_page, steps
from onnx import numpy_helper
from PIL import Image

import onnx_dnscp

ROOT = Path(__file__).parents[1]
NOT_DOCUMENTED = ("PruneSettings", "__version__")  # the one is what PruneOptions is
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = ("benchmarks", "docs", "examples", "models", "onnx_dnscp", "tests")
FILES = [
    *(path for path in ROOT.iterdir() if path.suffix in (".md", ".toml", ".yml")),
    *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts),
]
TEXTS = sorted(path for path in FILES if path.suffix in (".md", ".toml", ".yml", ".py"))


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder like a clone of the repository, with what pages call the reader's own model and data."""
    for name in ("models", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    with np.load(ROOT / "models" / "digits-train.npz") as arrays:
        images, labels = arrays["image"][:40], arrays["labels"][:40]
    np.savez(tmp_path / "train.npz", image=images, labels=labels)
    for folder in ("train", "images/train", "images/test"):
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            place = tmp_path / folder / str(label)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image[0] * 255).astype(np.uint8)).save(place / f"{number}.png")
    for name in ("model", "resnet"):
        onnx.save(in_colour(onnx.load(ROOT / "models" / "digits-resnet.onnx")), str(tmp_path / f"{name}.onnx"))
    return tmp_path


def in_colour(model: onnx.ModelProto) -> onnx.ModelProto:
    """The digits network for red, green and blue."""
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3
    [stem] = [tensor for tensor in model.graph.initializer if tensor.name == "stem.weight"]
    stem.CopyFrom(numpy_helper.from_array(np.repeat(numpy_helper.to_array(stem) / 3, 3, axis=1), stem.name))
    return model


@pytest.mark.needs_training
@pytest.mark.parametrize("page", [p for p in PAGES if steps(p.read_text("utf-8"))], ids=lambda p: p.stem)
def test_what_a_page_tells_to_type_works(page: Path, desk: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    assert run_page(page, desk, replace={"8000": port}) > 0


def test_the_site_can_be_built_without_a_warning(tmp_path: Path) -> None:
    """Broken links, pages that nothing leads to and options that cannot be read are warnings."""
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # the theme's advertisement of its successor
    built = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert (built.returncode, built.stdout + built.stderr) == (0, "")
    options, api = ((tmp_path / "reference" / n / "index.html").read_text("utf-8") for n in ("options", "api"))
    assert all(
        name in options for name in ("--max-drop", "--gamma", "--reference", "Cut the channels that PLAN removes")
    )
    assert all(f'id="onnx_dnscp.{name}"' in api for name in onnx_dnscp.__all__ if name not in NOT_DOCUMENTED)
    assert "Half width of the band" in api, "what fields of options mean"


# --- what pages and comments name -------------------------------------------------------------------------------------

_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")
_PATH = re.compile(rf"(?<![\w/.~-])((?:{'|'.join(FOLDERS)})/[\w./-]*[\w/])")
_MODULE = re.compile(r"(?<![\w/.-])((?:\w+/)*\w+\.py)\b")


@pytest.mark.parametrize("page", [p for p in TEXTS if p.suffix == ".md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    """The site's builder looks at links within docs/ alone."""
    for target, anchor in _LINK.findall(page.read_text("utf-8")):
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {target}#{anchor}"


def anchors(page: Path) -> list[str]:
    """What the headings of a page are called in addresses."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return [re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower())).strip("-") for title in titles]


def test_files_named_in_pages_and_comments_exist() -> None:
    """Paths from the repository's root, and modules by the end of their path, such as `masks/rules.py`."""
    there = [f"/{path.relative_to(ROOT).as_posix()}" for path in FILES]
    lost = []
    for file in TEXTS:
        said = prose(file)
        made = re.findall(r"<!-- file: (\S+) -->", said)  # by the page's readers
        lost += [(file.name, path) for path in _PATH.findall(said) if not (ROOT / path).exists()]
        modules = set(_MODULE.findall(said)).difference(made)
        lost += [(file.name, name) for name in modules if not any(path.endswith(f"/{name}") for path in there)]
    assert not lost


def prose(file: Path) -> str:
    """All of a page; of a module its comments and docstrings."""
    if file.suffix != ".py":
        return file.read_text("utf-8")
    with tokenize.open(file) as lines:
        tokens = list(tokenize.generate_tokens(lines.readline))
    return "\n".join(t.string for t in tokens if t.type == tokenize.COMMENT or t.string.startswith('"""'))


# --- the runner of commands -------------------------------------------------------------------------------------------

PAGE = """
<!-- exit 3 -->
```sh
echo "one 1 two"; exit 3
```

prints

```text
one ...
```

```sh
echo "16 of   20 in 1m 3s"
```

<!-- numbers vary -->

```text
18 of 20 in 9s
```
"""


def test_a_page_whose_commands_do_what_it_says(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert run_page(page, tmp_path) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [("exit 3 -->", "exit 4 -->"), ("one ...", "...two three"), ("<!-- numbers vary -->\n", ""), ("18 of", "18 off")],
)
def test_a_page_that_is_wrong_is_told(tmp_path: Path, old: str, new: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace(old, new))
    with pytest.raises(AssertionError, match=r"page\.md:\d+ "):
        run_page(page, tmp_path)


def test_files_of_a_page_are_written_and_what_keeps_running_is_ended(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- file: wait.sh -->\n```sh\necho ready; sleep 600\n```\n\n"
        "<!-- keeps running -->\n```sh\nbash wait.sh\n```\n```text\nready\n```\n\n"
        "<!-- not run: needs fish -->\n```sh\nfalse\n```\n"
        "```sh\npip install nothing && echo done\n```\n```text\ndone\n```\n"
    )
    assert run_page(page, tmp_path) == 2


def test_lines_are_promised_in_their_order() -> None:
    promised = Step(1, "sh", "", (), ("b", "a"))
    assert missing_line(promised, "a\nb\n") == "a"
    assert missing_line(promised, "b\nx\na\n") is None
