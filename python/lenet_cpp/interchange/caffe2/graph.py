"""A graph of ONNX in the making, in which a value is known by what it is and not by its name.

A net of Caffe2's is a list of statements over named blobs, and may write a blob again and again;
in ONNX each name stands for one value.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    from numpy.typing import NDArray

OPSET = 12
"""The last one whose Softmax is Caffe2's: over all axes from the given one on."""

_IR_VERSION = 7

Shape = tuple["int | None", ...]
"""Length of each dimension; None where it is not known, as that of the batch."""


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


@dataclass(eq=False)
class _Node:
    op_type: str
    inputs: tuple[Value, ...]
    output: Value
    attributes: dict[str, Any]


@dataclass
class OnnxBuilder:
    """Nodes in the order in which they were added."""

    _nodes: dict[Value, _Node] = field(default_factory=dict)

    def add(
        self,
        op_type: str,
        inputs: Sequence[Value],
        shape: Sequence[int | None],
        *,
        hint: str,
        **attributes: Any,
    ) -> Value:
        """Add a node of one output.

        Args:
            op_type: ONNX's operator.
            inputs: Its inputs.
            shape: That of its output.
            hint: What to call the output.
            attributes: The node's.

        Returns:
            Its output.
        """
        output = Value(hint, tuple(shape))
        self._nodes[output] = _Node(op_type, tuple(inputs), output, attributes)
        return output

    def model(self, name: str, source: Value, result: Value) -> onnx.ModelProto | None:
        """Write what the result needs as a model of ONNX.

        Args:
            name: Of the graph.
            source: The input.
            result: The output; the hints of both become their names.

        Returns:
            The model, not yet checked; None when the result does not depend on the input.
        """
        from onnx import TensorProto, helper, numpy_helper

        needed = self._needed(result)
        constants = {v: v for node in needed for v in node.inputs if v.array is not None}
        if not any(source is value for node in needed for value in node.inputs):
            return None
        names = _Names()
        names.give(source)
        names.give(result)
        initializers = [
            numpy_helper.from_array(np.ascontiguousarray(value.array), names.give(value))
            for value in constants
        ]
        nodes = [
            helper.make_node(
                node.op_type,
                [names.give(value) for value in node.inputs],
                [names.give(node.output)],
                name=f"{node.op_type}_{number}",
                **node.attributes,
            )
            for number, node in enumerate(needed)
        ]
        graph = helper.make_graph(
            nodes,
            name,
            *(
                [helper.make_tensor_value_info(names.give(v), TensorProto.FLOAT, _dims(v))]
                for v in (source, result)
            ),
            initializers,
        )
        return helper.make_model(
            graph,
            producer_name="lenet_cpp",
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )

    def _needed(self, result: Value) -> list[_Node]:
        wanted, waiting = set[Value](), [result]
        while waiting:
            value = waiting.pop()
            if value in self._nodes and value not in wanted:
                wanted.add(value)
                waiting.extend(self._nodes[value].inputs)
        return [node for value, node in self._nodes.items() if value in wanted]


def _dims(value: Value) -> list[int | str]:
    """Give each unknown length a name; the first one is the batch's."""
    names = ["N", *(f"{value.hint}_dim{axis}" for axis in range(1, len(value.shape)))]
    return [names[axis] if length is None else length for axis, length in enumerate(value.shape)]


class _Names:
    """Gives each value a name of its own, the same whenever it is asked for."""

    def __init__(self) -> None:
        self._given: dict[Value, str] = {}
        self._taken: set[str] = set()
        self._times: Counter[str] = Counter()

    def give(self, value: Value) -> str:
        if value not in self._given:
            name = value.hint
            while name in self._taken:
                self._times[value.hint] += 1
                name = f"{value.hint}.{self._times[value.hint]}"
            self._taken.add(name)
            self._given[value] = name
        return self._given[value]
