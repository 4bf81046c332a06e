"""What an ONNX classifier is reduced to: the steps of a Paddle network, and its weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp.errors import Unsupported

Value = str | NDArray[Any]

INPUT = "x"


@dataclass(frozen=True)
class Step:
    """One call of the network: a function or layer, see :mod:`lenet_cpp.interchange.onnx.network`.

    It takes the tensors and weights of these names, and options.
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
        names: Name of a tensor of the source that depends on the image to its name here.
        shapes: Name of a tensor of the source to its shape; -1 for the number of images.
        known: Name of a tensor of the source that depends on no pixel to its value.
        classes: Length of the rows of the output.
        padding: Name here to the name before, and [[top, left], [bottom, right]]: a Pad that what
            comes after has to take over.
    """

    image: tuple[int, ...]
    names: dict[str, str]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    known: dict[str, NDArray[Any]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    output: str = ""
    classes: int = 0
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)
    padding: dict[str, tuple[str, NDArray[np.int64]]] = field(default_factory=dict)

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


@dataclass(frozen=True)
class Node:
    """An operator of the source, and what a rule asks of it.

    Names of inputs are empty where an optional one is left out. An attribute is a number, string,
    list or array.
    """

    steps: Steps
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

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first input, which depends on the image."""
        return self.steps.shapes[self.inputs[0]]

    @property
    def out_shape(self) -> tuple[int, ...]:
        """The shape of the first output."""
        return self.steps.shapes[self.outputs[0]]

    def value(self, index: int) -> Value | None:
        """Return an input: the name of a tensor here, an array, or None when it is left out."""
        name = self.inputs[index] if index < len(self.inputs) else ""
        if not name or name in self.steps.known:
            return self.steps.known.get(name)
        here = self.steps.names[name]
        if here in self.steps.padding:
            raise Unsupported(f"the ONNX operator Pad before {self.kind} cannot be converted")
        return here

    def data(self, index: int = 0) -> str:
        """Return an input that depends on the image."""
        found = self.value(index)
        if not isinstance(found, str):
            raise self.refuse(f"has no computed input {index}, which it needs to be converted")
        return found

    def constant(self, index: int) -> NDArray[Any] | None:
        """Return an input that depends on no pixel, or None when it is left out."""
        found = self.value(index)
        if isinstance(found, str):
            raise self.refuse(f"computes its input {index} from the image: not supported")
        return found

    def weights(self, index: int) -> NDArray[np.float32]:
        """Return an input that has to be weights."""
        found = self.constant(index)
        if found is None:
            raise self.refuse("lacks weights")
        return found.astype(np.float32)

    def integers(self, index: int, name: str) -> list[int] | None:
        """Return numbers that are an input, or an attribute in older operator sets."""
        found = self.constant(index)
        given = self.get(name) if found is None else found.ravel()
        return None if given is None else [int(one) for one in given]

    def add(self, function: str, *inputs: Value, **options: Any) -> str:
        """Add a step, as :meth:`Steps.add`."""
        return self.steps.add(function, *inputs, **options)

    def scale(self, x: str, scale: float, bias: float = 0.0) -> str:
        """Multiply a tensor by a number, and add another."""
        return self.add("scale", x, scale=float(scale), bias=float(bias))

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """Give a tensor another shape, in which one size may be -1."""
        return self.add("reshape", x, shape=[int(size) for size in shape])
