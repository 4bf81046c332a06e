"""Operators of constants, against NumPy: the check computes shapes and engines fold parameters by
one evaluator (cpp/src/model/evaluate.h)."""

import os
import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_files import reference

import lenet_cpp

REAL = ("f4", "f8")
WHOLE = ("i4", "i8")
FEW = 64
"""As many numbers the check follows itself; more are left to the engine."""


def quotient(x, y):
    """ONNX rounds the quotient of integers towards 0."""
    if x.dtype.kind == "f":
        return x / y
    exact = np.abs(x.astype(object)) // np.abs(y.astype(object)) * np.sign(x) * np.sign(y)
    return exact.astype(x.dtype)


BINARY = {
    "Add": (np.add, REAL + WHOLE),
    "Sub": (np.subtract, REAL + WHOLE),
    "Mul": (np.multiply, REAL + WHOLE),
    "Div": (quotient, REAL + WHOLE),
    "Mod": (np.mod, WHOLE),
    "Pow": (np.power, REAL),
    "Max": (np.maximum, REAL + WHOLE),
    "Min": (np.minimum, REAL + WHOLE),
    "Sum": (np.add, REAL),
    "Mean": (lambda x, y: (x + y) / x.dtype.type(2), REAL),
    "Equal": (np.equal, (*REAL, *WHOLE, "?")),
    "Greater": (np.greater, REAL + WHOLE),
    "GreaterOrEqual": (np.greater_equal, REAL + WHOLE),
    "Less": (np.less, REAL + WHOLE),
    "LessOrEqual": (np.less_equal, REAL + WHOLE),
    "And": (np.logical_and, ("?",)),
    "Or": (np.logical_or, ("?",)),
    "Xor": (np.logical_xor, ("?",)),
}
UNARY = {
    "Neg": (np.negative, REAL + WHOLE),
    "Abs": (np.abs, REAL + WHOLE),
    "Sign": (np.sign, REAL + WHOLE),
    "Sqrt": (lambda x: np.sqrt(x), REAL),
    "Exp": (np.exp, REAL),
    "Log": (np.log, REAL),
    "Reciprocal": (lambda x: 1 / x, REAL),
    "Sin": (np.sin, ("f4",)),
    "Cos": (np.cos, ("f4",)),
    "Tan": (np.tan, ("f4",)),
    "Asin": (np.arcsin, ("f4",)),
    "Acos": (np.arccos, ("f4",)),
    "Atan": (np.arctan, ("f4",)),
    "Sinh": (np.sinh, ("f4",)),
    "Cosh": (np.cosh, ("f4",)),
    "Tanh": (np.tanh, REAL),
    "Sigmoid": (lambda x: 1 / (1 + np.exp(-x)), REAL),
    "Relu": (lambda x: np.maximum(x, 0), REAL),
    "Floor": (np.floor, REAL),
    "Ceil": (np.ceil, REAL),
    "Round": (np.rint, REAL),
    "Not": (np.logical_not, ("?",)),
    "IsNaN": (np.isnan, REAL),
    "IsInf": (np.isinf, REAL),
}
POSITIVE = ("Sqrt", "Log", "Pow")


def drawn(random, shape, dtype, kind=""):
    """Return numbers of which some are alike, negative or whole; integers also at the ends."""
    if dtype == "?":
        return random.random(shape) < 0.5
    if np.dtype(dtype).kind == "f":
        numbers = np.round(random.normal(size=shape) * 4, random.integers(0, 3)).astype(dtype)
        return np.abs(numbers) + np.dtype(dtype).type(0.5) if kind in POSITIVE else numbers
    ends = np.iinfo(dtype)
    wide = random.integers(ends.min, ends.max, shape, dtype, endpoint=True)
    near = random.integers(-9, 10, shape, dtype)
    return np.where(random.random(shape) < 0.2, wide, near)


def broadcast_pair(random, rank=None):
    """Return two shapes that can be repeated along each other, of ranks 0 to 5."""
    rank = random.integers(0, 6) if rank is None else rank
    sizes = random.integers(1, 5, rank)
    shapes = []
    for _ in range(2):
        kept = random.integers(0, rank + 1) if random.random() < 0.5 else rank
        ones = random.random(rank) < 0.25
        shapes.append(tuple(int(size) for size in np.where(ones, 1, sizes)[rank - kept :]))
    return shapes if random.random() < 0.9 else [shapes[0], shapes[0]]


def node(text, **attributes):
    """Return a node, such as of `Mul a b -> c`."""
    taken, given = text.split(" -> ")
    kind, *inputs = taken.split()
    return helper.make_node(kind, inputs, given.split(), **attributes)


def network(nodes, constants, sizes, opset=17, names=None):
    """Return the bytes of a model from x, [N, *sizes], to y."""
    x, y = (names or {}).get("x", "x"), (names or {}).get("y", "y")
    graph = helper.make_graph(
        nodes,
        "constants",
        [helper.make_tensor_value_info(x, onnx.TensorProto.FLOAT, ["N", *sizes])],
        [helper.make_tensor_value_info(y, onnx.TensorProto.FLOAT, ["N", None])],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString()


def answer(nodes, constants, count, **options):
    """Return what the nodes give as c: the network adds it to its input, which is 0."""
    ends = [
        node("Cast c -> real", to=onnx.TensorProto.FLOAT),
        node("Reshape real flat -> row"),
        node("Add x row -> y"),
    ]
    program = network([*nodes, *ends], {**constants, "flat": np.array([1, count])}, [count])
    options = {"engine": "native", "check_finite": False, **options}
    with lenet_cpp.Predictor.from_bytes(program, **options) as predictor:
        return predictor.run(np.zeros((2, count), np.float32))


def check(nodes, constants, expected, *, exact=True, **options):
    expected = np.asarray(expected)
    found = answer(nodes, constants, expected.size, **options)
    with np.errstate(over="ignore"):
        wanted = expected.astype(np.float32).ravel()
    tolerance = 0 if exact else 1e-5
    for image in found:
        close = np.allclose(image, wanted, rtol=tolerance, atol=tolerance / 100, equal_nan=True)
        assert close, (nodes, constants, image, wanted)


INEXACT = (
    "Pow",
    "Exp",
    "Log",
    "Sin",
    "Cos",
    "Tan",
    "Asin",
    "Acos",
    "Atan",
    "Sinh",
    "Cosh",
    "Tanh",
    "Sigmoid",
    "Mean",
)


@pytest.mark.parametrize("kind", BINARY)
def test_two_constants_are_combined_as_by_numpy(kind):
    function, dtypes = BINARY[kind]
    random = np.random.default_rng(sum(kind.encode()))
    sizes = set()
    for dtype, _ in product(dtypes, range(24)):
        x, y = (drawn(random, shape, dtype, kind) for shape in broadcast_pair(random))
        if kind in ("Div", "Mod") and dtype in WHOLE:
            y = np.where(y == 0, np.dtype(dtype).type(3), y)
        with np.errstate(all="ignore"):
            expected = function(x, y)
        sizes.add(expected.size > FEW)
        constants = {"a": x, "b": y}
        check([node(f"{kind} a b -> c")], constants, expected, exact=kind not in INEXACT)
    assert sizes == {False, True}


@pytest.mark.parametrize("kind", UNARY)
def test_functions_of_a_constant_are_those_of_numpy(kind):
    function, dtypes = UNARY[kind]
    random = np.random.default_rng(sum(kind.encode()))
    for dtype, rank in product(dtypes, (0, 1, 2, 3, 4, 5)):
        x = drawn(random, tuple(random.integers(1, 5, rank)), dtype, kind)
        if kind in ("IsNaN", "IsInf"):
            places = random.random(x.shape)
            x = np.where(places < 0.3, np.nan, np.where(places < 0.6, -np.inf, x)).astype(dtype)
        with np.errstate(all="ignore"):
            expected = function(x)
        check([node(f"{kind} a -> c")], {"a": x}, expected, exact=kind not in INEXACT)


def test_several_constants_are_combined():
    random = np.random.default_rng(0)
    kinds = {"Max": np.maximum, "Min": np.minimum, "Sum": np.add}
    for kind, _ in product(kinds, range(8)):
        values = [drawn(random, shape, "f4") for shape in broadcast_pair(random)]
        values.append(drawn(random, (), "f4"))
        expected = kinds[kind](kinds[kind](values[0], values[1]), values[2])
        check([node(f"{kind} a b d -> c")], dict(zip("abd", values, strict=True)), expected)


def test_the_rest_of_a_quotient_has_the_sign_of_one_or_the_other():
    random = np.random.default_rng(0)
    for dtype in REAL + WHOLE:
        x, y = drawn(random, (5, 20), dtype), drawn(random, (20,), dtype)
        y = np.where(y == 0, np.dtype(dtype).type(3), y)
        check([node("Mod a b -> c", fmod=1)], {"a": x, "b": y}, np.fmod(x, y))


def test_the_least_integer_divided_by_minus_1_wraps_around():
    for dtype in WHOLE:
        least = np.array([np.iinfo(dtype).min, 6], dtype)
        for kind, expected in (("Div", [least[0], -6]), ("Mod", [0, 0]), ("Mul", [least[0], -6])):
            constants = {"a": least, "b": np.array(-1, dtype)}
            check([node(f"{kind} a b -> c")], constants, np.array(expected, dtype))


@pytest.mark.parametrize("dtype", [*REAL, *WHOLE, "?"])
def test_where(dtype):
    random = np.random.default_rng(0)
    for _ in range(16):
        shapes = broadcast_pair(random)
        condition = drawn(random, shapes[0][len(shapes[0]) // 2 :], "?")
        x, y = (drawn(random, shape, dtype) for shape in shapes)
        check(
            [node("Where k a b -> c")], {"k": condition, "a": x, "b": y}, np.where(condition, x, y)
        )


@pytest.mark.parametrize("dtype", [*REAL, *WHOLE])
def test_clip(dtype):
    random = np.random.default_rng(0)
    for shape in ((), (5,), (3, 30)):
        x, least, most = (drawn(random, size, dtype) for size in (shape, (), ()))
        for given in (("a", "l", "m"), ("a", "l"), ("a", "", "m")):
            low = least if "l" in given else None
            high = most if "m" in given else None
            expected = x if low is None else np.maximum(x, low)
            expected = expected if high is None else np.minimum(expected, high)
            clip = helper.make_node("Clip", given, ["c"])
            check([clip], {"a": x, "l": least, "m": most}, expected)


@pytest.mark.parametrize("to", [*REAL, *WHOLE, "u1", "?"])
def test_cast(to):
    random = np.random.default_rng(0)
    for dtype, count in product((*REAL, *WHOLE, "u1", "?"), (5, 100)):
        ends = (0, 100) if to == "u1" else (-1000, 1000)
        x = (random.uniform(*ends, count)).astype(dtype)
        number = helper.np_dtype_to_tensor_dtype(np.dtype(to))
        check([node("Cast a -> c", to=number)], {"a": x}, x.astype(to))


def test_a_number_that_an_integer_does_not_hold_is_not_converted():
    for number in (np.nan, np.inf, 3e9, -3e9):
        x = np.array([1, number], np.float32)
        with pytest.raises(lenet_cpp.Unsupported, match="Cast"):
            answer([node("Cast a -> c", to=onnx.TensorProto.INT32)], {"a": x}, 2)


MOVES = {
    "Transpose": lambda x, r: np.transpose(x, r),
    "Concat": lambda x, _: np.concatenate([x, x[:1]], 0),
    "Tile": lambda x, r: np.tile(x, r),
    "Slice": lambda x, _: x[1:, ..., ::-2],
    "Gather": lambda x, _: np.take(x, [1, 0, -1], 0),
}


def moves(kind, x, order):
    """Return nodes that give c of a and b, and the other constants."""
    rank = x.ndim
    if kind == "Transpose":
        return [helper.make_node(kind, ["a"], ["c"], perm=order)], {}
    if kind == "Concat":
        return [helper.make_node(kind, ["a", "b"], ["c"], axis=-rank)], {"b": x[:1]}
    if kind == "Tile":
        return [helper.make_node(kind, ["a", "b"], ["c"])], {"b": np.array(order)}
    if kind == "Gather":
        return [helper.make_node(kind, ["a", "b"], ["c"], axis=0)], {"b": np.array([1, 0, -1])}
    bounds = {
        "s": [1, -1],
        "e": [1000, np.iinfo("i8").min + 1],
        "axes": [0, rank - 1],
        "t": [1, -2],
    }
    names = ["a", *bounds]
    return (
        [helper.make_node(kind, names, ["c"])],
        {name: np.array(values) for name, values in bounds.items()},
    )


@pytest.mark.parametrize("kind", MOVES)
def test_values_of_constants_are_moved(kind):
    random = np.random.default_rng(0)
    for dtype, rank, most in product((*REAL, *WHOLE, "?"), (1, 2, 3, 4, 5), (3, 5)):
        if kind == "Slice" and rank == 1:
            continue
        x = drawn(random, tuple(int(size) for size in random.integers(2, most, rank)), dtype)
        order = [int(axis) for axis in random.permutation(rank)]
        order = [1 + axis % 2 for axis in order] if kind == "Tile" else order
        nodes, constants = moves(kind, x, order)
        check(nodes, {"a": x, **constants}, MOVES[kind](x, order))


def test_a_constant_is_split_and_expanded():
    x = drawn(np.random.default_rng(0), (4, 1, 30), "f4")
    for part in (0, 1):
        names = ["c", "other"] if part == 0 else ["other", "c"]
        split = helper.make_node("Split", ["a", "n"], names, axis=0)
        check([split], {"a": x, "n": np.array([1, 3])}, np.split(x, [1])[part])
    sizes = {"a": x, "n": np.array([2, 1, 3, 1])}
    check([node("Expand a n -> c")], sizes, np.broadcast_to(x, (2, 4, 3, 30)))


def some_shape(random, *, least=1, most=4, size=5):
    return tuple(int(each) for each in random.integers(1, size, random.integers(least, most + 1)))


def indices_of(random, shape, size):
    """Return indices of an axis of that size, from its begin and from its end."""
    return random.integers(-size, size, shape).astype(random.choice(["i4", "i8"]))


@pytest.mark.parametrize("dtype", [*REAL, *WHOLE, "?"])
def test_parts_of_constants_are_gathered_by_indices_of_any_rank(dtype):
    random = np.random.default_rng(0)
    for _ in range(24):
        x = drawn(random, some_shape(random), dtype)
        axis = int(random.integers(-x.ndim, x.ndim))
        indices = indices_of(random, some_shape(random, least=0, most=3), x.shape[axis])
        expected = np.take(x, indices, axis)
        gather = helper.make_node("Gather", ["a", "b"], ["c"], axis=axis)
        check([gather], {"a": x, "b": indices}, expected)


@pytest.mark.parametrize("dtype", ["f4", "i8"])
def test_elements_of_constants_are_gathered_and_scattered(dtype):
    random = np.random.default_rng(0)
    for _ in range(16):
        x = drawn(random, some_shape(random), dtype)
        axis = int(random.integers(-x.ndim, x.ndim))
        sizes = [int(random.integers(1, size + 1)) for size in x.shape]
        indices = indices_of(random, sizes, x.shape[axis])
        rows = x[tuple(slice(0, size) for size in sizes[: axis % x.ndim])]
        rows = rows[(..., *(slice(0, size) for size in sizes[axis % x.ndim + 1 :]))]
        expected = np.take_along_axis(rows, indices.astype("i8"), axis)
        gather = helper.make_node("GatherElements", ["a", "b"], ["c"], axis=axis)
        check([gather], {"a": x, "b": indices}, expected)
        updates = drawn(random, tuple(sizes), dtype)
        places = random.permutation(x.shape[axis])[: sizes[axis]]
        along = [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)]
        indices = np.ascontiguousarray(np.broadcast_to(places.reshape(along), sizes))
        scattered = x.copy()
        for place in np.ndindex(*sizes):
            at = list(place)
            at[axis] = indices[place]
            scattered[tuple(at)] = updates[place]
        scatter = helper.make_node("ScatterElements", ["a", "b", "u"], ["c"], axis=axis)
        check([scatter], {"a": x, "b": indices, "u": updates}, scattered)


@pytest.mark.parametrize("dtype", ["f4", "i8"])
def test_parts_of_constants_are_gathered_and_scattered_by_places(dtype):
    random = np.random.default_rng(0)
    for _ in range(24):
        x = drawn(random, some_shape(random, least=2), dtype)
        apart = int(random.integers(0, x.ndim - 1))
        axes = int(random.integers(1, x.ndim - apart + 1))
        outer = (*x.shape[:apart], *some_shape(random, most=2))
        indices = np.stack(
            [indices_of(random, outer, x.shape[apart + i]).astype("i8") for i in range(axes)], -1
        )
        expected = np.stack(
            [x[(*place[:apart], *indices[place])] for place in np.ndindex(*outer)]
        ).reshape(outer + x.shape[apart + axes :])
        gather = helper.make_node("GatherND", ["a", "b"], ["c"], batch_dims=apart)
        check([gather], {"a": x, "b": indices}, expected)
        if apart > 0:
            continue
        updates = drawn(random, expected.shape, dtype)
        scattered = x.copy()
        for place in np.ndindex(*outer):
            scattered[tuple(indices[place])] = updates[place]
        scatter = helper.make_node("ScatterND", ["a", "b", "u"], ["c"])
        check([scatter], {"a": x, "b": indices, "u": updates}, scattered)


def test_an_index_of_a_constant_that_is_out_of_range_is_refused():
    x = np.ones((4, 30), np.float32)
    cases = (("Gather", (2, 30)), ("GatherElements", (2, 30)), ("GatherND", (2, 30)))
    for (kind, shape), index in product(cases, (4, -5, 1 << 40)):
        indices = np.full((2,) if kind == "Gather" else (2, 1), index)
        indices = np.broadcast_to(indices, shape) if kind == "GatherElements" else indices
        with pytest.raises(lenet_cpp.BadModel, match=r"an axis|out of range"):
            answer([node(f"{kind} a b -> c")], {"a": x, "b": indices}, int(np.prod(shape)))


@pytest.mark.parametrize("dtype", [*REAL, *WHOLE])
def test_triangles_of_constants(dtype):
    random = np.random.default_rng(0)
    for upper, k in product((0, 1, None), (None, 0, 2, -1, 100, -100, 1 << 40)):
        x = drawn(random, some_shape(random, least=2, size=7), dtype)
        options = {} if upper is None else {"upper": upper}
        shift = {} if k is None else {"k": np.array(k)}
        expected = (np.tril if upper == 0 else np.triu)(x, k or 0)
        check(
            [helper.make_node("Trilu", ["a", *shift], ["c"], **options)],
            {"a": x, **shift},
            expected,
        )


@pytest.mark.parametrize("dtype", [*REAL, *WHOLE])
def test_sums_so_far_of_constants(dtype):
    random = np.random.default_rng(0)
    for exclusive, reverse, _ in product((0, 1), (0, 1), range(4)):
        x = drawn(random, some_shape(random, least=2), dtype)
        axis = int(random.integers(1, x.ndim))
        sums = np.flip(np.cumsum(np.flip(x, axis), axis), axis) if reverse else np.cumsum(x, axis)
        expected = (sums - x if exclusive else sums).astype(dtype)
        node_ = helper.make_node("CumSum", ["a", "b"], ["c"], exclusive=exclusive, reverse=reverse)
        constants = {"a": x, "b": np.array(axis)}
        check([node_], constants, expected, exact=dtype in WHOLE)


REDUCED = {
    "ReduceSum": (np.sum, REAL + WHOLE),
    "ReduceMean": (np.mean, REAL),
    "ReduceMax": (np.max, REAL + WHOLE),
    "ReduceMin": (np.min, REAL + WHOLE),
    "ReduceProd": (np.prod, REAL + WHOLE),
    "ReduceL1": (lambda x, **how: np.sum(np.abs(x), **how), REAL),
    "ReduceL2": (lambda x, **how: np.sqrt(np.sum(x * x, **how)), REAL),
    "ReduceSumSquare": (lambda x, **how: np.sum(x * x, **how), REAL),
    "ReduceLogSum": (lambda x, **how: np.log(np.sum(x, **how)), REAL),
    "ReduceLogSumExp": (lambda x, **how: np.log(np.sum(np.exp(x), **how)), REAL),
}


@pytest.mark.parametrize("kind", REDUCED)
def test_constants_are_reduced(kind):
    function, dtypes = REDUCED[kind]
    random = np.random.default_rng(sum(kind.encode()))
    for dtype, _ in product(dtypes, range(12)):
        x = drawn(random, some_shape(random, size=6), dtype, "Log" if "Log" in kind else "")
        axes = [int(axis) for axis in random.permutation(x.ndim)[: random.integers(0, x.ndim + 1)]]
        keep = int(random.integers(0, 2))
        with np.errstate(all="ignore"):
            expected = function(x, axis=tuple(axes) or None, keepdims=bool(keep)).astype(dtype)
        if kind == "ReduceSum":
            constants = {"a": x, "b": np.array(axes, "i8")} if axes else {"a": x}
            options = {}
        else:
            constants, options = {"a": x}, {"axes": axes} if axes else {}
        reduce = helper.make_node(kind, list(constants), ["c"], keepdims=keep, **options)
        check([reduce], constants, expected, exact=dtype in WHOLE)


@pytest.mark.parametrize("dtype", [*REAL, *WHOLE])
def test_products_of_constant_matrices(dtype):
    random = np.random.default_rng(0)
    shapes = [
        ((3, 4), (4, 5)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((4,), (4,)),
        ((2, 1, 3, 4), (5, 4, 2)),
    ]
    shapes += [((30, 7), (7, 40)), ((6, 3, 4), (4, 2)), ((3, 4), (6, 4, 5))]
    for left, right in shapes:
        x, y = drawn(random, left, dtype), drawn(random, right, dtype)
        check([node("MatMul a b -> c")], {"a": x, "b": y}, x @ y, exact=dtype in WHOLE)


def test_a_constant_gemm():
    random = np.random.default_rng(0)
    for turned_left, turned_right, bias in product(
        (0, 1), (0, 1), ((), (5,), (3, 1), (3, 5), None)
    ):
        x, y = (drawn(random, shape, "f4") for shape in ((3, 4), (4, 5)))
        left = x.T if turned_left else x
        right = y.T if turned_right else y
        constants = {"a": left, "b": right}
        expected = 0.5 * (x.astype("f8") @ y)
        if bias is not None:
            constants["d"] = drawn(random, bias, "f4")
            expected += 3 * constants["d"]
        options = {"transA": turned_left, "transB": turned_right, "alpha": 0.5, "beta": 3.0}
        gemm = helper.make_node("Gemm", list(constants), ["c"], **options)
        check(
            [gemm],
            {name: np.ascontiguousarray(value) for name, value in constants.items()},
            expected,
            exact=False,
        )


def test_a_small_file_computes_no_long_product():
    """Of constants: each takes as much time as many weights."""
    x = np.ones((128, 128), np.float32)
    names = [f"p{i}" for i in range(200)]
    nodes = [node("MatMul a a -> p0")]
    nodes += [node(f"MatMul {taken} a -> {given}") for taken, given in pairwise([*names, "c"])]
    with pytest.raises(lenet_cpp.Unsupported, match="far more memory"):
        answer(nodes, {"a": x}, x.size)


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
def test_softmax_of_a_constant(kind):
    random = np.random.default_rng(0)
    for _ in range(8):
        x = drawn(random, some_shape(random), "f4")
        axis = int(random.integers(-x.ndim, x.ndim))
        powers = np.exp(x - x.max(axis, keepdims=True))
        expected = powers / powers.sum(axis, keepdims=True)
        expected = np.log(expected) if kind == "LogSoftmax" else expected
        check([helper.make_node(kind, ["a"], ["c"], axis=axis)], {"a": x}, expected, exact=False)


def test_constants_are_divided_by_their_norm():
    random = np.random.default_rng(0)
    for p, _ in product((1, 2), range(4)):
        x = drawn(random, some_shape(random), "f4")
        axis = int(random.integers(-x.ndim, x.ndim))
        norm = np.linalg.norm(np.moveaxis(x, axis, -1)[..., None, :], p, -1)
        expected = x / np.moveaxis(np.where(norm == 0, 1, norm), -1, axis)
        options = {"axis": axis, "p": p}
        check(
            [helper.make_node("LpNormalization", ["a"], ["c"], **options)],
            {"a": x},
            expected,
            exact=False,
        )


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_constants_are_padded(mode):
    random = np.random.default_rng(0)
    for dtype, _ in product(("f4", "i8"), range(8)):
        x = drawn(
            random, tuple(int(size) for size in random.integers(3, 6, random.integers(1, 4))), dtype
        )
        widths = random.integers(0, 3, (x.ndim, 2))
        constants = {"a": x, "p": widths.T.ravel()}
        names, options = ["a", "p"], {}
        if mode == "constant" and random.random() < 0.7:
            constants["v"] = drawn(random, (), dtype)
            names, options = ["a", "p", "v"], {"constant_values": constants["v"]}
        expected = np.pad(x, widths, mode, **options)
        check([helper.make_node("Pad", names, ["c"], mode=mode)], constants, expected)


def test_sequences_and_numbers_that_are_the_same_everywhere():
    for dtype, first, limit, step in (
        ("i8", 3, 200, 7),
        ("i4", 90, -90, -1),
        ("f4", 0.5, 60, 0.25),
        ("f8", -1, 1, 0.01),
    ):
        values = {
            name: np.array(value, dtype)
            for name, value in zip("abd", (first, limit, step), strict=True)
        }
        expected = np.arange(first, limit, step, dtype)
        check([node("Range a b d -> c")], values, expected, exact=dtype in WHOLE)
    for shape, value in product(
        ((2, 3), (5, 4, 6)), (np.array([1.5], "f4"), np.array([-7], "i8"), None)
    ):
        options = {} if value is None else {"value": numpy_helper.from_array(value)}
        fill = helper.make_node("ConstantOfShape", ["s"], ["c"], **options)
        check([fill], {"s": np.array(shape)}, np.full(shape, 0 if value is None else value[0]))


def test_rows_with_one_number_that_differs():
    random = np.random.default_rng(0)
    for axis, dtype in product((-1, 0, 1), ("f4", "i8")):
        indices = random.integers(-6, 7, (4, 5))
        off, on = drawn(random, (2,), dtype)
        constants = {"a": indices, "n": np.array(6), "v": np.array([off, on])}
        rows = np.arange(6) == np.where(indices < 0, indices + 6, indices)[..., None]
        expected = np.moveaxis(np.where(rows, on, off), -1, axis)
        check([helper.make_node("OneHot", ["a", "n", "v"], ["c"], axis=axis)], constants, expected)


def test_integers_to_a_power():
    random = np.random.default_rng(0)
    for dtype in WHOLE:
        x, y = random.integers(-9, 10, (5, 20)).astype(dtype), random.integers(0, 9, (20,), "i8")
        check([node("Pow a b -> c")], {"a": x, "b": y}, np.power(x, y.astype(dtype)))


def test_blocks_of_a_constant_become_channels_and_pixels():
    x = drawn(np.random.default_rng(0), (2, 12, 4, 6), "f4")
    for mode in ("DCR", "CRD"):
        split = x.reshape((2, 2, 2, 3, 4, 6) if mode == "DCR" else (2, 3, 2, 2, 4, 6))
        order = (0, 3, 4, 1, 5, 2) if mode == "DCR" else (0, 1, 4, 2, 5, 3)
        expected = split.transpose(order)
        made = helper.make_node("DepthToSpace", ["a"], ["c"], blocksize=2, mode=mode)
        check([made], {"a": x}, expected)
    expected = x.reshape(2, 12, 2, 2, 3, 2).transpose(0, 3, 5, 1, 2, 4)
    check([helper.make_node("SpaceToDepth", ["a"], ["c"], blocksize=2)], {"a": x}, expected)


def test_the_position_bias_of_swin_v2():
    """A table of offsets through two layers, and the values of each pair of pixels."""
    random = np.random.default_rng(0)
    side, heads = 4, 3
    offsets = np.arange(1 - side, side, dtype="f4")
    table = np.stack(np.meshgrid(offsets, offsets, indexing="ij"), -1)[None]
    wide, narrow = (
        random.normal(size=(2, 64)).astype("f4"),
        random.normal(size=(64, heads)).astype("f4"),
    )
    bias = random.normal(size=64).astype("f4")
    places = random.integers(0, (2 * side - 1) ** 2, side**4)
    constants = {"t": table, "most": np.array(side - 1, "f4"), "eight": np.array(8, "f4")}
    constants |= {"one": np.array(1, "f4"), "ln2": np.array(np.log(8), "f4"), "w": wide, "b": bias}
    constants |= {
        "n": narrow,
        "rows": np.array([-1, heads]),
        "i": places,
        "s16": np.array(16, "f4"),
    }
    nodes = [
        "Div t most -> t1",
        "Mul t1 eight -> t2",
        "Sign t2 -> sign",
        "Abs t2 -> t3",
        "Add t3 one -> t4",
        "Log t4 -> t5",
        "Mul sign t5 -> t6",
        "Div t6 ln2 -> t7",
        "MatMul t7 w -> h",
        "Add h b -> h1",
        "Relu h1 -> h2",
        "MatMul h2 n -> v",
        "Reshape v rows -> v1",
        "Gather v1 i -> v2",
        "Sigmoid v2 -> v3",
        "Mul v3 s16 -> c",
    ]
    scaled = table / (side - 1) * 8
    scaled = np.sign(scaled) * np.log(np.abs(scaled) + 1) / np.log(8)
    values = (np.maximum(scaled @ wide + bias, 0) @ narrow).reshape(-1, heads)[places]
    check([node(text) for text in nodes], constants, 16 / (1 + np.exp(-values)), exact=False)


def test_constants_are_quantized_and_back():
    random = np.random.default_rng(0)
    for dtype, channels in product(("i1", "u1"), (1, 4)):
        x = random.normal(size=(4, 30)).astype("f4")
        scale = random.uniform(0.01, 0.03, channels).astype("f4")
        zero = random.integers(0, 20, channels, dtype)
        scale, zero = (scale, zero) if channels > 1 else (scale[0], zero[0])
        kinds = ("QuantizeLinear", "DequantizeLinear")
        nodes = [
            helper.make_node(kinds[0], ["a", "s", "z"], ["q"], axis=0),
            helper.make_node(kinds[1], ["q", "s", "z"], ["c"], axis=0),
        ]
        rows, offsets = np.reshape(scale, (-1, 1)), np.reshape(zero, (-1, 1)).astype("f4")
        ends = np.iinfo(dtype)
        steps = np.clip(np.rint(x / rows) + offsets, ends.min, ends.max)
        constants = {"a": x, "s": scale, "z": zero}
        check(
            nodes, constants, ((steps - offsets) * rows).astype("f4"), exact=False, precision="int8"
        )


def test_what_is_not_evaluated_is_unsupported_by_name():
    x = np.ones((4, 4), np.float32)
    for kind in ("Det", "GlobalLpPool"):
        with pytest.raises(lenet_cpp.Unsupported, match=rf"kernel for this operator \({kind}"):
            answer([node(f"{kind} a -> c")], {"a": x}, 16)


def test_what_is_not_evaluated_but_has_a_kernel_is_computed_by_it():
    values = np.arange(1, 21, dtype=np.float32).reshape(1, 5, 2, 2)
    check([node("GlobalAveragePool a -> c")], {"a": values}, values.mean((2, 3), keepdims=True))


NUMBERS = {
    getattr(onnx.TensorProto, name)
    for name in ("FLOAT", "DOUBLE", "INT32", "INT64", "BOOL", "UINT8")
}


def constants_only(folder):
    """Return the nodes of one of ONNX's own tests, its inputs by name, and its first output."""
    model = onnx.load(folder / "model.onnx")
    values = [*model.graph.input, *model.graph.output]
    tensors = all(value.type.HasField("tensor_type") for value in values)
    numbers = tensors and all(value.type.tensor_type.elem_type in NUMBERS for value in values)
    (version, *others) = (each.version for each in model.opset_import)
    if len(values) < 2 or not numbers or len(model.graph.output) > 1 or others:
        return None
    read = [f"input_{number}" for number in range(len(values) - 1)]
    data = folder / "test_data_set_0"
    arrays = [
        numpy_helper.to_array(onnx.load_tensor(data / f"{name}.pb")) for name in (*read, "output_0")
    ]
    if not 13 <= version <= 22 or arrays[-1].size == 0:
        return None
    inputs = dict(zip((value.name for value in model.graph.input), arrays[:-1], strict=True))
    expected = arrays[-1]
    return model, inputs, expected


def test_what_onnx_tests_of_operators_is_right_of_constants_or_unsupported():
    """A right result, or Unsupported: never another one."""
    nodes = Path(onnx.__file__).parent / "backend" / "test" / "data" / "node"
    right, wrong = set(), []
    for folder in sorted(nodes.iterdir()):
        if "expanded" in folder.name or (case := constants_only(folder)) is None:
            continue
        model, inputs, expected = case
        opset = model.opset_import[0].version
        ends = [
            node(f"Cast {model.graph.output[0].name} -> real_", to=onnx.TensorProto.FLOAT),
            node("Reshape real_ flat_ -> row_"),
            node("Add image_ row_ -> answer_"),
        ]
        inputs = {**inputs, "flat_": np.array([1, expected.size])}
        names = {"x": "image_", "y": "answer_"}
        program = network([*model.graph.node, *ends], inputs, [expected.size], opset, names)
        options = {"engine": "native", "check_finite": False}
        try:
            with lenet_cpp.Predictor.from_bytes(program, **options) as predictor:
                found = predictor.run(np.zeros((1, expected.size), np.float32))[0]
        except lenet_cpp.Unsupported:
            continue
        except lenet_cpp.Error as error:
            wrong.append(f"{folder.name}: {error}")
            continue
        wanted = expected.astype(np.float32).ravel()
        if np.allclose(found, wanted, rtol=1e-3, atol=1e-5, equal_nan=True):
            right.add(folder.name)
        else:
            wrong.append(f"{folder.name}: {found} where {wanted} is right")
    print(len(right), "of ONNX's tests are right")
    assert not wrong, "\n".join(wrong)
    assert len(right) >= 320


def test_integers_divided_by_0_are_refused():
    for kind, count in product(("Div", "Mod"), (3, 100)):
        x = np.ones(count, np.int32)
        with pytest.raises(lenet_cpp.BadModel, match="division by 0"):
            answer([node(f"{kind} a b -> c")], {"a": x, "b": x - 1}, count)


def test_a_small_file_makes_no_large_constant():
    x = np.ones((1, 1), np.float32)
    nodes = [node("Expand a n -> e0")]
    names = [*(f"e{i}" for i in range(30)), "c"]
    nodes += [node(f"Add {taken} a -> {given}") for taken, given in pairwise(names)]
    with pytest.raises(lenet_cpp.Unsupported, match="far more memory"):
        answer(nodes, {"a": x, "n": np.array([1 << 12, 1 << 12])}, 1 << 24)


SHAPES = {
    "arithmetic": ["Div s two -> h", "Mul h two -> d", "Mul d keep -> m", "Add m rest -> c"],
    "real numbers": [
        "Cast s -> f",
        "Mul f half -> g",
        "Add g g -> d",
        "Floor d -> k",
        "Cast k -> w",
        "Mul w keep -> m",
        "Add m rest -> c",
    ],
    "choices": ["Equal keep one -> e", "Where e s rest -> c"],
    "bounds": ["Max s one -> m", "Min m many -> n", "Mul n keep -> k", "Add k rest -> c"],
    "parts": [
        "Gather s zero -> b",
        "Gather s first -> h",
        "Unsqueeze b ax -> b1",
        "Unsqueeze h ax -> h1",
        "Neg one1 -> n",
        "Concat b1 h1 n -> c",
    ],
}
"""Of a picture [N, 4, 6, 2] the shape [N, 4, -1]."""


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_computed_from_constants(name, tmp_path):
    attributes = {
        "Cast s -> f": {"to": 1},
        "Cast k -> w": {"to": 7},
        "Concat b1 h1 n -> c": {"axis": 0},
    }
    nodes = [node(text, **attributes.get(text, {})) for text in SHAPES[name]]
    constants = {
        "two": [1, 2, 1, 1],
        "keep": [1, 1, 0, 0],
        "rest": [0, 0, -1, 0],
        "one": 1,
        "many": 1 << 40,
        "zero": 0,
        "first": 1,
        "ax": [0],
        "one1": [1],
        "three": [3],
    }
    if name != "parts":  # they give a fourth size, which is left out
        nodes[-1].output[0] = "four"
        nodes.append(node("Slice four ax three -> c"))
    arrays = {key: np.array(value, np.int64) for key, value in constants.items()}
    arrays["half"] = np.array(0.5, np.float32)
    x = np.random.default_rng(0).normal(size=(3, 4, 6, 2)).astype("f4")
    if name == "choices":
        arrays["rest"] = np.array([-1] * 4)
    ends = ["Transpose r -> t", "Flatten t -> y"]
    turned = [node(ends[0], perm=[0, 2, 1]), node(ends[1], axis=1)]
    nodes = [node("Shape x -> s"), *nodes, node("Reshape x c -> r"), *turned]
    path = tmp_path / "shaped.onnx"
    path.write_bytes(network(nodes, arrays, x.shape[1:]))
    expected = reference(path, x)
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        assert np.array_equal(predictor.run(x), expected)


@pytest.mark.parametrize(
    "use", ["Mul x f -> y", "Mul f half -> g; Mul x g -> y", "Pow x f -> y", "Clip x f -> y"]
)
def test_numbers_that_depend_on_the_batch_are_not_taken_for_constants(use, tmp_path):
    nodes = f"Shape x -> s; Gather s zero -> n; Cast n -> f; {use}".split("; ")
    made = [node(text, **({"to": 1} if text.startswith("Cast") else {})) for text in nodes]
    path = tmp_path / "batch.onnx"
    path.write_bytes(network(made, {"zero": np.array(0), "half": np.array(0.5, "f4")}, [3]))
    with pytest.raises(lenet_cpp.Unsupported):
        lenet_cpp.Predictor(path, engine="native")
    x = np.ones((2, 3), np.float32)
    with lenet_cpp.Predictor(path) as predictor:
        assert np.array_equal(predictor.run(x), reference(path, x))


def exported(folder, pir):
    """Return the paths of the models that Paddle writes."""
    command = [sys.executable, os.fspath(Path(__file__).with_name("constant_models.py")), folder]
    subprocess.run(command, check=True, env=os.environ | {"FLAGS_enable_pir_api": pir})
    return sorted(folder.glob("*.json" if pir == "1" else "*.pdmodel"))


@pytest.mark.parametrize("pir", ["0", "1"])
def test_parameters_of_paddle_are_combined_as_by_paddle(pir, tmp_path):
    """Also where an axis says how one is repeated along the other."""
    paths = exported(tmp_path, pir)
    assert len(paths) > (100 if pir == "0" else 30)
    wrong = {}
    for path in paths:
        expected = np.load(path.with_suffix(".npy"))
        try:
            with lenet_cpp.Predictor(path, engine="native") as predictor:
                found = predictor.run(np.zeros((2, expected.shape[1]), np.float32))
        except lenet_cpp.Error as error:
            wrong[path.name] = str(error)
            continue
        if not np.allclose(found, expected, rtol=1e-5, atol=1e-6):
            wrong[path.name] = np.abs(found - expected).max()
    assert wrong == {}


def test_a_constant_takes_the_type_of_what_is_computed():
    """As PyTorch writes numbers where it does not optimize."""
    x = np.array([[3, -2]], np.int64)
    nodes = [node("CastLike a x -> row"), node("Add x row -> y")]
    with lenet_cpp.Predictor.from_bytes(
        network(nodes, {"a": x}, [2]), engine="native"
    ) as predictor:
        assert np.array_equal(predictor.run(np.ones((1, 2), np.float32)), [[4, -1]])
