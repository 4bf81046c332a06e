"""Small ONNX classifiers, one for each operator and form, and some in the style of their time."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper, parser

_random = np.random.default_rng(0)
SIDE = 12


def values(*shape):
    return (_random.standard_normal(shape) * 0.3).astype(np.float32)


def scalar(value):
    return np.array(value, np.float32)


def longs(*numbers):
    return np.array(numbers, np.int64)


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
    """A model of nodes, or of their text; ``old``: as before 2019, with every weight an input."""
    if isinstance(nodes, str):
        nodes = parser.parse_graph(f"g (float[1] {input_name}) => (float[1] y) {{ {nodes} }}").node
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


def between(middle, weights=None, *, channels=8, opset=17, **options):
    """A classifier with these nodes, from ``c`` to ``m``, between a convolution and its head."""
    text = f"""
        c = Conv<pads=[1, 1, 1, 1], kernel_shape=[3, 3]>(input, w1)
        {middle}
        pooled = GlobalAveragePool(m)
        flat = Flatten(pooled)
        y = Gemm<transB=1>(flat, fw, fb)
    """
    head = {"fw": values(4, channels), "fb": values(4)}
    return model(text, {"w1": values(8, 3, 3, 3), **(weights or {}), **head}, opset, **options)


CASES = {}
for _kind in (
    "Relu",
    "Sigmoid",
    "Tanh",
    "Exp",
    "Abs",
    "Erf",
    "Floor",
    "Ceil",
    "Neg",
    "Sin",
    "Cos",
    "Softsign",
    "Softplus",
    "HardSwish",
    "Identity",
    "Dropout",
    "LeakyRelu<alpha=0.2>",
    "Elu<alpha=0.7>",
    "ThresholdedRelu<alpha=0.5>",
    "HardSigmoid<alpha=0.3, beta=0.4>",
    "LRN<size=5, alpha=0.1, beta=0.6, bias=1.5>",
    "Cast<to=1>",
):
    CASES[_kind.partition("<")[0]] = between(f"m = {_kind}(c)")
for _kind in ("Sqrt", "Log", "Reciprocal"):  # of positive numbers
    CASES[_kind] = between(f"a = Abs(c) b = Add(a, one) m = {_kind}(b)", {"one": scalar(1)})
for _form in ("none", "tanh"):
    CASES[f"Gelu {_form}"] = between(f'm = Gelu<approximate="{_form}">(c)', opset=20)
CASES["Mish"] = between("m = Mish(c)", opset=18)
CASES["Clip"] = between("m = Clip(c, low, high)", {"low": scalar(0), "high": scalar(0.5)})
CASES["Clip attributes"] = between("m = Clip<min=0.1, max=0.5>(c)", opset=9)
CASES["Clip below"] = between("m = Clip(c, low)", {"low": scalar(0.1)})
for _name, _shape in {"": (8, 1, 1), " alike": (1,), " for each pixel": (8, SIDE, SIDE)}.items():
    CASES[f"PRelu{_name}"] = between("m = PRelu(c, slope)", {"slope": values(*_shape)})
for _kind in ("Add", "Sub", "Mul", "Div", "Max", "Min"):
    CASES[_kind] = between(f"s = Sigmoid(c) m = {_kind}(c, s)")
    CASES[f"{_kind} constant"] = between(f"m = {_kind}(c, k)", {"k": values(8, 1, 1) + 2})
CASES["Sub from a scalar"] = between("m = Sub(k, c)", {"k": scalar(1)})
CASES["Pow"] = between("a = Abs(c) m = Pow(a, k)", {"k": scalar(2)})
for _kind in ("Sum", "Mean"):
    CASES[f"{_kind} of three"] = between(f"s = Sigmoid(c) t = Tanh(c) m = {_kind}(c, s, t)")
_STATISTICS = {"a": values(8), "b": values(8), "mu": values(8), "v": np.abs(values(8)) + 0.5}
_NORMAL = "m = BatchNormalization<epsilon=0.001>(c, a, b, mu, v)"
CASES["BatchNormalization"] = between(_NORMAL, _STATISTICS)
CASES["BatchNormalization 7"] = between(_NORMAL, _STATISTICS, opset=7, old=True, batch=1)
_POOL = "kernel_shape=[3, 3], strides=[2, 2]"
for _name, _window in {
    "": "",
    " padded": ", pads=[1, 1, 1, 1]",
    " padded after": ", pads=[0, 0, 1, 1]",
    " padded before": ", pads=[1, 1, 0, 0]",
    " ceil": ", ceil_mode=1",
    " ceil padded": ", ceil_mode=1, pads=[1, 1, 1, 1]",
    " SAME_UPPER": ', auto_pad="SAME_UPPER"',
    " SAME_LOWER": ', auto_pad="SAME_LOWER"',
    " VALID": ', auto_pad="VALID"',
}.items():
    for _kind in ("MaxPool", "AveragePool"):
        CASES[f"{_kind}{_name}"] = between(f"m = {_kind}<{_POOL}{_window}>(c)")
    if "ceil_mode" not in _window:
        _counted = f"m = AveragePool<count_include_pad=1, {_POOL}{_window}>(c)"
        CASES[f"AveragePool{_name} counted"] = between(_counted)
CASES["MaxPool as torch writes it"] = between(
    "m = MaxPool<kernel_shape=[2, 2], dilations=[1, 1], storage_order=0>(c)"
)
CASES["GlobalMaxPool"] = between("g = GlobalMaxPool(c) m = Add(c, g)")
CASES["Conv in groups"] = between(
    "m = Conv<group=4, strides=[2, 1], dilations=[2, 2], pads=[2, 1, 1, 2]>(c, w2, b2)",
    {"w2": values(8, 2, 3, 3), "b2": values(8)},
)
CASES["Conv depthwise"] = between(
    'm = Conv<group=8, auto_pad="SAME_UPPER", strides=[2, 2]>(c, w2)', {"w2": values(8, 1, 3, 3)}
)
CASES["Conv SAME_LOWER of a wide image"] = between(
    'm = Conv<auto_pad="SAME_LOWER", strides=[2, 2]>(c, w2)',
    {"w2": values(8, 8, 3, 4)},
    shape=(3, 9, 12),
)
CASES["Pad and Conv"] = between(
    "q = Pad(c, p) m = Conv<strides=[2, 2]>(q, w2)",
    {"w2": values(8, 8, 3, 3), "p": longs(0, 0, 0, 0, 0, 0, 1, 1)},
)
_AROUND = {"p": longs(0, 0, 1, 1, 0, 0, 1, 1)}
CASES["Pad and MaxPool"] = between(f"r = Relu(c) q = Pad(r, p) m = MaxPool<{_POOL}>(q)", _AROUND)
CASES["Pad and AveragePool"] = between(f"q = Pad(c, p) m = AveragePool<{_POOL}>(q)", _AROUND)
CASES["Concat"] = between("a = Relu(c) b = Tanh(c) m = Concat<axis=1>(a, b, c)", channels=24)
CASES["Split"] = between(
    "a, b = Split<axis=1>(c, sizes) m = Mul(a, b)", {"sizes": longs(4, 4)}, channels=4
)
CASES["Split, turned round"] = between(
    "a, b, _unused = Split<axis=1>(c, sizes) m = Concat<axis=1>(b, a)",
    {"sizes": longs(2, 4, 2)},
    channels=6,
)
CASES["Split in equal parts"] = between(
    "a, b = Split<axis=1, num_outputs=2>(c) m = Concat<axis=1>(b, a)", opset=18
)
CASES["Split 9"] = between("a, b = Split<axis=1>(c) m = Mul(a, b)", channels=4, opset=9)
CASES["Slice"] = between(
    "m = Slice(c, s, e, axes)", {"s": longs(2), "e": longs(6), "axes": longs(1)}, channels=4
)
CASES["Slice 9"] = between(
    "m = Slice<starts=[2, 0], ends=[6, -1], axes=[1, 3]>(c)", channels=4, opset=9
)
for _name, _first in (("", -1), (" of one image", 1)):
    CASES[f"shuffled channels{_name}"] = between(
        "a = Reshape(c, s1) b = Transpose<perm=[0, 2, 1, 3, 4]>(a) m = Reshape(b, s2)",
        {"s1": longs(_first, 2, 4, SIDE, SIDE), "s2": longs(_first, 8, SIDE, SIDE)},
        batch=1 if _first == 1 else "N",
    )
CASES["squeeze and excitation"] = between(
    "a = ReduceMean<axes=[2, 3], keepdims=1>(c) b = Conv(a, k) g = HardSigmoid(b) m = Mul(c, g)",
    {"k": values(8, 8, 1, 1)},
    opset=13,
)
for _kind in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"):
    CASES[f"{_kind} 11"] = between(f"a = {_kind}<axes=[1]>(c) m = Add(c, a)", opset=11)
    _reduced = f"a = {_kind}<keepdims=1>(c, axes) m = Add(c, a)"
    CASES[f"{_kind} 18"] = between(_reduced, {"axes": longs(-1, 1)}, opset=18)
CASES["Softmax 13"] = between("m = Softmax<axis=1>(c)", opset=13)
CASES["Softmax 9"] = between("m = Softmax<axis=1>(c)", opset=9)
CASES["LogSoftmax"] = between("m = LogSoftmax<axis=-1>(c)", opset=13)
CASES["Squeeze 13"] = between(
    "a = ReduceMean<axes=[3]>(c) b = Squeeze(a, axes) m = Unsqueeze(b, axes)",
    {"axes": longs(3)},
    opset=13,
)
CASES["Squeeze 11"] = between(
    "a = ReduceMean<axes=[3]>(c) b = Squeeze<axes=[3]>(a) m = Unsqueeze<axes=[3]>(b)", opset=11
)
_CONV = "c = Conv<pads=[1, 1, 1, 1]>(input, w1)"
_FLAT = 8 * SIDE * SIDE
CASES["Gemm scaled, then Softmax"] = model(
    f"""{_CONV} g = GlobalAveragePool(c) f = Flatten(g)
        z = Gemm<alpha=0.5, beta=2.0>(f, fw, fb) y = Softmax(z)""",
    {"w1": values(8, 3, 3, 3), "fw": values(8, 4), "fb": values(1, 4)},
    13,
)
CASES["Reshape of one image"] = model(
    f"{_CONV} f = Reshape(c, shape) y = Gemm<transB=1>(f, fw, fb)",
    {"w1": values(8, 3, 3, 3), "shape": longs(1, -1), "fw": values(4, _FLAT), "fb": values(4)},
    8,
    batch=1,
    old=True,
)
_ZERO = {"zero": np.array(0, np.int64), "rest": longs(-1)}
CASES["a shape that is computed"] = model(
    f"""{_CONV} s = Shape(c) n = Gather<axis=0>(s, zero) u = Unsqueeze<axes=[0]>(n)
        to = Concat<axis=0>(u, rest) f = Reshape(c, to) y = MatMul(f, fw)""",
    {"w1": values(8, 3, 3, 3), **_ZERO, "fw": values(_FLAT, 4) / 10},
    11,
)
CASES["channels last"] = model(
    """t = Transpose<perm=[0, 3, 1, 2]>(input)
       c = Conv<auto_pad="SAME_UPPER", strides=[2, 2]>(t, w1) g = GlobalAveragePool(c)
       gt = Transpose<perm=[0, 2, 3, 1]>(g) sq = Squeeze<axes=[1, 2]>(gt) y = MatMul(sq, fw)""",
    {"w1": values(8, 3, 3, 3), "fw": values(8, 4)},
    11,
    shape=(13, SIDE, 3),
)


def squeezenet():
    """As Caffe2 exported in 2018: one image at a time, and an output [1, classes, 1, 1]."""
    text = """
        a = Conv<kernel_shape=[3, 3], strides=[2, 2]>(data_0, w1, b1) b = Relu(a)
        p = MaxPool<kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]>(b)
        s = Conv<kernel_shape=[1, 1]>(p, w2, b2) r = Relu(s)
        e1 = Conv<kernel_shape=[1, 1]>(r, w3, b3)
        e3 = Conv<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(r, w4, b4)
        e = Concat<axis=1>(e1, e3) d, _mask = Dropout<ratio=0.5>(e)
        l = LRN<size=5, alpha=0.0001, beta=0.75>(d) o = Conv<kernel_shape=[1, 1]>(l, w5, b5)
        g = AveragePool<kernel_shape=[4, 4]>(o) softmaxout_1 = Softmax(g)
    """
    sizes = {1: (8, 3, 3, 3), 2: (4, 8, 1, 1), 3: (6, 4, 1, 1), 4: (6, 4, 3, 3), 5: (5, 12, 1, 1)}
    weights = {f"w{index}": values(*size) for index, size in sizes.items()}
    weights |= {f"b{index}": values(size[0]) for index, size in sizes.items()}
    names = {"input_name": "data_0", "output_name": "softmaxout_1"}
    return model(text, weights, 7, shape=(3, 18, 18), batch=1, old=True, rank=4, **names)
