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
    "Sqrt": (lambda x: np.sqrt(x), REAL),
    "Exp": (np.exp, REAL),
    "Log": (np.log, REAL),
    "Reciprocal": (lambda x: 1 / x, REAL),
    "Sin": (np.sin, ("f4",)),
    "Cos": (np.cos, ("f4",)),
    "Tanh": (np.tanh, REAL),
    "Sigmoid": (lambda x: 1 / (1 + np.exp(-x)), REAL),
    "Relu": (lambda x: np.maximum(x, 0), REAL),
    "Floor": (np.floor, REAL),
    "Ceil": (np.ceil, REAL),
    "Round": (np.rint, REAL),
    "Not": (np.logical_not, ("?",)),
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


def network(nodes, constants, sizes):
    """Return the bytes of a model from x, [N, *sizes], to y."""
    graph = helper.make_graph(
        nodes,
        "constants",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", *sizes])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", None])],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
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


INEXACT = ("Pow", "Exp", "Log", "Sin", "Cos", "Tanh", "Sigmoid", "Mean")


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
    x = np.ones((4, 5), np.float32)
    for kind in ("Asin", "ReduceSum", "Softmax", "Celu", "GlobalAveragePool"):
        values = x[:, :, None, None] if kind == "GlobalAveragePool" else x
        count = 1 if kind == "ReduceSum" else 20
        with pytest.raises(lenet_cpp.Unsupported, match=rf"on constants \({kind}"):
            answer([node(f"{kind} a -> c")], {"a": values}, count)


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
        *("Cast s -> f", "Mul f half -> g", "Add g g -> d", "Floor d -> k", "Cast k -> w"),
        *("Mul w keep -> m", "Add m rest -> c"),
    ],
    "choices": ["Equal keep one -> e", "Where e s rest -> c"],
    "bounds": ["Max s one -> m", "Min m many -> n", "Mul n keep -> k", "Add k rest -> c"],
    "parts": [
        *("Gather s zero -> b", "Gather s first -> h", "Unsqueeze b ax -> b1"),
        *("Unsqueeze h ax -> h1", "Neg one1 -> n", "Concat b1 h1 n -> c"),
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
