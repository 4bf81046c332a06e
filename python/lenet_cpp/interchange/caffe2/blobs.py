"""What Caffe2's blobs hold while the nets are read, and the graph of ONNX that comes of it.

A net of Caffe2's is a list of statements over named blobs, and may write a blob again and again;
in ONNX each name stands for one value. So a value is known by what it is and not by its name.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.errors import BadModel, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx
    from numpy.typing import NDArray

    from lenet_cpp.interchange.caffe2.files import Operator

OPSET = 12
"""The last one whose Softmax is Caffe2's: over all axes from the given one on."""
MAX_ELEMENTS = 1 << 29  # 2 GiB of float32, more than a file holds

_IR_VERSION = 7
_MAX_CONSTANT = 1 << 24  # a few bytes in a file must not ask for all the memory there is
_DTYPES: dict[int, type[np.generic]] = {
    1: np.float32,
    2: np.int32,
    5: np.bool_,
    10: np.int64,
    13: np.float64,
}

Shape = tuple["int | None", ...]
"""Length of each dimension; None where it is not known, as that of the batch."""


class Missing(BadModel):
    """An operator reads a blob that nothing has filled."""


@dataclass(eq=False)
class Value:
    """The input, a constant, or what a node computes.

    Attributes:
        hint: What it is called, if nothing else is.
        shape: Its shape.
        array: Its value, of a constant.
    """

    hint: str
    shape: Shape
    array: NDArray[Any] | None = None

    def elements(self, start: int = 0) -> int | None:
        """Return the product of the dimensions from ``start`` on; None when one is not known."""
        known = [length for length in self.shape[start:] if length is not None]
        return math.prod(known) if len(known) == len(self.shape[start:]) else None


@dataclass
class Blobs:
    """What every blob holds at one point of a net.

    Attributes:
        held: Name of each filled blob to its value, or to why it cannot be had.
    """

    held: dict[str, Value | Unsupported] = field(default_factory=dict)
    _nodes: dict[Value, tuple[str, tuple[Value, ...], dict[str, Any]]] = field(default_factory=dict)
    _elements: int = 0

    def get(self, op: Operator, index: int) -> Value:
        """Return an input of an operator.

        Raises:
            BadModel: The operator has no such input, or nothing has filled it.
            Unsupported: What it holds cannot be had.
        """
        if index >= len(op.inputs):
            raise BadModel(f"{op.place} has {len(op.inputs)} inputs; expected {index + 1} or more")
        name = op.inputs[index]
        value = self.held.get(name)
        if value is None:
            raise Missing(f"{op.place} reads {name!r}, which nothing has filled")
        if isinstance(value, Unsupported):
            raise value
        return value

    def constant(self, op: Operator, index: int, *, size: int | None = None) -> NDArray[Any]:
        """Return an input that has to be filled by the nets, perhaps [size].

        Raises:
            BadModel: It has another size.
            Unsupported: It is computed.
        """
        array = self.get(op, index).array
        if array is None:
            raise Unsupported(f"{op.place}: its input {op.inputs[index]!r} is computed by the net")
        if size is not None and array.size != size:
            raise BadModel(f"{op.place}: {op.inputs[index]!r} has {array.size} values, not {size}")
        return array

    def fill(self, op: Operator, array: NDArray[Any]) -> Value:
        """Return a constant.

        Raises:
            BadModel: All constants together are too large.
        """
        self._elements += array.size
        if self._elements > MAX_ELEMENTS:
            raise BadModel(f"{op.place}: the nets hold more than {MAX_ELEMENTS} values")
        return Value(op.outputs[0], array.shape, array)

    def add(
        self,
        op: Operator,
        op_type: str,
        inputs: Sequence[Value],
        shape: Sequence[int | None],
        **attributes: Any,
    ) -> Value:
        """Add a node of ONNX for an operator, and return its output of this shape.

        Raises:
            BadModel: It makes more values of one image than there can be.
        """
        value = Value(op.outputs[0], tuple(shape))
        self._nodes[value] = op_type, tuple(inputs), attributes
        elements = value.elements(1)
        if elements is not None and elements > MAX_ELEMENTS:
            raise BadModel(f"{op.place} makes {elements} values of each image")
        return value

    def model(self, name: str, source: Value, result: Value) -> onnx.ModelProto | None:
        """Write what the result needs as a model of ONNX with this name, not yet checked.

        The hints of the input ``source`` and the output ``result`` become their names; None when
        the one does not depend on the other.
        """
        from onnx import TensorProto, helper, numpy_helper

        needed = self._needed(result)
        if not any(source in self._nodes[value][1] for value in needed):
            return None
        read = [value for output in needed for value in self._nodes[output][1]]
        constants = {value: value.array for value in read if value.array is not None}
        names = _unique_names([source, result, *constants, *read, *needed])
        nodes = []
        for number, value in enumerate(needed):
            op_type, inputs, attributes = self._nodes[value]
            read_names = [names[one] for one in inputs]
            title = f"{op_type}_{number}"
            nodes.append(
                helper.make_node(op_type, read_names, [names[value]], name=title, **attributes)
            )
        graph = helper.make_graph(
            nodes,
            name,
            *(
                [helper.make_tensor_value_info(names[value], TensorProto.FLOAT, _dims(value))]
                for value in (source, result)
            ),
            [
                numpy_helper.from_array(np.ascontiguousarray(array), names[value])
                for value, array in constants.items()
            ],
        )
        return helper.make_model(
            graph,
            producer_name="lenet_cpp",
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )

    def _needed(self, result: Value) -> list[Value]:
        wanted, waiting = set[Value](), [result]
        while waiting:
            value = waiting.pop()
            if value in self._nodes and value not in wanted:
                wanted.add(value)
                waiting.extend(self._nodes[value][1])
        return [value for value in self._nodes if value in wanted]


def _dims(value: Value) -> list[int | str]:
    """Give each unknown length a name; the first one is the batch's."""
    names = ["N", *(f"{value.hint}_dim{axis}" for axis in range(1, len(value.shape)))]
    return [names[axis] if length is None else length for axis, length in enumerate(value.shape)]


def _unique_names(values: Sequence[Value]) -> dict[Value, str]:
    """Give each value a name of its own: its hint, with a number when that is taken."""
    names: dict[Value, str] = {}
    taken: set[str] = set()
    times = Counter[str]()
    for value in values:
        if value not in names:
            name = value.hint
            while name in taken:
                times[value.hint] += 1
                name = f"{value.hint}.{times[value.hint]}"
            taken.add(name)
            names[value] = name
    return names


def _given(blobs: Blobs, op: Operator) -> Value:
    default = next(n for n, dtype in _DTYPES.items() if dtype is FILLS[op.type])
    shape = _filled_shape(op)
    values = op.arguments.values(_dtype(op, default))
    if values.size != math.prod(shape):
        raise BadModel(f"{op.place} has {values.size} values for a shape of {list(shape)}")
    return blobs.fill(op, values.reshape(shape))


def _constant_fill(blobs: Blobs, op: Operator) -> Value:
    dtype = _dtype(op, 1)
    floating = issubclass(dtype, np.floating)
    value = op.arguments.number("value", 0) if floating else op.arguments.integer("value", 0)
    shape = _filled_shape(op, _MAX_CONSTANT)
    try:
        return blobs.fill(op, np.full(shape, value, dtype))
    except OverflowError as error:
        raise BadModel(f"{op.place}: {value} does not fit {dtype.__name__}") from error


def _random_fill(_blobs: Blobs, op: Operator) -> Value:
    raise Unsupported(
        f"{op.place} fills with random numbers: this net starts a training; export the trained one"
    )


def _dtype(op: Operator, default: int) -> type[np.generic]:
    number = op.arguments.integer("dtype", default)
    if number not in _DTYPES:
        raise Unsupported(f"{op.place}: values of Caffe2's data type {number} are not supported")
    return _DTYPES[number]


def _filled_shape(op: Operator, most: int = MAX_ELEMENTS) -> tuple[int, ...]:
    if op.inputs:
        raise Unsupported(f"{op.place}: a shape that is computed is not supported")
    shape = op.arguments.integers("shape")
    if len(shape) > 8 or any(length < 0 for length in shape) or math.prod(shape) > most:
        raise BadModel(f"{op.place}: a blob cannot have the shape {list(shape)[:8]}")
    return shape


FILLS = {
    "GivenTensorFill": np.float32,
    "GivenTensorDoubleFill": np.float64,
    "GivenTensorIntFill": np.int32,
    "GivenTensorInt64Fill": np.int64,
    "GivenTensorBoolFill": np.bool_,
}
"""Operators that hold the values they fill a blob with."""
RANDOM_FILLS = frozenset(
    ("XavierFill", "MSRAFill", "GaussianFill", "UniformFill", "UniformIntFill", "UniqueUniformFill")
)
FILL_OPERATORS: dict[str, Callable[[Blobs, Operator], Value]] = {
    **dict.fromkeys(FILLS, _given),
    "ConstantFill": _constant_fill,
    **dict.fromkeys(RANDOM_FILLS, _random_fill),
}
