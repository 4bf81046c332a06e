"""What an ONNX classifier is reduced to: the steps of a Paddle network, and its weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Value = str | NDArray[Any]

INPUT = "x"


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
        """Return an attribute."""
        return self.attributes.get(name, default)

    def refuse(self, why: str) -> Unsupported:
        """Return what to raise when it cannot be converted."""
        return Unsupported(f"the ONNX operator {self.kind} {why}")


@dataclass(frozen=True)
class Step:
    """One call of the network.

    Attributes:
        function: What is called; see :mod:`lenet_cpp.interchange.onnx.network`.
        inputs: Names of the tensors and weights it takes.
        output: Name of what it gives.
        options: Its other arguments.
    """

    function: str
    inputs: tuple[str, ...]
    output: str
    options: dict[str, Any]


@dataclass
class Steps:
    """The network in the making.

    Attributes:
        image: Shape of one image.
        shapes: Name of a tensor of the source to its shape; -1 for the number of images.
        known: Name of a tensor of the source that depends on no pixel to its value.
        names: Name of a tensor of the source that does to its name here.
        steps: What was built, in order.
        output: Name of the output.
        classes: Length of its rows.
        weights: Name to array.
        padding: Name here to the name before, and top, left, bottom and right: a Pad that what
            comes after has to take over.
    """

    image: tuple[int, ...]
    shapes: dict[str, tuple[int, ...]]
    known: dict[str, NDArray[Any]]
    names: dict[str, str]
    steps: list[Step] = field(default_factory=list)
    output: str = ""
    classes: int = 0
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)
    padding: dict[str, tuple[str, tuple[int, int, int, int]]] = field(default_factory=dict)

    def value(self, node: Node, index: int) -> Value | None:
        """Return an input: the name of a tensor here, an array, or None when it is left out."""
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
        """Return an input that depends on the image."""
        found = self.value(node, index)
        if not isinstance(found, str):
            raise node.refuse(f"has no computed input {index}, which it needs to be converted")
        return found

    def constant(self, node: Node, index: int) -> NDArray[Any] | None:
        """Return an input that depends on no pixel, or None when it is left out."""
        found = self.value(node, index)
        if isinstance(found, str):
            raise node.refuse(f"computes its input {index} from the image: not supported")
        return found

    def weights_of(self, node: Node, index: int) -> NDArray[np.float32]:
        """Return an input that has to be weights."""
        found = self.constant(node, index)
        if found is None:
            raise node.refuse("lacks weights")
        return found.astype(np.float32)

    def add(self, function: str, *inputs: Value, **options: Any) -> str:
        """Add a step, and return the name of its output; arrays become weights of its own."""
        names = []
        for value in inputs:
            if isinstance(value, str):
                names.append(value)
                continue
            names.append(f"w{len(self.weights)}")
            self.weights[names[-1]] = np.ascontiguousarray(value)
        output = f"t{len(self.steps)}"
        self.steps.append(Step(function, tuple(names), output, options))
        return output

    def made_by(self, name: str) -> str | None:
        """Return the function that gives a tensor here; None for the input."""
        return self.steps[int(name[1:])].function if name.startswith("t") else None

    def shape(self, node: Node, index: int = 0) -> tuple[int, ...]:
        """Return the shape of an input that depends on the image."""
        return self.shapes[node.inputs[index]]

    def out_shape(self, node: Node) -> tuple[int, ...]:
        """Return the shape of the first output."""
        return self.shapes[node.outputs[0]]

    def give(self, node: Node, name: str) -> None:
        """Say what the output of a node is here."""
        self.names[node.outputs[0]] = name

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """Give a tensor another shape, in which one size may be -1."""
        return self.add("reshape", x, shape=[int(size) for size in shape])
