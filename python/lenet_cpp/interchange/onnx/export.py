"""ONNX from PyTorch and from exported Paddle models.

What is written takes any number of images, passes ``onnx.checker`` with shape inference, says in
its metadata what it is, and was compared in onnxruntime with what it was made of before it was put
in its place.
"""

from __future__ import annotations

import io
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lenet_cpp._base.files import atomic_path
from lenet_cpp._base.frameworks import onnx, torch
from lenet_cpp._base.optional import require, require_paddle
from lenet_cpp._base.worker import Report, call
from lenet_cpp.data.images import PREPROCESS_NAME, Pipeline
from lenet_cpp.errors import BackendFailure, BadInput, BadModel, Unsupported
from lenet_cpp.export.checks import check_agreement
from lenet_cpp.formats.manifest import (
    KeptBy,
    kept_fields,
    package_version,
    read_origin,
    sha256_file,
)
from lenet_cpp.inference.model import check_model
from lenet_cpp.interchange.onnx.files import (
    OnnxSession,
    check_onnx,
    describe_onnx,
    one_line,
    read_onnx,
    set_metadata,
)
from lenet_cpp.interchange.torch import models as torch_models
from lenet_cpp.interchange.torch.state import read_source
from lenet_cpp.paddle_engines.running import last_line, random_batches, run_model

EXPORTERS = {"dynamo": 20, "legacy": 17}
"""PyTorch's exporters, and the operator set that each is asked for."""


@dataclass(frozen=True)
class OnnxExport:
    """What an export wrote.

    ``max_difference`` is the largest absolute difference between its outputs in onnxruntime and
    those of its source, on random images.
    """

    path: Path
    opset: int
    max_difference: float


def export_torch(
    net: torch.nn.Module,
    input_shape: Sequence[int],
    path: str | Path,
    *,
    exporter: str = "dynamo",
    metadata: Mapping[str, Any] | None = None,
) -> OnnxExport:
    """Export a PyTorch classifier.

    Args:
        net: The network, on the processor and in evaluation mode.
        input_shape: Of one image, as in (1, 28, 28).
        path: The ``.onnx`` file to write.
        exporter: A key of :data:`EXPORTERS`.
        metadata: What :func:`~lenet_cpp.interchange.onnx.files.set_metadata` is to write.

    Raises:
        BadInput: The exporter is unknown, or the network is in training mode.
        Unsupported: A package is missing, or PyTorch cannot export the network.
        BadModel: What PyTorch wrote is not valid.
        BackendFailure: It does not compute what the network computes. Nothing is written.
        OSError: The file cannot be written.
    """
    if exporter not in EXPORTERS:
        raise BadInput(f"unknown exporter {exporter!r}; choose among {', '.join(EXPORTERS)}")
    require("torch", extra="torch")
    require("onnx", "onnxruntime", *(["onnxscript"] if exporter == "dynamo" else []), extra="onnx")
    if net.training:
        raise BadInput("the network is in training mode: call net.eval() before the export")
    sample = torch.from_numpy(random_batches((-1, *input_shape))[-1])
    try:
        with _quiet():
            model = _export(net, sample, exporter)
    except Exception as error:
        raise Unsupported(
            f"PyTorch's {exporter} exporter cannot export the network: {one_line(error)}"
        ) from error

    entries = {"exporter": f"torch {torch.__version__}, {exporter}", **(metadata or {})}
    run = torch.inference_mode()(lambda batch: net(torch.from_numpy(batch)).numpy())
    return _finish(model, Path(path), entries, "PyTorch", run)


def _export(net: torch.nn.Module, sample: torch.Tensor, exporter: str) -> onnx.ModelProto:
    dynamo, file = exporter == "dynamo", io.BytesIO()
    free: dict[str, Any] = {"f": file, "dynamic_axes": {"x": {0: "N"}, "y": {0: "N"}}}
    if dynamo:
        free = {"dynamic_shapes": ({0: torch.export.Dim("N")},)}
    program = torch.onnx.export(
        net,
        (sample,),
        dynamo=dynamo,
        opset_version=EXPORTERS[exporter],
        input_names=["x"],
        output_names=["y"],
        verbose=False,
        **free,
    )
    return program.model_proto if program else onnx.load_model_from_string(file.getvalue())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporters tell their developers."""
    level, said = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(said), redirect_stderr(said):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def export_state(
    path: str | Path,
    output: str | Path,
    *,
    model: str,
    num_classes: int | None = None,
    image_size: int | None = None,
    exporter: str = "dynamo",
) -> OnnxExport:
    """Export a file of PyTorch parameters.

    Its arguments and errors are some of :func:`lenet_cpp.interchange.torch.import_state` and of
    :func:`export_torch`.
    """
    path = Path(path)
    network = torch_models.get(model)
    source = read_source(path, network, num_classes, image_size, weights_only=True)
    spec, record = network.spec, source.record
    metadata = {
        "name": network.name,
        "source": {"file": path.name, "sha256": sha256_file(path)},
        "topology": spec.name,
        "softmax": False,
        "classes": list(record.get("classes", spec.class_names(source.classes))),
        "preprocess": spec.pipeline(source.shape[-1]).to_dict(),
        "training": {key: value for key, value in record.items() if key != "data"},
        "data": record.get("data"),
        "accuracy": source.accuracy and asdict(source.accuracy),
    }
    return export_torch(source.net, source.shape, output, exporter=exporter, metadata=metadata)


def export_paddle(
    program: str | Path,
    params: str | Path,
    path: str | Path,
    *,
    metadata: Mapping[str, Any] | None = None,
) -> OnnxExport:
    """Export an exported Paddle model with paddle2onnx, in a child process.

    That is a ``.pdmodel`` or ``.json`` with its ``.pdiparams``. The metadata of the ``.onnx`` is by
    default what the manifest beside the model says.

    Raises:
        FileNotFound: A file is missing.
        BadModel: The model is damaged, or what paddle2onnx wrote is not valid.
        Unsupported: A package is missing, or paddle2onnx cannot convert the model.
        BackendFailure: What it wrote does not compute what the model computes. Nothing is written.
        OSError: The file cannot be written.
    """
    require_paddle()
    require("onnx", "onnxruntime", "paddle2onnx", extra="onnx")
    checked = check_model(program, params)
    if checked.params is None or checked.params != checked.program.with_suffix(".pdiparams"):
        raise Unsupported(
            f"{program}: paddle2onnx takes NAME.pdmodel or NAME.json with NAME.pdiparams: convert"
            " it first with lenet-cpp convert --to pdmodel"
        )
    program, params = checked.program.resolve(), checked.params.resolve()
    entries = dict(paddle_metadata(program) if metadata is None else metadata)
    with tempfile.TemporaryDirectory(prefix="lenet_cpp-") as folder:
        output = Path(folder, "model.onnx")
        entries["exporter"] = call(
            f"{__name__}:convert",
            {"program": str(program), "params": str(params), "output": str(output)},
            doing="the conversion",
            # What paddle2onnx uses would otherwise install packages while it runs.
            variables={"POLYGRAPHY_AUTOINSTALL_DEPS": "0"},
        ).result
        model = read_onnx(output)

    def run(batch: Any) -> Any:
        return run_model(program, params, [batch]).outputs[0][0]

    return _finish(model, Path(path), entries, "paddle.inference", run)


def convert(program: str, params: str, output: str, report: Report) -> str:
    """Convert a Paddle model with paddle2onnx, which prints and may crash; runs in the child."""
    report("paddle2onnx", 0, 0)
    import paddle
    import paddle2onnx

    with redirect_stdout(io.StringIO()) as printed:
        try:
            # Its optimization by Polygraphy installs packages, whatever the environment says.
            paddle2onnx.export(program, params, output, opset_version=17, optimize_tool="none")
        except Exception as error:
            said = re.findall(r"Failed to convert PaddlePaddle model: (.*)", printed.getvalue())
            reason = said[-1] if said else last_line(error)
            raise Unsupported(f"{program}: paddle2onnx cannot convert it ({reason})") from error
    return f"paddle {paddle.__version__}, paddle2onnx {paddle2onnx.__version__}"


def paddle_metadata(program: Path) -> dict[str, Any]:
    """Return what is known of an exported model, for the metadata of its ONNX file.

    Raises:
        FileNotFound: A file cannot be read.
        BadModel: The manifest is invalid, or a file differs from its checksum.
    """
    origin = read_origin(program.parent, program.name)
    preprocess = program.parent / PREPROCESS_NAME
    known = {} if origin is None else asdict(origin)
    return {
        "source": {"file": program.name, "sha256": sha256_file(program)},
        "preprocess": Pipeline.load(preprocess).to_dict() if preprocess.is_file() else None,
        **{name: known.get(name) for name in kept_fields(KeptBy.ONNX)},
    }


def _finish(
    model: onnx.ModelProto,
    path: Path,
    metadata: Mapping[str, Any],
    framework: str,
    run: Callable[[Any], Any],
) -> OnnxExport:
    """Name the free dimension, add the metadata, check, compare, and write."""
    _tidy(model)
    set_metadata(model, {**metadata, "lenet_cpp_version": package_version()})
    check_onnx(model, f"what {framework} exported")
    info = describe_onnx(model)
    if info.batch != -1 or len(info.inputs) != 1:
        raise Unsupported(f"the exported model takes {[spec.shape for spec in info.inputs]}")
    session = OnnxSession(model)
    batches = random_batches(info.inputs[0].shape, info.inputs[0].dtype)
    expected = [run(batch) for batch in batches]
    if not all(np.isfinite(outputs).all() for outputs in expected):
        raise BadModel(f"{framework} gives values that are not finite")
    found = [session.run(batch)[0] for batch in batches]
    difference = check_agreement(
        zip(expected, found, strict=True),
        (framework, "the ONNX model"),
        error=BackendFailure,
        conclusion=f"; {path} was not written",
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return OnnxExport(path, info.opset, difference)


def _tidy(model: onnx.ModelProto) -> None:
    """Call the number of images N, and take out the exporting program's call stacks."""
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_param = "N"
    model.ClearField("doc_string")
    graph = model.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
