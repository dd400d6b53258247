"""Serve an ONNX model over HTTP: an image or a .npy array in, JSON with every output out.

    pip install onnxruntime numpy pillow
    python serve.py model.pruned.onnx --port 8000

It imports nothing of onnx-dnscp: a pruned model is an ordinary ONNX file. Meant as a start: it knows no passwords, and
listens to this machine alone unless told otherwise.
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

MOST_BYTES = 16 << 20  # of a request
MOST_PIXELS = 1 << 24  # of an image once it is unpacked
SECONDS_TO_SEND = 10  # a client that says nothing for so long is cut off
NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}

Array = NDArray[Any]


class BadRequestError(Exception):
    """What was sent cannot be answered; the text goes back to the sender."""


@dataclass(frozen=True)
class Model:
    """A model with one input and how its samples are prepared.

    Attributes:
        session: The loaded model.
        name: What it is called in answers.
        scale, mean, std: Images become `(pixel * scale - mean) / std`, per channel; arrays are taken as they are.
    """

    session: ort.InferenceSession
    name: str
    scale: float
    mean: Array
    std: Array

    @property
    def input(self) -> Any:
        """Name, type and shape of the model's input; sizes that may vary are no integers."""
        return self.session.get_inputs()[0]

    def answer(self, body: bytes) -> dict[str, Any]:
        """Every output for the samples in a request, and the best class of each where the first output has classes."""
        samples = self._check(read_npy(body) if body.startswith(np.lib.format.MAGIC_PREFIX) else self._image(body))
        try:
            values = self.session.run(None, {self.input.name: samples})
        except Exception as error:  # the runtime's errors have no common base, and one request must not stop others
            raise BadRequestError(f"the model cannot run this: {str(error).splitlines()[0]}") from error
        if not all(np.isfinite(value).all() for value in values):
            raise BadRequestError("the model has no finite answer to this")
        names = (output.name for output in self.session.get_outputs())
        best = values[0].argmax(1).tolist() if values[0].ndim == 2 else None
        return {
            "model": self.name,
            "best": best,
            "outputs": {n: v.tolist() for n, v in zip(names, values, strict=True)},
        }

    def _check(self, samples: Array) -> Array:
        """Samples as the model takes them; one without a batch axis becomes a batch of one."""
        wanted = self.input.shape
        samples = samples[None] if samples.ndim == len(wanted) - 1 else samples
        fits = len(wanted) == samples.ndim and all(
            size == there or not isinstance(size, int) for size, there in zip(wanted, samples.shape, strict=True)
        )
        if not fits or not samples.size:
            raise BadRequestError(f"the array has shape {list(samples.shape)}; the model takes {wanted}")
        if samples.dtype.kind not in "biuf":
            raise BadRequestError(f"the array is of {samples.dtype}; send numbers")
        return samples.astype(DTYPES[self.input.type])

    def _image(self, body: bytes) -> Array:
        """(1, channels, height, width) of an encoded image, in the size that the model wants."""
        _, channels, height, width = self.input.shape if len(self.input.shape) == 4 else (0, 0, 0, 0)
        if channels not in (1, 3):
            raise BadRequestError(f"the model takes arrays of shape {self.input.shape}, no images; send a .npy array")
        try:
            with Image.open(io.BytesIO(body)) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise BadRequestError(f"the image has {image.width} x {image.height} pixels, which is too many")
                picture = image.convert("L" if channels == 1 else "RGB")
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
            raise BadRequestError("this is neither a .npy array nor an image that can be read") from error
        if isinstance(height, int) and isinstance(width, int):
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(picture, dtype=np.float32).reshape(picture.height, picture.width, channels)
        prepared: Array = ((pixels * self.scale - self.mean) / self.std).transpose(2, 0, 1)[None]
        return prepared


def read_npy(body: bytes) -> Array:
    """The array in the bytes of a .npy file; nothing is unpickled, and nothing allocated beyond what was sent."""
    stream = io.BytesIO(body)
    try:
        shape, is_fortran, dtype = NPY_HEADERS[np.lib.format.read_magic(stream)](stream)
    except (KeyError, ValueError, TypeError) as error:
        raise BadRequestError(f"the .npy array has no header that can be read: {error}") from error
    content = body[stream.tell() :]
    if dtype.hasobject:
        raise BadRequestError("the .npy array holds Python objects; send numbers")
    if prod(shape) * dtype.itemsize != len(content):
        raise BadRequestError(f"the .npy array promises {dtype} of shape {list(shape)}, which is not what follows")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")


class Handler(BaseHTTPRequestHandler):
    """GET says what the model takes, POST answers."""

    model: Model
    timeout = SECONDS_TO_SEND

    def do_GET(self) -> None:
        """Name of the model, and of its input the name, type and shape."""
        asked = self.model.input
        about = {"name": asked.name, "type": asked.type, "shape": asked.shape}
        self._reply(HTTPStatus.OK, {"model": self.model.name, "input": about})

    def do_POST(self) -> None:
        """Scores for the image or array in the body."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            return self._reply(HTTPStatus.LENGTH_REQUIRED, {"error": "say the length of what you send"})
        if len(length) > len(str(MOST_BYTES)) or int(length) > MOST_BYTES:
            return self._reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"send at most {MOST_BYTES} bytes"})
        try:
            self._reply(HTTPStatus.OK, self.model.answer(self.rfile.read(int(length))))
        except BadRequestError as error:
            self._reply(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    def _reply(self, status: HTTPStatus, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Read the command line and serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve an ONNX model over HTTP.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes any that is free")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime, per request")
    parser.add_argument("--scale", type=float, default=1 / 255)
    parser.add_argument("--mean", type=numbers, default=[0.0], help="per channel, such as 0.485,0.456,0.406")
    parser.add_argument("--std", type=numbers, default=[1.0])
    options = parser.parse_args()
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = ort.InferenceSession(options.model, settings, providers=["CPUExecutionProvider"])
    if len(session.get_inputs()) != 1 or session.get_inputs()[0].type not in DTYPES:
        parser.error("the model must have one input of floats")
    mean, std = (np.array(values, dtype=np.float32) for values in (options.mean, options.std))
    Handler.model = Model(session, options.model.name, options.scale, mean, std)
    with ThreadingHTTPServer((options.host, options.port), Handler) as server:
        print(f"Serving {options.model.name} on http://{options.host}:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("Stopped.")


def numbers(text: str) -> list[float]:
    """Comma-separated numbers."""
    return [float(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
