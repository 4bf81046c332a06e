"""Make tests/data/onnx/exporters.tar.xz: small networks as other tools write them.

    python -m tools.exporters                       all tools; ten minutes
    python -m tools.exporters --tool onnxsim tf2onnx
    python -m tools.exporters check                 run them on both engines: --help says more

A tool is the one of this environment, or runs in an environment of its own in the user's cache
folder, which is made first unless it is there: 1.6 GB for TensorFlow, 0.2 GB for others. It needs
this project with its extras torch, paddle and onnx. The archive holds ``index.json`` and
TOOL/NAME.onnx. What is not made from a framework is made from the files of torch-legacy.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from lenet_cpp._base.worker import call
from lenet_cpp.errors import Error
from lenet_cpp.quantize.environments import Environment
from tools.corpora import report, write_archive
from tools.exporters.corpus import CORPUS, difference, draw_images, read_index, unpack
from tools.exporters.networks import INPUTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SECONDS = 3600.0
_ONNX = ("onnx==1.23.2", "numpy==2.4.6")
_KERAS = "keras==3.15.1"
ENVIRONMENTS = {
    "tensorflow": ("tf2onnx==1.17.0", "tensorflow-cpu==2.21.0", _KERAS, *_ONNX),
    "keras": (_KERAS, "numpy==2.4.6"),  # PyTorch is ours
    "onnxsim": ("onnxsim==0.8.1", *_ONNX),
    "onnxslim": ("onnxslim==0.1.98", *_ONNX),
    "onnxoptimizer": ("onnxoptimizer==0.4.2", *_ONNX),
    "onnx": ("onnxconverter-common==1.16.0", *_ONNX),
}


@dataclass(frozen=True)
class Tool:
    """How a tool is called.

    Attributes:
        package: What is listed with its version; behind ``/`` more packages.
        script: The module, whose ``make`` writes the files.
        arguments: Those of ``make``.
        environment: One of ``ENVIRONMENTS``; that of this process when empty.
    """

    package: str
    script: str
    arguments: dict[str, Any] = field(default_factory=dict)
    environment: str = ""


_NO_OPSETS: dict[str, Any] = {"opsets": []}
TOOLS = {
    "torch-legacy": Tool("torch", "torch_worker", {"exporter": "legacy"}),
    "torch-dynamo": Tool("torch/onnxscript", "torch_worker", {"exporter": "dynamo"}),
    "tf2onnx": Tool(
        "tf2onnx/tensorflow-cpu",
        "keras_worker",
        {"backend": "tensorflow", "opsets": [9, 13, 18]},
        "tensorflow",
    ),
    "keras-tensorflow": Tool(
        "keras/tf2onnx", "keras_worker", {"backend": "tensorflow"} | _NO_OPSETS, "tensorflow"
    ),
    "keras-torch": Tool("keras/torch", "keras_worker", {"backend": "torch"} | _NO_OPSETS, "keras"),
    "paddle2onnx": Tool("paddle2onnx/paddlepaddle", "paddle_worker", {"opsets": [9, 13, 17]}),
    "onnxsim": Tool("onnxsim", "rewrite_worker", {"tool": "onnxsim"}, "onnxsim"),
    "onnxslim": Tool("onnxslim", "rewrite_worker", {"tool": "onnxslim"}, "onnxslim"),
    "onnxoptimizer": Tool(
        "onnxoptimizer", "rewrite_worker", {"tool": "onnxoptimizer"}, "onnxoptimizer"
    ),
    "version-converter": Tool("onnx", "rewrite_worker", {"tool": "version-converter"}, "onnx"),
    "external-data": Tool("onnx", "rewrite_worker", {"tool": "external-data"}, "onnx"),
    "float16": Tool("onnxconverter-common", "rewrite_worker", {"tool": "float16"}, "onnx"),
    "rounded-weights": Tool("onnx", "rewrite_worker", {"tool": "rounded-weights"}, "onnx"),
    "optimized": Tool("onnxruntime", "runtime_worker", {"way": "optimized"}),
    "quantized-qdq": Tool("onnxruntime", "runtime_worker", {"way": "QDQ"}),
    "quantized-qoperator": Tool("onnxruntime", "runtime_worker", {"way": "QOperator"}),
    "quantized-dynamic": Tool("onnxruntime", "runtime_worker", {"way": "dynamic"}),
    "handmade": Tool("onnx", "handmade_worker", {}, "onnx"),
}


def environment(name: str) -> Environment:
    """Return one of ``ENVIRONMENTS``."""
    first = ENVIRONMENTS[name][0].split("==")[0].replace("-", "_")
    return Environment(
        name=f"exporter-{name}",
        title=" and ".join(ENVIRONMENTS[name]),
        requirements=ENVIRONMENTS[name],
        # Keras does not load without a framework.
        trial=f"import {'h5py' if name == 'keras' else first}",
        remedy="it needs the network, 2 GB of space, and Python 3.11 on Linux",
    )


def versions(tool: Tool) -> dict[str, str]:
    """Return the versions of a tool's packages: the pinned ones, or those of this process."""
    pinned = dict(each.split("==") for each in ENVIRONMENTS.get(tool.environment, ()))
    return {name: pinned.get(name) or metadata.version(name) for name in tool.package.split("/")}


def make(name: str, folder: Path) -> dict[str, Any]:
    """Write a tool's files to a folder of its name; return its index."""
    tool, raw = TOOLS[name], folder / name
    given = {"folder": str(raw), **tool.arguments}
    if tool.script in {"rewrite_worker", "runtime_worker", "handmade_worker"}:
        given["base_folder"] = str(folder / "torch-legacy")
    how: dict[str, Any] = {"seconds": _SECONDS, "variables": {"PYTHONHASHSEED": "0"}}
    if tool.environment:
        python = environment(tool.environment).make(sys.executable, report=report)
        if tool.environment == "keras":
            (packages,) = python.parents[1].glob("lib/python*/site-packages")
            given["packages"] = str(packages)
        else:
            how["python"] = python
    script = Path(__file__).with_name(f"{tool.script}.py")
    found = call(f"{script}:make", given, doing=name, report=report, **how).result
    described: list[dict[str, Any]] = []
    not_run: dict[str, str] = {}
    for file, network in found["files"].items():
        try:
            described.append({"name": file, **describe(raw / f"{file}.onnx", network)})
        except Exception as error:  # noqa: BLE001, PERF203 - whatever onnxruntime says of a tool's file is its result
            not_run[file] = str(error).splitlines()[0].replace(f"{raw}/", "")
    return {
        "versions": versions(tool),
        "not_written": found["failed"],
        "not_run": not_run,
        "files": described,
    }


def describe(path: Path, network: str) -> dict[str, Any]:
    """Return what ``corpus.File`` holds of a file, with the answers of onnxruntime."""
    model = onnx.load(path)
    (opset,) = {each.version for each in model.opset_import if each.domain in {"", "ai.onnx"}}
    image = model.graph.input[0].type.tensor_type
    sizes = [each.dim_value for each in image.shape.dim[1:]]
    shape = sizes if all(sizes) and sizes else INPUTS[network]
    kind = TensorProto.DataType.Name(image.elem_type).lower()
    images = draw_images(network, tuple(shape), kind)
    expected = run(path, images, "DISABLE")
    quantized = any(_is_quantized(node.op_type) for node in model.graph.node)
    optimized = difference(run(path, images, "ENABLE"), expected) if quantized else 0.0
    return {
        "network": network,
        "shape": list(shape),
        "kind": kind,
        "opset": opset,
        "quantized": quantized,
        "expected": [[float(f"{value:.8g}") for value in row.ravel()] for row in expected],
        "optimized": optimized,
        "step": _step(model),
    }


def _is_quantized(kind: str) -> bool:
    return kind.startswith("QLinear") or kind.endswith(("QuantizeLinear", "Integer"))


def _step(model: Any) -> float:
    """Return the scale of the DequantizeLinear that gives the output; 0 when none does."""
    scales = {each.name: each for each in model.graph.initializer}
    for node in model.graph.node:
        last = model.graph.output[0].name in node.output and node.op_type == "DequantizeLinear"
        if last and node.input[1] in scales:
            return float(numpy_helper.to_array(scales[node.input[1]]))
    return 0.0


def run(path: Path, images: NDArray[Any], level: str) -> NDArray[Any]:
    """Return onnxruntime's answers for the images at once and for the first alone, as float64.

    Of several outputs it is the first of numbers that are no integers, or else the first.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(
        onnxruntime.GraphOptimizationLevel, f"ORT_{level}_ALL"
    )
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    image, *others = session.get_inputs()
    types = {"float": "float32", "double": "float64"}
    name = image.type.removeprefix("tensor(").removesuffix(")")
    images = images.astype(types.get(name, name))
    batches = [images, images[:1]]
    if image.shape and isinstance(image.shape[0], int):  # one image at a time
        batches = np.split(np.concatenate(batches), len(images) + 1)
    outputs = session.get_outputs()
    wanted = next((each for each in outputs if "int" not in each.type), outputs[0]).name
    answers = []
    for batch in batches:
        more = {each.name: np.zeros((len(batch), 3), "float32") for each in others}
        answers.append(session.run([wanted], {image.name: batch} | more)[0])
    return np.concatenate(answers).astype("float64")


def pack(index: dict[str, Any], folder: Path) -> None:
    """Write the corpus: the index, and the files that it lists with their external data."""
    contents: dict[str, bytes | Path] = {"index.json": json.dumps(index, indent=0).encode() + b"\n"}
    listed = {f"{tool}/{one['name']}.onnx" for tool in index for one in index[tool]["files"]}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            contents[name] = path.readlink()
        elif path.is_file() and (name in listed or path.suffix != ".onnx"):
            contents[name] = path.read_bytes()
    write_archive(CORPUS, contents)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.exporters",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--tool",
        nargs="+",
        choices=TOOLS,
        default=list(TOOLS),
        metavar="TOOL",
        help=f"these alone, in place of all: {', '.join(TOOLS)}",
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder, index = Path(name), {}
        if set(options.tool) != set(TOOLS):
            unpack(folder)
            index = dict(read_index())
        try:
            for tool in sorted(options.tool, key=list(TOOLS).index):
                shutil.rmtree(folder / tool, ignore_errors=True)
                (folder / tool).mkdir()
                index[tool] = make(tool, folder)
                print(f"{tool}: {len(index[tool]['files'])} files")
                for what in ("not_written", "not_run"):
                    for file, reason in index[tool][what].items():
                        print(f"  {what}: {file}: {reason}")
        except Error as error:
            print(f"exporters: {error}", file=sys.stderr)
            return error.exit_code
        (folder / "index.json").unlink(missing_ok=True)
        pack({tool: index[tool] for tool in TOOLS if tool in index}, folder)
    print(f"{CORPUS}: {CORPUS.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    check = sys.argv[1:2] == ["check"]
    try:
        sys.exit(import_module("tools.exporters.check").main(sys.argv[2:]) if check else main())
    except KeyboardInterrupt:
        print("exporters: interrupted; nothing is changed", file=sys.stderr)
        sys.exit(130)
