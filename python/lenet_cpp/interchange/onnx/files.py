"""ONNX files: read with care, described, run with onnxruntime, and what they say of themselves.

A file from a stranger may point outside its folder, be far larger than it looks, or be no valid
model: :func:`read_onnx` refuses those. Needs the packages ``onnx`` and, to run a model,
``onnxruntime``; both are imported on first use.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.files import reading
from lenet_cpp._base.frameworks import onnx
from lenet_cpp._base.optional import require
from lenet_cpp.errors import BackendFailure, BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.formats.onnx_metadata import METADATA_PREFIX
from lenet_cpp.formats.tensor_spec import TensorSpec

_MOST_BYTES = 2**31 - 1  # a protocol buffer holds no more


def read_onnx(path: str | Path) -> onnx.ModelProto:
    """Read and check an ONNX model.

    Weights in files beside it are read too, if they are plain files in the model's folder or
    below. Functions defined in the model are written out.

    Raises:
        FileNotFound: The file, or a file of weights, is missing or cannot be read.
        BadModel: It is damaged, is not valid ONNX, or names weights outside its folder.
        Unsupported: It is larger than 2 GiB, holds sparse weights or is a training graph; or onnx
            is not installed.
    """
    require("onnx", extra="onnx")
    path = Path(path)
    with reading(path):
        if path.stat().st_size > _MOST_BYTES:
            raise Unsupported(f"{path}: ONNX files of more than 2 GiB are not supported")
        data = path.read_bytes()
    if not data:
        raise BadModel(f"{path} is empty (0 bytes); copy it again, or export it anew")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's, or a ValueError
        raise BadModel(f"{path} is damaged, or is not an ONNX model") from error
    if not model.HasField("graph") or not model.graph.node:
        raise BadModel(f"{path} is damaged, or is not an ONNX model: it has no operators")
    if len(model.training_info) or len(model.graph.sparse_initializer):
        raise Unsupported(f"{path} is a training graph or has sparse weights: export it dense")
    _load_weights(model, path)
    # Some writers give shapes or types that inference refuses and onnxruntime runs.
    check_onnx(model, path, inference=False)
    if len(model.functions):
        from onnx import inliner

        try:
            model = inliner.inline_local_functions(model)
        except Exception as error:
            said = f"{path}: its functions cannot be written out: {one_line(error)}"
            raise BadModel(said) from error
        check_onnx(model, path, inference=False)
    return model


def check_onnx(model: onnx.ModelProto, name: str | Path, *, inference: bool = True) -> None:
    """Run ``onnx.checker``, and infer shapes and types, which have to fit, unless told not to.

    Raises:
        BadModel: The model, which has all its weights inside, is not valid ONNX; says why.
        Unsupported: It is larger than 2 GiB.
    """
    if model.ByteSize() > _MOST_BYTES:
        raise Unsupported(f"{name}: ONNX models of more than 2 GiB are not supported")
    try:
        onnx.checker.check_model(model, full_check=inference)
    except Exception as error:  # of five types
        raise BadModel(f"{name} is not a valid ONNX model: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """Return what onnx says of an error; names from the file may hold anything."""
    said = " ".join(str(error).split())
    said = "".join(one if one.isprintable() else "?" for one in said)
    return said if len(said) <= 300 else said[:297] + "..."


def _load_weights(model: onnx.ModelProto, path: Path) -> None:
    """Read the weights that are in files beside the model."""
    total = model.ByteSize()
    for tensor in _tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        name = ascii(tensor.name[:60])
        entries = {one.key: one.value for one in tensor.external_data}
        source = _inside(path, entries.get("location", ""))
        try:
            dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
            wanted = dtype.itemsize * math.prod(max(0, size) for size in tensor.dims)
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", wanted))
        except (KeyError, TypeError, ValueError) as error:
            raise BadModel(f"{path} is damaged: {name} has no type or no place") from error
        if length != wanted:
            raise BadModel(f"{path} is damaged: the weights {name} have a wrong size")
        total += wanted
        if total > _MOST_BYTES:
            raise Unsupported(f"{path}: ONNX models of more than 2 GiB are not supported")
        with reading(source), source.open("rb") as file:
            file.seek(max(offset, 0))
            tensor.raw_data = file.read(wanted)
        if len(tensor.raw_data) != wanted:
            raise BadModel(f"{source} is truncated: {name} is not whole")
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for attribute in (one for node in graph.node for one in node.attribute):
        yield from (*attribute.tensors, *([attribute.t] if attribute.HasField("t") else []))
        for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            yield from _tensors(inner)


def _inside(model: Path, location: str) -> Path:
    """A file of weights below the model's folder, or that of the file which it is a link to."""
    folder = model.parent.resolve()
    usual = location and not Path(location).is_absolute() and "\0" not in location
    found = (folder / location).resolve() if usual else folder.parent
    if not any(found.is_relative_to(allowed) for allowed in (folder, model.resolve().parent)):
        raise BadModel(f"{model} names weights outside its folder: {location[:60]!a}")
    if not found.is_file():
        raise FileNotFound(f"cannot read {found}: the weights of {model.name} are missing")
    return found


@dataclass(frozen=True)
class OnnxInfo:
    """The inputs that are no weights, and the outputs; -1 where any size goes.

    ``opset`` is the version of the standard operators, ``producer`` the program that wrote the
    model, with its version; empty when it is not said.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int
    producer: str

    @property
    def batch(self) -> int:
        """How many images the model takes at a time; -1 for any number."""
        return self.inputs[0].shape[0] if self.inputs[0].shape else -1


def describe_onnx(model: onnx.ModelProto) -> OnnxInfo:
    """Describe a model that :func:`check_onnx` has seen."""
    weights = {tensor.name for tensor in model.graph.initializer}
    opset = {entry.domain: entry.version for entry in model.opset_import}
    return OnnxInfo(
        tuple(_spec(value) for value in model.graph.input if value.name not in weights),
        tuple(_spec(value) for value in model.graph.output),
        opset.get("", opset.get("ai.onnx", 1)),
        " ".join(filter(None, (model.producer_name, model.producer_version)))[:100],
    )


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.dim_value > 0 else -1 for dim in kind.shape.dim)
    try:
        dtype = str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)))
    except (KeyError, TypeError):
        dtype = "unknown"
    return TensorSpec(value.name, shape, dtype)


def set_metadata(model: onnx.ModelProto, entries: Mapping[str, Any]) -> None:
    """Write our entries into ``metadata_props``, each as JSON; what is empty is left out."""
    props = {prop.key: prop.value for prop in model.metadata_props}
    props = {key: value for key, value in props.items() if not key.startswith(METADATA_PREFIX)}
    for key, value in entries.items():
        if value not in (None, (), [], {}):
            props[METADATA_PREFIX + key] = json.dumps(value, allow_nan=False)
    onnx.helper.set_model_props(model, props)


class OnnxSession:
    """Runs a model with onnxruntime on the CPU.

    A model that was exported for a certain number of images runs as many at a time.
    """

    def __init__(
        self, model: onnx.ModelProto | Path, *, threads: int = 1, optimized: bool = True
    ) -> None:
        """Load a model that was checked before, or the file of one; BadModel when that fails.

        Without ``optimized``, sizes that the model does not take are an error: kernels of
        onnxruntime 1.32 for AVX2 divide by zero where an image becomes empty.
        """
        require("onnxruntime", extra="onnx")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        if not optimized:
            level = onnxruntime.GraphOptimizationLevel
            options.graph_optimization_level = level.ORT_DISABLE_ALL
        source = str(model) if isinstance(model, Path) else model.SerializeToString()
        providers = ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=providers)
        except Exception as error:
            name = model if isinstance(model, Path) else "the ONNX model"
            raise BadModel(f"onnxruntime cannot load {name}: {one_line(error)}") from error
        first = self._session.get_inputs()[0]
        self._input = first.name
        self._batch = first.shape[0] if first.shape and isinstance(first.shape[0], int) else None

    def run(
        self, images: NDArray[np.float32], outputs: Sequence[str] | None = None
    ) -> list[NDArray[Any]]:
        """Run a batch, float32 [N, ...], and return the named outputs, or all.

        It is BadInput where the model takes a number of images at a time and N is no multiple.
        """
        size = self._batch or len(images)
        if len(images) % size:
            raise BadInput(f"the ONNX model takes {size} images at a time, not {len(images)}")
        try:
            runs = [
                self._session.run(outputs, {self._input: part})
                for part in np.split(images, len(images) // size)
            ]
        except Exception as error:
            raise BackendFailure(f"onnxruntime failed: {one_line(error)}") from error
        columns = zip(*runs, strict=True)
        return list(runs[0]) if len(runs) == 1 else [np.concatenate(one) for one in columns]
