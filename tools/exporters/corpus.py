"""Read the corpus, and judge an engine's answer of one of its files."""

from __future__ import annotations

import functools
import json
import lzma
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import lenet_cpp
from tools.survey.verdict import operator
from tools.survey.worker import seed_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

CORPUS = Path(__file__).resolve().parents[2] / "tests" / "data" / "onnx" / "exporters.tar.xz"
RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "exporters.json"
TOLERANCE = 1e-5
"""The largest difference of a right answer, as a share of the image's largest output or of 1."""
HALF_TOLERANCE = 5e-4
"""That where onnxruntime's answer is of float16, whose numbers are up to 4.9e-4 of each apart."""
STEPS = 2
"""The largest difference of the answer of a quantized file that is near, in steps of its output."""
ENGINES = ("native", "auto")
# Tools whose files onnxruntime itself answers otherwise, or not at all, without AVX-512 VNNI.
OF_ONE_MACHINE = ("optimized", "quantized-dynamic", "quantized-qdq", "quantized-qoperator")
_REASONS = {  # by a part of the message
    "does not say the shape": "sizes that the file does not say",
    "is no tensor of": "a float16 input",
    "no float32 output": "no float32 output",
    "has 2 inputs": "two inputs",
}


@dataclass(frozen=True)
class File:
    """A file of the corpus, its input, and onnxruntime's answer without optimizations.

    Attributes:
        tool: The tool that wrote it.
        name: Its path in the tool's folder, without .onnx.
        network: The network, whose name is the seed of the input.
        shape: The shape of an image.
        kind: The element type of the input, as onnxruntime names it.
        opset: The operator set.
        quantized: Whether it computes with quantized values.
        expected: The answers for three images at once, and that for the first one alone, which is
            another where values are quantized by what a batch holds.
        optimized: The difference of onnxruntime's answer with all optimizations, where quantized.
        step: The scale of the quantized output; 0 when there is none.
    """

    tool: str
    name: str
    network: str
    shape: tuple[int, ...]
    kind: str
    opset: int
    quantized: bool
    expected: list[list[float]]
    optimized: float
    step: float

    def __str__(self) -> str:
        """Return a name that no other file has."""
        return f"{self.tool}-{self.name}"


def draw_images(network: str, shape: tuple[int, ...], kind: str) -> NDArray[Any]:
    """Return three images: in steps of 1/64, which float16 has too, or pixels from 0 to 255."""
    random = np.random.RandomState(seed_of(network))
    drawn = random.uniform(-0.5, 0.5, (3, *shape))
    drawn += random.uniform(-0.5, 0.5, (3, *shape[:-2], 1, 1))  # so that no two are alike
    pixels = "int" in kind
    return np.round((drawn + 1) * 127.5 if pixels else drawn * 64) / (1 if pixels else 64)


def difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference of an image, as a share of its largest output or of 1."""
    largest = np.maximum(1, np.abs(expected).reshape(len(expected), -1).max(1))
    return float((np.abs(found - expected).reshape(len(expected), -1).max(1) / largest).max())


@functools.cache
def _data() -> bytes:
    return lzma.decompress(CORPUS.read_bytes())


@functools.cache
def read_index() -> dict[str, dict[str, Any]]:
    """Return what is known of the files, by tool."""
    with tarfile.open(fileobj=BytesIO(_data())) as tar:
        member = tar.extractfile("index.json")
        index: dict[str, dict[str, Any]] = json.load(member) if member else {}
        return index


@functools.cache
def files() -> list[File]:
    """Return the files of all tools."""
    return [
        File(**{**one, "shape": tuple(one["shape"])}, tool=tool)
        for tool, found in read_index().items()
        for one in found["files"]
    ]


def unpack(folder: Path) -> None:
    """Write all files as TOOL/NAME.onnx to a folder."""
    with tarfile.open(fileobj=BytesIO(_data())) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # since Python 3.11.4
        tar.extractall(folder)


def judge(file: File, folder: Path, engine: Any, **options: Any) -> tuple[str, str]:
    """Run an unpacked file for three images and for one.

    Args:
        file: Of the corpus.
        folder: Where :func:`unpack` wrote it.
        engine: The engine of the predictor.
        options: Its other options.

    Returns:
        ``right``, ``near`` (a quantized file within ``STEPS`` of its output's steps, and no class
        differs whose margin exceeds onnxruntime's own difference), ``wrong``, or the class of the
        error; and the difference or the message.
    """
    precision: Any = "int8" if file.quantized and engine == "native" else "fp32"
    path = folder / file.tool / f"{file.name}.onnx"
    images = draw_images(file.network, file.shape, file.kind).astype("float32")
    try:
        with lenet_cpp.Predictor(path, engine=engine, precision=precision, **options) as predictor:
            found = np.concatenate([predictor.run(images), predictor.run(images[:1])])
    except lenet_cpp.Error as error:
        return type(error).__name__, str(error).replace(f"{path}", path.name)
    return compare(file, found)


def gives_half(file: File) -> bool:
    """Return whether onnxruntime's answer is of numbers of float16, written in decimals."""
    expected = np.asarray(file.expected)
    half = expected.astype(np.float16).astype(np.float64)
    return not file.quantized and np.allclose(half, expected, rtol=1e-6, atol=1e-9)


def compare(file: File, found: NDArray[Any]) -> tuple[str, str]:
    """Compare the answers for three images and for the first; return as ``judge`` does."""
    expected = np.asarray(file.expected)
    if found.size != expected.size:
        return "wrong", f"the shape is {found.shape} in place of {expected.shape}"
    found = found.reshape(expected.shape)
    share = difference(found, expected)
    message = f"the difference is {share:.1e}"
    tolerance = HALF_TOLERANCE if gives_half(file) else TOLERANCE
    if share <= max(tolerance, file.optimized + 1e-6):
        return "right", message
    ordered = np.sort(expected, 1)
    sure = ordered[:, -1] - ordered[:, -2] > file.optimized * np.maximum(1, abs(expected).max(1))
    same = found.argmax(1) == expected.argmax(1)
    within = np.abs(found - expected).max() <= STEPS * file.step * 1.0001
    return ("near" if within and same[sure].all() else "wrong"), message


def reason(message: str) -> str:
    """Return the operator for which a file is refused, or another reason in a few words."""
    name = operator(message)
    if name:
        return f"`{name}`"
    return next((reason for part, reason in _REASONS.items() if part in message), message)
