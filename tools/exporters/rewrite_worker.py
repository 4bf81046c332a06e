"""Rewrite files of PyTorch's legacy exporter by tools that read .onnx and write .onnx."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.exporters.networks import CONVOLUTIONAL, INPUTS, base, make_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.exporters.networks import Report

SMALL = ("lenet", "resnet", "mobilenetv3", "efficientnet", "vit")


def make(folder: str, base_folder: str, tool: str, report: Report) -> dict[str, Any]:
    """Rewrite files by one of ``TOOLS``."""
    function, networks, variants = TOOLS[tool]

    def rewrite(network: str, path: Path, **how: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = function(onnx.load(base(base_folder, network)), path, **how)
        if made is not None:
            onnx.save(made, path)

    cases = [
        (f"{network}{'-' if name else ''}{name}", network, how)
        for network in networks
        for name, how in variants.items()
    ]
    return make_all(folder, cases, rewrite, report)


def simplify(model: Any, path: Path) -> Any:
    import onnxsim

    made, checked = onnxsim.simplify(model)
    if not checked:
        raise ValueError("onnxsim found other answers")
    return made


def slim(model: Any, path: Path) -> Any:
    import onnxslim

    return onnxslim.slim(model)


def optimize(model: Any, path: Path) -> Any:
    import onnxoptimizer

    return onnxoptimizer.optimize(model, onnxoptimizer.get_fuse_and_elimination_passes())


def convert(model: Any, path: Path, opset: int) -> Any:
    from onnx import version_converter

    return version_converter.convert_version(model, opset)


def to_float16(model: Any, path: Path, keep_io_types: bool) -> Any:
    from onnxconverter_common import float16

    return float16.convert_float_to_float16(model, keep_io_types=keep_io_types)


def round_weights(model: Any, path: Path, kind: int) -> Any:
    """Store the float32 weights in another type, each with a Cast behind it."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            name = tensor.name
            if kind == TensorProto.FLOAT16:
                tensor.CopyFrom(numpy_helper.from_array(values.astype("float16"), f"{name}_small"))
            else:  # bfloat16 is the upper half of a float32
                upper = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
                shape = values.shape
                tensor.CopyFrom(helper.make_tensor(f"{name}_small", kind, shape, upper, raw=True))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def save_apart(model: Any, path: Path, linked: bool) -> None:
    """Save a model with external data; ``linked`` as it lies in Hugging Face's cache."""
    blobs = path.parents[2] / "blobs" if linked else path.parent
    blobs.mkdir(exist_ok=True)
    data = f"{path.name}.data"
    onnx.save(
        model,
        blobs / path.name,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=data,
        size_threshold=0,
    )
    if linked:
        for number, name in enumerate((path.name, data)):
            (blobs / name).rename(blobs / f"blob{number}")
            path.with_name(name).symlink_to(f"../../blobs/blob{number}")


TOOLS: dict[str, tuple[Callable[..., Any], tuple[str, ...], dict[str, dict[str, Any]]]] = {
    "onnxsim": (simplify, tuple(INPUTS), {"": {}}),
    "onnxslim": (slim, tuple(INPUTS), {"": {}}),
    "onnxoptimizer": (optimize, tuple(INPUTS), {"": {}}),
    "version-converter": (
        convert,
        CONVOLUTIONAL,
        {"18": {"opset": 18}, "21": {"opset": 21}, "25": {"opset": 25}},
    ),
    "external-data": (
        save_apart,
        SMALL,
        {"": {"linked": False}, "cached/snapshots/main/model": {"linked": True}},
    ),
    "float16": (
        to_float16,
        SMALL,
        {"io16": {"keep_io_types": False}, "io32": {"keep_io_types": True}},
    ),
    "rounded-weights": (
        round_weights,
        SMALL,
        {"float16": {"kind": TensorProto.FLOAT16}, "bfloat16": {"kind": TensorProto.BFLOAT16}},
    ),
}
