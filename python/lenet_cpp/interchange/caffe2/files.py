"""Caffe2's nets as files: their protobuf messages, without Caffe2.

The fields and their numbers are those that Caffe2 wrote; see docs/caffe2.md. Only what describes a
net for inference is declared: protobuf passes over the rest.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.errors import BadModel, FileNotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

INIT_NET, PREDICT_NET, VALUE_INFO = "init_net.pb", "predict_net.pb", "value_info.json"
MAX_BYTES = (1 << 31) - 1
"""More than this protobuf itself cannot read."""
FLOAT = 1
"""Caffe2's number for float32."""

_MAX_OPERATORS = 50_000
_MAX_NAME = 1000
_SCALARS = {"int32": 5, "int64": 3, "float": 2, "string": 9, "bytes": 12}
_OPTIONAL, _REPEATED = 1, 3

# Message: the number, name and type of each field; a type with a star is repeated.
_MESSAGES = {
    "Argument": (
        "1 name string, 2 f float, 3 i int64, 4 s bytes, 5 floats float*, 6 ints int64*,"
        " 7 strings bytes*, 8 n bytes, 9 nets bytes*, 10 t bytes, 11 tensors bytes*,"
        " 12 qtensors bytes*"
    ),
    "OperatorDef": (
        "1 input string*, 2 output string*, 3 name string, 4 type string, 5 arg Argument*,"
        " 7 engine string, 8 control_input string*, 11 domain string"
    ),
    "NetDef": (
        "1 name string, 2 op OperatorDef*, 3 type string, 6 arg Argument*,"
        " 7 external_input string*, 8 external_output string*"
    ),
}


@functools.cache
def messages() -> dict[str, Any]:
    """Return protobuf's class of each message: ``NetDef``, ``OperatorDef`` and ``Argument``.

    Raises:
        Unsupported: protobuf is missing or too old.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

        get_class = message_factory.GetMessageClass
    except (ImportError, AttributeError) as error:
        raise Unsupported(
            "Caffe2's nets are read with protobuf 4.22 or later: pip install 'lenet-cpp[onnx]'"
        ) from error
    file = descriptor_pb2.FileDescriptorProto(
        name="lenet_cpp/caffe2.proto", package="caffe2", syntax="proto2"
    )
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for number, name, type_name in (field.split() for field in fields.split(",")):
            base = type_name.rstrip("*")
            field = described.field.add(name=name, number=int(number))
            field.label = _REPEATED if type_name.endswith("*") else _OPTIONAL
            if base in _SCALARS:
                field.type = _SCALARS[base]
            else:
                field.type, field.type_name = 11, f".caffe2.{base}"
    # A pool of its own: the default one would refuse a second "caffe2" package in this process.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: get_class(pool.FindMessageTypeByName(f"caffe2.{name}")) for name in _MESSAGES}


class Arguments:
    """The arguments of an operator, each read as the kind that it has to be."""

    def __init__(self, place: str, arguments: Iterable[Any]) -> None:
        """Take ``Argument`` messages; ``place`` names the operator in messages."""
        self._place = place
        self._all = {_text(argument.name): argument for argument in arguments}
        self._asked: set[str] = set()

    def __contains__(self, name: object) -> bool:
        """Tell whether the operator has an argument of this name."""
        return name in self._all

    def integer(self, name: str, default: int) -> int:
        """Return an integer or truth value."""
        return int(self._single(name, "i", default))

    def number(self, name: str, default: float) -> float:
        """Return a float32."""
        return float(self._single(name, "f", default))

    def text(self, name: str, default: str) -> str:
        """Return a text."""
        found = self._single(name, "s", default)
        return found.decode(errors="replace") if isinstance(found, bytes) else str(found)

    def integers(self, name: str) -> tuple[int, ...]:
        """Return a list of integers, which is empty when there is none."""
        return tuple(self._many(name, "ints"))

    def values(self, dtype: type[np.generic]) -> NDArray[Any]:
        """Return the argument ``values``.

        Args:
            dtype: Of the array [n]; a float type takes floats, any other integers.
        """
        floating = issubclass(dtype, np.floating)
        found = self._many("values", "floats" if floating else "ints")
        try:
            return np.array(found, dtype)
        except OverflowError as error:
            raise BadModel(f"{self._place}: a value does not fit {dtype.__name__}") from error

    def unknown(self, ignored: Collection[str]) -> list[str]:
        """Return the names of the arguments that nothing has asked for."""
        return sorted(self._all.keys() - self._asked - set(ignored))

    def _single(self, name: str, kind: str, default: object) -> Any:
        self._asked.add(name)
        if name not in self._all:
            return default
        if not self._all[name].HasField(kind):
            raise BadModel(f"{self._place}: the argument {name} is of another kind")
        return getattr(self._all[name], kind)

    def _many(self, name: str, kind: str) -> Any:
        self._asked.add(name)
        return getattr(self._all[name], kind) if name in self._all else ()


@dataclass(frozen=True)
class Operator:
    """One operator of a net.

    Attributes:
        place: Names it in messages.
        type: What it computes.
        inputs: Names of the blobs that it reads.
        outputs: Names of the blobs that it writes, perhaps those that it reads.
        arguments: Its arguments.
    """

    place: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arguments: Arguments


@dataclass(frozen=True)
class Net:
    """One net.

    Attributes:
        path: Its file.
        name: What it calls itself.
        operators: In the order in which they run.
        external_input: Names of the blobs that have to be there before it runs.
        external_output: Names of the blobs that are wanted of it.
    """

    path: Path
    name: str
    operators: tuple[Operator, ...]
    external_input: tuple[str, ...]
    external_output: tuple[str, ...]


def read_net(path: Path) -> Net:
    """Read one net, ``init_net.pb``, ``predict_net.pb`` or the like.

    Raises:
        FileNotFound: There is no such file, or it cannot be read.
        BadModel: It is no net of Caffe2's, is damaged, or is too large.
        Unsupported: protobuf is missing.
    """
    kind = messages()["NetDef"]
    from google.protobuf.message import DecodeError

    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BadModel(f"{path} has {size} bytes: more than a net of Caffe2's can have")
        data = path.read_bytes()
    except OSError as error:
        raise FileNotFound(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return _net(path, kind.FromString(data))
    except (DecodeError, UnicodeDecodeError) as error:
        raise BadModel(f"{path} is damaged, or is no net of Caffe2's") from error


def _net(path: Path, message: Any) -> Net:
    if not message.op:
        raise BadModel(f"{path} holds no operators: it is empty, or is no net of Caffe2's")
    if len(message.op) > _MAX_OPERATORS:
        raise BadModel(f"{path} has {len(message.op)} operators; expected {_MAX_OPERATORS} or less")
    operators = [_operator(f"{path}: operator {n}", op) for n, op in enumerate(message.op)]
    inputs, outputs = _texts(message.external_input), _texts(message.external_output)
    return Net(path, _text(message.name), tuple(operators), inputs, outputs)


def _operator(place: str, message: Any) -> Operator:
    kind, inputs, outputs = _text(message.type), _texts(message.input), _texts(message.output)
    names_are_sound = all(0 < len(name) <= _MAX_NAME for name in (kind, *inputs, *outputs))
    if not kind.isidentifier() or not outputs or not names_are_sound:
        raise BadModel(
            f"{place} has no type, or an input or output without a name: the file is damaged, or"
            " is no net of Caffe2's"
        )
    place = f"{place} ({kind})"
    if message.domain:
        raise Unsupported(f"{place} is of the domain {message.domain!r}, not one of Caffe2's own")
    return Operator(place, kind, inputs, outputs, Arguments(place, message.arg))


def _text(value: str | bytes) -> str:
    """Return a text; protobuf gives one as bytes when it is not valid."""
    return value if isinstance(value, str) else value.decode()


def _texts(values: Iterable[str | bytes]) -> tuple[str, ...]:
    return tuple(_text(value) for value in values)


def read_value_info(path: Path) -> dict[str, tuple[int, ...]]:
    """Read what Caffe2's tools called value info: the shape of each input, by its name.

    It is a JSON file ``{"input": [1, [1, 3, 224, 224]]}``, in which 1 is float32.

    Raises:
        FileNotFound: There is no such file.
        BadModel: It says something else.
        Unsupported: An input is not float32.
    """
    try:
        if path.stat().st_size > 1 << 20:
            raise BadModel(f"{path} is no value info of Caffe2's: it has more than 1 MiB")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileNotFound(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BadModel(f"{path} is not JSON") from error
    shapes: dict[str, tuple[int, ...]] = {}
    for name, entry in found.items() if isinstance(found, dict) else [("", None)]:
        match entry:
            case [int(dtype), [*dims]] if all(type(d) is int and 0 < d < 1 << 16 for d in dims):
                if dtype != FLOAT:
                    raise Unsupported(f"{path}: the input {name} is not float32")
                shapes[name] = tuple(dims)
            case _:
                raise BadModel(f'{path}: expected {{"input": [1, [1, 3, 224, 224]]}}')
    return shapes
