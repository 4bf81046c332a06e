"""How each ONNX operator becomes steps; see :mod:`lenet_cpp.interchange.onnx.reduce`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.interchange.onnx.windows import WINDOW_RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lenet_cpp.interchange.onnx.steps import Node, Steps, Value

    Rule = Callable[[Steps, Node], None]

_FLOAT = 1  # onnx.TensorProto.FLOAT


def _same(steps: Steps, node: Node) -> None:
    """Leave out what does nothing when a model is used."""
    steps.names[node.outputs[0]] = steps.names[node.inputs[0]]


def _function(name: str, **options: tuple[str, float]) -> Rule:
    """Call a function of one tensor.

    Args:
        name: The function.
        **options: Each of its numbers to the attribute and its default.
    """

    def rule(steps: Steps, node: Node) -> None:
        numbers = {one: float(node.get(*attribute)) for one, attribute in options.items()}
        steps.give(node, steps.add(name, steps.data(node), **numbers))

    return rule


def _operands(steps: Steps, node: Node, count: int) -> list[Value]:
    operands = [steps.value(node, index) for index in range(count)]
    if None in [None if one is None else 0 for one in operands]:
        raise node.refuse("lacks an input")
    # Paddle has no operand of no dimensions.
    return [
        one if isinstance(one, str) else one.astype(np.float32).reshape(one.shape or (1,))
        for one in operands
        if one is not None
    ]


def _binary(function: str) -> Rule:
    def rule(steps: Steps, node: Node) -> None:
        steps.give(node, steps.add(function, *_operands(steps, node, 2)))

    return rule


def _chain(function: str) -> Rule:
    """An operator of any number of tensors, two at a time."""

    def rule(steps: Steps, node: Node) -> None:
        operands = _operands(steps, node, len(node.inputs))
        result = operands[0]
        for other in operands[1:]:
            result = steps.add(function, result, other)
        if not isinstance(result, str):
            raise node.refuse("has constant inputs only")
        if node.kind == "Mean":
            result = _scaled(steps, result, 1 / len(operands))
        steps.give(node, result)

    return rule


def _scaled(steps: Steps, x: str, scale: float, bias: float = 0.0) -> str:
    return steps.add("scale", x, scale=float(scale), bias=float(bias))


def _neg(steps: Steps, node: Node) -> None:
    steps.give(node, _scaled(steps, steps.data(node), -1))


def _gate(steps: Steps, x: str, alpha: float, beta: float) -> str:
    return steps.add("clip", _scaled(steps, x, alpha, beta), min=0.0, max=1.0)


def _hard_sigmoid(steps: Steps, node: Node) -> None:
    slope = node.get("alpha", 0.2), node.get("beta", 0.5)
    steps.give(node, _gate(steps, steps.data(node), *slope))


def _hard_swish(steps: Steps, node: Node) -> None:
    x = steps.data(node)
    steps.give(node, steps.add("multiply", x, _gate(steps, x, 1 / 6, 0.5)))


def _gelu(steps: Steps, node: Node) -> None:
    if node.get("approximate", "none") != "none":
        raise node.refuse("is supported in its exact form only")
    x = steps.data(node)
    erf = steps.add("erf", _scaled(steps, x, math.sqrt(0.5)))
    half = _scaled(steps, x, 0.5)
    steps.give(node, steps.add("multiply", half, _scaled(steps, erf, 1, 1)))


def _mish(steps: Steps, node: Node) -> None:
    x = steps.data(node)
    steps.give(node, steps.add("multiply", x, steps.add("tanh", steps.add("softplus", x))))


def _clip(steps: Steps, node: Node) -> None:
    limits: dict[str, Any] = {}
    for index, name in enumerate(("min", "max"), start=1):
        given = steps.constant(node, index)
        value = node.get(name) if given is None else given.item()
        if value is not None and math.isfinite(value):
            limits[name] = float(value)
    if not limits:
        _same(steps, node)
        return
    steps.give(node, steps.add("clip", steps.data(node), **limits))


def _batch_norm(steps: Steps, node: Node) -> None:
    if node.get("training_mode", 0) or not node.get("spatial", 1):
        raise node.refuse("is supported as it is used after training only")
    parameters = [steps.weights_of(node, index) for index in range(1, 5)]
    epsilon = float(node.get("epsilon", 1e-5))
    steps.give(node, steps.add("batch_norm", steps.data(node), *parameters, epsilon=epsilon))


def _gemm(steps: Steps, node: Node) -> None:
    weight = steps.weights_of(node, 1)
    x = steps.data(node)
    if node.get("transA", 0):
        raise node.refuse("with a transposed image is not supported")
    weight = weight.T if node.get("transB", 0) else weight
    alpha, beta = (float(node.get(name, 1)) for name in ("alpha", "beta"))
    # With the bias apart Paddle recognizes a fully connected layer.
    result = steps.add("matmul", x, weight * np.float32(alpha))
    added = steps.value(node, 2)
    if isinstance(added, str):
        result = steps.add("add", result, _scaled(steps, added, beta) if beta != 1 else added)
    elif added is not None and beta != 0:
        bias = (added * beta).astype(np.float32)
        if bias.ndim == 2 and bias.shape[0] == 1:
            bias = bias[0]
        result = steps.add("add", result, bias.reshape(bias.shape or (1,)))
    steps.give(node, result)


def _reshape(steps: Steps, node: Node) -> None:
    """Any operator that changes the shape and nothing else."""
    shape = steps.out_shape(node)
    if shape == steps.shape(node):
        _same(steps, node)
        return
    if shape.count(-1) != 1:
        raise node.refuse(f"gives {list(shape)}, in which the number of images is not one size")
    steps.give(node, steps.reshape(steps.data(node), shape))


def _transpose(steps: Steps, node: Node) -> None:
    rank = len(steps.shape(node))
    perm = [int(one) for one in node.get("perm", range(rank)[::-1])]
    steps.give(node, steps.add("transpose", steps.data(node), perm=perm))


def _concat(steps: Steps, node: Node) -> None:
    parts = [steps.data(node, index) for index in range(len(node.inputs))]
    axis = int(node.get("axis", 1)) % len(steps.shape(node))
    steps.give(node, parts[0] if len(parts) == 1 else steps.add("concat", *parts, axis=axis))


def _split(steps: Steps, node: Node) -> None:
    shape, x = steps.shape(node), steps.data(node)
    axis = int(node.get("axis", 0)) % len(shape)
    given = steps.constant(node, 1)
    sizes = node.get("split") if given is None else list(given)
    if sizes is None:
        part = -(-shape[axis] // len(node.outputs))
        sizes = [part] * len(node.outputs)
    if shape[axis] == -1:
        raise node.refuse("of the images of a batch is not supported")
    ends = [min(int(end), shape[axis]) for end in np.cumsum(sizes)]
    for name, begin, end in zip(node.outputs, [0, *ends], ends, strict=False):
        steps.names[name] = steps.add("slice", x, axes=[axis], starts=[begin], ends=[end])


def _softmax(function: str) -> Rule:
    def rule(steps: Steps, node: Node) -> None:
        shape, x = steps.shape(node), steps.data(node)
        rank = len(shape)
        axis = int(node.get("axis", -1 if node.opset >= 13 else 1)) % rank
        rest = math.prod(shape[axis + 1 :])
        if rest == 1 or node.opset >= 13:
            steps.give(node, steps.add(function, x, axis=axis))
            return
        if axis == 0:  # it was computed over all dimensions from there on
            raise node.refuse("over all images is not supported")
        flat = steps.reshape(x, (-1, math.prod(shape[axis:])))
        steps.give(node, steps.reshape(steps.add(function, flat, axis=1), shape))

    return rule


def _reduce(function: str) -> Rule:
    def rule(steps: Steps, node: Node) -> None:
        shape, x = steps.shape(node), steps.data(node)
        rank = len(shape)
        given = steps.constant(node, 1)
        axes: Sequence[Any] = node.get("axes", ()) if given is None else list(given)
        if not len(axes) and node.get("noop_with_empty_axes", 0):
            _same(steps, node)
            return
        over = sorted(int(axis) % rank for axis in (axes if len(axes) else range(rank)))
        if over[0] == 0:
            raise node.refuse("over all images is not supported")
        keep = bool(node.get("keepdims", 1))
        if function == "mean" and rank == 4 and over == [2, 3]:
            result = steps.add("adaptive_avg_pool2d", x, output_size=1)
            result = result if keep else steps.reshape(result, steps.out_shape(node))
        else:
            result = steps.add(function, x, axis=over, keepdim=keep)
        if node.kind == "ReduceSum":
            result = _scaled(steps, result, math.prod(shape[axis] for axis in over))
        steps.give(node, result)

    return rule


def _p_relu(steps: Steps, node: Node) -> None:
    slope = steps.weights_of(node, 1)
    channels = steps.shape(node)[1]
    if slope.size not in {1, channels}:
        raise node.refuse("with a slope for each pixel is not supported")
    # max(x, 0) + slope * min(x, 0): Paddle's own function takes no slope of such a shape.
    x = steps.data(node)
    shape = (1, *slope.shape) if slope.ndim < len(steps.shape(node)) else slope.shape
    negative = _scaled(steps, steps.add("relu", _scaled(steps, x, -1)), -1)
    part = steps.add("multiply", negative, slope.reshape(shape if slope.size > 1 else (1,)))
    steps.give(node, steps.add("add", steps.add("relu", x), part))


def _cast(steps: Steps, node: Node) -> None:
    if node.get("to") != _FLOAT:
        raise node.refuse("to another type than float32 is not supported")
    _same(steps, node)


def _slice(steps: Steps, node: Node) -> None:
    shape = steps.shape(node)
    parts = [node.get(name) for name in ("starts", "ends", "axes")] + [None]
    for index in range(4):
        given = steps.constant(node, index + 1)
        parts[index] = parts[index] if given is None else [int(one) for one in given]
    starts, ends, axes, strides = parts
    if starts is None or ends is None or (strides is not None and set(strides) != {1}):
        raise node.refuse("with steps is not supported")
    kept: dict[int, tuple[int, int]] = {}
    for start, end, given in zip(starts, ends, axes or range(len(starts)), strict=True):
        axis = int(given) % len(shape)
        if shape[axis] != -1:
            begin, stop, _ = slice(start, end).indices(shape[axis])
            kept[axis] = begin, stop
        elif (start, end < 2**31 - 1) != (0, False):
            raise node.refuse("of the images of a batch is not supported")
    if not kept:
        _same(steps, node)
        return
    begins, stops = (list(one) for one in zip(*kept.values(), strict=True))
    options = {"axes": list(kept), "starts": begins, "ends": stops}
    steps.give(node, steps.add("slice", steps.data(node), **options))


_FUNCTIONS = (
    *("Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Abs", "Erf", "Floor", "Ceil"),
    *("Reciprocal", "Sin", "Cos", "Softsign", "Softplus"),
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(("Identity", "Dropout"), _same),
    **{kind: _function(kind.lower()) for kind in _FUNCTIONS},
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **WINDOW_RULES,
    "Add": _binary("add"),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Div": _binary("divide"),
    "Elu": _function("elu", alpha=("alpha", 1.0)),
    "Gelu": _gelu,
    "Gemm": _gemm,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _function("leaky_relu", negative_slope=("alpha", 0.01)),
    "LogSoftmax": _softmax("log_softmax"),
    "MatMul": _binary("matmul"),
    "Max": _chain("maximum"),
    "Mean": _chain("add"),
    "Min": _chain("minimum"),
    "Mish": _mish,
    "Mul": _binary("multiply"),
    "Neg": _neg,
    "PRelu": _p_relu,
    "Pow": _binary("pow"),
    "ReduceMax": _reduce("max"),
    "ReduceMean": _reduce("mean"),
    "ReduceMin": _reduce("min"),
    "ReduceSum": _reduce("mean"),
    "Slice": _slice,
    "Softmax": _softmax("softmax"),
    "Split": _split,
    "Sub": _binary("subtract"),
    "Sum": _chain("add"),
    "ThresholdedRelu": _function("thresholded_relu", threshold=("alpha", 1.0)),
    "Transpose": _transpose,
}
"""Type of an operator to what adds its steps."""
