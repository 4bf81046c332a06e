"""How each ONNX operator becomes steps; see :mod:`lenet_cpp.interchange.onnx.reduce`."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp.interchange.onnx.steps import Node, Value

Rule = Callable[[Node], str | list[str]]

_POOLS = {"mean": "adaptive_avg_pool2d", "max": "adaptive_max_pool2d"}


def _same(node: Node) -> str:
    """Leave out what does nothing when a model is used."""
    return node.steps.names[node.inputs[0]]


def _function(name: str, **options: tuple[str, float]) -> Rule:
    """Call a function of one tensor; each of its options is an attribute with a default."""

    def rule(node: Node) -> str:
        numbers = {one: float(node.get(*attribute)) for one, attribute in options.items()}
        return node.add(name, node.data(), **numbers)

    return rule


def _chain(node: Node) -> str:
    """An operator of any number of tensors, two at a time."""
    first, *others = (_operand(node, index) for index in range(len(node.inputs)))
    for other in others:
        first = node.add(_CHAINS[node.kind], first, other)
    if not isinstance(first, str):
        raise node.refuse("has constant inputs only")
    return node.scale(first, 1 / len(node.inputs)) if node.kind == "Mean" else first


def _operand(node: Node, index: int) -> Value:
    found = node.value(index)
    if found is None:
        raise node.refuse("lacks an input")
    # Paddle has no operand of no dimensions.
    return found if isinstance(found, str) else np.atleast_1d(found.astype(np.float32))


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
    return node.add(
        "transpose", node.data(), perm=list(node.get("perm", range(len(node.shape))[::-1]))
    )


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


def _softmax(node: Node) -> str:
    shape, x = node.shape, node.data()
    function = "softmax" if node.kind == "Softmax" else "log_softmax"
    axis = int(node.get("axis", -1 if node.opset >= 13 else 1)) % len(shape)
    if node.opset >= 13 or math.prod(shape[axis + 1 :]) == 1:
        return node.add(function, x, axis=axis)
    if axis == 0:  # it was computed over all dimensions from there on
        raise node.refuse("over all images is not supported")
    flat = node.reshape(x, (-1, math.prod(shape[axis:])))
    return node.reshape(node.add(function, flat, axis=1), shape)


def _reduce(node: Node) -> str:
    shape, x, whole = node.shape, node.data(), node.kind.startswith("Global")
    function = "max" if "Max" in node.kind else "min" if "Min" in node.kind else "mean"
    axes = list(range(2, len(shape))) if whole else node.integers(1, "axes")
    if not axes and node.get("noop_with_empty_axes", 0):
        return x
    over = sorted(axis % len(shape) for axis in axes or range(len(shape)))
    if over[0] == 0:
        raise node.refuse("over all images is not supported")
    keep, pool = bool(node.get("keepdims", 1)), _POOLS.get(function)
    if pool and len(shape) == 4 and over == [2, 3]:
        result = node.add(pool, x, output_size=1)
        return result if keep else node.reshape(result, node.out_shape)
    return node.add(function, x, axis=over, keepdim=keep)


def _p_relu(node: Node) -> str:
    # max(x, 0) + slope * min(x, 0): Paddle's own function takes no slope of any shape.
    x, slope = node.data(), np.atleast_1d(node.weights(1))
    negative = node.scale(node.add("relu", node.scale(x, -1)), -1)
    return node.add("add", node.add("relu", x), node.add("multiply", negative, slope))


def _cast(node: Node) -> str:
    if node.get("to") != 1:  # FLOAT
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


def _padded(node: Node) -> tuple[str, NDArray[np.int64]]:
    """The input, and the zeros that a Pad before it would have put around it."""
    name = node.steps.names[node.inputs[0]]
    return node.steps.padding.get(name, (name, np.zeros((2, 2), np.int64)))


def _pad(node: Node) -> str:
    """Note a padding with zeros, for the convolution or pooling that comes next."""
    given, axes, rank = node.constant(2), node.constant(3), len(node.shape)
    fill = node.get("value", 0) if given is None else given.item()
    pads = np.zeros((2, rank), np.int64)
    pads[:, range(rank) if axes is None else axes % rank] = np.reshape(
        node.integers(1, "pads") or 2 * rank * [0], (2, -1)
    )
    if not pads.any():
        return node.steps.names[node.inputs[0]]
    usual = rank == 4 and node.get("mode", "constant") == "constant" and fill == 0
    if not usual or (pads < 0).any() or pads[:, :2].any():
        raise node.refuse("is supported for zeros around height and width only")
    x, before = _padded(node)
    name = f"padded_{len(node.steps.padding)}"
    node.steps.padding[name] = x, before + pads[:, 2:]
    return name


class _Window:
    """The window of a convolution or pooling over height and width, with all written out."""

    def __init__(self, node: Node, kernel: Sequence[int]) -> None:
        if len(node.shape) != 4 or len(kernel) != 2:
            raise node.refuse("is supported over height and width only")
        if node.kind != "Conv" and set(node.get("dilations", [1])) != {1}:
            raise node.refuse("with dilations is not supported")
        self.x, self.around = _padded(node)
        self.kernel = [int(size) for size in kernel]
        self.strides = [int(one) for one in node.get("strides", (1, 1))]
        self.dilations = [int(one) for one in node.get("dilations", (1, 1))]
        # From the first pixel of the first window to the last one's last.
        covered = np.subtract(node.out_shape[2:], 1) * self.strides + 1
        covered += np.subtract(kernel, 1) * self.dilations
        missing = covered - node.shape[2:]
        mode = node.get("auto_pad", "NOTSET")
        if mode in {"SAME_UPPER", "SAME_LOWER"}:
            less = np.maximum(0, missing) // 2
            pads = np.stack([less, np.maximum(0, missing) - less])
            pads = pads if mode == "SAME_UPPER" else pads[::-1]
        else:
            pads = np.reshape([0] * 4 if mode == "VALID" else node.get("pads", [0] * 4), (2, 2))
        self.own_padding = bool(pads.any())
        self.hangs_over = bool((missing > pads.sum(axis=0)).any())  # as ceil_mode lets it
        self.begin, self.end = pads + self.around
        # The least padding after the image that gives as many windows; none is cut off.
        self.needed_end = np.maximum(0, missing - pads[0] + self.around[1])

    def options(self, end: NDArray[np.int64]) -> dict[str, Any]:
        """Return its steps and its padding, of which ``end`` is after the image."""
        same = (self.begin == end).all()
        padding = self.begin if same else np.stack([self.begin, end], axis=1).ravel()
        return {"stride": self.strides, "padding": padding.tolist()}


def _conv(node: Node) -> str:
    weight, bias = node.weights(1), node.constant(2)
    window = _Window(node, weight.shape[2:])
    return node.add(
        "conv2d",
        window.x,
        weight,
        *([] if bias is None else [bias.astype(np.float32)]),
        dilation=window.dilations,
        groups=int(node.get("group", 1)),
        **window.options(window.end),
    )


def _max_pool(node: Node) -> str:
    if node.get("storage_order", 0) or any(node.outputs[1:]):
        raise node.refuse("with indices is not supported")
    window = _Window(node, node.get("kernel_shape", ()))
    made_by = {step.output: step.function for step in node.steps.steps}
    # Elsewhere a zero may be larger than every pixel.
    if window.around.any() and made_by.get(window.x) != "relu":
        raise node.refuse("after a Pad of what may be negative is not supported")
    options = window.options(window.needed_end)
    return node.add("max_pool2d", window.x, kernel_size=window.kernel, **options)


def _average_pool(node: Node) -> str:
    window = _Window(node, node.get("kernel_shape", ()))
    counted = bool(node.get("count_include_pad", 0))
    if window.around.any():
        if not counted and window.own_padding:
            raise node.refuse("with a padding of its own after a Pad is not supported")
        counted = True
    if counted and window.hangs_over:
        raise node.refuse("with both ceil_mode and count_include_pad is not supported")
    options = window.options(window.end if counted else window.needed_end)
    if counted and (window.begin != window.end).any():  # which Paddle divides by too little
        channels = node.shape[1]
        mean = np.full((channels, 1, *window.kernel), 1 / np.prod(window.kernel), np.float32)
        return node.add("conv2d", window.x, mean, groups=channels, **options)
    options |= {"kernel_size": window.kernel, "exclusive": not counted}
    return node.add("avg_pool2d", window.x, **options)


def _lrn(node: Node) -> str:
    """The sum over neighbouring channels, as a convolution: Paddle's own layer pools in 3-D."""
    x, size, channels = node.data(), int(node.get("size")), node.shape[1]
    apart = np.subtract.outer(np.arange(channels), np.arange(channels)) * -1
    near = (apart >= -((size - 1) // 2)) & (apart <= size // 2)
    weight = near * np.float32(node.get("alpha", 1e-4) / size)
    bias = np.full(channels, node.get("bias", 1.0), np.float32)
    band = weight.astype(np.float32)[:, :, None, None]
    total = node.add("conv2d", node.add("multiply", x, x), band, bias)
    root = node.add("pow", total, np.array([node.get("beta", 0.75)], np.float32))
    return node.add("divide", x, root)


_FUNCTIONS = (
    *("Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Abs", "Erf", "Floor", "Ceil"),
    *("Reciprocal", "Sin", "Cos", "Softsign", "Softplus", "HardSwish", "Mish"),
)
_CHAINS = {
    "Add": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "Div": "divide",
    "Pow": "pow",
    "Max": "maximum",
    "Min": "minimum",
    "Sum": "add",
    "Mean": "add",
    "MatMul": "matmul",
}
_REDUCTIONS = ("ReduceMax", "ReduceMean", "ReduceMin", "GlobalAveragePool", "GlobalMaxPool")
RULES: dict[str, Rule] = {
    **dict.fromkeys(("Identity", "Dropout"), _same),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **{kind: _function(kind.lower()) for kind in _FUNCTIONS},
    **dict.fromkeys(_CHAINS, _chain),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Elu": _function("elu", alpha=("alpha", 1.0)),
    "Gelu": lambda node: node.add(
        "gelu", node.data(), approximate=node.get("approximate") == "tanh"
    ),
    "Gemm": _gemm,
    "HardSigmoid": _function("hardsigmoid", slope=("alpha", 0.2), offset=("beta", 0.5)),
    "LRN": _lrn,
    "LeakyRelu": _function("leaky_relu", negative_slope=("alpha", 0.01)),
    "MaxPool": _max_pool,
    "Neg": lambda node: node.scale(node.data(), -1),
    "PRelu": _p_relu,
    "Pad": _pad,
    "ReduceSum": lambda node: node.scale(
        _reduce(node), math.prod(node.shape) / math.prod(node.out_shape)
    ),
    "Slice": _slice,
    "Split": _split,
    "ThresholdedRelu": _function("thresholded_relu", threshold=("alpha", 1.0)),
    "Transpose": _transpose,
}
"""Type of an operator to what adds its steps, and returns the names of its outputs here."""
