"""What Caffe2's blobs hold while the nets are read, and the operators that fill them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.errors import BadModel, Unsupported
from lenet_cpp.interchange.caffe2.graph import OnnxBuilder, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lenet_cpp.interchange.caffe2.files import Operator

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
MAX_ELEMENTS = 1 << 29  # 2 GiB of float32, more than a file holds
_MAX_CONSTANT = 1 << 24  # a few bytes in a file must not ask for all the memory there is
_DTYPES: dict[int, type[np.generic]] = {
    1: np.float32,
    2: np.int32,
    5: np.bool_,
    10: np.int64,
    13: np.float64,
}


class Missing(BadModel):
    """An operator reads a blob that nothing has filled."""


@dataclass
class Blobs:
    """What every blob holds at one point of a net.

    Attributes:
        graph: Takes the nodes.
        held: Name of each filled blob to its value, or to why it cannot be had.
    """

    graph: OnnxBuilder = field(default_factory=OnnxBuilder)
    held: dict[str, Value | Unsupported] = field(default_factory=dict)
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
        """Add a node for an operator; see :meth:`Graph.add`.

        Raises:
            BadModel: It makes more values of one image than there can be.
        """
        value = self.graph.add(op_type, inputs, shape, hint=op.outputs[0], **attributes)
        elements = value.elements(1)
        if elements is not None and elements > MAX_ELEMENTS:
            raise BadModel(f"{op.place} makes {elements} values of each image")
        return value


def _given(blobs: Blobs, op: Operator) -> Value:
    if op.inputs:
        raise Unsupported(f"{op.place}: a shape that is computed is not supported")
    default = next(n for n, dtype in _DTYPES.items() if dtype is FILLS[op.type])
    values = op.arguments.values(_dtype(op, default))
    shape = _filled_shape(op)
    if values.size != math.prod(shape):
        raise BadModel(f"{op.place} has {values.size} values for a shape of {list(shape)}")
    return blobs.fill(op, values.reshape(shape))


def _constant_fill(blobs: Blobs, op: Operator) -> Value:
    if op.inputs:
        raise Unsupported(f"{op.place}: a shape that is computed is not supported")
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
    shape = op.arguments.integers("shape")
    if len(shape) > 8 or any(length < 0 for length in shape) or math.prod(shape) > most:
        raise BadModel(f"{op.place}: a blob cannot have the shape {list(shape)[:8]}")
    return shape


FILL_OPERATORS: dict[str, Callable[[Blobs, Operator], Value]] = {
    **dict.fromkeys(FILLS, _given),
    "ConstantFill": _constant_fill,
    **dict.fromkeys(RANDOM_FILLS, _random_fill),
}
