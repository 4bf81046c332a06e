"""How each ONNX operator becomes steps; see :mod:`lenet_cpp.interchange.onnx.reduce`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lenet_cpp.interchange.onnx.windows import WINDOW_RULES

if TYPE_CHECKING:
    from collections.abc import Callable

    from lenet_cpp.interchange.onnx.steps import Node, Value

    Rule = Callable[[Node], str | list[str]]

_FLOAT = 1  # onnx.TensorProto.FLOAT


def _same(node: Node) -> str:
    """Leave out what does nothing when a model is used."""
    return node.steps.names[node.inputs[0]]


def _function(name: str, **options: tuple[str, float]) -> Rule:
    """Call a function of one tensor.

    Args:
        name: The function.
        **options: Each of its numbers to the attribute and its default.
    """

    def rule(node: Node) -> str:
        numbers = {one: float(node.get(*attribute)) for one, attribute in options.items()}
        return node.add(name, node.data(), **numbers)

    return rule


def _chain(function: str) -> Rule:
    """An operator of any number of tensors, two at a time."""

    def rule(node: Node) -> str:
        first, *others = (_operand(node, index) for index in range(len(node.inputs)))
        for other in others:
            first = node.add(function, first, other)
        if not isinstance(first, str):
            raise node.refuse("has constant inputs only")
        return node.scale(first, 1 / len(node.inputs)) if node.kind == "Mean" else first

    return rule


def _operand(node: Node, index: int) -> Value:
    found = node.value(index)
    if found is None:
        raise node.refuse("lacks an input")
    # Paddle has no operand of no dimensions.
    return found if isinstance(found, str) else np.atleast_1d(found.astype(np.float32))


def _gelu(node: Node) -> str:
    return node.add("gelu", node.data(), approximate=node.get("approximate", "none") == "tanh")


def _clip(node: Node) -> str:
    limits: dict[str, float] = {}
    for index, name in enumerate(("min", "max"), start=1):
        given = node.constant(index)
        value = node.get(name) if given is None else given.item()
        if value is not None and math.isfinite(value):
            limits[name] = float(value)
    return node.add("clip", node.data(), **limits) if limits else _same(node)


def _batch_norm(node: Node) -> str:
    if node.get("training_mode", 0) or not node.get("spatial", 1):
        raise node.refuse("is supported as it is used after training only")
    parameters = [node.weights(index) for index in range(1, 5)]
    return node.add(
        "batch_norm", node.data(), *parameters, epsilon=float(node.get("epsilon", 1e-5))
    )


def _gemm(node: Node) -> str:
    weight, x, added = node.weights(1), node.data(), node.value(2)
    if node.get("transA", 0):
        raise node.refuse("with a transposed image is not supported")
    weight = weight.T if node.get("transB", 0) else weight
    alpha, beta = (float(node.get(name, 1)) for name in ("alpha", "beta"))
    # With the bias apart Paddle recognizes a fully connected layer.
    result = node.add("matmul", x, weight * np.float32(alpha))
    if added is None or beta == 0:
        return result
    if isinstance(added, str):
        return node.add("add", result, node.scale(added, beta) if beta != 1 else added)
    bias = np.atleast_1d((added * beta).astype(np.float32))
    return node.add("add", result, bias[0] if bias.ndim == 2 and len(bias) == 1 else bias)


def _reshape(node: Node) -> str:
    """Any operator that changes the shape and nothing else."""
    shape = node.out_shape
    if shape == node.shape:
        return _same(node)
    if shape.count(-1) != 1:
        raise node.refuse(f"gives {list(shape)}, in which the number of images is not one size")
    return node.reshape(node.data(), shape)


def _transpose(node: Node) -> str:
    perm = [int(one) for one in node.get("perm", range(len(node.shape))[::-1])]
    return node.add("transpose", node.data(), perm=perm)


def _concat(node: Node) -> str:
    parts = [node.data(index) for index in range(len(node.inputs))]
    axis = int(node.get("axis", 1)) % len(node.shape)
    return parts[0] if len(parts) == 1 else node.add("concat", *parts, axis=axis)


def _split(node: Node) -> list[str]:
    axis = int(node.get("axis", 0)) % len(node.shape)
    whole, count = node.shape[axis], len(node.outputs)
    if whole == -1:
        raise node.refuse("of the images of a batch is not supported")
    ends = np.cumsum(node.integers(1, "split") or [-(-whole // count)] * count).clip(max=whole)
    return [
        node.add("slice", node.data(), axes=[axis], starts=[int(begin)], ends=[int(end)])
        for begin, end in zip([0, *ends], ends, strict=False)
    ]


def _softmax(function: str) -> Rule:
    def rule(node: Node) -> str:
        shape, x = node.shape, node.data()
        axis = int(node.get("axis", -1 if node.opset >= 13 else 1)) % len(shape)
        if node.opset >= 13 or math.prod(shape[axis + 1 :]) == 1:
            return node.add(function, x, axis=axis)
        if axis == 0:  # it was computed over all dimensions from there on
            raise node.refuse("over all images is not supported")
        flat = node.reshape(x, (-1, math.prod(shape[axis:])))
        return node.reshape(node.add(function, flat, axis=1), shape)

    return rule


def _reduce(function: str) -> Rule:
    def rule(node: Node) -> str:
        shape, x, axes = node.shape, node.data(), node.integers(1, "axes")
        if not axes and node.get("noop_with_empty_axes", 0):
            return x
        over = sorted(axis % len(shape) for axis in axes or range(len(shape)))
        if over[0] == 0:
            raise node.refuse("over all images is not supported")
        keep = bool(node.get("keepdims", 1))
        if function == "mean" and len(shape) == 4 and over == [2, 3]:
            result = node.add("adaptive_avg_pool2d", x, output_size=1)
            result = result if keep else node.reshape(result, node.out_shape)
        else:
            result = node.add(function, x, axis=over, keepdim=keep)
        if node.kind == "ReduceSum":
            result = node.scale(result, math.prod(shape[axis] for axis in over))
        return result

    return rule


def _p_relu(node: Node) -> str:
    # max(x, 0) + slope * min(x, 0): Paddle's own function takes no slope of any shape.
    x, slope = node.data(), np.atleast_1d(node.weights(1))
    negative = node.scale(node.add("relu", node.scale(x, -1)), -1)
    return node.add("add", node.add("relu", x), node.add("multiply", negative, slope))


def _cast(node: Node) -> str:
    if node.get("to") != _FLOAT:
        raise node.refuse("to another type than float32 is not supported")
    return _same(node)


def _slice(node: Node) -> str:
    shape = node.shape
    starts, ends, axes, strides = (
        node.integers(index, name)
        for index, name in enumerate(("starts", "ends", "axes", "steps"), start=1)
    )
    if starts is None or ends is None or set(strides or [1]) != {1}:
        raise node.refuse("with steps is not supported")
    kept: dict[int, tuple[int, int]] = {}
    for start, end, given in zip(starts, ends, axes or range(len(starts)), strict=True):
        axis = given % len(shape)
        if shape[axis] != -1:
            begin, stop, _ = slice(start, end).indices(shape[axis])
            kept[axis] = begin, stop
        elif (start, end < 2**31 - 1) != (0, False):
            raise node.refuse("of the images of a batch is not supported")
    if not kept:
        return _same(node)
    begins, stops = (list(one) for one in zip(*kept.values(), strict=True))
    return node.add("slice", node.data(), axes=list(kept), starts=begins, ends=stops)


_FUNCTIONS = (
    *("Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Abs", "Erf", "Floor", "Ceil"),
    *("Reciprocal", "Sin", "Cos", "Softsign", "Softplus", "HardSwish", "Mish"),
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(("Identity", "Dropout"), _same),
    **{kind: _function(kind.lower()) for kind in _FUNCTIONS},
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **WINDOW_RULES,
    "Add": _chain("add"),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Div": _chain("divide"),
    "Elu": _function("elu", alpha=("alpha", 1.0)),
    "Gelu": _gelu,
    "Gemm": _gemm,
    "HardSigmoid": _function("hardsigmoid", slope=("alpha", 0.2), offset=("beta", 0.5)),
    "LeakyRelu": _function("leaky_relu", negative_slope=("alpha", 0.01)),
    "LogSoftmax": _softmax("log_softmax"),
    "MatMul": _chain("matmul"),
    "Max": _chain("maximum"),
    "Mean": _chain("add"),
    "Min": _chain("minimum"),
    "Mul": _chain("multiply"),
    "Neg": lambda node: node.scale(node.data(), -1),
    "PRelu": _p_relu,
    "Pow": _chain("pow"),
    "ReduceMax": _reduce("max"),
    "ReduceMean": _reduce("mean"),
    "ReduceMin": _reduce("min"),
    "ReduceSum": _reduce("mean"),
    "Slice": _slice,
    "Softmax": _softmax("softmax"),
    "Split": _split,
    "Sub": _chain("subtract"),
    "Sum": _chain("add"),
    "ThresholdedRelu": _function("thresholded_relu", threshold=("alpha", 1.0)),
    "Transpose": _transpose,
}
"""Type of an operator to what adds its steps, and returns the names of its outputs here."""
