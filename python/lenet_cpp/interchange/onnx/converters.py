"""What the foreign converters do, in a child process (:mod:`lenet_cpp._base.worker`).

x2paddle runs code that it writes, paddle2onnx and the C++ of onnx may crash on a damaged model,
and all of them print.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.agreement import compare_batches
from lenet_cpp.errors import BackendFailure, BadModel, Error, Unsupported
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.interchange.onnx import files as onnx_files
from lenet_cpp.models.paddle_run import last_line, random_batches, run_model

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx
    import paddle
    from numpy.typing import NDArray

    from lenet_cpp._base.worker import Report
    from lenet_cpp.formats.manifest import Manifest

# What paddle2onnx uses would otherwise install packages while it runs.
CONVERTERS = {"POLYGRAPHY_AUTOINSTALL_DEPS": "0"}


def to_onnx(program: str, params: str, output: str, opset: int, report: Report) -> dict[str, Any]:
    """Convert a Paddle model with paddle2onnx."""
    report("paddle2onnx", 0, 0)
    import paddle
    import paddle2onnx

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            # Its optimization by Polygraphy installs packages, whatever the environment says.
            paddle2onnx.export(program, params, output, opset_version=opset, optimize_tool="none")
        except Exception as error:
            said = re.findall(r"Failed to convert PaddlePaddle model: (.*)", printed.getvalue())
            reason = said[-1] if said else last_line(error)
            raise Unsupported(f"{program}: paddle2onnx cannot convert it ({reason})") from error
    return {
        "paddle": str(paddle.__version__),
        "paddle2onnx": str(getattr(paddle2onnx, "__version__", "unknown")),
    }


def from_onnx(
    path: str,
    output: str,
    name: str,
    input_shape: list[int] | None,
    output_name: str | None,
    report: Report,
) -> dict[str, Any]:
    """Convert an ONNX model with x2paddle, and compare what becomes of it at each step."""
    from lenet_cpp.interchange.onnx.tidy import tidy, upgraded
    from lenet_cpp.interchange.onnx.x2paddle_network import write_network

    report("reading", 0, 0)
    source = onnx_files.read_onnx(path)
    info = onnx_files.describe_onnx(source)
    report("writing the graph anew", 0, 0)
    try:
        source = upgraded(source)
        tidied = tidy(source, input_shape=input_shape, output=output_name)
    except (Unsupported, BadModel) as error:
        raise type(error)(f"{path}: {error}") from error
    shape = onnx_files.describe_onnx(tidied).inputs[0].shape
    images = _batches(shape, info.batch)
    expected = _outputs(source, output_name, images)
    _compare(path, "the graph written anew", expected, _outputs(tidied, None, images))
    report("x2paddle", 0, 0)
    with tempfile.TemporaryDirectory(prefix="lenet-") as folder:
        builder = write_network(tidied, Path(folder))
        report("exporting", 0, 0)
        exported, notes = _export(path, name, builder, Path(folder), Path(output), tidied)
    difference = 0.0
    for model_format in exported:
        report(f"comparing .{model_format}", 0, 0)
        difference = max(
            difference, _verify(path, Path(output), name, model_format, images, expected)
        )
    kinds = [node.op_type for node in tidied.graph.node if node.op_type != "Reshape"]
    return {
        "signatures": {
            each: asdict(manifest.models[f"{name}.{each}"]) for each, manifest in exported.items()
        },
        "paddle_version": next(iter(exported.values())).paddle_version,
        "notes": notes,
        "max_difference": difference,
        "metadata": onnx_files.read_metadata(source),
        "producer": info.producer,
        "opset": info.opset,
        "softmax": kinds[-1:] == ["Softmax"],
    }


def _batches(shape: tuple[int, ...], fixed: int) -> list[NDArray[np.float32]]:
    """Random batches of 1 and 3 images, or of such as the source takes at a time."""
    random = random_batches(shape)
    if fixed <= 1:
        return random
    return [np.repeat(batch, fixed, axis=0) for batch in random]


def _outputs(
    model: onnx.ModelProto, output: str | None, images: list[NDArray[np.float32]]
) -> list[NDArray[Any]]:
    session = onnx_files.OnnxSession(model)
    names = None if output is None else [output]
    found = [session.run(batch, names)[0] for batch in images]
    return [each.reshape(len(each), -1) for each in found]


def _compare(
    path: str, what: str, expected: list[NDArray[Any]], found: list[NDArray[Any]]
) -> float:
    if not all(np.isfinite(outputs).all() for outputs in expected):
        raise BadModel(f"{path} gives values that are not finite for images from 0 to 1")
    comparison = compare_batches(zip(expected, found, strict=True), names=("the ONNX model", what))
    if not comparison.agrees:
        raise BackendFailure(f"{path}: {comparison.mismatch}; nothing was written")
    return comparison.largest_difference


def _known(error: Error) -> type[Error]:
    """Return the class in :mod:`lenet_cpp.errors` of an error: others take more than a message."""
    return next(kind for kind in type(error).__mro__ if kind.__module__ == Error.__module__)


def _export(
    path: str,
    name: str,
    builder: Callable[..., paddle.nn.Layer],
    folder: Path,
    output: Path,
    model: onnx.ModelProto,
) -> tuple[dict[str, Manifest], list[str]]:
    """Export in both formats, or in the one that Paddle and the C++ program take."""
    from lenet_cpp.export.inference_model import EXPORT_FORMATS, export_model
    from lenet_cpp.models import ModelSpec

    info = onnx_files.describe_onnx(model)
    spec = ModelSpec(
        name, builder, info.inputs[0].shape[1:], classes=info.outputs[0].shape[-1], stem=name
    )
    done: dict[str, Manifest] = {}
    notes: list[str] = []
    refused: Exception | None = None
    for model_format in EXPORT_FORMATS:
        target = folder / model_format
        try:
            result = export_model(
                folder / "model.pdparams", target, model=spec, name=name, formats=(model_format,)
            )
            program = target / f"{name}.{model_format}"
            with Predictor(program, target / f"{name}.pdiparams", accelerator="plain"):
                pass
        except (Error, RuntimeError, TypeError, ValueError) as error:  # Paddle's own, too
            refused = error
            notes.append(f".{model_format} is left out: {_reason(error, target)}")
            continue
        params = (target / f"{name}.pdiparams").read_bytes()
        kept = output / f"{name}.pdiparams"
        if done and kept.read_bytes() != params:
            notes.append(f".{model_format} is left out: Paddle orders its parameters otherwise")
            continue
        kept.write_bytes(params)
        program.replace(output / program.name)
        done[model_format] = result.manifest
    if refused is not None and not done:
        kind = _known(refused) if isinstance(refused, Error) else BackendFailure
        raise kind(f"{path} was converted, but cannot be used: {_reason(refused, folder)}")
    return done, notes


def _reason(error: Exception, folder: Path) -> str:
    """The last line of an error, without the name of a temporary folder."""
    return last_line(error).strip().replace(f"{folder}/", "")


def _verify(
    path: str,
    folder: Path,
    name: str,
    model_format: str,
    images: list[NDArray[np.float32]],
    expected: list[NDArray[Any]],
) -> float:
    """Compare a format that was written with the ONNX model, by two ways of running it."""
    program, params = folder / f"{name}.{model_format}", folder / f"{name}.pdiparams"
    inference = [run[0] for run in run_model(program, params, images).outputs]
    with Predictor(program, params) as predictor:
        native = [predictor.run(batch) for batch in images]
    return max(
        _compare(path, f"{program.name} in {route}", expected, found)
        for route, found in (("paddle.inference", inference), ("lenet_cpp", native))
    )
