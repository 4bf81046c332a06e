"""A classifier of Caffe2's, ``init_net.pb`` and ``predict_net.pb``, as a model of ONNX.

Caffe2 itself is not needed. The first net fills blobs with the parameters, the second computes the
output from them and the input; both are run through here, with values of ONNX in the blobs.

The fields of the protobuf messages and their numbers are those that Caffe2 wrote; see
docs/caffe2.md. Only what describes a net for inference is declared: protobuf passes over the rest.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lenet_cpp._base.files import reading
from lenet_cpp._base.frameworks import onnx
from lenet_cpp._base.optional import require
from lenet_cpp._base.strict_json import read_json
from lenet_cpp.errors import BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.interchange.caffe2.blobs import Blobs, Missing, Operator, Value
from lenet_cpp.interchange.caffe2.operators import FILLS, SAME_SHAPE, translate
from lenet_cpp.interchange.onnx.files import check_onnx

INIT_NET, PREDICT_NET, VALUE_INFO = "init_net.pb", "predict_net.pb", "value_info.json"
MAX_BYTES = (1 << 31) - 1
"""More than this protobuf itself cannot read."""
FLOAT = 1
"""Caffe2's number for float32."""

_MAX_OPERATORS = 50_000

# Message: the number, name and type of each field; a type with a star is repeated.
_MESSAGES = {
    "Argument": "1 name string, 2 f float, 3 i int64, 4 s bytes, 5 floats float*, 6 ints int64*",
    "OperatorDef": (
        "1 input string*, 2 output string*, 4 type string, 5 arg Argument*, 11 domain string"
    ),
    "NetDef": (
        "1 name string, 2 op OperatorDef*, 7 external_input string*, 8 external_output string*"
    ),
}


@functools.cache
def messages() -> dict[str, Any]:
    """Return protobuf's class of each message: ``NetDef``, ``OperatorDef`` and ``Argument``."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool
        from google.protobuf.message_factory import GetMessageClass
    except ImportError as error:
        raise Unsupported(
            "Caffe2's nets are read with protobuf 4.22 or later: pip install 'protobuf>=4.22'"
        ) from error
    file = descriptor_pb2.FileDescriptorProto(
        name="lenet_cpp/caffe2.proto", package="caffe2", syntax="proto2"
    )
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for number, name, kind in (field.split() for field in fields.split(",")):
            field = described.field.add(name=name, number=int(number))
            field.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            if (base := kind.rstrip("*")) in _MESSAGES:
                field.type, field.type_name = field.TYPE_MESSAGE, f".caffe2.{base}"
            else:
                field.type = field.Type.Value(f"TYPE_{base.upper()}")
    # A pool of its own: the default one would refuse a second "caffe2" package in this process.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: GetMessageClass(pool.FindMessageTypeByName(f"caffe2.{name}")) for name in _MESSAGES
    }


class Net(NamedTuple):
    """One net: its operators in the order in which they run, and the blobs it takes and gives."""

    path: Path
    name: str
    operators: list[Operator]
    external_input: tuple[str, ...]
    external_output: tuple[str, ...]


def read_net(path: Path) -> Net:
    """Read one net, ``init_net.pb``, ``predict_net.pb`` or the like, as :func:`read_nets`."""
    kind = messages()["NetDef"]
    from google.protobuf.message import DecodeError

    data = _read(path, MAX_BYTES, "a net of Caffe2's")
    try:
        net = kind.FromString(data)
        if not net.op:
            raise BadModel(f"{path} holds no operators: it is empty, or is no net of Caffe2's")
        if len(net.op) > _MAX_OPERATORS:
            raise BadModel(f"{path} has {len(net.op)} operators; expected {_MAX_OPERATORS} or less")
        operators = [Operator(f"{path}: operator {n}", op) for n, op in enumerate(net.op)]
        inputs, outputs = (
            tuple(map(str, one)) for one in (net.external_input, net.external_output)
        )
        return Net(path, str(net.name), operators, inputs, outputs)
    except (DecodeError, UnicodeDecodeError) as error:
        raise BadModel(f"{path} is damaged, or is no net of Caffe2's") from error


def _read(path: Path, most: int, what: str) -> bytes:
    with reading(path):
        if (size := path.stat().st_size) > most:
            raise BadModel(f"{path} has {size} bytes: more than {what} can have")
        return path.read_bytes()


def find_nets(path: str | Path) -> tuple[Path, Path]:
    """Return ``init_net.pb`` and ``predict_net.pb`` in a folder, which one of them names too.

    Raises:
        FileNotFound: One of them is missing.
        BadInput: The path is another file.
    """
    path, both = Path(path), f"{INIT_NET} and {PREDICT_NET}"
    folder = path if path.is_dir() else path.parent
    if path != folder and path.name not in {INIT_NET, PREDICT_NET}:
        raise BadInput(f"{path}: expected {both}, or the folder with both")
    nets = folder / INIT_NET, folder / PREDICT_NET
    for net in nets:
        if not net.is_file():
            raise FileNotFound(f"cannot read {net}: a model of Caffe2's is {both}")
    return nets


def read_nets(
    init_net: str | Path,
    predict_net: str | Path,
    *,
    input_shape: Sequence[int] | None = None,
    output_name: str | None = None,
) -> onnx.ModelProto:
    """Read a classifier of Caffe2's.

    The first net fills the parameters, the second computes one output from one input;
    ``output_name`` is the blob to keep, of several. ``input_shape`` is channels, height and width
    of an image; when None, what ``value_info.json`` beside ``predict_net`` says; without that file
    too, the channels are those that the first operator takes, and the model takes images of any
    size.

    Returns a model of opset 12, checked, with input [N, C, H, W] and a dynamic batch. Its input and
    output have the names of the blobs; N is the batch.

    Raises:
        FileNotFound: A file is missing.
        BadModel: A file is damaged, or the two do not belong together.
        BadInput: ``input_shape`` is none, or is needed.
        Unsupported: There is an operator or an argument that has no translation, which the
            message names; there are several inputs or outputs; or onnx is not installed.
    """
    require("onnx", extra="onnx")
    init, predict = read_net(Path(init_net)), read_net(Path(predict_net))
    if all(op.type in FILLS for op in predict.operators):
        raise BadModel(f"{predict.path} only fills parameters: have the two nets been exchanged?")
    blobs = Blobs()
    for op in init.operators:
        _run_init(blobs, op)
    name = _input_name(blobs, init, predict)
    source = Value(name, _input_shape(blobs, predict, name, input_shape))
    blobs.held[name] = source
    for op in predict.operators:
        translate(blobs, op)
    result = _output(blobs, predict, output_name)
    model = blobs.model(predict.name or "caffe2", source, result)
    if model is None:
        raise BadModel(f"{predict.path}: the output {result.hint!r} is not computed from {name!r}")
    check_onnx(model, predict.path)
    return model


def _run_init(blobs: Blobs, op: Operator) -> None:
    try:
        translate(blobs, op)
    except Missing:
        # Exported without ONNX's optimizer, this net has a copy of the whole other one, which
        # cannot run before there is an input.
        pass
    except Unsupported as error:  # perhaps nobody needs it, such as names of classes
        blobs.held.update(dict.fromkeys(op.outputs, error))


def _input_name(blobs: Blobs, init: Net, predict: Net) -> str:
    """Return the name of the blob that takes the images."""
    candidates = _blobs_from_outside(predict)
    unfilled = [name for name in candidates if name not in blobs.held]
    if len(unfilled) == 1 and unfilled[0] in predict.external_input:
        return unfilled[0]
    if unfilled:
        listed = ", ".join(repr(name) for name in unfilled[:3])
        raise BadModel(
            f"{predict.path} reads what {init.path} does not fill and what is not its one input"
            f" ({listed}): the nets are of different models, or damaged"
        )
    # Caffe2's own exporter fills the input too, with one value.
    if candidates and _is_placeholder(blobs.held[candidates[0]]):
        return candidates[0]
    raise BadModel(f"{predict.path} reads no blob that could be its input")


def _blobs_from_outside(net: Net) -> list[str]:
    """Return the blobs that a net reads before it writes them, the declared inputs first.

    Caffe2's predictor hands its inputs to the first of the declared ones.
    """
    written: set[str] = set()
    read: dict[str, None] = {}  # a set that keeps the order
    for op in net.operators:
        read.update(dict.fromkeys(name for name in op.inputs if name not in written))
        written.update(op.outputs)
    declared = [name for name in net.external_input if name in read]
    return list(dict.fromkeys([*declared, *read]))


def _is_placeholder(blob: Value | Unsupported) -> bool:
    return isinstance(blob, Value) and blob.array is not None and blob.array.size <= 1


def _input_shape(
    blobs: Blobs, predict: Net, name: str, given: Sequence[int] | None
) -> tuple[int | None, ...]:
    info = predict.path.with_name(VALUE_INFO)
    if given is not None:
        if len(given) != 3 or any(not 0 < length < 1 << 16 for length in given):
            raise BadInput(f"the shape {list(given)} is none: expected channels, height, width")
        return (None, *given)
    return _value_info(info, name) if info.is_file() else _deduced_shape(blobs, predict, name)


def _value_info(path: Path, name: str) -> tuple[int | None, ...]:
    """Return an input's shape from ``{"input": [1, [1, 3, 224, 224]]}``; 1 is float32."""
    data = _read(path, 1 << 20, "value info of Caffe2's")
    try:
        found = read_json(data)
    except ValueError as error:
        raise BadModel(f"{path} is not JSON: {error}") from error
    if isinstance(found, dict) and name not in found:
        raise BadModel(f"{path} does not tell the shape of the input {name!r}")
    match found[name] if isinstance(found, dict) else None:
        case [int(dtype), [_, *dims]] if all(type(d) is int and 0 < d < 1 << 16 for d in dims):
            if dtype != FLOAT:
                raise Unsupported(f"{path}: the input {name} is not float32")
            return (None, *dims)
    raise BadModel(f'{path}: expected {{"input": [1, [1, 3, 224, 224]]}}')


def _deduced_shape(blobs: Blobs, predict: Net, name: str) -> tuple[int | None, ...]:
    """Return what the first operator that looks at the channels says of the input."""
    like_input = {name}
    for op in predict.operators:
        if not op.inputs or op.inputs[0] not in like_input:
            continue
        weights = blobs.held.get(op.inputs[1]) if len(op.inputs) > 1 else None
        array = weights.array if isinstance(weights, Value) else None
        match op.type, () if array is None else array.shape:
            case "Conv" | "Conv2D", (_, channels, _, _):
                return (None, channels * op.get("group", 1), None, None)
            case "SpatialBN" | "AffineChannel", (channels, *_):
                return (None, channels, None, None)
            case "FC", (_, *inputs) if like_input == {name}:
                return (None, math.prod(inputs))
        if op.type in SAME_SHAPE or "Pool" in op.type:
            like_input.update(op.outputs[:1])
    raise BadInput(
        f"{predict.path} does not say how large its images are: give channels, height and width"
        f" as input_shape, or put {VALUE_INFO} beside it"
    )


def _output(blobs: Blobs, predict: Net, wanted: str | None) -> Value:
    """Return the one output; masks and the like, which Caffe2's exporter lists too, are none."""
    named = tuple(dict.fromkeys(predict.external_output)) if wanted is None else (wanted,)
    if not named:
        raise BadModel(f"{predict.path} names no output: it is incomplete, or not for inference")
    found: dict[str, Value] = {}
    for name in named:
        value = blobs.held.get(name)
        if value is None:
            raise BadModel(f"{predict.path} names the output {name!r}, which nothing fills")
        if isinstance(value, Value):
            found[name] = value
        elif len(named) == 1:
            raise value
    if len(found) != 1:
        listed = ", ".join(repr(name) for name in (found or named))
        raise Unsupported(
            f"{predict.path} has several outputs ({listed:.200}): name one, as output_name"
        )
    ((name, value),) = found.items()
    value.hint = name
    return value
