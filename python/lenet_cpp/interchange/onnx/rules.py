"""How each ONNX operator is written for x2paddle; see :mod:`lenet_cpp.interchange.onnx.tidy`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.interchange.onnx.windows import WINDOW_RULES, weights_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lenet_cpp.interchange.onnx.graph import Node, RewrittenGraph, Value

    Rule = Callable[[RewrittenGraph, Node], None]


def _same(graph: RewrittenGraph, node: Node) -> None:
    """Leave out what does nothing when a model is used."""
    graph.names[node.outputs[0]] = graph.names[node.inputs[0]]


def _plain(graph: RewrittenGraph, node: Node) -> None:
    graph.give(node, graph.add(node.kind, graph.data(node)))


def _numbers(**defaults: float) -> Rule:
    """A function of one tensor with numbers as parameters."""

    def rule(graph: RewrittenGraph, node: Node) -> None:
        given: dict[str, Any] = {
            name: float(node.get(name, default)) for name, default in defaults.items()
        }
        graph.give(node, graph.add(node.kind, graph.data(node), **given))

    return rule


def _operand(value: Value | None, node: Node) -> Value:
    if value is None:
        raise node.refuse("lacks an input")
    if isinstance(value, str):
        return value
    # Paddle has no operand of no dimensions.
    return value.astype(np.float32).reshape(value.shape or (1,))


def _binary(graph: RewrittenGraph, node: Node) -> None:
    a, b = (_operand(graph.value(node, index), node) for index in (0, 1))
    graph.give(node, graph.add(node.kind, a, b))


def _chain(kind: str) -> Rule:
    """An operator of any number of tensors, two at a time."""

    def rule(graph: RewrittenGraph, node: Node) -> None:
        operands = [_operand(graph.value(node, i), node) for i in range(len(node.inputs))]
        result = operands[0]
        for other in operands[1:]:
            result = graph.add(kind, result, other)
        if node.kind == "Mean":
            result = graph.add("Mul", result, np.array([1 / len(operands)], np.float32))
        if not isinstance(result, str):
            raise node.refuse("has constant inputs only")
        graph.give(node, result)

    return rule


def _hard_swish(graph: RewrittenGraph, node: Node) -> None:
    x = graph.data(node)
    gate = graph.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)
    graph.give(node, graph.add("Mul", x, gate))


def _gelu(graph: RewrittenGraph, node: Node) -> None:
    if node.get("approximate", "none") != "none":
        raise node.refuse("is supported in its exact form only")
    x = graph.data(node)
    erf = graph.add("Erf", graph.add("Mul", x, np.array([math.sqrt(0.5)], np.float32)))
    half = graph.add("Mul", x, np.array([0.5], np.float32))
    graph.give(node, graph.add("Mul", half, graph.add("Add", erf, np.array([1], np.float32))))


def _mish(graph: RewrittenGraph, node: Node) -> None:
    x = graph.data(node)
    graph.give(node, graph.add("Mul", x, graph.add("Tanh", graph.add("Softplus", x))))


def _clip(graph: RewrittenGraph, node: Node) -> None:
    limits: dict[str, Any] = {}
    for index, name in enumerate(("min", "max"), start=1):
        given = graph.constant(node, index)
        value = node.get(name) if given is None else given.item()
        if value is not None and math.isfinite(value):
            limits[name] = float(value)
    if not limits:
        _same(graph, node)
        return
    graph.give(node, graph.add("Clip", graph.data(node), **limits))


def _batch_norm(graph: RewrittenGraph, node: Node) -> None:
    if node.get("training_mode", 0) or not node.get("spatial", 1):
        raise node.refuse("is supported as it is used after training only")
    parameters = [weights_of(graph, node, index) for index in range(1, 5)]
    epsilon = float(node.get("epsilon", 1e-5))
    graph.give(
        node, graph.add("BatchNormalization", graph.data(node), *parameters, epsilon=epsilon)
    )


def _gemm(graph: RewrittenGraph, node: Node) -> None:
    weight = weights_of(graph, node, 1)
    x = graph.data(node)
    if node.get("transA", 0):
        raise node.refuse("with a transposed image is not supported")
    weight = weight.T if node.get("transB", 0) else weight
    alpha, beta = (np.float32(node.get(name, 1)) for name in ("alpha", "beta"))
    # With the bias apart Paddle recognizes a fully connected layer.
    result = graph.add("MatMul", x, weight * alpha)
    added = graph.value(node, 2)
    if isinstance(added, str):
        added = graph.add("Mul", added, beta.reshape(1)) if beta != 1 else added
        result = graph.add("Add", result, added)
    elif added is not None and beta != 0:
        bias = (added * beta).astype(np.float32)
        if bias.ndim == 2 and bias.shape[0] == 1:
            bias = bias[0]
        result = graph.add("Add", result, bias.reshape(bias.shape or (1,)))
    graph.give(node, result)


def _mat_mul(graph: RewrittenGraph, node: Node) -> None:
    a, b = (_operand(graph.value(node, index), node) for index in (0, 1))
    graph.give(node, graph.add("MatMul", a, b))


def _reshape(graph: RewrittenGraph, node: Node) -> None:
    """Any operator that changes the shape and nothing else."""
    shape = graph.out_shape(node)
    if shape == graph.shape(node):
        _same(graph, node)
        return
    if shape.count(-1) != 1:
        raise node.refuse(f"gives {list(shape)}, in which the number of images is not one size")
    graph.give(node, graph.reshape(graph.data(node), shape))


def _transpose(graph: RewrittenGraph, node: Node) -> None:
    rank = len(graph.shape(node))
    perm = [int(one) for one in node.get("perm", range(rank)[::-1])]
    graph.give(node, graph.add("Transpose", graph.data(node), perm=perm))


def _concat(graph: RewrittenGraph, node: Node) -> None:
    parts = [graph.data(node, index) for index in range(len(node.inputs))]
    axis = int(node.get("axis", 1)) % len(graph.shape(node))
    graph.give(node, parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=axis))


def _split(graph: RewrittenGraph, node: Node) -> None:
    """Each part as a slice: of several outputs of one operator x2paddle confuses the order."""
    shape, x = graph.shape(node), graph.data(node)
    axis = int(node.get("axis", 0)) % len(shape)
    given = graph.constant(node, 1)
    sizes = node.get("split") if given is None else list(given)
    if sizes is None:
        part = -(-shape[axis] // len(node.outputs))
        sizes = [part] * len(node.outputs)
    if shape[axis] == -1:
        raise node.refuse("of the images of a batch is not supported")
    ends = [min(int(end), shape[axis]) for end in np.cumsum(sizes)]
    for name, begin, end in zip(node.outputs, [0, *ends], ends, strict=False):
        limits = (np.array([one], np.int64) for one in (begin, end, axis))
        graph.names[name] = graph.add("Slice", x, *limits)


def _softmax(graph: RewrittenGraph, node: Node) -> None:
    shape, x = graph.shape(node), graph.data(node)
    rank = len(shape)
    axis = int(node.get("axis", -1 if node.opset >= 13 else 1)) % rank
    rest = math.prod(shape[axis + 1 :])
    if rest == 1:
        graph.give(node, graph.add(node.kind, x, axis=axis))
    elif node.opset < 13:  # it was computed over all dimensions from there on
        if axis == 0:
            raise node.refuse("over all images is not supported")
        flat = graph.reshape(x, (-1, math.prod(shape[axis:])))
        graph.give(node, graph.reshape(graph.add(node.kind, flat, axis=1), shape))
    else:
        perm = [*(i for i in range(rank) if i != axis), axis]
        last = graph.add(node.kind, graph.add("Transpose", x, perm=perm), axis=rank - 1)
        graph.give(node, graph.add("Transpose", last, perm=[perm.index(i) for i in range(rank)]))


def _reduce(graph: RewrittenGraph, node: Node) -> None:
    shape, x = graph.shape(node), graph.data(node)
    rank = len(shape)
    given = graph.constant(node, 1)
    axes: Sequence[Any] = node.get("axes", ()) if given is None else list(given)
    if not len(axes) and node.get("noop_with_empty_axes", 0):
        _same(graph, node)
        return
    over = sorted(int(axis) % rank for axis in (axes if len(axes) else range(rank)))
    if over[0] == 0:
        raise node.refuse("over all images is not supported")
    keep = int(node.get("keepdims", 1))
    # Of a sum x2paddle writes a call that ends Paddle 3.3: the mean times the number of terms.
    kind = "ReduceMean" if node.kind == "ReduceSum" else node.kind
    if kind == "ReduceMean" and rank == 4 and over == [2, 3]:
        result = graph.add("GlobalAveragePool", x)
        if not keep:
            result = graph.reshape(result, graph.out_shape(node))
    else:
        result = graph.add(kind, x, axes=over, keepdims=keep)
    if node.kind == "ReduceSum":
        terms = math.prod(shape[axis] for axis in over)
        result = graph.add("Mul", result, np.array([terms], np.float32))
    graph.give(node, result)


def _p_relu(graph: RewrittenGraph, node: Node) -> None:
    slope = weights_of(graph, node, 1)
    channels = graph.shape(node)[1]
    if slope.size not in {1, channels}:
        raise node.refuse("with a slope for each pixel is not supported")
    # max(x, 0) + slope * min(x, 0), with what x2paddle writes correctly
    x = graph.data(node)
    shape = (1, *slope.shape) if slope.ndim < len(graph.shape(node)) else slope.shape
    negative = graph.add("Neg", graph.add("Relu", graph.add("Neg", x)))
    part = graph.add("Mul", negative, slope.reshape(shape if slope.size > 1 else (1,)))
    graph.give(node, graph.add("Add", graph.add("Relu", x), part))


def _cast(graph: RewrittenGraph, node: Node) -> None:
    from onnx import TensorProto

    if node.get("to") != TensorProto.FLOAT:
        raise node.refuse("to another type than float32 is not supported")
    _same(graph, node)


def _slice(graph: RewrittenGraph, node: Node) -> None:
    shape = graph.shape(node)
    parts = [node.get(name) for name in ("starts", "ends", "axes")] + [None]
    for index in range(4):
        given = graph.constant(node, index + 1)
        parts[index] = parts[index] if given is None else [int(one) for one in given]
    starts, ends, axes, steps = parts
    if starts is None or ends is None or (steps is not None and set(steps) != {1}):
        raise node.refuse("with steps is not supported")
    for start, end, axis in zip(starts, ends, axes or range(len(starts)), strict=True):
        size = shape[int(axis)]
        if size == -1 and (start, end < 2**31 - 1) != (0, False):
            raise node.refuse("of the images of a batch is not supported")
    arrays = [np.array(one, np.int64) for one in (starts, ends, axes or range(len(starts)))]
    graph.give(node, graph.add("Slice", graph.data(node), *arrays))


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Identity", "Dropout"), _same),
    **dict.fromkeys(
        ("Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Abs", "Erf", "Floor", "Ceil", "Neg"),
        _plain,
    ),
    **dict.fromkeys(("Reciprocal", "Sin", "Cos", "Softsign", "Softplus"), _plain),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow"), _binary),
    **dict.fromkeys(("Sum", "Mean"), _chain("Add")),
    **{kind: _chain(kind) for kind in ("Max", "Min")},
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **WINDOW_RULES,
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"), _reduce),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Elu": _numbers(alpha=1.0),
    "Gelu": _gelu,
    "Gemm": _gemm,
    "HardSigmoid": _numbers(alpha=0.2, beta=0.5),
    "HardSwish": _hard_swish,
    "LeakyRelu": _numbers(alpha=0.01),
    "MatMul": _mat_mul,
    "Mish": _mish,
    "PRelu": _p_relu,
    "Slice": _slice,
    "Split": _split,
    "ThresholdedRelu": _numbers(alpha=1.0),
    "Transpose": _transpose,
}
"""Type of an operator to what writes it into the graph."""
