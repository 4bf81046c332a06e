"""Caffe2's operators, what its blobs hold while the nets are read, and what comes of it in ONNX.

A net of Caffe2's is a list of statements over named blobs, and may write a blob again and again;
in ONNX each name stands for one value. So a value is known by what it is and not by its name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.frameworks import onnx
from lenet_cpp.errors import BadModel, Unsupported

_Kind = TypeVar("_Kind", int, float, str, tuple[int, ...], list[float])

MAX_ELEMENTS = 1 << 29  # 2 GiB of float32, more than a file holds

_OPSET = 12  # the last one whose Softmax is Caffe2's: over all axes from the given one on
_IR_VERSION = 7
_MAX_NAME = 1000
_FIELDS = {int: "i", float: "f", str: "s", tuple: "ints", list: "floats"}


class Operator:
    """One operator of a net, with each of its arguments read as the kind that it has to be.

    Its ``inputs`` and ``outputs`` are names of blobs; an output may be an input. ``place`` names it
    in messages, and nothing has asked for its arguments ``unasked``.
    """

    def __init__(self, place: str, message: Any) -> None:
        """Take an ``OperatorDef`` message, or refuse it when it is not one of Caffe2's."""
        self.type = str(message.type)
        self.inputs, self.outputs = tuple(map(str, message.input)), tuple(map(str, message.output))
        named = all(0 < len(name) <= _MAX_NAME for name in (self.type, *self.inputs, *self.outputs))
        if not self.type.isidentifier() or not self.outputs or not named:
            raise BadModel(
                f"{place} has no type, or an input or output without a name: the file is damaged,"
                " or is no net of Caffe2's"
            )
        self.place = f"{place} ({self.type})"
        if message.domain:
            raise Unsupported(f"{self.place}: the domain {message.domain!r} is not Caffe2's own")
        self._arguments = {str(argument.name): argument for argument in message.arg}
        self.unasked = set(self._arguments)

    def __contains__(self, name: object) -> bool:
        """Tell whether the operator has an argument of this name."""
        return name in self._arguments

    def get(self, name: str, default: _Kind) -> _Kind:
        """Return an argument of the kind of its default: a tuple has integers, a list floats."""
        if name not in self:
            return default
        self.unasked.discard(name)
        argument, kind = self._arguments[name], type(default)
        if kind in {int, float, str} and not argument.HasField(_FIELDS[kind]):
            raise BadModel(f"{self.place}: the argument {name} is of another kind")
        found: Any = getattr(argument, _FIELDS[kind])
        return kind(found.decode(errors="replace") if kind is str else found)


class Missing(BadModel):
    """An operator reads a blob that nothing has filled."""


@dataclass(eq=False)
class Value:
    """The input, a constant with its array, or what a node computes.

    A length in ``shape`` is None where it is not known, as that of the batch. ``node`` is type,
    inputs and attributes of the operator of ONNX; ``hint`` the name, if nothing else has it.
    """

    hint: str
    shape: tuple[int | None, ...]
    array: NDArray[Any] | None = None
    node: tuple[str, tuple[Value, ...], dict[str, Any]] = ("", (), {})

    def __str__(self) -> str:
        """Return the shape, for messages."""
        return f"[{', '.join('?' if length is None else str(length) for length in self.shape)}]"

    def type(self) -> onnx.TypeProto:
        """Return the shape and the kind of elements; a batch that is not known is called N."""
        dtype = np.dtype(np.float32) if self.array is None else self.array.dtype
        dims = [*(length or "N" for length in self.shape[:1]), *self.shape[1:]]
        return onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(dtype), dims)


@dataclass
class Blobs:
    """What every filled blob holds at one point of a net: a value, or why it cannot be had."""

    held: dict[str, Value | Unsupported] = field(default_factory=dict)
    _computed: list[Value] = field(default_factory=list)
    _elements: int = 0

    def get(self, op: Operator, index: int) -> Value:
        """Return an input of an operator; refuse one that is not there or cannot be had."""
        if index >= len(op.inputs):
            raise BadModel(f"{op.place} has {len(op.inputs)} inputs; expected {index + 1} or more")
        name = op.inputs[index]
        value = self.held.get(name)
        if value is None:
            raise Missing(f"{op.place} reads {name!r}, which nothing fills: the nets do not match")
        if isinstance(value, Unsupported):
            raise value
        return value

    def constant(self, op: Operator, index: int, *, size: int | None = None) -> NDArray[Any]:
        """Return an input that the nets fill, perhaps [size], and that none of them computes."""
        array = self.get(op, index).array
        if array is None:
            raise Unsupported(f"{op.place}: its input {op.inputs[index]!r} is computed by the net")
        if size is not None and array.size != size:
            raise BadModel(f"{op.place}: {op.inputs[index]!r} has {array.size} values, not {size}")
        return array

    def fill(self, op: Operator, array: NDArray[Any]) -> Value:
        """Return a constant; BadModel when all together are too large."""
        self._elements += array.size
        if self._elements > MAX_ELEMENTS:
            raise BadModel(f"{op.place}: the nets hold more than {MAX_ELEMENTS} values")
        return Value(op.outputs[0], array.shape, array)

    def add(self, op: Operator, op_type: str, *inputs: Value, **attributes: Any) -> Value:
        """Add a node of ONNX for an operator, and return its output, whose shape onnx infers.

        It is BadModel when the inputs do not fit, or one image makes more values than can be.
        """
        types = {str(index): value.type() for index, value in enumerate(inputs)}
        sizes = {"1": onnx.numpy_helper.from_array(inputs[1].array)} if op_type == "Reshape" else {}
        try:
            output = onnx.shape_inference.infer_node_outputs(
                onnx.defs.get_schema(op_type, _OPSET),
                onnx.helper.make_node(op_type, list(types), ["y"], **attributes),
                types,
                sizes,
                opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
                ir_version=_IR_VERSION,
            )["y"]
        except onnx.shape_inference.InferenceError as error:
            reason = " ".join(str(error).removeprefix("[ShapeInferenceError]").split())
            shapes = " and ".join(map(str, inputs[:4]))
            raise BadModel(f"{op.place}: its inputs {shapes} do not fit: {reason:.200}") from error
        dims = output.tensor_type.shape.dim
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
        if (elements := math.prod(length or 1 for length in shape[1:])) > MAX_ELEMENTS:
            raise BadModel(f"{op.place} makes {elements} values of each image")
        self._computed.append(Value(op.outputs[0], shape, None, (op_type, inputs, attributes)))
        return self._computed[-1]

    def model(self, name: str, source: Value, result: Value) -> onnx.ModelProto | None:
        """Write what the result needs as a model of ONNX with this name, not yet checked.

        The hints of the input ``source`` and the output ``result`` become their names; None when
        the one does not depend on the other.
        """
        needed = {result: None}
        for value in reversed(self._computed):
            if value in needed:
                needed.update(dict.fromkeys(value.node[1]))
        computed = [value for value in self._computed if value in needed]
        if source not in needed or not computed:
            return None
        arrays = {value: value.array for value in needed if value.array is not None}
        names: dict[Value, str] = {}
        taken: set[str] = set()
        for value in dict.fromkeys([source, result, *arrays, *computed]):
            names[value] = value.hint
            while names[value] in taken:
                names[value] += f".{len(taken)}"
            taken.add(names[value])
        nodes = []
        for number, value in enumerate(computed):
            kind, inputs, attributes = value.node
            read, title = [names[one] for one in inputs], f"{kind}_{number}"
            nodes.append(
                onnx.helper.make_node(kind, read, [names[value]], name=title, **attributes)
            )
        ends = [[onnx.helper.make_value_info(names[one], one.type())] for one in (source, result)]
        constants = [
            onnx.numpy_helper.from_array(np.ascontiguousarray(array), names[value])
            for value, array in arrays.items()
        ]
        return onnx.helper.make_model(
            onnx.helper.make_graph(nodes, name, *ends, constants),
            producer_name="lenet_cpp",
            ir_version=_IR_VERSION,
            opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        )
