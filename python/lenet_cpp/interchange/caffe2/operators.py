"""What each operator of Caffe2's computes, said in ONNX.

Images are [N, C, H, W]; NHWC is not supported. An argument that is not known here is refused,
because it might change what is computed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp.errors import BadModel, Unsupported
from lenet_cpp.interchange.caffe2.blobs import MAX_ELEMENTS, Blobs, Operator, Value

Translation = Callable[[Blobs, Operator], Value]

SAME_SHAPE = frozenset(
    ("Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "PRelu", "Clip", "LRN", "SpatialBN", "Dropout")
)
"""Operators whose result has the shape of what they read first."""
FILLS = {
    "GivenTensorFill": 1,
    "GivenTensorDoubleFill": 13,
    "GivenTensorIntFill": 2,
    "GivenTensorInt64Fill": 10,
    "GivenTensorBoolFill": 5,
}
"""Operators that hold the values they fill a blob with, to a key of ``_DTYPES``."""
_RANDOM_FILLS = frozenset(
    ("XavierFill", "MSRAFill", "GaussianFill", "UniformFill", "UniformIntFill", "UniqueUniformFill")
)

_DTYPES = {1: np.float32, 2: np.int32, 5: np.bool_, 10: np.int64, 13: np.float64}
_EXPLICIT, _VALID, _SAME, _AS_CAFFE = range(4)  # legacy_pad
_MAX_SIDE = 1 << 15
_MAX_CONSTANT = 1 << 24  # a few bytes in a file must not ask for all the memory there is
_COPIES = frozenset(
    (
        "Copy",
        "Alias",
        "StopGradient",
        "CopyGPUToCPU",
        "CopyCPUToGPU",
        "CopyFromCPUInput",
        "EnsureCPUOutput",
        "Dropout",
    )
)
# They say how to compute, or matter to training only.
_IGNORED = frozenset(
    (
        "ws_nbytes_limit",
        "exhaustive_search",
        "cudnn_exhaustive_search",
        "use_cudnn",
        "shared_buffer",
        "momentum",
        "num_batches",
        "allow_broadcast_fastpath",
        "float16_compute",
        "convolution_transform_strategy",
        "init_params",
        "net_pos",
        "ratio",
        "run_once",
    )
)


def translate(blobs: Blobs, op: Operator) -> None:
    """Let an operator have its effect on the blobs.

    It is BadModel where Caffe2 would refuse it too, and Unsupported where it has no translation.
    """
    if op.type in _RANDOM_FILLS:
        raise Unsupported(f"{op.place} fills with random numbers: export the trained net")
    if op.type not in OPERATORS:
        raise Unsupported(f"{op.place}: this operator of Caffe2's is not supported")
    if (order := op.get("order", "NCHW")) != "NCHW":
        raise Unsupported(f"{op.place}: images in {order!r:.40} are not supported, only NCHW")
    if op.type in {"Dropout", "SpatialBN"} and not op.get("is_test", 0):
        raise Unsupported(f"{op.place} is in training mode: export the net for inference")
    value = OPERATORS[op.type](blobs, op)
    if unknown := sorted(op.unasked - _IGNORED):
        raise Unsupported(f"{op.place}: the argument {unknown[0]!r} is not supported")
    for extra in op.outputs[1:]:  # masks, old shapes and the like, which nobody needs
        blobs.held[extra] = Unsupported(f"{op.place}: its output {extra!r} is not supported")
    blobs.held[op.outputs[0]] = value


def _fill(blobs: Blobs, op: Operator) -> Value:
    number = op.get("dtype", FILLS.get(op.type, 1))
    if number not in _DTYPES:
        raise Unsupported(f"{op.place}: values of Caffe2's data type {number} are not supported")
    if op.inputs:
        raise Unsupported(f"{op.place}: a shape that is computed is not supported")
    dtype: type[np.generic] = _DTYPES[number]
    shape = op.get("shape", ())
    most = MAX_ELEMENTS if op.type in FILLS else _MAX_CONSTANT
    if len(shape) > 8 or any(length < 0 for length in shape) or math.prod(shape) > most:
        raise BadModel(f"{op.place}: a blob cannot have the shape {list(shape)[:8]}")
    try:
        array = _given_values(op, dtype) if op.type in FILLS else _constant(op, dtype, shape)
    except OverflowError as error:
        raise BadModel(f"{op.place}: a value does not fit {dtype.__name__}") from error
    if array.size != math.prod(shape):
        raise BadModel(f"{op.place} has {array.size} values for a shape of {list(shape)}")
    return blobs.fill(op, array.reshape(shape))


def _given_values(op: Operator, dtype: type[np.generic]) -> NDArray[Any]:
    if issubclass(dtype, np.floating):
        no_floats: list[float] = []
        return np.array(op.get("values", no_floats), dtype)
    return np.array(op.get("values", ()), dtype)


def _constant(op: Operator, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    floating = issubclass(dtype, np.floating)
    value = op.get("value", 0.0) if floating else op.get("value", 0)
    return np.full(shape, value, dtype)


def _image(blobs: Blobs, op: Operator) -> Value:
    x = blobs.get(op, 0)
    if len(x.shape) != 4:
        raise BadModel(f"{op.place} reads {x}; expected [N, C, H, W]")
    return x


@dataclass(frozen=True)
class _Window:
    """The window of a convolution or a pooling.

    Attributes:
        kernel: Height and width.
        strides: Vertical and horizontal, as in ``dilations``.
        pads: Above, on the left, below and on the right.
        ceil_mode: Whether the size of the output is rounded up.
        same_upper: Whether ONNX computes the padding, for an output of the size of the input
            divided by the strides; ``pads`` are zeros then.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    ceil_mode: bool = False
    same_upper: bool = False

    def attributes(self) -> dict[str, tuple[int, ...] | int | str]:
        """Return the attributes of an operator of ONNX."""
        found: dict[str, tuple[int, ...] | int | str] = {
            "kernel_shape": self.kernel,
            "strides": self.strides,
            "pads": self.pads,
            "dilations": self.dilations,
        }
        if self.ceil_mode:
            found["ceil_mode"] = 1
        if self.same_upper:
            del found["pads"]
            found["auto_pad"] = "SAME_UPPER"
        return found

    def covers_all(self) -> bool:
        """Return whether there is no pixel between two places of the window."""
        sides = zip(self.kernel, self.strides, strict=True)
        return all(side >= stride for side, stride in sides)


def _window(op: Operator, x: Value) -> _Window:
    """Read the window of a convolution or a pooling of ``x``."""
    window = _Window(
        kernel=_several(op, "kernel", "_h _w", 0),
        strides=_several(op, "stride", "_h _w", 1),
        pads=_several(op, "pad", "_t _l _b _r", 0),
        dilations=_several(op, "dilation", "_h _w", 1),
    )
    is_global = op.get("global_pooling", 0) != 0
    least_kernel = 0 if is_global else 1
    for least, numbers in (
        (least_kernel, window.kernel),
        (1, window.strides),
        (0, window.pads),
        (1, window.dilations),
    ):
        if any(not least <= number <= _MAX_SIDE for number in numbers):
            raise BadModel(f"{op.place} has a window that is none: {window.attributes()}")
    legacy = op.get("legacy_pad", _EXPLICIT)
    if is_global:
        return window
    if legacy != _EXPLICIT:
        window = _legacy(op, window, legacy)
    if not window.same_upper:
        _check_room(op, window, x)
    return window


def _check_room(op: Operator, window: _Window, x: Value) -> None:
    """Refuse an image that is smaller than the window."""
    for axis, side in enumerate(x.shape[2:]):
        if side is None:
            continue
        extent = window.dilations[axis] * (window.kernel[axis] - 1) + 1
        room = side + sum(window.pads[axis::2]) - extent
        # When the size of the output is rounded up, a part of the window may be outside.
        fits_partly = window.ceil_mode and room > -window.strides[axis]
        if room < 0 and not fits_partly:
            raise BadModel(f"{op.place} finds no place in {x}")


def _legacy(op: Operator, window: _Window, legacy: int) -> _Window:
    """Write out what ``legacy_pad`` stands for."""
    if legacy == _AS_CAFFE and "Pool" in op.type:
        return _as_caffe(op, window)
    if legacy in {_VALID, _SAME} and any(window.pads):
        raise BadModel(f"{op.place} has padding of its own beside legacy_pad")
    if legacy == _VALID:
        return window
    if legacy == _SAME and (padded := _same_size(window)):
        return padded
    raise Unsupported(f"{op.place}: legacy_pad {legacy} is not supported here")


def _as_caffe(op: Operator, window: _Window) -> _Window:
    """Return the window of a pooling whose output has the size that Caffe computes."""
    symmetric = window.pads[:2] == window.pads[2:]
    if window.strides == (1, 1) and symmetric:
        return window
    # Caffe rounds the size of the output up; where it pads too, it drops some windows again.
    if any(window.pads) or not window.covers_all():
        raise Unsupported(f"{op.place}: Caffe's pooling with strides and padding")
    return replace(window, ceil_mode=True)


def _same_size(window: _Window) -> _Window | None:
    """Pad for an output of the size of the input, divided by the strides.

    Returns None when ONNX cannot express that for the window.
    """
    if window.dilations != (1, 1):
        return None
    if window.strides == (1, 1):
        begin = tuple((side - 1) // 2 for side in window.kernel)
        end = tuple(side // 2 for side in window.kernel)
        return replace(window, pads=(*begin, *end))
    return replace(window, same_upper=True) if window.covers_all() else None


def _several(op: Operator, name: str, endings: str, default: int) -> tuple[int, ...]:
    """Read numbers that may be written as one for all, as a list, or each by its name."""
    many, each = f"{name}s", [name + ending for ending in endings.split()]
    if many in op and name in op:
        raise BadModel(f"{op.place} has both {name} and {many}")
    if many in op:
        found = op.get(many, ())
    elif name not in op and all(one in op for one in each):
        found = tuple(op.get(one, default) for one in each)
    else:
        found = (op.get(name, default),) * len(each)
    if len(found) != len(each):
        raise Unsupported(f"{op.place}: only windows of two dimensions are supported")
    return found


def _conv(blobs: Blobs, op: Operator) -> Value:
    x, weights = _image(blobs, op), blobs.constant(op, 1)
    if weights.ndim != 4:
        raise Unsupported(f"{op.place}: only convolutions in two dimensions are supported")
    window, group = _window(op, x), op.get("group", 1)
    outputs, channels, *kernel = weights.shape
    fits = group > 0 and outputs % group == 0 and x.shape[1] in {None, channels * group}
    if not fits or window.kernel != tuple(kernel) or not weights.size:
        raise BadModel(
            f"{op.place}: a kernel {window.kernel} and filters {weights.shape} in {group}"
            f" groups do not fit {x}"
        )
    if len(op.inputs) > 2:
        blobs.constant(op, 2, size=outputs)
    inputs = [blobs.get(op, index) for index in range(len(op.inputs[:3]))]
    return blobs.add(op, "Conv", *inputs, group=group, **window.attributes())


def _pool(blobs: Blobs, op: Operator) -> Value:
    x = _image(blobs, op)
    name, window = op.type.removesuffix("2D"), _window(op, x)
    counts_padding = op.get("count_include_pad", 0)
    if window.dilations != (1, 1):
        raise BadModel(f"{op.place}: Caffe2 pools without dilation")
    kernel, pads = window.kernel, window.pads
    if op.get("global_pooling", 0):
        if window.strides != (1, 1) or any(pads):
            raise BadModel(f"{op.place}: global pooling has no strides and no padding")
        return blobs.add(op, f"Global{name}", x)
    if any(pad >= side for pad, side in zip(pads, kernel * 2, strict=True)):
        raise BadModel(f"{op.place}: padding {pads} is not less than {kernel}")
    attributes = window.attributes()
    del attributes["dilations"]  # AveragePool does not have it in this operator set
    if name == "AveragePool":
        attributes["count_include_pad"] = counts_padding
    return blobs.add(op, name, x, **attributes)


def _spatial_bn(blobs: Blobs, op: Operator) -> Value:
    x = _image(blobs, op)
    for index in range(1, 5):
        blobs.constant(op, index, size=x.shape[1])
    inputs = [blobs.get(op, index) for index in range(5)]
    return blobs.add(op, "BatchNormalization", *inputs, epsilon=op.get("epsilon", 1e-5))


def _affine_channel(blobs: Blobs, op: Operator) -> Value:
    x = value = _image(blobs, op)
    for index, name in ((1, "Mul"), (2, "Add")):
        array = blobs.constant(op, index, size=x.shape[1]).reshape(-1, 1, 1)
        value = blobs.add(op, name, value, blobs.fill(op, array))
    return value


def _unary(blobs: Blobs, op: Operator) -> Value:
    """Translate to the operator of the same name, whose attributes have the same names too."""
    attributes = {name: op.get(name, value) for name, value in _UNARY[op.type].items()}
    return blobs.add(op, op.type, blobs.get(op, 0), **attributes)


def _clip(blobs: Blobs, op: Operator) -> Value:
    most = float(np.finfo(np.float32).max)
    limits = (op.get("min", -most), op.get("max", most))
    arrays = [blobs.fill(op, np.array(limit, np.float32)) for limit in limits]
    return blobs.add(op, "Clip", blobs.get(op, 0), *arrays)


def _prelu(blobs: Blobs, op: Operator) -> Value:
    x, slope = blobs.get(op, 0), blobs.constant(op, 1)
    if slope.size != 1 and (len(x.shape) < 2 or x.shape[1] not in {None, slope.size}):
        raise BadModel(f"{op.place}: {slope.size} slopes do not fit {x}")
    slopes = slope.reshape(-1, *[1] * (len(x.shape) - 2))
    return blobs.add(op, "PRelu", x, blobs.fill(op, slopes))


def _lrn(blobs: Blobs, op: Operator) -> Value:
    _image(blobs, op)
    size = op.get("size", 0)
    if size < 1 or size % 2 == 0:
        raise BadModel(f"{op.place}: the size is {size}; expected an odd number")
    return _unary(blobs, op)


def _fc(blobs: Blobs, op: Operator) -> Value:
    if op.get("axis", 1) != 1 or op.get("axis_w", 1) != 1:
        raise Unsupported(f"{op.place}: only axis 1 is supported")
    x, weights = blobs.get(op, 0), blobs.constant(op, 1)
    transposed = op.type == "FC"  # the weights of FC are [outputs, inputs], those of the other not
    outputs = blobs.constant(op, 2).size
    inputs, rest = divmod(weights.size, max(1, outputs))
    matrix = (outputs, inputs) if transposed else (inputs, outputs)
    if weights.ndim < 2 or not outputs or rest or weights.shape[0] != matrix[0]:
        raise BadModel(f"{op.place}: weights {weights.shape} do not fit {outputs} outputs")
    rows = blobs.add(op, "Flatten", x, axis=1) if len(x.shape) > 2 else x
    if len(x.shape) < 2 or rows.shape[1] not in {None, inputs}:
        raise BadModel(f"{op.place} has weights for {inputs} values and reads {x}")
    w = blobs.get(op, 1)
    if weights.shape != matrix:
        w = blobs.fill(op, weights.reshape(matrix))
    return blobs.add(op, "Gemm", rows, w, blobs.get(op, 2), transB=int(transposed))


def _reshape(blobs: Blobs, op: Operator) -> Value:
    x = blobs.get(op, 0)
    wanted = list(op.get("shape", ()))
    if len(op.inputs) > 1:
        wanted = [int(length) for length in blobs.constant(op, 1).ravel()[:16]]
    if not wanted or min(wanted) < -1 or wanted.count(-1) > 1 or max(wanted) > MAX_ELEMENTS:
        raise BadModel(f"{op.place}: the shape {wanted[:8]} is none")
    if x.array is None and wanted[0] == 1:
        # It was exported with a batch of one image; any other batch passes just as well.
        wanted[0] = 0 if -1 in wanted else -1
    return blobs.add(op, "Reshape", x, blobs.fill(op, np.array(wanted, np.int64)))


def _concat(blobs: Blobs, op: Operator) -> Value:
    if op.get("add_axis", 0):
        raise Unsupported(f"{op.place}: a new axis is not supported")
    return blobs.add(op, "Concat", *_all(blobs, op), axis=op.get("axis", 1))


def _all(blobs: Blobs, op: Operator) -> list[Value]:
    return [blobs.get(op, index) for index in range(max(1, len(op.inputs)))]


def _sum(blobs: Blobs, op: Operator) -> Value:
    values = _all(blobs, op)
    lengths = zip_longest(*(value.shape for value in values), fillvalue=0)
    if any(len(set(several) - {None}) > 1 for several in lengths):
        raise BadModel(f"{op.place} adds values of several shapes")
    return blobs.add(op, "Sum", *values) if len(values) > 1 else values[0]


def _binary(blobs: Blobs, op: Operator) -> Value:
    a, b = blobs.get(op, 0), blobs.get(op, 1)
    broadcast, axis = op.get("broadcast", 0), op.get("axis", -1)
    if not broadcast and axis != -1:
        raise BadModel(f"{op.place} has an axis and no broadcast")
    if broadcast and axis != -1:
        # Before ONNX had it too: the dimensions of b stand from this axis on.
        ones = len(a.shape) - axis - len(b.shape)
        if axis < 0 or ones < 0:
            raise BadModel(f"{op.place}: {b} does not fit {a} at {axis}")
        if ones:
            array = blobs.constant(op, 1)
            b = blobs.fill(op, array.reshape(*array.shape, *[1] * ones))
    return blobs.add(op, op.type, a, b)


def _without_axes(blobs: Blobs, op: Operator) -> Value:
    x, reduces = blobs.get(op, 0), op.type == "ReduceMean"
    axes = op.get("axes" if reduces else "dims", ())
    if not axes or any(not 0 < axis < len(x.shape) for axis in axes):
        raise Unsupported(f"{op.place}: the dimensions {axes} of {x} are not supported")
    keep = {"keepdims": int(op.get("keepdims", 1) != 0)} if reduces else {}
    return blobs.add(op, op.type, x, axes=axes, **keep)


_UNARY: dict[str, dict[str, float]] = {
    **{kind: {"axis": 1} for kind in ("Flatten", "Softmax")},
    **{kind: {} for kind in ("Relu", "Sigmoid", "Tanh")},
    "Elu": {"alpha": 1.0},
    "LRN": {"size": 0, "alpha": 0.0, "beta": 0.0, "bias": 1.0},
    "LeakyRelu": {"alpha": 0.01},
}


OPERATORS: dict[str, Translation] = {
    **dict.fromkeys((*FILLS, "ConstantFill"), _fill),
    **dict.fromkeys(_COPIES, lambda blobs, op: blobs.get(op, 0)),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _binary),
    **dict.fromkeys(("Concat", "DepthConcat"), _concat),
    **dict.fromkeys(("Conv", "Conv2D"), _conv),
    **dict.fromkeys(("FC", "FCTransposed"), _fc),
    **dict.fromkeys(("MaxPool", "MaxPool2D", "AveragePool", "AveragePool2D"), _pool),
    **dict.fromkeys(("ReduceMean", "Squeeze"), _without_axes),
    **dict.fromkeys(_UNARY, _unary),
    "AffineChannel": _affine_channel,
    "Clip": _clip,
    "LRN": _lrn,
    "PRelu": _prelu,
    "Reshape": _reshape,
    "SpatialBN": _spatial_bn,
    "Sum": _sum,
}
