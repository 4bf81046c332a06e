"""Small nets of Caffe2's, each with what it computes, written in NumPy from the definition."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lenet_cpp.interchange.caffe2.nets import messages
from numpy_reference import average_pool, batch_norm, conv2d, max_pool, softmax

Array = np.ndarray


def op(kind, inputs, outputs, **arguments):
    """One operator; an argument is an int, float, text, or a list of ints or floats."""
    made = messages()["OperatorDef"](type=kind, input=inputs, output=outputs)
    for name, value in arguments.items():
        argument = made.arg.add(name=name)
        if isinstance(value, bool | int):
            argument.i = int(value)
        elif isinstance(value, float):
            argument.f = value
        elif isinstance(value, str):
            argument.s = value.encode()
        elif all(isinstance(entry, int) for entry in value):
            argument.ints.extend(value)
        else:
            argument.floats.extend(value)
    return made


def fill(name, array):
    kinds = {"f": "GivenTensorFill", "i": "GivenTensorInt64Fill"}
    made = op(kinds[array.dtype.kind], [], [name], shape=list(array.shape))
    values = made.arg.add(name="values")
    (values.floats if array.dtype.kind == "f" else values.ints).extend(array.ravel().tolist())
    return made


def net_bytes(operators, inputs=(), outputs=(), **more):
    ends = {"external_input": inputs, "external_output": outputs}
    return messages()["NetDef"](op=operators, **ends, **more).SerializeToString()


@contextmanager
def editing(path):
    """Yield the message of a net, and write it back."""
    net = messages()["NetDef"].FromString(path.read_bytes())
    yield net
    path.write_bytes(net.SerializeToString())


def write_nets(folder, operators, params, output="y"):
    """Write the two nets; the input is ``x``."""
    init, predict = folder / "init_net.pb", folder / "predict_net.pb"
    fills = [fill("nobody's", np.zeros(1, np.float32)), *(fill(*p) for p in params.items())]
    init.write_bytes(net_bytes(fills, (), list(params)))
    predict.write_bytes(net_bytes(operators, ["x", *params], [output], name="case"))
    return init, predict


@dataclass(frozen=True)
class Case:
    operators: list[Any]
    expected: Callable[..., Array]
    """Takes x and the parameters by name."""
    params: dict[str, Array] = field(default_factory=dict)
    shape: tuple[int, ...] = (3, 4, 9, 7)

    def inputs(self):
        return np.random.default_rng(7).normal(0, 1, self.shape).astype(np.float32)


_RANDOM = np.random.default_rng(3)


def _draw(*shape):
    return _RANDOM.normal(0, 1, shape).astype(np.float32)


def _positive(*shape):
    return _RANDOM.uniform(0.5, 1.5, shape).astype(np.float32)


def _lrn(x, size, alpha, beta, bias):
    squares = np.pad(x.astype(np.float64) ** 2, ((0, 0), (size // 2,) * 2, (0, 0), (0, 0)))
    sums = sum(squares[:, i : i + x.shape[1]] for i in range(size))
    return x / (bias + alpha / size * sums) ** beta


def _rows(x):
    return x.reshape(len(x), -1).astype(np.float64)


def _one(kind, more=(), **arguments):
    return [op(kind, ["x", *more], ["y"], **arguments)]


_FILTERS = {"w": _draw(6, 4, 3, 3), "b": _draw(6)}
_LINEAR = {"w": _draw(5, 4 * 9 * 7), "b": _draw(5)}
_CHANNELS = {"s": _positive(4), "b": _draw(4), "m": _draw(4), "v": _positive(4)}

CASES = {
    "conv": Case(
        _one("Conv", ["w", "b"], kernel=3, pad=1, stride=2),
        lambda x, w, b: conv2d(x, w, b, strides=(2, 2), pads=(1, 1, 1, 1)),
        _FILTERS,
    ),
    "conv with lists": Case(
        _one(
            "Conv",
            ["w", "b"],
            kernels=[3, 3],
            pads=[1, 0, 2, 1],
            strides=[2, 1],
            dilations=[1, 2],
            order="NCHW",
        ),
        lambda x, w, b: conv2d(x, w, b, strides=(2, 1), pads=(1, 0, 2, 1), dilations=(1, 2)),
        _FILTERS,
    ),
    "conv by names": Case(
        _one(
            "Conv",
            ["w"],
            kernel_h=2,
            kernel_w=3,
            stride_h=1,
            stride_w=2,
            pad_t=0,
            pad_l=1,
            pad_b=1,
            pad_r=0,
            dilation_h=1,
            dilation_w=1,
        ),
        lambda x, w: conv2d(x, w, strides=(1, 2), pads=(0, 1, 1, 0)),
        {"w": _draw(2, 4, 2, 3)},
    ),
    "conv in groups": Case(
        _one("Conv", ["w", "b"], kernel=3, group=2),
        lambda x, w, b: conv2d(x, w, b, groups=2),
        {"w": _draw(6, 2, 3, 3), "b": _draw(6)},
    ),
    "conv valid": Case(
        _one("Conv", ["w", "b"], kernel=3, legacy_pad=1), lambda x, w, b: conv2d(x, w, b), _FILTERS
    ),
    "conv same, even kernel": Case(
        _one("Conv", ["w"], kernel=4, legacy_pad=2),
        lambda x, w: conv2d(x, w, pads=(1, 1, 2, 2)),
        {"w": _draw(2, 4, 4, 4)},
    ),
    "conv same with strides": Case(  # 9 rows to 5: 2 * 4 + 4 - 9 = 3 more; 7 columns to 4: 3 more
        _one("Conv", ["w"], kernel=4, stride=2, legacy_pad=2),
        lambda x, w: conv2d(x, w, strides=(2, 2), pads=(1, 1, 2, 2)),
        {"w": _draw(2, 4, 4, 4)},
    ),
    "max pool": Case(
        _one("MaxPool", kernel=3, stride=2, pad=1),
        lambda x: max_pool(x, (3, 3), strides=(2, 2), pads=(1, 1, 1, 1)),
        shape=(3, 4, 8, 7),
    ),
    "max pool as in Caffe": Case(  # rounded up: the last window sticks out
        _one("MaxPool", kernel=3, stride=2, legacy_pad=3),
        lambda x: max_pool(x, (3, 3), strides=(2, 2), pads=(0, 0, 1, 0)),
        shape=(3, 4, 8, 7),
    ),
    "max pool as in Caffe, stride 1": Case(
        _one("MaxPool", kernel=3, stride=1, pad=1, legacy_pad=3),
        lambda x: max_pool(x, (3, 3), pads=(1, 1, 1, 1)),
    ),
    "average pool": Case(
        _one("AveragePool", kernel=3, stride=2, pad=1),
        lambda x: average_pool(x, (3, 3), strides=(2, 2), pads=(1, 1, 1, 1)),
        shape=(3, 4, 8, 7),
    ),
    "average pool with the padding": Case(
        _one("AveragePool", kernel=3, pad=1, count_include_pad=1),
        lambda x: average_pool(x, (3, 3), pads=(1, 1, 1, 1), exclusive=False),
    ),
    "average pool as in Caffe": Case(
        _one("AveragePool", kernel=3, stride=2, legacy_pad=3),
        lambda x: average_pool(x, (3, 3), strides=(2, 2), pads=(0, 0, 1, 0)),
        shape=(3, 4, 8, 7),
    ),
    "average pool, same": Case(
        _one("AveragePool", kernel=2, stride=2, legacy_pad=2),
        lambda x: average_pool(x, (2, 2), strides=(2, 2), pads=(0, 0, 1, 1)),
    ),
    "global average pool": Case(
        _one("AveragePool", global_pooling=1), lambda x: x.mean((2, 3), keepdims=True)
    ),
    "global max pool": Case(
        _one("MaxPool", global_pooling=1), lambda x: x.max((2, 3), keepdims=True)
    ),
    "relu, in place": Case(
        [op("Copy", ["x"], ["y"]), op("Relu", ["y"], ["y"])], lambda x: np.maximum(x, 0)
    ),
    "leaky relu": Case(_one("LeakyRelu", alpha=0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    "elu": Case(_one("Elu", alpha=0.5), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
    "prelu": Case(
        _one("PRelu", ["s"]), lambda x, s: np.where(x > 0, x, s[:, None, None] * x), {"s": _draw(4)}
    ),
    "sigmoid": Case(_one("Sigmoid"), lambda x: 1 / (1 + np.exp(-x))),
    "tanh": Case(_one("Tanh"), np.tanh),
    "clip": Case(_one("Clip", min=0.0, max=0.5), lambda x: x.clip(0, 0.5)),
    "lrn": Case(
        [op("LRN", ["x"], ["y", "scale"], size=3, alpha=0.3, beta=0.75, bias=2.0)],
        lambda x: _lrn(x, 3, 0.3, 0.75, 2.0),
    ),
    "batch norm": Case(
        _one("SpatialBN", ["s", "b", "m", "v"], is_test=1, epsilon=0.01),
        lambda x, s, b, m, v: batch_norm(x, s, b, m, v, 0.01),
        _CHANNELS,
    ),
    "affine channel": Case(
        _one("AffineChannel", ["s", "b"]),
        lambda x, s, b: x * s[:, None, None] + b[:, None, None],
        {"s": _draw(4), "b": _draw(4)},
    ),
    "fully connected": Case(_one("FC", ["w", "b"]), lambda x, w, b: _rows(x) @ w.T + b, _LINEAR),
    "fully connected, of a flattened value": Case(
        [op("Flatten", ["x"], ["f"]), op("FC", ["f", "w", "b"], ["y"])],
        lambda x, w, b: _rows(x) @ w.T + b,
        _LINEAR,
    ),
    "fully connected, weights as filters": Case(
        _one("FC", ["w", "b"]),
        lambda x, w, b: _rows(x) @ w.reshape(5, -1).T + b,
        {"w": _draw(5, 4, 9, 7), "b": _draw(5)},
    ),
    "fully connected, transposed": Case(
        _one("FCTransposed", ["w", "b"]),
        lambda x, w, b: _rows(x) @ w + b,
        {"w": _draw(252, 5), "b": _draw(5)},
    ),
    "flatten": Case(_one("Flatten"), lambda x: x.reshape(3, -1)),
    "flatten from an axis": Case(
        [
            op("Flatten", ["x"], ["f"], axis=2),
            op("Reshape", ["f"], ["y", "old"], shape=[-1, 12, 21]),
        ],
        lambda x: x.reshape(3, 12, 21),
    ),
    "reshape": Case(
        [op("Reshape", ["x"], ["y", "old"], shape=[0, -1, 7])], lambda x: x.reshape(3, -1, 7)
    ),
    "reshape by a blob": Case(
        [op("Reshape", ["x", "s"], ["y", "old"])],
        lambda x, **_: x.reshape(3, 12, 21),
        {"s": np.array([-1, 12, 21])},
    ),
    "softmax": Case(_one("Softmax"), lambda x: softmax(_rows(x)).reshape(x.shape)),
    "concat": Case(
        [
            op("Relu", ["x"], ["a"]),
            op("Conv", ["x", "w"], ["c"], kernel=1),
            op("Concat", ["a", "c"], ["y", "lengths"], order="NCHW"),
        ],
        lambda x, w: np.concatenate([np.maximum(x, 0), conv2d(x, w)], 1),
        {"w": _draw(2, 4, 1, 1)},
    ),
    "concat on an axis": Case(
        [op("Relu", ["x"], ["a"]), op("Concat", ["a", "x"], ["y", "lengths"], axis=-1)],
        lambda x: np.concatenate([np.maximum(x, 0), x], -1),
    ),
    "sum": Case(
        [
            op("Relu", ["x"], ["a"]),
            op("Tanh", ["x"], ["t"]),
            op("Sum", ["x", "a", "t"], ["x1"]),
            op("Sum", ["x1"], ["y"]),
        ],
        lambda x: x + np.maximum(x, 0) + np.tanh(x),
    ),
    "add with an axis": Case(
        _one("Add", ["b"], broadcast=1, axis=1), lambda x, b: x + b[:, None, None], {"b": _draw(4)}
    ),
    "multiply with the last axes": Case(
        _one("Mul", ["b"], broadcast=1), lambda x, b: x * b, {"b": _draw(9, 7)}
    ),
    "subtract": Case(
        [op("Relu", ["x"], ["a"]), op("Sub", ["a", "x"], ["y"])], lambda x: np.maximum(x, 0) - x
    ),
    "divide": Case(_one("Div", ["b"]), lambda x, b: x / b, {"b": _positive(4, 1, 1)}),
    "dropout": Case(
        [op("Dropout", ["x"], ["d", "mask"], is_test=1, ratio=0.5), op("Relu", ["d"], ["y"])],
        lambda x: np.maximum(x, 0),
    ),
    "mean": Case(
        _one("ReduceMean", axes=[2, 3], keepdims=0), lambda x: x.astype(np.float64).mean((2, 3))
    ),
    "mean and squeeze": Case(
        [op("ReduceMean", ["x"], ["m"], axes=[2, 3]), op("Squeeze", ["m"], ["y"], dims=[2, 3])],
        lambda x: x.astype(np.float64).mean((2, 3)),
    ),
    "a blob written again": Case(
        [
            op("Relu", ["x"], ["a"]),
            op("Sum", ["x", "a"], ["x"]),
            op("Copy", ["a"], ["b"]),
            op("Tanh", ["a"], ["a"]),
            op("Sum", ["a", "b"], ["a"]),
            op("Sum", ["a", "x"], ["y"]),
        ],
        lambda x: np.tanh(np.maximum(x, 0)) + 2 * np.maximum(x, 0) + x,
    ),
    "filled with a constant": Case(
        [op("ConstantFill", [], ["c"], shape=[4, 1, 1], value=0.25), op("Mul", ["x", "c"], ["y"])],
        lambda x: x * 0.25,
    ),
}

W = np.random.default_rng(0).normal(0, 1, (6, 4, 3, 3)).astype(np.float32)
B = np.random.default_rng(1).normal(0, 1, 6).astype(np.float32)


def small_nets(folder):
    """A convolution, pooling and a linear layer, for images of 8 x 8."""
    params = {
        "w": W,
        "b": B,
        "fc_w": np.random.default_rng(2).normal(0, 0.1, (3, 54)).astype(np.float32),
        "fc_b": np.zeros(3, np.float32),
    }
    operators = [
        op("Conv", ["x", "w", "b"], ["c"], kernel=3),
        op("Relu", ["c"], ["c"]),
        op("MaxPool", ["c"], ["p"], kernel=2, stride=2),
        op("FC", ["p", "fc_w", "fc_b"], ["s"]),
        op("Softmax", ["s"], ["y"]),
    ]
    return write_nets(folder, operators, params)
