"""Small ONNX classifiers, one for each operator and form, and some in the style of their time."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = Any
Nodes = list[onnx.NodeProto]
_random = np.random.default_rng(0)
SIDE = 12


def values(*shape):
    return (_random.standard_normal(shape) * 0.3).astype(np.float32)


def scalar(value):
    return np.array(value, np.float32)


def longs(*numbers):
    return np.array(numbers, np.int64)


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs.split(" "), outputs.split(" "), **attributes)


def model(
    nodes,
    weights,
    opset,
    *,
    shape=(3, SIDE, SIDE),
    batch="N",
    old=False,
    rank=2,
    input_name="input",
    output_name="y",
):
    """A model; ``old``: as before 2019, with every weight an input too."""
    inputs = [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [batch, *shape])]
    if old:
        inputs += [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
            )
            for name, value in weights.items()
        ]
    free = [f"d{index}" for index in range(rank)]
    graph = helper.make_graph(
        nodes,
        "graph",
        inputs,
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, free)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3 if old else 8
    )


def between(middle, weights, *, channels=8, opset=17, **options):
    """A classifier with these nodes, from ``c`` to ``m``, between a convolution and its head."""
    return model(
        [
            node("Conv", "input w1", "c", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
            *middle,
            node("GlobalAveragePool", "m", "pooled"),
            node("Flatten", "pooled", "flat"),
            node("Gemm", "flat fw fb", "y", transB=1),
        ],
        {"w1": values(8, 3, 3, 3), **weights, "fw": values(4, channels), "fb": values(4)},
        opset,
        **options,
    )


CASES = {}

PLAIN = (
    "Relu Sigmoid Tanh Exp Abs Erf Floor Ceil Neg Sin Cos Softsign Softplus HardSwish Identity"
    " Dropout"
)
FUNCTIONS = {
    **{kind: {} for kind in PLAIN.split()},
    "LeakyRelu": {"alpha": 0.2},
    "Elu": {"alpha": 0.7},
    "ThresholdedRelu": {"alpha": 0.5},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "LRN": {"size": 5, "alpha": 0.1, "beta": 0.6, "bias": 1.5},
    "Cast": {"to": TensorProto.FLOAT},
}
for _kind, _attributes in FUNCTIONS.items():
    CASES[_kind] = between([node(_kind, "c", "m", **_attributes)], {})
for _kind in ("Sqrt", "Log", "Reciprocal"):  # of positive numbers
    CASES[_kind] = between(
        [node("Abs", "c", "a"), node("Add", "a one", "b"), node(_kind, "b", "m")],
        {"one": scalar(1)},
    )
for _form in ("none", "tanh"):
    CASES[f"Gelu {_form}"] = between([node("Gelu", "c", "m", approximate=_form)], {}, opset=20)
CASES["Mish"] = between([node("Mish", "c", "m")], {}, opset=18)
CASES["Clip"] = between([node("Clip", "c low high", "m")], {"low": scalar(0), "high": scalar(0.5)})
CASES["Clip attributes"] = between([node("Clip", "c", "m", min=0.1, max=0.5)], {}, opset=9)
CASES["Clip below"] = between([node("Clip", "c low", "m")], {"low": scalar(0.1)})
CASES["PRelu"] = between([node("PRelu", "c slope", "m")], {"slope": values(8, 1, 1)})
CASES["PRelu alike"] = between([node("PRelu", "c slope", "m")], {"slope": values(1)})
for _kind in ("Add", "Sub", "Mul", "Div", "Max", "Min"):
    CASES[_kind] = between([node("Sigmoid", "c", "s"), node(_kind, "c s", "m")], {})
    CASES[f"{_kind} constant"] = between([node(_kind, "c k", "m")], {"k": values(8, 1, 1) + 2})
CASES["Sub from a scalar"] = between([node("Sub", "k c", "m")], {"k": scalar(1)})
CASES["Pow"] = between([node("Abs", "c", "a"), node("Pow", "a k", "m")], {"k": scalar(2)})
for _kind in ("Sum", "Mean"):
    CASES[f"{_kind} of three"] = between(
        [node("Sigmoid", "c", "s"), node("Tanh", "c", "t"), node(_kind, "c s t", "m")], {}
    )
_STATISTICS = {"a": values(8), "b": values(8), "mu": values(8), "v": np.abs(values(8)) + 0.5}
_NORMAL = [node("BatchNormalization", "c a b mu v", "m", epsilon=1e-3)]
CASES["BatchNormalization"] = between(_NORMAL, _STATISTICS)
CASES["BatchNormalization 7"] = between(_NORMAL, _STATISTICS, opset=7, old=True, batch=1)
for _name, _window in {
    "": {},
    " padded": {"pads": [1, 1, 1, 1]},
    " padded after": {"pads": [0, 0, 1, 1]},
    " padded before": {"pads": [1, 1, 0, 0]},
    " ceil": {"ceil_mode": 1},
    " ceil padded": {"ceil_mode": 1, "pads": [1, 1, 1, 1]},
    " SAME_UPPER": {"auto_pad": "SAME_UPPER"},
    " SAME_LOWER": {"auto_pad": "SAME_LOWER"},
    " VALID": {"auto_pad": "VALID"},
}.items():
    _options = {"kernel_shape": [3, 3], "strides": [2, 2], **_window}
    CASES[f"MaxPool{_name}"] = between([node("MaxPool", "c", "m", **_options)], {})
    CASES[f"AveragePool{_name}"] = between([node("AveragePool", "c", "m", **_options)], {})
    if "ceil_mode" not in _window:
        CASES[f"AveragePool{_name} counted"] = between(
            [node("AveragePool", "c", "m", count_include_pad=1, **_options)], {}
        )
CASES["MaxPool as torch writes it"] = between(
    [node("MaxPool", "c", "m", kernel_shape=[2, 2], dilations=[1, 1], storage_order=0)], {}
)
CASES["GlobalMaxPool"] = between([node("GlobalMaxPool", "c", "g"), node("Add", "c g", "m")], {})
CASES["Conv in groups"] = between(
    [node("Conv", "c w2 b2", "m", group=4, strides=[2, 1], dilations=[2, 2], pads=[2, 1, 1, 2])],
    {"w2": values(8, 2, 3, 3), "b2": values(8)},
)
CASES["Conv depthwise"] = between(
    [node("Conv", "c w2", "m", group=8, auto_pad="SAME_UPPER", strides=[2, 2])],
    {"w2": values(8, 1, 3, 3)},
)
CASES["Pad and Conv"] = between(
    [node("Pad", "c p", "q"), node("Conv", "q w2", "m", strides=[2, 2])],
    {"w2": values(8, 8, 3, 3), "p": longs(0, 0, 0, 0, 0, 0, 1, 1)},
)
_AROUND = {"p": longs(0, 0, 1, 1, 0, 0, 1, 1)}
_POOL = {"kernel_shape": [3, 3], "strides": [2, 2]}
CASES["Pad and MaxPool"] = between(
    [node("Relu", "c", "r"), node("Pad", "r p", "q"), node("MaxPool", "q", "m", **_POOL)], _AROUND
)
CASES["Pad and AveragePool"] = between(
    [node("Pad", "c p", "q"), node("AveragePool", "q", "m", **_POOL)], _AROUND
)
CASES["Concat"] = between(
    [node("Relu", "c", "a"), node("Sigmoid", "c", "b"), node("Concat", "a b c", "m", axis=1)],
    {},
    channels=24,
)
CASES["Split"] = between(
    [node("Split", "c sizes", "a b", axis=1), node("Mul", "a b", "m")],
    {"sizes": longs(4, 4)},
    channels=4,
)
CASES["Split, turned round"] = between(
    [node("Split", "c sizes", "a b _unused", axis=1), node("Concat", "b a", "m", axis=1)],
    {"sizes": longs(2, 4, 2)},
    channels=6,
)
CASES["Split in equal parts"] = between(
    [node("Split", "c", "a b", axis=1, num_outputs=2), node("Concat", "b a", "m", axis=1)],
    {},
    opset=18,
)
CASES["Split 9"] = between(
    [node("Split", "c", "a b", axis=1), node("Mul", "a b", "m")], {}, channels=4, opset=9
)
CASES["Slice"] = between(
    [node("Slice", "c s e axes", "m")], {"s": longs(2), "e": longs(6), "axes": longs(1)}, channels=4
)
CASES["Slice 9"] = between(
    [node("Slice", "c", "m", starts=[2, 0], ends=[6, -1], axes=[1, 3])], {}, channels=4, opset=9
)
for _name, _first in (("", -1), (" of one image", 1)):
    CASES[f"shuffled channels{_name}"] = between(
        [
            node("Reshape", "c s1", "a"),
            node("Transpose", "a", "b", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "b s2", "m"),
        ],
        {"s1": longs(_first, 2, 4, SIDE, SIDE), "s2": longs(_first, 8, SIDE, SIDE)},
        batch=1 if _first == 1 else "N",
    )
CASES["squeeze and excitation"] = between(
    [
        node("ReduceMean", "c", "a", axes=[2, 3], keepdims=1),
        node("Conv", "a k", "b"),
        node("HardSigmoid", "b", "gate"),
        node("Mul", "c gate", "m"),
    ],
    {"k": values(8, 8, 1, 1)},
    opset=13,
)
for _kind in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"):
    CASES[f"{_kind} 11"] = between(
        [node(_kind, "c", "a", axes=[1]), node("Add", "c a", "m")], {}, opset=11
    )
    CASES[f"{_kind} 18"] = between(
        [node(_kind, "c axes", "a", keepdims=1), node("Add", "c a", "m")],
        {"axes": longs(-1, 1)},
        opset=18,
    )
CASES["Softmax 13"] = between([node("Softmax", "c", "m", axis=1)], {}, opset=13)
CASES["Softmax 9"] = between([node("Softmax", "c", "m", axis=1)], {}, opset=9)
CASES["LogSoftmax"] = between([node("LogSoftmax", "c", "m", axis=-1)], {}, opset=13)
CASES["Squeeze 13"] = between(
    [
        node("ReduceMean", "c", "a", axes=[3]),
        node("Squeeze", "a axes", "b"),
        node("Unsqueeze", "b axes", "m"),
    ],
    {"axes": longs(3)},
    opset=13,
)
CASES["Squeeze 11"] = between(
    [
        node("ReduceMean", "c", "a", axes=[3]),
        node("Squeeze", "a", "b", axes=[3]),
        node("Unsqueeze", "b", "m", axes=[3]),
    ],
    {},
    opset=11,
)
_CONV = node("Conv", "input w1", "c", pads=[1, 1, 1, 1])
_FLAT = 8 * SIDE * SIDE
CASES["Gemm scaled, then Softmax"] = model(
    [
        _CONV,
        node("GlobalAveragePool", "c", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f fw fb", "z", alpha=0.5, beta=2.0),
        node("Softmax", "z", "y"),
    ],
    {"w1": values(8, 3, 3, 3), "fw": values(8, 4), "fb": values(1, 4)},
    13,
)
CASES["Reshape of one image"] = model(
    [_CONV, node("Reshape", "c shape", "f"), node("Gemm", "f fw fb", "y", transB=1)],
    {"w1": values(8, 3, 3, 3), "shape": longs(1, -1), "fw": values(4, _FLAT), "fb": values(4)},
    8,
    batch=1,
    old=True,
)
CASES["a shape that is computed"] = model(
    [
        _CONV,
        node("Shape", "c", "s"),
        node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n", "u", axes=[0]),
        node("Concat", "u rest", "to", axis=0),
        node("Reshape", "c to", "f"),
        node("MatMul", "f fw", "y"),
    ],
    {
        "w1": values(8, 3, 3, 3),
        "zero": np.array(0, np.int64),
        "rest": longs(-1),
        "fw": values(_FLAT, 4) / 10,
    },
    11,
)
CASES["channels last"] = model(
    [
        node("Transpose", "input", "t", perm=[0, 3, 1, 2]),
        node("Conv", "t w1", "c", auto_pad="SAME_UPPER", strides=[2, 2]),
        node("GlobalAveragePool", "c", "g"),
        node("Transpose", "g", "gt", perm=[0, 2, 3, 1]),
        node("Squeeze", "gt", "sq", axes=[1, 2]),
        node("MatMul", "sq fw", "y"),
    ],
    {"w1": values(8, 3, 3, 3), "fw": values(8, 4)},
    11,
    shape=(13, SIDE, 3),
)


def squeezenet():
    """As Caffe2 exported in 2018: one image at a time, and an output [1, classes, 1, 1]."""
    nodes = [
        node("Conv", "data_0 w1 b1", "a", kernel_shape=[3, 3], strides=[2, 2]),
        node("Relu", "a", "b"),
        node("MaxPool", "b", "p", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
        node("Conv", "p w2 b2", "s", kernel_shape=[1, 1]),
        node("Relu", "s", "r"),
        node("Conv", "r w3 b3", "e1", kernel_shape=[1, 1]),
        node("Conv", "r w4 b4", "e3", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Concat", "e1 e3", "e", axis=1),
        node("Dropout", "e", "d _mask", ratio=0.5),
        node("LRN", "d", "l", size=5, alpha=1e-4, beta=0.75),
        node("Conv", "l w5 b5", "o", kernel_shape=[1, 1]),
        node("AveragePool", "o", "g", kernel_shape=[4, 4]),
        node("Softmax", "g", "softmaxout_1"),
    ]
    sizes = {1: (8, 3, 3, 3), 2: (4, 8, 1, 1), 3: (6, 4, 1, 1), 4: (6, 4, 3, 3), 5: (5, 12, 1, 1)}
    weights = {f"w{index}": values(*size) for index, size in sizes.items()}
    weights |= {f"b{index}": values(size[0]) for index, size in sizes.items()}
    return model(
        nodes,
        weights,
        7,
        shape=(3, 18, 18),
        batch=1,
        old=True,
        rank=4,
        input_name="data_0",
        output_name="softmaxout_1",
    )
