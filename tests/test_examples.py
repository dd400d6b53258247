"""The example server, from outside: it answers what it should and refuses the rest."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Served:
    """A running server."""

    port: int

    def ask(self, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and answer, of GET without a body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET" if body is None else "POST", "/", body, named)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


@pytest.fixture(scope="module")
def served(resnet_path: Path) -> Iterator[Served]:
    """The digits network on a free port."""
    command = [sys.executable, str(ROOT / "examples" / "serve.py"), str(resnet_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Serving digits-resnet.onnx on http://127.0.0.1:")
        yield Served(int(line.rsplit(":", 1)[1]))
        process.terminate()


@pytest.fixture
def digits(test_data_path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Ten digits that the network reads well, and which they are."""
    with np.load(test_data_path) as arrays:
        return arrays["image"][:10], arrays["labels"][:10]


def npy(array: NDArray[Any], *, pickled: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=pickled)
    return stream.getvalue()


def test_it_says_what_it_takes(served: Served) -> None:
    status, answer = served.ask()
    about = {"name": "image", "type": "tensor(float)", "shape": ["N", 1, 8, 8]}
    assert (status, answer) == (200, {"model": "digits-resnet.onnx", "input": about})


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4"])
def test_arrays_are_answered_in_any_number_type(served: Served, digits: Any, dtype: Any) -> None:
    images, labels = digits
    status, answer = served.ask(npy(np.asfortranarray(images.astype(dtype))))
    assert (status, answer["best"]) == (200, labels.tolist())
    assert np.argmax(answer["outputs"]["logits"], axis=1).tolist() == labels.tolist()


def test_one_sample_needs_no_batch_axis(served: Served, digits: Any) -> None:
    images, labels = digits
    assert served.ask(npy(images[0]))[1]["best"] == [labels[0]]


def test_images_of_any_size_and_colour_are_made_to_fit(served: Served, digits: Any) -> None:
    images, labels = digits
    stream = io.BytesIO()
    picture = Image.fromarray((images[0, 0] * 255).astype(np.uint8)).convert("RGB")
    picture.resize((64, 64), Image.Resampling.NEAREST).save(stream, "PNG")
    status, answer = served.ask(stream.getvalue())
    assert (status, answer["best"]) == (200, [labels[0]])


HUGE = npy(np.zeros(1, np.float32)).replace(b"(1,), }         ", b"(1000000000000,), }")[:-4]
REFUSED = {
    "neither": b"hello",
    "promises": npy(np.zeros((1, 1, 8, 8), np.float32))[:-4],
    "Python objects": npy(np.array([{}]), pickled=True),
    "shape": npy(np.zeros((1, 3, 8, 8), np.float32)),
    "send numbers": npy(np.full((1, 1, 8, 8), "a")),
    "no finite": npy(np.full((1, 1, 8, 8), np.nan, np.float32)),
    "header": b"\x93NUMPY\x09\x00",
    "too many": b"P5 5000 5000 255\n" + bytes(25_000_000 // 2),
}


@pytest.mark.parametrize("reason", list(REFUSED))
def test_what_does_not_fit_is_refused_in_a_sentence(served: Served, reason: str) -> None:
    status, answer = served.ask(REFUSED[reason])
    assert status == 400
    assert reason in answer["error"]


def test_an_array_that_promises_terabytes_is_refused(served: Served) -> None:
    assert b"1000000000000" in HUGE
    status, answer = served.ask(HUGE)
    assert status == 400
    assert "promises float32 of shape [1000000000000]" in answer["error"]


def test_long_requests_are_refused_before_they_are_read(served: Served) -> None:
    for length in ("16777217", "9" * 50):
        status, answer = served.ask(b"", Content_Length=length)
        assert (status, answer) == (413, {"error": "send at most 16777216 bytes"})
    assert served.ask(b"", Content_Length="-1")[0] == 411


def test_it_goes_on_after_all_that(served: Served, digits: Any) -> None:
    for body in REFUSED.values():
        served.ask(body)
    assert served.ask(npy(digits[0]))[0] == 200
