"""ONNX files: read with care, described, run with onnxruntime, and what they say of themselves.

A file from a stranger may point outside its folder, be far larger than it looks, or be no valid
model: :func:`read_onnx` refuses those. Needs the packages ``onnx`` and, to run a model,
``onnxruntime``; both are imported on first use.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.optional import require
from lenet_cpp.errors import BackendFailure, BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.formats.onnx_metadata import METADATA_PREFIX
from lenet_cpp.formats.tensor_spec import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

_MOST_BYTES = 2**31 - 1  # a protocol buffer holds no more
_DEFAULT_DOMAINS = ("", "ai.onnx")


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
    import onnx
    from google.protobuf.message import DecodeError

    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise Unsupported(f"{path}: ONNX files of more than 2 GiB are not supported")
        data = path.read_bytes()
    except OSError as error:
        raise FileNotFound(f"cannot read {path}: {error.strerror}") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError) as error:
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
            raise BadModel(
                f"{path}: its functions cannot be written out: {_line(error)}"
            ) from error
        check_onnx(model, path, inference=False)
    return model


def check_onnx(model: onnx.ModelProto, name: str | Path, *, inference: bool = True) -> None:
    """Run ``onnx.checker``, and infer shapes and types, which have to fit, unless told not to.

    Raises:
        BadModel: The model, which has all its weights inside, is not valid ONNX; says why.
    """
    import onnx

    try:
        onnx.checker.check_model(model, full_check=inference)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        RuntimeError,
        ValueError,
        TypeError,
        IndexError,
    ) as error:
        raise BadModel(f"{name} is not a valid ONNX model: {_line(error)}") from error


def _line(error: Exception) -> str:
    """What onnx says of an error, in one line; names from the file may hold anything."""
    said = " ".join(str(error).split())
    said = "".join(one if one.isprintable() else "?" for one in said)
    return said if len(said) <= 300 else said[:297] + "..."


def _load_weights(model: onnx.ModelProto, path: Path) -> None:
    """Read the weights that are in files beside the model."""
    from onnx import TensorProto

    folder = path.parent.resolve()
    total = model.ByteSize()
    for tensor in _tensors(model.graph):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        source = _inside(folder, entries.get("location", ""), path)
        try:
            offset, length = (int(entries.get(key, "-1")) for key in ("offset", "length"))
        except ValueError as error:
            raise BadModel(f"{path} is damaged: where {source.name} begins is no number") from error
        wanted = _size_of(tensor, path)
        if length not in {-1, wanted}:
            raise BadModel(
                f"{path} is damaged: the weights {_quoted(tensor.name)} have a wrong size"
            )
        total += wanted
        if total > _MOST_BYTES:
            raise Unsupported(f"{path}: ONNX models of more than 2 GiB are not supported")
        try:
            with source.open("rb") as file:
                file.seek(max(offset, 0))
                values = file.read(wanted)
        except OSError as error:
            raise FileNotFound(f"cannot read {source}: {error.strerror}") from error
        if len(values) != wanted:
            raise BadModel(f"{source} is truncated: {_quoted(tensor.name)} is not whole")
        tensor.raw_data = values
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    from onnx import AttributeProto

    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _tensors(inner)


def _inside(folder: Path, location: str, model: Path) -> Path:
    """A file of weights, which has to be in the model's folder or below."""
    usual = location and not Path(location).is_absolute() and "\0" not in location
    found = (folder / location).resolve() if usual else folder.parent
    if not found.is_relative_to(folder):
        raise BadModel(f"{model} names weights outside its folder: {_quoted(location)}")
    if not found.is_file():
        raise FileNotFound(f"cannot read {found}: the weights of {model.name} are missing")
    return found


def _size_of(tensor: onnx.TensorProto, path: Path) -> int:
    from onnx import helper

    try:
        item: int = int(np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize)
    except (KeyError, TypeError) as error:
        raise BadModel(f"{path}: {_quoted(tensor.name)} has an unknown data type") from error
    sizes: list[int] = [max(0, size) for size in tensor.dims]
    return item * math.prod(sizes)


def _quoted(name: str) -> str:
    """A name from the file, safe to print."""
    return ascii(name if len(name) <= 60 else name[:57] + "...")


@dataclass(frozen=True)
class OnnxInfo:
    """What goes into a model and comes out, and who wrote it.

    Attributes:
        inputs: Those that are no weights; -1 where any size goes.
        outputs: In the same way.
        opset: The version of the standard operators.
        producer: The program that wrote it, with its version; empty when it is not said.
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
        next((opset[domain] for domain in _DEFAULT_DOMAINS if domain in opset), 1),
        " ".join(filter(None, (model.producer_name, model.producer_version)))[:100],
    )


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    from onnx import helper

    kind = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.dim_value > 0 else -1 for dim in kind.shape.dim)
    try:
        dtype = str(np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)))
    except (KeyError, TypeError):
        dtype = "unknown"
    return TensorSpec(value.name, shape, dtype)


def set_metadata(model: onnx.ModelProto, entries: Mapping[str, Any]) -> None:
    """Write our entries into a model's ``metadata_props``, each as JSON; None leaves one out."""
    from onnx import helper

    kept = {
        prop.key: prop.value
        for prop in model.metadata_props
        if not prop.key.startswith(METADATA_PREFIX)
    }
    ours = {
        METADATA_PREFIX + key: json.dumps(value, allow_nan=False)
        for key, value in entries.items()
        if value is not None
    }
    helper.set_model_props(model, {**kept, **ours})


class OnnxSession:
    """Runs a model with onnxruntime on the CPU.

    A model that was exported for a certain number of images runs as many at a time.
    """

    def __init__(self, model: onnx.ModelProto | Path, *, threads: int = 1) -> None:
        """Load a model that was checked before, or the file of one.

        Raises:
            BadModel: onnxruntime cannot load it.
            Unsupported: onnxruntime is not installed.
        """
        require("onnxruntime", extra="onnx")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        source = str(model) if isinstance(model, Path) else model.SerializeToString()
        try:
            self._session = onnxruntime.InferenceSession(
                source, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            name = model if isinstance(model, Path) else "the ONNX model"
            raise BadModel(f"onnxruntime cannot load {name}: {_line(error)}") from error
        first = self._session.get_inputs()[0]
        self._input = first.name
        self._batch = first.shape[0] if first.shape and isinstance(first.shape[0], int) else None

    def run(
        self, images: NDArray[np.float32], outputs: Sequence[str] | None = None
    ) -> list[NDArray[Any]]:
        """Run a batch, float32 [N, ...], and return the named outputs, or all.

        Raises:
            BackendFailure: onnxruntime failed.
            BadInput: The model takes another number of images at a time, and N is no multiple.
        """
        size = self._batch or len(images)
        if len(images) % size:
            raise BadInput(f"the ONNX model takes {size} images at a time, not {len(images)}")
        try:
            runs = [
                self._session.run(outputs, {self._input: images[begin : begin + size]})
                for begin in range(0, len(images), size)
            ]
        except Exception as error:
            raise BackendFailure(f"onnxruntime failed: {_line(error)}") from error
        if len(runs) == 1:
            return list(runs[0])
        return [np.concatenate(parts) for parts in zip(*runs, strict=True)]
