"""What the files of docs/results say: their cells, and how pages call contenders and machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp.errors import FileNotFound
from tools.survey.summary import is_accurate

if TYPE_CHECKING:
    Row = dict[str, Any]

RESULTS = Path("docs", "results")
_ENGINES = ("paddlepaddle", "paddlex", "onnxruntime", "openvino", "ai-edge-litert")
_PEERS = ("ncnn", "MNN", "torch", "executorch")
_SERVERS = ("fastapi", "uvicorn", "mlserver", "litserve")
_READERS = ("opencv-python-headless", "pillow")
_LIBRARIES = (*_ENGINES, *_PEERS, *_SERVERS, *_READERS)
REDUCED = ("int8", "bf16")
SETTLED = 0.1
"""Turns of a figure that would come again differ by at most this share."""
NAMES = {
    "program": "this project, C++",
    "lenet_infer_native": "this project, program without Paddle",
    "lenet_cpp": "this project, Python",
    "paddle.inference": "Paddle Inference",
    "dygraph": "Paddle, training engine",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "litert": "LiteRT",
    "ncnn": "ncnn",
    "mnn": "MNN",
    "torch.compile": "torch.compile",
    "executorch": "ExecuTorch",
}


def read(root: Path, file: str) -> Row:
    """Return the content of a file of results."""
    path = root / RESULTS / file
    try:
        result: Row = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileNotFound(f"cannot read {path}: {error.strerror}") from error
    return result


def number(value: float) -> str:
    """Return a figure as pages show it: with one decimal below 100."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def networks_of(result: Row) -> dict[str, Row]:
    """Return the networks of a result by name."""
    return {network["network"]: network for network in result["networks"]}


def cells_of(
    network: Row, threads: int = 1, precision: str | None = None
) -> dict[str, dict[int, Row]]:
    """Return the cells of a network, by contender and images at once."""
    found: dict[str, dict[int, Row]] = {}
    for cell in network["cells"]:
        if cell["threads"] == threads and precision in {None, cell["precision"]}:
            found.setdefault(cell["contender"], {})[cell["batch_size"]] = cell
    return found


def network_cells(result: Row, name: str) -> dict[str, dict[int, Row]]:
    """Return the cells of one network in float32 and on one thread."""
    return cells_of(networks_of(result)[name], precision="fp32")


def own_name(network: Row, precision: str = "fp32") -> str:
    """Return the contender that is the native engine: from Python, or else from C++."""
    suffix = "" if precision == "fp32" else f"/{precision}"
    names = {cell["contender"] for cell in network["cells"]}
    from_python = f"lenet_cpp/native{suffix}"
    return from_python if from_python in names else f"program/native{suffix}"


def best_other(network: Row, size: int, precision: str = "fp32") -> Row:
    """Return the cell of the fastest contender that is not the native engine.

    Those whose error is too large do not count, but where that of the native engine is too large
    as well, as in a network that enlarges any rounding, all count that are no worse.
    """
    cells = [
        cell
        for cell in network["cells"]
        if (cell["threads"], cell["batch_size"], cell["precision"]) == (1, size, precision)
    ]
    own = max(cell.get("error", 0.0) for cell in cells if "native" in cell["contender"])
    others = (
        cell
        for cell in cells
        if "native" not in cell["contender"]
        and not cell["contender"].endswith("/auto")
        and (is_accurate(cell) or cell["error"] <= own)
    )
    return min(others, key=lambda cell: cell["median_us"])


def peer_name(contender: str) -> str:
    """Return the short name of a contender that is not the native engine."""
    if contender == "lenet_cpp/pdmodel/openvino":
        return "Paddle's OpenVINO"
    if "onednn" in contender:
        return "oneDNN"
    if "/c++" in contender:
        return NAMES[contender.partition("/")[0]] + " (C++)"
    if contender == "program/onnxruntime":
        return NAMES["onnxruntime"] + " (C++)"
    return NAMES[contender.partition("/")[0]]


def describe_machine(result: Row) -> str:
    """Return where, when and with which versions a result was measured."""
    machine, versions = result["machine"], result["versions"]
    family, model, _ = machine["family, model, stepping"].split(", ")
    virtual = ", a virtual machine" if machine["virtual machine"] == "yes" else ""
    libraries = ", ".join(f"{name} {versions[name]}" for name in _LIBRARIES if name in versions)
    processor = f"{machine['processor']} (family {family}, model {model}){virtual}"
    return f"{processor}; {result['date'][:10]}; {libraries}"
