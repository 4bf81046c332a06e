"""What each operator of Caffe2's computes, said in ONNX.

Images are [N, C, H, W]; NHWC is not supported. An argument that is not known here is refused,
because it might change what is computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lenet_cpp.errors import BadModel, Unsupported
from lenet_cpp.interchange.caffe2.blobs import FILL_OPERATORS, MAX_ELEMENTS, Blobs, Shape, Value
from lenet_cpp.interchange.caffe2.windows import Window, read_window

if TYPE_CHECKING:
    from collections.abc import Callable

    from lenet_cpp.interchange.caffe2.files import Operator

    Translation = Callable[[Blobs, Operator], Value]

SAME_SHAPE = frozenset(
    ("Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "PRelu", "Clip", "LRN", "SpatialBN", "Dropout")
)
"""Operators whose result has the shape of what they read first."""

_COPIES = frozenset(
    ("Copy", "Alias", "StopGradient", "CopyGPUToCPU", "CopyCPUToGPU", "CopyFromCPUInput",
     "EnsureCPUOutput")
)  # fmt: skip
# They say how to compute, or matter to training only.
_IGNORED = frozenset(
    ("ws_nbytes_limit", "exhaustive_search", "cudnn_exhaustive_search", "use_cudnn",
     "shared_buffer", "momentum", "num_batches", "allow_broadcast_fastpath", "float16_compute",
     "convolution_transform_strategy", "init_params", "net_pos", "ratio", "run_once")
)  # fmt: skip


def translate(blobs: Blobs, op: Operator) -> None:
    """Let an operator have its effect on the blobs.

    Raises:
        BadModel: It cannot be as it is: Caffe2 would refuse it too.
        Unsupported: It has no translation.
    """
    read = _OPERATORS.get(op.type)
    if read is None:
        raise Unsupported(f"{op.place}: this operator of Caffe2's is not supported")
    if (order := op.arguments.text("order", "NCHW")) != "NCHW":
        raise Unsupported(f"{op.place}: images in {order!r:.40} are not supported, only NCHW")
    value = read(blobs, op)
    if unknown := op.arguments.unknown(_IGNORED):
        raise Unsupported(f"{op.place}: the argument {unknown[0]!r} is not supported")
    for extra in op.outputs[1:]:  # masks, old shapes and the like, which nobody needs
        blobs.held[extra] = Unsupported(f"{op.place}: its output {extra!r} is not supported")
    blobs.held[op.outputs[0]] = value


def _copy(blobs: Blobs, op: Operator) -> Value:
    return blobs.get(op, 0)


def _dropout(blobs: Blobs, op: Operator) -> Value:
    _in_test_mode(op)
    return blobs.get(op, 0)


def _in_test_mode(op: Operator) -> None:
    if not op.arguments.integer("is_test", 0):
        raise Unsupported(f"{op.place} is in training mode: export the net for inference")


def _conv(blobs: Blobs, op: Operator) -> Value:
    x, weights = _image(blobs, op), blobs.constant(op, 1)
    if weights.ndim != 4:
        raise Unsupported(f"{op.place}: only convolutions in two dimensions are supported")
    window = read_window(op)
    group = op.arguments.integer("group", 1)
    outputs, channels, *kernel = weights.shape
    if window.kernel != tuple(kernel) or not outputs or not channels:
        raise BadModel(f"{op.place} has filters {weights.shape} and a kernel {window.kernel}")
    if group < 1 or outputs % group or x.shape[1] not in {None, channels * group}:
        raise BadModel(
            f"{op.place}: filters {weights.shape} in {group} groups do not fit {_said(x.shape)}"
        )
    inputs = [x, blobs.get(op, 1)]
    if len(op.inputs) > 2:
        blobs.constant(op, 2, size=outputs)
        inputs.append(blobs.get(op, 2))
    shape = (x.shape[0], outputs, *_sides(op, x, window))
    return blobs.add(op, "Conv", inputs, shape, group=group, **window.attributes(dilations=True))


def _pool(blobs: Blobs, op: Operator) -> Value:
    x = _image(blobs, op)
    name = op.type.removesuffix("2D")
    averaged = {"count_include_pad": op.arguments.integer("count_include_pad", 0)}
    window = read_window(op)
    if window.dilations != (1, 1):
        raise BadModel(f"{op.place}: Caffe2 pools without dilation")
    if op.arguments.integer("global_pooling", 0):
        if window.strides != (1, 1) or any(window.pads):
            raise BadModel(f"{op.place}: global pooling has no strides and no padding")
        return blobs.add(op, f"Global{name}", [x], (*x.shape[:2], 1, 1))
    if any(pad >= kernel for pad, kernel in zip(window.pads, window.kernel * 2, strict=True)):
        raise BadModel(f"{op.place}: padding {window.pads} is not less than {window.kernel}")
    attributes = window.attributes() | (averaged if name == "AveragePool" else {})
    return blobs.add(op, name, [x], (*x.shape[:2], *_sides(op, x, window)), **attributes)


def _image(blobs: Blobs, op: Operator) -> Value:
    x = blobs.get(op, 0)
    if len(x.shape) != 4:
        raise BadModel(f"{op.place} reads {_said(x.shape)}; expected [N, C, H, W]")
    return x


def _sides(op: Operator, x: Value, window: Window) -> list[int | None]:
    sides = window.output(x.shape[2:])
    if any(side is not None and side < 1 for side in sides):
        raise BadModel(f"{op.place} finds no place in {_said(x.shape)}")
    return sides


def _spatial_bn(blobs: Blobs, op: Operator) -> Value:
    x = _image(blobs, op)
    _in_test_mode(op)
    for index in range(1, 5):
        blobs.constant(op, index, size=x.shape[1])
    inputs = [x, *(blobs.get(op, index) for index in range(1, 5))]
    epsilon = op.arguments.number("epsilon", 1e-5)
    return blobs.add(op, "BatchNormalization", inputs, x.shape, epsilon=epsilon)


def _affine_channel(blobs: Blobs, op: Operator) -> Value:
    x = _image(blobs, op)
    value = x
    for index, name in ((1, "Mul"), (2, "Add")):
        array = blobs.constant(op, index, size=x.shape[1]).reshape(-1, 1, 1)
        value = blobs.add(op, name, [value, blobs.fill(op, array)], x.shape)
    return value


def _unary(**defaults: float) -> Translation:
    """Return a translation to the operator of the same name, which has float attributes."""

    def read(blobs: Blobs, op: Operator) -> Value:
        x = blobs.get(op, 0)
        attributes = {name: op.arguments.number(name, value) for name, value in defaults.items()}
        return blobs.add(op, op.type, [x], x.shape, **attributes)

    return read


def _clip(blobs: Blobs, op: Operator) -> Value:
    x = blobs.get(op, 0)
    most = float(np.finfo(np.float32).max)
    limits = (op.arguments.number("min", -most), op.arguments.number("max", most))
    arrays = [blobs.fill(op, np.array(limit, np.float32)) for limit in limits]
    return blobs.add(op, "Clip", [x, *arrays], x.shape)


def _prelu(blobs: Blobs, op: Operator) -> Value:
    x = blobs.get(op, 0)
    slope = blobs.constant(op, 1)
    if slope.size != 1 and (len(x.shape) < 2 or x.shape[1] not in {None, slope.size}):
        raise BadModel(f"{op.place}: {slope.size} slopes do not fit {_said(x.shape)}")
    slopes = slope.reshape(-1, *[1] * (len(x.shape) - 2))
    return blobs.add(op, "PRelu", [x, blobs.fill(op, slopes)], x.shape)


def _lrn(blobs: Blobs, op: Operator) -> Value:
    x = _image(blobs, op)
    size = op.arguments.integer("size", 0)
    if size < 1 or size % 2 == 0:
        raise BadModel(f"{op.place}: the size is {size}; expected an odd number")
    numbers = {n: op.arguments.number(n, d) for n, d in (("alpha", 0), ("beta", 0), ("bias", 1))}
    return blobs.add(op, "LRN", [x], x.shape, size=size, **numbers)


def _fc(blobs: Blobs, op: Operator) -> Value:
    x = blobs.get(op, 0)
    if op.arguments.integer("axis", 1) != 1 or op.arguments.integer("axis_w", 1) != 1:
        raise Unsupported(f"{op.place}: only axis 1 is supported")
    weights = blobs.constant(op, 1)
    transposed = op.type == "FC"  # the weights of FC are [outputs, inputs], those of the other not
    outputs = blobs.constant(op, 2).size
    inputs, rest = divmod(weights.size, max(1, outputs))
    matrix = (outputs, inputs) if transposed else (inputs, outputs)
    if weights.ndim < 2 or not outputs or rest or weights.shape[0] != matrix[0]:
        raise BadModel(f"{op.place}: weights {weights.shape} do not fit {outputs} outputs")
    if x.elements(1) not in {None, inputs} or len(x.shape) < 2:
        raise BadModel(f"{op.place} has weights for {inputs} values and reads {_said(x.shape)}")
    if len(x.shape) > 2:
        x = blobs.add(op, "Flatten", [x], (x.shape[0], inputs), axis=1)
    w = blobs.get(op, 1)
    if weights.shape != matrix:
        w = blobs.fill(op, weights.reshape(matrix))
    shape = (x.shape[0], outputs)
    return blobs.add(op, "Gemm", [x, w, blobs.get(op, 2)], shape, transB=int(transposed))


def _flatten(blobs: Blobs, op: Operator) -> Value:
    x = blobs.get(op, 0)
    if op.arguments.integer("axis", 1) != 1:
        raise Unsupported(f"{op.place}: only axis 1 is supported")
    return blobs.add(op, "Flatten", [x], (*x.shape[:1], x.elements(1)), axis=1)


def _reshape(blobs: Blobs, op: Operator) -> Value:
    x = blobs.get(op, 0)
    wanted = list(op.arguments.integers("shape"))
    if len(op.inputs) > 1:
        wanted = [int(length) for length in blobs.constant(op, 1).ravel()[:16]]
    if not wanted or min(wanted) < -1 or wanted.count(-1) > 1 or max(wanted) > MAX_ELEMENTS:
        raise BadModel(f"{op.place}: the shape {wanted[:8]} is none")
    if x.array is None and wanted[0] == 1:
        # It was exported with a batch of one image; any other batch passes just as well.
        wanted[0] = 0 if -1 in wanted else -1
    copied = [x.shape[i] if d == 0 and i < len(x.shape) else d for i, d in enumerate(wanted)]
    shape = [None if length == -1 else length for length in copied]
    new_shape = blobs.fill(op, np.array(wanted, np.int64))
    return blobs.add(op, "Reshape", [x, new_shape], shape)


def _softmax(blobs: Blobs, op: Operator) -> Value:
    x = blobs.get(op, 0)
    axis = _axis(op, "axis", 1, x.shape)
    return blobs.add(op, "Softmax", [x], x.shape, axis=axis)


def _axis(op: Operator, name: str, default: int, shape: Shape) -> int:
    axis = op.arguments.integer(name, default)
    if not -len(shape) <= axis < len(shape):
        raise BadModel(f"{op.place}: there is no axis {axis} in {_said(shape)}")
    return axis % len(shape)


def _concat(blobs: Blobs, op: Operator) -> Value:
    values = [blobs.get(op, index) for index in range(len(op.inputs))]
    if not values:
        raise BadModel(f"{op.place} has no inputs")
    axis = _axis(op, "axis", 1, values[0].shape)
    if op.arguments.integer("add_axis", 0):
        raise Unsupported(f"{op.place}: a new axis is not supported")
    others = [(*value.shape[:axis], *value.shape[axis + 1 :]) for value in values]
    if any(not _agree(others[0], other) for other in others):
        raise BadModel(f"{op.place}: {_said(values[0].shape)} and others do not fit together")
    lengths = [length for value in values if (length := value.shape[axis]) is not None]
    total = sum(lengths) if len(lengths) == len(values) else None
    shape = (*others[0][:axis], total, *others[0][axis:])
    return blobs.add(op, "Concat", values, shape, axis=axis)


def _sum(blobs: Blobs, op: Operator) -> Value:
    values = [blobs.get(op, index) for index in range(max(1, len(op.inputs)))]
    if any(not _agree(values[0].shape, value.shape) for value in values):
        raise BadModel(f"{op.place} adds values of several shapes")
    return blobs.add(op, "Sum", values, values[0].shape) if len(values) > 1 else values[0]


def _agree(one: Shape, other: Shape) -> bool:
    """Tell whether two shapes may be the same."""
    same_rank = len(one) == len(other)
    return same_rank and all(
        None in pair or pair[0] == pair[1] for pair in zip(one, other, strict=True)
    )


def _binary(blobs: Blobs, op: Operator) -> Value:
    a, b = blobs.get(op, 0), blobs.get(op, 1)
    broadcast = op.arguments.integer("broadcast", 0)
    axis = op.arguments.integer("axis", -1)
    if not broadcast and axis != -1:
        raise BadModel(f"{op.place} has an axis and no broadcast")
    if broadcast and axis != -1:
        # Before ONNX had it too: the dimensions of b stand from this axis on.
        ones = len(a.shape) - axis - len(b.shape)
        if axis < 0 or ones < 0:
            raise BadModel(f"{op.place}: {_said(b.shape)} does not fit {_said(a.shape)} at {axis}")
        if ones:
            array = blobs.constant(op, 1)
            b = blobs.fill(op, array.reshape(*array.shape, *[1] * ones))
    shape = []
    for i in range(-max(len(a.shape), len(b.shape)), 0):
        sides = [value.shape[i] for value in (a, b) if i >= -len(value.shape)]
        known = {side for side in sides if side not in {None, 1}}
        if len(known) > 1:
            raise BadModel(f"{op.place}: {_said(a.shape)} and {_said(b.shape)} do not fit")
        shape.append(known.pop() if known else None if None in sides else 1)
    return blobs.add(op, op.type, [a, b], shape)


def _reduce_mean(blobs: Blobs, op: Operator) -> Value:
    x = blobs.get(op, 0)
    axes, keep = op.arguments.integers("axes"), op.arguments.integer("keepdims", 1)
    if not axes or any(not 0 < axis < len(x.shape) for axis in axes):
        raise Unsupported(f"{op.place}: a mean over {axes} of {_said(x.shape)} is not supported")
    rank = range(len(x.shape))
    kept = [1 if axis in axes else x.shape[axis] for axis in rank if keep or axis not in axes]
    return blobs.add(op, "ReduceMean", [x], kept, axes=list(axes), keepdims=int(bool(keep)))


def _squeeze(blobs: Blobs, op: Operator) -> Value:
    x = blobs.get(op, 0)
    axes = op.arguments.integers("dims")
    if not axes or any(not 0 < a < len(x.shape) or x.shape[a] not in {None, 1} for a in axes):
        raise BadModel(f"{op.place}: {_said(x.shape)} cannot lose the dimensions {axes}")
    kept = [length for axis, length in enumerate(x.shape) if axis not in axes]
    return blobs.add(op, "Squeeze", [x], kept, axes=list(axes))


def _said(shape: Shape) -> str:
    return f"[{', '.join('?' if length is None else str(length) for length in shape)}]"


_OPERATORS: dict[str, Translation] = {
    **FILL_OPERATORS,
    **dict.fromkeys(_COPIES, _copy),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _binary),
    **dict.fromkeys(("Concat", "DepthConcat"), _concat),
    **dict.fromkeys(("Conv", "Conv2D"), _conv),
    **dict.fromkeys(("FC", "FCTransposed"), _fc),
    **dict.fromkeys(("MaxPool", "MaxPool2D", "AveragePool", "AveragePool2D"), _pool),
    **dict.fromkeys(("Relu", "Sigmoid", "Tanh"), _unary()),
    "AffineChannel": _affine_channel,
    "Clip": _clip,
    "Dropout": _dropout,
    "Elu": _unary(alpha=1.0),
    "Flatten": _flatten,
    "LRN": _lrn,
    "LeakyRelu": _unary(alpha=0.01),
    "PRelu": _prelu,
    "ReduceMean": _reduce_mean,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "SpatialBN": _spatial_bn,
    "Squeeze": _squeeze,
    "Sum": _sum,
}
