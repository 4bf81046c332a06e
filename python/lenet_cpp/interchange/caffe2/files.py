"""Caffe2's nets as files: their protobuf messages, without Caffe2.

The fields and their numbers are those that Caffe2 wrote; see docs/caffe2.md. Only what describes a
net for inference is declared: protobuf passes over the rest.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from lenet_cpp._base.strict_json import read_json
from lenet_cpp.errors import BadModel, FileNotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    _Kind = TypeVar("_Kind", int, float, str, tuple[int, ...])

INIT_NET, PREDICT_NET, VALUE_INFO = "init_net.pb", "predict_net.pb", "value_info.json"
MAX_BYTES = (1 << 31) - 1
"""More than this protobuf itself cannot read."""
FLOAT = 1
"""Caffe2's number for float32."""

_MAX_OPERATORS = 50_000
_MAX_NAME = 1000
_FIELDS = {int: "i", float: "f", str: "s", tuple: "ints"}
_TYPES = {"int64": 3, "float": 2, "string": 9, "bytes": 12}
_OPTIONAL, _REPEATED = 1, 3

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
    """Return protobuf's class of each message: ``NetDef``, ``OperatorDef`` and ``Argument``.

    Raises:
        Unsupported: protobuf is missing or too old.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool
        from google.protobuf.message_factory import GetMessageClass
    except ImportError as error:
        raise Unsupported(
            "Caffe2's nets are read with protobuf 4.22 or later: pip install 'lenet-cpp[onnx]'"
        ) from error
    file = descriptor_pb2.FileDescriptorProto(
        name="lenet_cpp/caffe2.proto", package="caffe2", syntax="proto2"
    )
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for number, name, kind in (field.split() for field in fields.split(",")):
            base, label = kind.rstrip("*"), _REPEATED if kind.endswith("*") else _OPTIONAL
            numbers = {"number": int(number), "label": label, "type": _TYPES.get(base, 11)}
            field = described.field.add(name=name, **numbers)
            if base in _MESSAGES:
                field.type_name = f".caffe2.{base}"
    # A pool of its own: the default one would refuse a second "caffe2" package in this process.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: GetMessageClass(pool.FindMessageTypeByName(f"caffe2.{name}")) for name in _MESSAGES
    }


class Operator:
    """One operator of a net, with each of its arguments read as the kind that it has to be.

    Attributes:
        place: Names it in messages.
        type: What it computes.
        inputs: Names of the blobs that it reads.
        outputs: Names of the blobs that it writes, perhaps those that it reads.
    """

    def __init__(self, place: str, message: Any) -> None:
        """Take an ``OperatorDef`` message.

        Raises:
            BadModel: It cannot be one.
            Unsupported: It is not one of Caffe2's own.
        """
        self.type = _text(message.type)
        self.inputs, self.outputs = _texts(message.input), _texts(message.output)
        named = all(0 < len(name) <= _MAX_NAME for name in (self.type, *self.inputs, *self.outputs))
        if not self.type.isidentifier() or not self.outputs or not named:
            raise BadModel(
                f"{place} has no type, or an input or output without a name: the file is damaged,"
                " or is no net of Caffe2's"
            )
        self.place = f"{place} ({self.type})"
        if message.domain:
            raise Unsupported(
                f"{self.place} is of the domain {message.domain!r}, not one of Caffe2's own"
            )
        self._arguments = {_text(argument.name): argument for argument in message.arg}
        self._asked: set[str] = set()

    def __contains__(self, name: object) -> bool:
        """Tell whether the operator has an argument of this name."""
        return name in self._arguments

    def get(self, name: str, default: _Kind) -> _Kind:
        """Return an argument of the kind of its default: one of ``_FIELDS``."""
        self._asked.add(name)
        if name not in self:
            return default
        argument, kind = self._arguments[name], type(default)
        if kind is not tuple and not argument.HasField(_FIELDS[kind]):
            raise BadModel(f"{self.place}: the argument {name} is of another kind")
        found: Any = getattr(argument, _FIELDS[kind])
        return kind(found.decode(errors="replace") if kind is str else found)

    def values(self, *, floating: bool) -> Sequence[float]:
        """Return the argument ``values``, which are floats or integers."""
        self._asked.add("values")
        if "values" not in self:
            return ()
        argument = self._arguments["values"]
        return argument.floats if floating else argument.ints  # type: ignore[no-any-return]

    def unknown(self, ignored: Collection[str]) -> list[str]:
        """Return the names of the arguments that nothing has asked for."""
        return sorted(self._arguments.keys() - self._asked - set(ignored))


class Net(NamedTuple):
    """One net: its operators in the order in which they run, and the blobs it takes and gives."""

    path: Path
    name: str
    operators: list[Operator]
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

    data = _read(path, MAX_BYTES, "a net of Caffe2's")
    try:
        net = kind.FromString(data)
        if not net.op:
            raise BadModel(f"{path} holds no operators: it is empty, or is no net of Caffe2's")
        if len(net.op) > _MAX_OPERATORS:
            raise BadModel(f"{path} has {len(net.op)} operators; expected {_MAX_OPERATORS} or less")
        operators = [Operator(f"{path}: operator {n}", op) for n, op in enumerate(net.op)]
        inputs, outputs = _texts(net.external_input), _texts(net.external_output)
        return Net(path, _text(net.name), operators, inputs, outputs)
    except (DecodeError, UnicodeDecodeError) as error:
        raise BadModel(f"{path} is damaged, or is no net of Caffe2's") from error


def _text(value: str | bytes) -> str:
    """Return a text; protobuf gives one as bytes when it is not valid."""
    return value if isinstance(value, str) else value.decode()


def _texts(values: Iterable[str | bytes]) -> tuple[str, ...]:
    return tuple(_text(value) for value in values)


def _read(path: Path, most: int, what: str) -> bytes:
    try:
        if (size := path.stat().st_size) > most:
            raise BadModel(f"{path} has {size} bytes: more than {what} can have")
        return path.read_bytes()
    except OSError as error:
        raise FileNotFound(f"cannot read {path}: {error.strerror or error}") from error


def read_value_info(path: Path) -> dict[str, tuple[int, ...]]:
    """Read what Caffe2's tools called value info: the shape of each input, by its name.

    It is a JSON file ``{"input": [1, [1, 3, 224, 224]]}``, in which 1 is float32.

    Raises:
        FileNotFound: There is no such file.
        BadModel: It says something else.
        Unsupported: An input is not float32.
    """
    data = _read(path, 1 << 20, "value info of Caffe2's")
    try:
        found = read_json(data)
    except ValueError as error:
        raise BadModel(f"{path} is not JSON: {error}") from error
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
