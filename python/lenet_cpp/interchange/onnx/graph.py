"""The graph that :mod:`lenet_cpp.interchange.onnx.tidy` builds, and the nodes it is built from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    from numpy.typing import NDArray

    Value = str | NDArray[Any]


@dataclass(frozen=True)
class Node:
    """An operator of the source.

    Attributes:
        kind: Its type, such as ``Conv``.
        inputs: Names; empty where an optional one is left out.
        outputs: Names.
        attributes: Name to number, string, list or array.
        opset: Of the source.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def refuse(self, why: str) -> Unsupported:
        """What to raise when it cannot be converted."""
        return Unsupported(f"the ONNX operator {self.kind} {why}")


@dataclass
class RewrittenGraph:
    """The graph that is built.

    Attributes:
        shapes: Name of a tensor of the source to its shape; -1 for the number of images.
        known: Name of a tensor of the source that depends on no pixel to its value.
        names: Name of a tensor of the source that does to its name here.
        nodes: What was built.
        weights: Name to array.
        made_by: Name here to the type of the operator that makes it.
        padding: Name here to the name before, and top, left, bottom and right: a Pad that what
            comes after has to take over.
    """

    shapes: dict[str, tuple[int, ...]]
    known: dict[str, NDArray[Any]]
    names: dict[str, str]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)
    made_by: dict[str, str] = field(default_factory=dict)
    padding: dict[str, tuple[str, tuple[int, int, int, int]]] = field(default_factory=dict)

    def value(self, node: Node, index: int) -> Value | None:
        """An input of a node: the name of a tensor here, an array, or None when it is left out."""
        name = node.inputs[index] if index < len(node.inputs) else ""
        if not name:
            return None
        if name in self.known:
            return self.known[name]
        here = self.names[name]
        if here in self.padding:
            raise Unsupported(f"the ONNX operator Pad before {node.kind} cannot be converted")
        return here

    def data(self, node: Node, index: int = 0) -> str:
        """An input that depends on the image."""
        found = self.value(node, index)
        if not isinstance(found, str):
            raise node.refuse(f"has no computed input {index}, which it needs to be converted")
        return found

    def constant(self, node: Node, index: int) -> NDArray[Any] | None:
        """An input that depends on no pixel, or None when it is left out."""
        found = self.value(node, index)
        if isinstance(found, str):
            raise node.refuse(f"computes its input {index} from the image: not supported")
        return found

    def add(self, kind: str, *inputs: Value, **attributes: Any) -> str:
        """Add an operator, and return the name of its output; arrays become weights of its own."""
        from onnx import helper

        names = []
        for value in inputs:
            if isinstance(value, str):
                names.append(value)
                continue
            name = f"w{len(self.weights)}"
            self.weights[name] = np.ascontiguousarray(value)
            names.append(name)
        result = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [result], name=result, **attributes))
        self.made_by[result] = kind
        return result

    def shape(self, node: Node, index: int = 0) -> tuple[int, ...]:
        """The shape of an input that depends on the image."""
        return self.shapes[node.inputs[index]]

    def out_shape(self, node: Node, index: int = 0) -> tuple[int, ...]:
        """The shape of an output."""
        return self.shapes[node.outputs[index]]

    def give(self, node: Node, name: str) -> None:
        """Say what the output of a node is here."""
        self.names[node.outputs[0]] = name

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """Give a tensor another shape, in which one size may be -1."""
        return self.add("Reshape", x, np.array(shape, np.int64))
