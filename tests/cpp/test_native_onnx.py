"""The native engine on .onnx models, against onnxruntime: what the exporters write, what is
refused, and damaged files. tools/hostile draws networks of every operator.
"""

import json
import re
from collections import Counter

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare

pytest.importorskip("onnx", reason="the models of these tests are made with it")
pytest.importorskip("onnxruntime", reason="the answers are compared with its own")

# Where there is no onnx, the lines above skip this file; importing it first would fail.
import onnx
from onnx_files import agrees, converted, model, reference

# ---- small models


def floats(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def weights(outputs=2, inputs=3, kernel=(1, 1)):
    """Those of a convolution, after which values are about as large."""
    w = floats(outputs, inputs, *kernel) / np.sqrt(np.float32(inputs))
    return {"w": w, "b": floats(outputs)}


def write(folder, nodes, shape=(3, 9, 10), tensors=None, batch="N", also="", y="float y", **more):
    """Write a model, by default of a convolution's weights, whose input is an image."""
    x = f"float[{','.join(map(str, (batch, *shape)))}] x{also}"
    path = folder / "model.onnx"
    path.write_bytes(model(nodes, x, y, weights() | (tensors or {}), **more))
    return path


CONV, ALONE = "c = Conv(x, w, b)", "y = Conv(x, w, b)"


@pytest.mark.parametrize("opset", [10, 19, 21])
@pytest.mark.parametrize("counted", [None, 0, 1])
def test_the_last_window(counted, opset, tmp_path):
    """It may reach beyond the padding; one that would begin there is left out."""
    kind, more = ("MaxPool", "") if counted is None else ("AveragePool", counted)
    for size, kernel, stride, pad in ((6, 3, 2, 0), (6, 3, 2, 1), (5, 2, 3, 1), (7, 2, 3, 1)):
        pool = f"{kind}<kernel_shape={[kernel] * 2}, strides={[stride] * 2}, pads={[pad] * 4}"
        pool += f", ceil_mode=1{f', count_include_pad={more}' * (counted is not None)}>"
        nodes = f"{CONV} y = {pool}(c)"
        agrees(write(tmp_path, nodes, (1, size, size), weights(2, 1), opset=opset))


def test_clip_without_bounds_and_values_of_constants(tmp_path):
    nodes = """
        low = Constant<value_float=0.0>() most = Constant<value_float=3.4028234663852886e38>()
        scale = Constant<value_floats=[0.5]>() rows = Constant<value_ints=[0, -1]>()
        taps = Constant<value_floats=[1.0, -0.5, 2.0, 1.5]>()
        sizes = Constant<value_ints=[2, 2, 1, 1]>() k = Reshape(taps, sizes)
        d = Clip(c) e = Clip(d, , most) f = Mul(e, scale) v = Conv(f, k)
        g = Clip(v, low) y = Reshape(g, rows)
    """
    expected = agrees(write(tmp_path, CONV + nodes, opset=13))
    assert expected.min() == 0
    assert expected.max() > 0


@pytest.mark.parametrize("opset", [12, 18])
@pytest.mark.parametrize("of", ["c", "x"])
def test_operators_in_the_order_of_the_program(of, opset, tmp_path):
    """Of what a layer gives and of the image itself; slices go backwards too."""
    tensors = {"i": np.array([-2, 8]), "j": np.array([1 << 40, 0]), "axes": np.array([2, 3])}
    tensors |= {"steps": np.array([1, -2])}
    axes, split = (f"({of}, axes)", ", num_outputs=4") if opset == 18 else (f"({of})", "")
    attribute = "" if opset == 18 else ", axes=[1, -1]"
    for node in (
        f"y = Transpose<perm=[0, 3, 1, 2]>({of})",
        f"y = Slice({of}, i, j, axes, steps)",
        f"s, y, t, u = Split<axis=3{split}>({of})" if split else f"s, y = Split<axis=3>({of})",
        f"y = Concat<axis=-1>({of}, {of})",
        f"y = Softmax<axis=2>({of})",
        f"y = LogSoftmax<axis=1>({of})",
        f"y = ReduceMax<keepdims=0{attribute}>{axes}",
        f"y = ReduceSum<axes=[1, 3]>({of})" if opset == 12 else f"y = ReduceMin{axes}",
    ):
        agrees(write(tmp_path, f"{CONV} {node}", tensors=tensors, opset=opset))


# Channels that go from steps of one image at a time to steps of all images at once, or back: the
# memory of both begins at the same offsets.
HANDED_ON = {
    "slice": "c = Conv(x, u) h = Slice(c, i, j, one) d = Conv(h, v) y = Mul(d, c)",
    "split": "c = Conv(x, u) h, g = Split<axis=1>(c) d = Conv(h, v) y = Mul(d, c)",
    "concat": """c = Conv(x, u) h = Concat<axis=1>(c, c) d = Conv(h, z)
        p = Concat<axis=1>(c, d) y = Sigmoid(p)""",
    # The sum may not be written over the whole while a part of that is read.
    "sum with a whole": """c = Conv(x, u) p = Concat<axis=1>(c, c) d = Conv(c, w1)
        s = Add(p, d) y = Conv(s, w2)""",
    "dual path": """c = Conv(x, u) r = Slice(c, i, j, one) s = Slice(c, j, k, one)
        m = Conv(c, t) n = Relu(m) d = Conv(n, t) e = Slice(d, i, j, one) f = Slice(d, j, k, one)
        g = Add(r, e) h = Concat<axis=1>(s, f) p = Concat<axis=1>(g, h)
        q = Conv(p, a) o = Slice(q, i, j, one) l = Slice(q, j, k, one)
        g1 = Add(g, o) h1 = Concat<axis=1>(h, l) y = Concat<axis=1>(g1, h1)""",
}


@pytest.mark.parametrize("size", [8, 19, 20, 32])
@pytest.mark.parametrize("name", HANDED_ON)
def test_channels_handed_on_between_steps(name, size, tmp_path):
    tensors = {"i": np.array([0]), "j": np.array([32]), "k": np.array([64]), "one": np.array([1])}
    shapes = {"u": (64, 8), "v": (64, 32), "z": (64, 128), "t": (64, 64), "a": (64, 96)}
    shapes |= {"w1": (128, 64), "w2": (8, 128)}
    for key, shape in shapes.items():
        tensors[key] = floats(*shape, 1, 1) / np.float32(shape[1] ** 0.5)
    path = write(tmp_path, HANDED_ON[name], (8, size, size), tensors, opset=12)
    agrees(path, counts=(1, 3))


def test_nodes_in_any_order(tmp_path):
    """As onnxruntime's converter to float16 puts the casts of inputs behind their readers."""
    nodes = f"""{CONV} s = Shape(c) n = Slice(s, zero, one) to = Concat<axis=0>(n, rest)
        d = Relu(c) f = Reshape(d, to) e = Sigmoid(f) y = Mul(e, f)"""
    lists = {"zero": np.array([0]), "one": np.array([1]), "rest": np.array([-1])}
    path = write(tmp_path, nodes, tensors=lists)
    images = floats(3, 3, 9, 10)
    expected = {e: lenet_cpp.Predictor(path, engine=e).run(images) for e in ("native", "auto")}
    in_order = onnx.load(path)
    count = len(in_order.graph.node)
    rng = np.random.default_rng(0)
    for _ in range(10):
        mixed = onnx.ModelProto()
        mixed.CopyFrom(in_order)
        del mixed.graph.node[:]
        mixed.graph.node.extend(in_order.graph.node[i] for i in rng.permutation(count))
        onnx.save(mixed, path)
        agrees(path)
        for engine, outputs in expected.items():
            found = lenet_cpp.Predictor(path, engine=engine).run(images)
            np.testing.assert_array_equal(found, outputs)


@pytest.mark.parametrize("engine", ["auto", "native"])
@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ("p = Add(x, q) q = Relu(p) y = Relu(q)", "'p', which is computed from what it gives"),
        ("a = Add(a, x) y = Relu(a)", "'a', which is computed from what it gives"),
        ("y = Add(x, z) a = Relu(x)", "'z', which nothing gives"),
    ],
)
def test_nodes_in_no_order(nodes, words, engine, tmp_path):
    with pytest.raises(lenet_cpp.BadModel, match=words):
        lenet_cpp.Predictor(write(tmp_path, nodes), engine=engine)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4, 5), (2, 1, 3, 2, 4)])
def test_inputs_of_any_rank(shape, tmp_path):
    rank = len(shape) + 1
    order = [0, *range(rank - 1, 0, -1)]
    tensors = {"m": floats(shape[0], 6), "i": np.array([rank - 1])}
    for nodes in (
        "y = Relu(x)",
        f"t = Transpose<perm={order}>(x) u = MatMul(t, m) y = Softmax<axis=1>(u)",
        "a = ReduceMean(x, i) d = Sub(x, a) y = Concat<axis=1>(d, x)",
    ):
        if rank > 2 or "ReduceMean" not in nodes:
            agrees(write(tmp_path, nodes, shape, tensors, opset=18))


CONSTANTS = [(), (1,), (2, 1, 1), (1, 2, 1, 1), (10,), (9, 1)]
CONSTANTS += [(2, 9, 10), (1, 1, 9, 10), (1, 2, 1, 10)]


@pytest.mark.parametrize("shape", CONSTANTS)
def test_constants_of_any_shape(shape, tmp_path):
    """On either side of an operator, and along a tensor that is itself repeated."""
    tensors = {"k": floats(*shape, 1)[..., 0].reshape(shape), "half": np.full(1, 0.5, "f4")}
    positive = f"{CONV} s = Mul(c, c) p = Add(s, half)"
    for operator in ("Add", "Sub", "Mul", "Div"):
        for inputs in ("k, p", "p, k"):
            nodes = f"{positive} d = {operator}({inputs}) y = MaxPool<kernel_shape=[2, 2]>(d)"
            agrees(write(tmp_path, nodes, tensors=tensors), counts=(1, 20))
    agrees(write(tmp_path, f"{CONV} y = PRelu(c, k)", tensors=tensors), counts=(1, 20))
    row = f"{CONV} r = ReduceMean<axes=[2]>(c) y = Sub(k, r)"
    agrees(write(tmp_path, row, tensors=tensors), counts=(1, 20))


# By the operator: what it multiplies, of which x is [N, 3, 9, 10], and the constant.
PRODUCTS = {
    "MatMul(c, k)": ((10, 4), (10,), (1, 10, 4)),
    "MatMul(k, c)": ((4, 9), (9,), (1, 1, 4, 9)),
    "r = Flatten(c) y = MatMul(r, k)": ((180, 3), (180,)),
    "r = ReduceMean<axes=[3], keepdims=0>(c) y = MatMul(r, k)": ((9, 5),),
    "r = ReduceMean<axes=[3], keepdims=0>(c) y = MatMul(k, r)": ((5, 2), (2,)),
    "r = Flatten(c) y = Gemm<alpha=0.5, beta=2.0, transB=1>(r, k, one)": ((3, 180),),
}


@pytest.mark.parametrize("operator", PRODUCTS)
def test_products_with_a_constant(operator, tmp_path):
    for shape in PRODUCTS[operator]:
        nodes = f"{CONV} {'' if '=' in operator.split('(')[0] else 'y = '}{operator}"
        tensors = {"k": floats(*shape) / 8, "one": floats(1)}
        agrees(write(tmp_path, nodes, tensors=tensors, opset=12))


PADS = [("constant", (1, -2, 3, 0, 2, -3)), ("constant", (0,) * 6), ("reflect", (1, 8, 0, 0, 2, 9))]
PADS += [("edge", (2, 0, 3, 1, 11, 0)), ("wrap", (1, 9, 0, 2, 0, 10))]


@pytest.mark.parametrize(("mode", "pads"), PADS)
def test_padding(mode, pads, tmp_path):
    """Of the image itself and of what a layer gives, in front of another layer and as it is."""
    tensors = {"p": np.array([0, *pads[:3], 0, *pads[3:]]), "v": np.float32(-0.5)}
    for nodes in ("y = Pad(x, p, v)", f"{CONV} d = Pad(c, p, v) y = Conv(d, k)"):
        channels = 2 + pads[0] + pads[3]
        more = {"k": floats(4, channels, 1, 1)} if "k" in nodes else {}
        padded = nodes.replace("Pad", f'Pad<mode="{mode}">')
        agrees(write(tmp_path, padded, (3, 9, 11), tensors | more, opset=19))


# Before and behind the channels, rows and columns of [N, 1, 4, 4] or [N, 16, 4, 4].
ONE_SIDE = {
    "one channel": (1, (0, 0, 0), (1, 0, 0)),
    "a vector of channels": (16, (0, 0, 0), (16, 0, 0)),
    "part of a vector": (16, (0, 0, 0), (3, 0, 0)),
    "before the channels": (16, (16, 0, 0), (0, 0, 0)),
    "on both sides": (16, (4, 0, 0), (4, 0, 0)),
    "rows of one channel": (1, (0, 0, 0), (0, 2, 0)),
    "rows and channels": (16, (0, 0, 0), (16, 1, 1)),
}


@pytest.mark.parametrize("side", ONE_SIDE)
@pytest.mark.parametrize("before", ["AveragePool<kernel_shape=[2, 2], strides=[2, 2]>", "Relu"])
def test_padding_on_one_side_is_not_what_lies_there(before, side, tmp_path):
    """It was taken for an Identity, whose reader took the next image, or an earlier run's."""
    channels, *pads = ONE_SIDE[side]
    tensors = {"p": np.array([0, *pads[0], 0, *pads[1]])}
    path = write(tmp_path, f"c = {before}(x) y = Pad(c, p)", (channels, 8, 8), tensors, opset=18)
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        for count in (4, 1, 2):  # of fewer images after more: another client's would show
            images = floats(count, channels, 8, 8)
            smaller = images.reshape(count, channels, 4, 2, 4, 2).mean(axis=(3, 5))
            values = np.maximum(images, 0) if before == "Relu" else smaller
            expected = np.pad(values, [(0, 0), *zip(*pads, strict=True)])
            np.testing.assert_allclose(predictor.run(images), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 16, 17])
def test_padding_before_a_concatenation(channels, tmp_path):
    """Loading this ended the process: the concatenation had more channels than were given."""
    nodes = """g = GlobalAveragePool(x) m = ReduceMean<axes=[1], keepdims=1>(g)
        r = Relu(m) q = Pad(r, p) y = Concat<axis=1>(q, g)"""
    tensors = {"p": np.array([0, 0, 0, 0, 0, 2, 0, 0])}
    agrees(write(tmp_path, nodes, (channels, 7, 13), tensors, opset=17), counts=(1, 3, 17))


# The shape of an image, and what is added before and behind its axes; negative: taken away.
CUT_AWAY = {
    "the end of one value": ((1, 1, 1), (0, 0, 1), (0, 0, -1)),
    "the end of a row": ((1, 1, 3), (0, 0, 4), (0, 0, -3)),
    "the begin of a row": ((1, 1, 3), (0, 0, -3), (0, 0, 4)),
    "and one value stays": ((1, 1, 3), (0, 0, -3), (0, 0, 1)),
    "and another axis grows": ((1, 2, 3), (0, 0, -3), (0, 1, 1)),
    "of an axis in the middle": ((2, 1, 5), (1, 1, 0), (1, -1, 2)),
    "of channels": ((17, 2, 3), (-9, 0, 0), (-8, 0, 0)),
    "of channels that are added again": ((17, 2, 3), (-17, 0, 0), (16, 0, 0)),
    "from both ends": ((3, 1, 5), (1, 2, -3), (1, -1, -2)),
}


@pytest.mark.parametrize("cut", CUT_AWAY)
def test_padding_that_cuts_all_values_away(cut, tmp_path):
    """Loading this ended the process."""
    shape, before, behind = CUT_AWAY[cut]
    tensors = {"p": np.array([0, *before, 0, *behind]), "v": np.float32(-0.5)}
    padded = [n + a + b for n, a, b in zip(shape, before, behind, strict=True)]
    if 0 in padded:
        path = write(tmp_path, "y = Pad(x, p, v)", shape, tensors, opset=13)
        with pytest.raises(lenet_cpp.Unsupported, match=r"without values.*Pad.*gives 'y'"):
            lenet_cpp.Predictor(path, engine="native")
        return
    layers = ["c = Relu(x)", "c = Identity(x)", "c = AveragePool<kernel_shape=[1, 1]>(x)"]
    readers = ["y = Pad(c, p, v)", "q = Pad(c, p, v) y = Conv(q, k)", "q = Pad(c, p) y = Add(q, h)"]
    readers += ["q = Pad(c, p, v) y = Concat<axis=1>(q, q)", "q = Pad(c, p) y = MatMul(q, m)"]
    tensors |= {"k": floats(3, padded[0], 1, 1), "h": floats(*padded), "m": floats(padded[2], 5)}
    for first in layers:
        for last in readers:
            agrees(write(tmp_path, f"{first} {last}", shape, tensors, opset=13), counts=(1, 3, 17))


def test_windows_that_lie_in_the_padding(tmp_path):
    """Their sum is 0, whatever the image is. Loading this ended the process."""
    tensors = {"size": np.array([1, 1]), "kernel": np.array([1, 1])}
    node = "y = Col2Im<pads=[2, 0, 2, 0], strides=[3, 1]>(x, size, kernel)"
    path = write(tmp_path, node, (2, 2), tensors, opset=18)
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        np.testing.assert_array_equal(predictor.run(floats(3, 2, 2)), np.zeros((3, 2, 1, 1)))


def test_padding_of_features(tmp_path):
    tensors = {"p": np.array([0, 0, 0, 5])}
    nodes = f"{CONV} f = Flatten(c) q = Pad(f, p) y = Concat<axis=1>(q, f)"
    agrees(write(tmp_path, nodes, tensors=tensors, opset=17), counts=(1, 3, 17))


def test_paddings_as_torch_exports_them(tmp_path):
    """The last axis first and zeros for the rest, turned round by computation on a matrix."""
    lists = {"four": [4], "pairs": [-1, 2], "zero": [0], "both": [0, 1], "all": [-1]}
    lists |= {"p": [1, 2, 0, 3], "before": [-(2**63)], "last": [-1, 1], "steps": [-1, 1]}
    tensors = {name: np.array(values) for name, values in lists.items()}
    tensors["ends"] = np.array([-(2**63), 2**63 - 1])
    matrix = f"""{CONV} z = ConstantOfShape<value = int64[1] {{0}}>(four)
        l = Concat<axis=0>(p, z) m = Reshape(l, pairs)"""
    for nodes in (
        "s = Slice(m, all, before, zero, all) t = Transpose<perm=[1, 0]>(s) q = Reshape(t, all)",
        "s = Slice(m, last, ends, both, steps) t = Reshape(s, all) q = Concat<axis=0>(z, t)",
    ):
        agrees(write(tmp_path, f"{matrix} {nodes} y = Pad(c, q)", tensors=tensors, opset=13))


# What gives the sizes `t` from the shape `s`, which stay.
LEAST_INTEGER = {
    "from the begin": "a = Slice(s, least, last) t = Concat<axis=0>(a, ten)",
    "to the begin": """a = Slice(s, last, least, zero, last)
        t = Slice(a, last, least, zero, last)""",
    "the larger one": "t = Max(s, least)",
    "between bounds": "l = Squeeze(least) m = Squeeze(most) t = Clip(s, l, m)",
    "chosen": "e = Equal(s, least) t = Where(e, least, s)",
    "its half": "h = Div(least, least) t = Mul(s, h)",
    "moved": "m = Concat<axis=0>(s, least) t = Slice(m, zero, last)",
}
LEAST_INTEGER = {use: f"s = Shape(c) {t} y = Reshape(c, t)" for use, t in LEAST_INTEGER.items()}
LEAST_INTEGER["of torch.flip"] = "y = Slice(c, last, least, three, last)"
LEAST_INTEGER["of values"] = "d = Slice(c, least, most, three) y = Relu(d)"
LEAST_INTEGER["a step"] = "d = Slice(c, last, least, three, least) y = Relu(d)"
LEAST_INTEGER["a diagonal"] = "l = Squeeze(least) k = Trilu(w, l) y = Conv(x, k, b)"
LEAST_INTEGER["a step of the most"] = "d = Slice(c, zero, most, three, most) y = Relu(d)"


@pytest.mark.parametrize("use", LEAST_INTEGER)
def test_the_least_integer_is_a_number_like_others(use, tmp_path):
    """Exporters write it, for a slice from the begin or to it."""
    lists = {"least": -(2**63), "most": 2**63 - 1, "zero": 0, "three": 3, "last": -1, "ten": 10}
    tensors = {name: np.array([value]) for name, value in lists.items()}
    nodes = LEAST_INTEGER[use]
    agrees(write(tmp_path, f"{CONV} {nodes}", tensors=tensors, opset=17))


# Each is out of range, or too many: with the words of the error.
OUT_OF_RANGE = {
    "an axis": ("y = Slice(c, zero, zero, {})", "an axis"),
    "a step backwards": ("y = Slice(c, {}, zero, three, last)", "no such slice"),
    "paddings": ("p = Concat<axis=0>({0}, zero, zero, {0}) y = Pad(c, p, f, ends)", "paddings"),
    "a place": ("y = Gather<axis=1>(c, {})", "an axis"),
    "sizes": ("t = Concat<axis=0>({0}, {0}, {0}) y = Expand(c, t)", "Expand"),
    "values": (
        "t = Concat<axis=0>({0}, {0}) k = ConstantOfShape(t) y = Add(c, k)",
        "ConstantOfShape|'k'",
    ),
    "times": ("t = Concat<axis=0>(one, one, one, {}) y = Tile(c, t)", "Tile"),
    "sections": ("y, z = Split<axis=3>(c, {})", "sections"),
    "a number of values": ("y, i = TopK(c, {})", "TopK"),
    "a depth": ("l = Squeeze({}) k = OneHot(zero, l, two) y = Add(c, k)", "OneHot|'k'"),
    "a size": ("t = Concat<axis=0>(zero, zero, zero, {}) y = Reshape(c, t)", "Reshape|'y'"),
    "a rank": ("y = Unsqueeze(c, {})", "an axis"),
}


@pytest.mark.parametrize("number", ["least", "most", "near"])
@pytest.mark.parametrize("use", OUT_OF_RANGE)
def test_integers_that_are_out_of_range_are_refused_by_name(use, number, tmp_path):
    lists = {"least": [-(2**63)], "most": [2**63 - 1], "near": [1 - 2**63], "zero": [0], "one": [1]}
    lists |= {"two": [0, 1], "three": [3], "last": [-1], "ends": [2, 3]}
    tensors = {name: np.array(values) for name, values in lists.items()} | {"f": np.float32(0)}
    nodes, words = OUT_OF_RANGE[use]
    path = write(tmp_path, f"{CONV} {nodes.format(number)}", tensors=tensors, opset=18)
    if use == "a step backwards" and number == "most":
        agrees(path)
        return
    with pytest.raises((lenet_cpp.BadModel, lenet_cpp.Unsupported), match=words):
        lenet_cpp.Predictor(path, engine="native")


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Slice(c, zero, zero, minus, one) y = Concat<axis=-1>(a, c)",
        "a = Slice(c, zero, zero, one, one) y = Concat<axis=1>(c, a, a)",
        "a = Slice(c, zero, zero, minus, one) d = Concat<axis=-1>(c, a, c) y = Relu(d)",
    ],
)
def test_parts_without_values_are_joined(nodes, tmp_path):
    """As of rotary positions of a transformer that has no class token."""
    tensors = {"zero": np.array([0]), "one": np.array([1]), "minus": np.array([-1])}
    path = write(tmp_path, f"{CONV} {nodes}", tensors=tensors, opset=13)
    agrees(path, plain=False)  # which computes no tensor without values


@pytest.mark.parametrize(
    ("numbers", "part", "native"),
    [
        ("i = Identity(r)", "g = Identity(t)", True),
        ("i = Slice(r, zero, last, zero, two)", "g = Slice(t, zero, last, zero, two)", True),
        ("i = Slice(r, last, least, zero, minus)", "g = Identity(t)", False),  # backwards
        ("h = Cast<to=3>(r) i = Cast<to=7>(h)", "g = Identity(t)", False),  # to int8 and back
    ],
)
def test_a_range_that_is_written_over(numbers, part, native, tmp_path):
    tensors = {"zero": np.array([0]), "two": np.array([2]), "minus": np.array([-1])}
    tensors |= {"last": np.array([99]), "least": np.array([-999]), "end": np.array(70)}
    tensors |= {"start": np.array(0), "step": np.array(1), "back": np.array([-1])}
    nodes = f"""{CONV} t = Transpose<perm=[2, 1, 0, 3]>(c) r = Range(start, end, step) {numbers}
        p = Unsqueeze(i, back) {part} u = Neg(g)
        d = ScatterND(t, p, u) y = Transpose<perm=[2, 1, 0, 3]>(d)"""
    path = write(tmp_path, nodes, (3, 70, 4), tensors, opset=16)
    if native:
        agrees(path)
        return
    with pytest.raises(lenet_cpp.Unsupported):
        lenet_cpp.Predictor(path, engine="native")


def test_constants_among_the_inputs(tmp_path):
    """As before 2019."""
    agrees(write(tmp_path, ALONE, also=", float[2,3,1,1] w, float[2] b", opset=9))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_number_of_images(batch, tmp_path):
    """As with the engine onnxruntime: multiples of it."""
    rows = {"s": np.array([batch, -1])}
    path = write(tmp_path, f"{CONV} y = Reshape(c, s)", tensors=rows, batch=batch)
    agrees(path, counts=(3, 6, 21))
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        assert predictor.input_spec.shape == (batch, 3, 9, 10)
        if batch > 1:
            with pytest.raises(lenet_cpp.BadInput, match="a multiple of 3 images"):
                predictor.run(np.zeros((4, 3, 9, 10), np.float32))


@pytest.mark.parametrize(
    ("nodes", "tensors", "native"),
    [
        ("f = Reshape(x, s) y = MatMul(f, m)", {"s": [2, 270]}, True),
        ("f = Reshape(x, s) y = MatMul(f, m)", {"s": [100, 270]}, True),
        ("c = Concat<axis=1>(x, once) f = ReduceMean<axes=[2]>(c) y = Flatten(f)", {}, False),
        (
            "f = Reshape(x, s) r = Relu(f) g = Reshape(r, t) y = MatMul(g, m)",
            {"s": [-1, 405], "t": [-1, 270]},
            False,
        ),
        ("f = Flatten(x) y = Slice(f, zero, nine)", {"zero": [0], "nine": [9]}, False),
    ],
)
def test_a_number_of_images_that_the_model_does_not_take(nodes, tensors, native, tmp_path):
    """BadInput where onnxruntime's own Python fails or lacks a row for each image."""
    known = {name: np.array(values) for name, values in tensors.items()}
    known |= {"m": floats(270, 5), "once": floats(1, 1, 9, 10)}
    path = write(tmp_path, nodes, tensors=known)
    outcomes = Counter()
    for engine in ("native", "onnxruntime") if native else ("onnxruntime", "auto"):
        with lenet_cpp.Predictor(path, engine=engine) as predictor, predictor.clone() as clone:
            assert predictor.input_spec.shape == (-1, 3, 9, 10)
            for count in (1, 2, 3, 4, 12, 100, 130):
                images = floats(count, 3, 9, 10)
                try:
                    expected = reference(path, images)
                except Exception:  # noqa: BLE001  # onnxruntime's errors have no other base
                    expected = np.empty((0, 5), np.float32)
                if len(expected) == count:
                    outcomes["answered"] += 1
                    assert compare(expected, clone.run(images)).agrees
                    continue
                outcomes["refused"] += 1
                with pytest.raises(lenet_cpp.BadInput, match=rf"a batch of {count} \(.*these fit"):
                    predictor.run(images)
    assert outcomes["answered"] >= 2
    assert outcomes["refused"] >= 4


def test_pieces_of_a_number_that_the_model_takes(tmp_path):
    """As an option says so: each piece is checked before the first one runs."""
    tensors = {"s": np.array([2, 270]), "m": floats(270, 5)}
    path = write(tmp_path, "f = Reshape(x, s) y = MatMul(f, m)", tensors=tensors)
    images = floats(6, 3, 9, 10)
    expected = np.concatenate([reference(path, images[i : i + 2]) for i in (0, 2, 4)])
    for engine in ("native", "onnxruntime"):
        with lenet_cpp.Predictor(path, engine=engine, max_batch_size=2) as predictor:
            assert compare(expected, predictor.run(images)).agrees
            with pytest.raises(lenet_cpp.BadInput, match="a batch of 1 "):
                predictor.run(images[:5])
    with (
        lenet_cpp.Predictor(path, engine="native") as predictor,
        pytest.raises(lenet_cpp.BadInput, match="a batch of 3 "),
    ):
        predictor.profile(3, runs=1)


def test_a_batch_of_which_each_image_meets_each_is_not_cut(tmp_path):
    """Of 64 at a time the answers would be others."""
    nodes = "f = Flatten(x) t = Transpose<perm=[1,0]>(f) g = MatMul(f, t) y = MatMul(g, f)"
    path = write(tmp_path, nodes)
    images = floats(130, 3, 9, 10)
    with lenet_cpp.Predictor(path) as predictor:
        assert predictor.options["engine"] == "onnxruntime"
        assert compare(reference(path, images), predictor.run(images)).agrees


def test_several_outputs(tmp_path):
    """Each alone and all together: the same, and what onnxruntime gives."""
    nodes = f"""
        {CONV} n = Mul(c, half) h = Relu(n) p = GlobalAveragePool(h) f = Flatten(p)
        z = Gemm(f, m) y = Softmax<axis=1>(z) t = Flatten(h) i = ArgMax<axis=1>(z)
    """
    tensors = {"half": np.full(1, 0.5, np.float32), "m": floats(2, 5)}
    outputs = "float y, int64 i, float h, float c, float z, float t, float f"
    path = write(tmp_path, nodes, tensors=tensors, y=outputs)
    images = np.random.default_rng(0).standard_normal((40, 3, 9, 10)).astype("f4")
    with lenet_cpp.Predictor(path, engine="onnxruntime") as predictor:
        expected = predictor.run_outputs(images)
    assert (expected.pop("i").ravel() == expected["z"].argmax(1)).all()  # of no native kernel
    with lenet_cpp.Predictor(path) as predictor:
        assert predictor.options["engine"] == "native"
        found = predictor.run_outputs(images)
        assert list(found) == list(expected) == list("yhcztf")
        for name, one in expected.items():
            assert compare(one, found[name]).agrees, name
            assert (predictor.run_outputs(images, name)[name] == found[name]).all()


# ---- which engine

LARGE = (ALONE, (3, 200, 200), weights(16))


def engine_of(path, **options):
    with lenet_cpp.Predictor(path, **options) as predictor:
        return predictor.options["engine"]


def test_engines_of_an_onnx(tmp_path):
    """auto is native where it is the fastest and supports the options, else onnxruntime."""
    path = write(tmp_path, ALONE)
    assert engine_of(path) == "native"
    for options in ({"ir_optim": False}, {"memory_optim": True}, {"accelerator": "plain"}):
        assert engine_of(path, **options) == "onnxruntime"
    lacking = f"{CONV} y = GlobalLpPool(c)"
    for name, engine, network in (("large", "native", LARGE), ("no", "onnxruntime", (lacking,))):
        (tmp_path / name).mkdir()
        assert engine_of(write(tmp_path / name, *network)) == engine
    with lenet_cpp.Predictor(model_dir=tmp_path, engine="native") as predictor:
        assert predictor.model_file == path
        assert predictor.quantized is False
        layers = predictor.run_layers(np.zeros((1, 3, 9, 10), np.float32))
        assert [layer.name for layer in layers] == ["y"]
    with (
        lenet_cpp.Predictor(path, engine="onnxruntime") as predictor,
        pytest.raises(lenet_cpp.Unsupported, match="cannot show each"),
    ):
        predictor.run_layers(np.zeros((1, 3, 9, 10), np.float32))


def test_why_a_slower_engine_is_taken_is_said(tmp_path, run_ok):
    path = write(tmp_path, *LARGE)
    environment = {"LENET_ONNXRUNTIME_LIBRARY": "/no/such/library.so"}
    environment["LENET_NATIVE_ISA"] = "sse42"  # without kernels for large images
    text = run_ok(f"--model_file={path}", "--profile", "--repeats=1", env=environment)
    reason = r"engine native \(auto: .* \(engine onnxruntime: there is no onnxruntime library"
    assert re.search(reason, text.splitlines()[0])


def test_a_program_without_onnxruntime(tmp_path, run_ok, program):
    """lenet_infer_native takes native unasked."""
    flags = (f"--model_file={write(tmp_path, ALONE)}", "--format=json")
    report = json.loads(run_ok(*flags, program=program.with_name("lenet_infer_native")))
    assert report["engine"] == "native"


# ---- constants that are computed when the model is loaded


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int32"])
def test_weights_of_another_type_are_cast(dtype, tmp_path):
    """They are rounded when the file is made: the answers are those of the rounded numbers."""
    tensors = {"w": converted("w", weights()["w"] * np.float32(3), dtype)}
    expected = agrees(write(tmp_path, "f = Cast<to=1>(w) y = Conv(x, f, b)", tensors=tensors))
    assert np.abs(expected).max() > 0.1


def test_constants_are_moved(tmp_path):
    """As Keras writes filters, with their axes in another order; in parts, joined and repeated."""
    nodes = """
        half = Cast<to=1>(w) t = Transpose<perm=[3,2,0,1]>(half) i = Identity(t) c = Conv(x, i, b)
        odd = Slice(many, one, five, zero, two) s = Reshape(odd, sizes) m = Mul(c, s)
        first, last = Split<axis=0>(many) even = Gather<axis=0>(last, places)
        joined = Concat<axis=0>(first, even) g = Gather<axis=0>(joined, places)
        wide = Expand(g, wider) r = Reshape(wide, whole) a = Add(m, r)
        n = Neg(a) y = Pow(n, two_point)
    """
    integers = {"one": [1], "five": [5], "zero": [0], "two": [2], "sizes": [1, 2, 1, 1]}
    integers |= {"places": [2, 0], "wider": [10, 2], "whole": [1, 1, 10, 2]}
    tensors = {name: np.array(values) for name, values in integers.items()}
    tensors |= {"many": floats(6), "w": floats(1, 1, 3, 2).astype("f2"), "two_point": np.float32(2)}
    agrees(write(tmp_path, nodes, (3, 10, 2), tensors))


def test_moved_constants_live_until_they_are_packed(tmp_path):
    """They are so large that memory which was freed too early is no longer theirs."""
    nodes = "f = Flatten(x) t = Transpose<perm=[1,0]>(m) y = MatMul(f, t)"
    agrees(write(tmp_path, nodes, (3, 32, 32), {"m": floats(1000, 3 * 32 * 32)}))


@pytest.mark.parametrize("power", [-2, -1, -0.5, 0.5, 1, 2, 3, 4])
def test_powers(power, tmp_path):
    nodes = f"{CONV} s = Mul(c, c) p = Add(s, one) y = Pow(p, power)"
    tensors = {"power": np.float32(power), "one": np.float32(1)}
    agrees(write(tmp_path, nodes, tensors=tensors))


@pytest.mark.parametrize(("axis", "places"), [(1, [2, 1, 0]), (1, [-1, 0, 0, 1]), (3, [1, 3])])
def test_parts_of_the_image_in_any_order(axis, places, tmp_path):
    """Such as BGR for RGB; and of all images, a slice that names them."""
    nodes = f"""
        all = Slice(x, zero, most, zero) g = Gather<axis={axis}>(all, places)
        row = Gather<axis=2>(g, at) y = Relu(row)
    """
    tensors = {"places": np.array(places), "at": np.array(1)}
    tensors |= {"zero": np.array([0]), "most": np.array([2**31 - 1])}
    agrees(write(tmp_path, nodes, tensors=tensors))


# ---- drawn operators, against NumPy in float64


def axis_of(rng, shape):
    """One of the axes behind the images."""
    return int(rng.integers(1, len(shape) + 1))


def sums_so_far(rng, shape):
    axis, reverse, exclusive = axis_of(rng, shape), *rng.integers(0, 2, 2)

    def expected(x):
        x = np.flip(x, axis) if reverse else x
        found = np.cumsum(x, axis) - exclusive * x
        return np.flip(found, axis) if reverse else found

    node = f"y = CumSum<reverse={reverse}, exclusive={exclusive}>(x, axis)"
    return node, {"axis": np.array(axis)}, expected


def place_of_one(rng, shape):
    axis, keepdims = axis_of(rng, shape), rng.integers(0, 2)
    kind, found = [("ArgMax", np.argmax), ("ArgMin", np.argmin)][rng.integers(0, 2)]
    node = f"z = {kind}<axis={axis}, keepdims={keepdims}>(x) y = Cast<to=1>(z)"
    return node, {}, lambda x: found(x, axis, keepdims=bool(keepdims))


def largest_values(rng, shape):
    axis, largest, places = axis_of(rng, shape), *rng.integers(0, 2, 2)
    count = int(rng.integers(1, shape[axis - 1] + 1))

    def expected(x):
        order = np.argsort(-x if largest else x, axis, kind="stable")
        order = np.take(order, range(count), axis)
        return order if places else np.take_along_axis(x, order, axis)

    node = f"v, p = TopK<axis={axis}, largest={largest}>(x, k) y = Cast<to=1>({'vp'[places]})"
    return node, {"k": np.array([count])}, expected


def values_along_an_axis(rng, shape):
    axis = axis_of(rng, shape)
    sizes = [*shape]
    sizes[axis - 1] = int(rng.integers(1, 9))
    size = shape[axis - 1]
    indices = rng.integers(-size, size, (1, *sizes))
    nodes = """s = Shape(x) n = Slice(s, zero, one) r = Concat<axis=0>(n, sizes)
        all = Expand(indices, r)"""
    tensors = {"zero": np.array([0]), "one": np.array([1]), "sizes": np.array(sizes)}
    node = f"{nodes} y = GatherElements<axis={axis}>(x, all)"
    return (
        node,
        tensors | {"indices": indices},
        lambda x: np.take_along_axis(x, np.repeat(indices, len(x), 0), axis),
    )


def values_at_places(rng, shape):
    rank = len(shape) + 1
    named = int(rng.integers(1, rank))  # axes; the images come behind them
    sizes = rng.integers(1, 5, rng.integers(1, 3))
    indices = np.stack([rng.integers(-n, n, sizes) for n in shape[:named]], -1)
    given = len(sizes) + rank - named  # the rank of the result
    back = [given - 1, *range(given - 1)]
    nodes = f"t = Transpose<perm={[*range(1, rank), 0]}>(x) g = GatherND(t, indices)"
    node = f"{nodes} y = Transpose<perm={back}>(g)"

    def expected(x):
        found = np.moveaxis(x, 0, -1)[tuple(np.moveaxis(indices, -1, 0))]
        return np.moveaxis(found, -1, 0)

    return node, {"indices": indices}, expected


def padded(rng, shape):
    mode = ["constant", "edge", "reflect", "wrap"][rng.integers(0, 4)]
    most = [size - 1 if mode == "reflect" else size for size in shape]
    before, behind = ([int(rng.integers(0, n + 1)) for n in most] for _ in range(2))
    pads = {"pads": np.array([0, *before, 0, *behind])}
    around = [(0, 0), *zip(before, behind, strict=True)]
    return f'y = Pad<mode="{mode}">(x, pads)', pads, lambda x: np.pad(x, around, mode)


def sliced(rng, shape):
    steps = [int(rng.choice([1, 2, 5, 100, -1, -2, -7])) for _ in shape]
    first = [int(rng.integers(0, n)) for n in shape]
    ends = [2**31 - 1 if step > 0 else -(2**31) for step in steps]
    names = zip(("starts", "ends", "steps"), (first, ends, steps), strict=True)
    tensors = {name: np.array(values) for name, values in names}
    tensors["axes"] = np.arange(1, len(shape) + 1)
    parts = [slice(None), *(slice(a, None, s) for a, s in zip(first, steps, strict=True))]
    return "y = Slice(x, starts, ends, axes, steps)", tensors, lambda x: x[tuple(parts)]


def hardmax(rng, shape):
    axis = axis_of(rng, shape)

    def expected(x):
        places = np.argmax(x, axis, keepdims=True)
        return (np.arange(x.shape[axis]).reshape(-1, *[1] * (x.ndim - axis - 1)) == places) * 1.0

    return f"y = Hardmax<axis={axis}>(x)", {}, expected


def unit_vectors(rng, shape):
    axis, p = axis_of(rng, shape), rng.integers(1, 3)
    node = f"y = LpNormalization<axis={axis}, p={p}>(x)"
    return node, {}, lambda x: x / np.linalg.norm(x, p, axis, keepdims=True)


def folded(rng, _):
    """Sums of windows: one value after the other."""
    kernel, strides, dilations = rng.integers(1, 4, (3, 2))
    pads, counts = rng.integers(0, 2, (2, 2)), rng.integers(1, 5, 2)
    size = (counts - 1) * strides + (kernel - 1) * dilations + 1 - pads.sum(0)
    size = np.maximum(size, 1)
    counts = (size + pads.sum(0) - (kernel - 1) * dilations - 1) // strides + 1
    channels, places = int(rng.integers(1, 4)), kernel.prod()

    def expected(x):
        x = x.reshape(len(x), channels, *kernel, *counts)
        found = np.zeros((len(x), channels, *size))
        for index in np.ndindex(*kernel, *counts):
            place = np.multiply(index[2:], strides) + np.multiply(index[:2], dilations) - pads[0]
            if (place >= 0).all() and (place < size).all():
                found[(..., *place)] += x[(..., *index)]
        return found

    lists = {"strides": strides, "dilations": dilations, "pads": pads.ravel()}
    text = ", ".join(f"{name}={values.tolist()}" for name, values in lists.items())
    tensors = {"size": size, "kernel": kernel}
    shape = (int(channels * places), int(counts.prod()))
    return f"y = Col2Im<{text}>(x, size, kernel)", tensors, expected, shape


def equation(rng, _):
    text, *shapes = [
        ("n...ij,jk->n...ik", (2, 3, 4), (4, 5)),
        ("nij,nkj->nki", (3, 4), None),
        ("...ij->...ji", (2, 3, 4)),
        ("nij->nj", (3, 4)),
        ("nii->ni", (4, 4)),
        ("nij,j->n", (3, 4), (4,)),
        ("n...d,...d->n...", (2, 3, 4), (3, 4)),
        ("nij,kl->nkj", (3, 4), (2, 5)),
        ("nhwc,hkc->nhwk", (2, 3, 4), (2, 5, 4)),
    ][rng.integers(0, 9)]
    inputs, constants = "x", {}
    if len(shapes) > 1:
        inputs = "x, x" if shapes[1] is None else "x, k"
        constants = {"k": rng.standard_normal(shapes[1]).astype("f4")} if shapes[1] else {}
    more = [*constants.values()]

    def expected(x):
        return np.einsum(text, *([x, x] if inputs == "x, x" else [x, *more]))

    return f'y = Einsum<equation="{text}">({inputs})', constants, expected, shapes[0]


DRAWN = [sums_so_far, place_of_one, largest_values, values_along_an_axis, values_at_places]
DRAWN += [padded, sliced, hardmax, unit_vectors, folded, equation]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("draw", DRAWN)
def test_drawn_operators_agree_with_numpy(draw, seed):
    rng = np.random.default_rng([seed, *draw.__name__.encode()])
    shape = tuple(rng.integers(1, 8, rng.integers(1, 5)).tolist())
    nodes, tensors, expected, *other = draw(rng, shape)
    shape = other[0] if other else shape
    x = f"float[N,{','.join(map(str, shape))}] x"
    images = rng.standard_normal((3, *shape)).astype("f4")
    program = model(nodes, x, "float y", tensors, opset=19)
    with lenet_cpp.Predictor.from_bytes(program, engine="native") as predictor:
        found, alone = predictor.run(images), predictor.run(images[:1])
    assert (found[:1] == alone).all()
    assert compare(expected(images.astype("f8")).astype("f4"), found).agrees, nodes


# ---- what it cannot do: cpp/tests/test_onnx_graph.cc has the others


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (f"{CONV} y = GlobalLpPool(c)", r"GlobalLpPool, which gives 'y'.*engine onnxruntime"),
        ("y = Gather<axis=0>(x, i)", "could not prove that images stay apart"),
        (f"{CONV} y, m, v = BatchNormalization(c, b, b, b, b)", "while training"),
        ("y, s, z = DynamicQuantizeLinear(x)", "quantized while it runs.*use engine onnxruntime"),
        ("y = com.microsoft.FusedConv(x, w, b)", "for one machine.*the file that it was made from"),
    ],
)
def test_what_has_no_kernel_is_named(nodes, words, tmp_path):
    with pytest.raises(lenet_cpp.Unsupported, match=words):
        lenet_cpp.Predictor(write(tmp_path, nodes, tensors={"i": np.array([0])}), engine="native")


def test_damaged_models_give_a_typed_error_or_the_right_answer(tmp_path):
    """400 models with some bytes changed or cut short, through both engines; in one process."""
    nodes = """
        c = Conv<pads=[1,0,1,0], strides=[1,2]>(x, w, b)
        n = BatchNormalization(c, half, half, half, half)
        p = MaxPool<kernel_shape=[2,2], ceil_mode=1, strides=[2,2]>(n)
        s = Shape(p) i = Slice(s, zero, one, zero) r = Concat<axis=0>(i, rest) f = Reshape(p, r)
        y = Gemm<transB=1>(f, g)
    """
    numbers = {name: np.array([i]) for name, i in (("zero", 0), ("one", 1), ("rest", -1))}
    half = {"half": np.full(3, 0.5, np.float32), "g": floats(5, 24)}
    tensors = weights(3, 1, (3, 3)) | numbers | half
    whole = write(tmp_path, nodes, (1, 8, 8), tensors, opset=13).read_bytes()
    agrees(tmp_path / "model.onnx")
    generator = np.random.default_rng(0)
    batch = generator.standard_normal((2, 1, 8, 8)).astype(np.float32)
    outcomes = Counter()
    typed = {
        "native": (lenet_cpp.BadModel, lenet_cpp.Unsupported, lenet_cpp.BadInput),
        "onnxruntime": lenet_cpp.Error,
    }
    path = tmp_path / "damaged.onnx"
    for i in range(400):
        damaged = bytearray(whole)
        for at in generator.integers(0, len(whole), generator.integers(1, 3)):
            damaged[at] = generator.integers(256)
        path.write_bytes(damaged[: generator.integers(len(whole)) if i % 8 == 0 else None])
        try:
            expected = reference(path, batch)
        except Exception:  # noqa: BLE001  # onnxruntime's errors have no other base
            expected = None
        for engine, errors in typed.items():
            try:
                with lenet_cpp.Predictor(path, engine=engine) as predictor:
                    found = predictor.run(batch)
            except errors as error:
                outcomes[engine, "refused"] += "\n" not in str(error)
                continue
            if expected is None:
                outcomes[engine, "of ours alone"] += 1
            elif np.abs(expected).max() < 1e4:  # weights that became huge cancel each other out
                assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)
                outcomes[engine, "same"] += 1
    for engine in typed:
        assert outcomes[engine, "refused"] > 200
        assert outcomes[engine, "same"] > 50
        assert outcomes[engine, "of ours alone"] < 5
