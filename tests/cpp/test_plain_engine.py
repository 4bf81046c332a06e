"""The plain program, which judges the other engines, is itself judged here.

Its definitions are compared with ONNX's reference evaluator in float64, with Paddle's own layers,
and with ONNX's tests of single operators.
"""

import re
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_files import array, model
from test_kinds import SOURCES, TEXT, joined
from test_native_nodes import NODES, ROUNDED, case_of

import lenet_cpp

TOLERANCE = 1e-6
"""Against float64, as a share of the largest value of the output: float32 has 24 bits."""
ROUNDED_REFERENCE = 1e-5
"""The tolerance where the reference computes in float32."""


def run(contents, x, **options):
    with lenet_cpp.Predictor.from_bytes(contents, engine="plain", **options) as predictor:
        return predictor.run(x)


def difference(expected, found):
    """Return the largest difference, as a share of the largest finite value or of 1."""
    if expected.shape != found.shape:
        return np.inf
    expected = expected.astype("f8")
    finite = np.isfinite(expected)
    alike = np.array_equal(expected[~finite], found[~finite], equal_nan=True)
    if not alike or not finite.any():
        return 0.0 if alike else np.inf
    apart = np.abs(expected[finite] - found[finite]).max()
    return apart / max(1.0, np.abs(expected[finite]).max())


def in_float64(model):
    """Return the model whose float32 constants are float64, for the reference evaluator."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in copy.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype("f8")
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for value in (*copy.graph.input, *copy.graph.output, *copy.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return copy


def reference(model, x):
    """Return what the reference evaluator gives in float64, or None where it does not compute."""
    try:
        (found, *_) = ReferenceEvaluator(in_float64(model)).run(
            None, {model.graph.input[0].name: x.astype("f8")}
        )
    except Exception:  # noqa: BLE001 - it raises what its operators happen to raise
        return None
    return found if found.dtype == np.float64 else None


def test_onnx_tests_of_operators():
    right, of_float64, wrong, refused = Counter(), 0, [], Counter()
    for folder in sorted(NODES.iterdir()):
        if (case := case_of(folder)) is None:
            continue
        model, x, expected = case
        kind = model.graph.node[0].op_type
        try:
            found = run(model.SerializeToString(), x, check_finite=False)
        except lenet_cpp.Unsupported:
            refused[kind] += 1
            continue
        exact = reference(model, x)
        tolerance = ROUNDED.get(folder.name, ROUNDED_REFERENCE)
        apart = difference(expected, found)
        if exact is not None and exact.shape == found.shape and folder.name not in ROUNDED:
            of_float64 += 1
            tolerance, apart = TOLERANCE, difference(exact, found)
        if not apart <= tolerance:
            wrong.append(f"{folder.name}: {apart:.1e}")
        right[kind] += 1
    print(f"{right.total()} run, {of_float64} against float64; refused: {dict(refused)}")
    assert not wrong, "\n".join(wrong)
    assert right.total() >= 340
    assert of_float64 >= 250


def kinds_of(path, row):
    """Return the kinds that the rows of tables in a file begin with."""
    found = re.findall(rf"\{{({TEXT}){row}", path.read_text())
    return {kind for text in found for kind in joined(text).split() if kind[0].isupper()}


def native_kinds():
    """Return the kinds of operators that the native engine has a kernel for, or folds."""
    native, model = SOURCES / "engines" / "native", SOURCES / "model"
    tables = [(path, r",\s*read_") for path in native.glob("read_*.cc")]
    tables += [(path, r",\s*[a-z]\w*\}") for path in model.glob("evaluate*.cc")]
    tables += [
        (native / "kernels" / "activation.h", r"(?:,\s*\{|\}\})"),
        (model / "functions.cc", r",\s*\[\]"),
        (model / "boxes.cc", r",\s*&BoxReader"),
    ]
    return {kind for table in tables for kind in kinds_of(*table)}


def plain_kinds():
    paths = (SOURCES / "engines" / "plain").glob("*.cc")
    return {kind for path in paths for kind in kinds_of(path, r",\s*[a-z]\w*(?:, true)?\}")}


WITHOUT_DEFINITION = set()
"""Operators that the native engine runs, and that nothing judges."""


def test_every_operator_of_the_native_engine_has_a_definition():
    native = native_kinds()
    assert {"Conv", "Selu", "Gelu", "Sin", "Roll", "CumSum", "Einsum", "OneHot"} <= native
    assert native - plain_kinds() == WITHOUT_DEFINITION


ATTENTION = """
    q = MatMul(x, wq)
    k = MatMul(x, wk)
    v = MatMul(x, wv)
    qh = Reshape(q, heads)
    kh = Reshape(k, heads)
    vh = Reshape(v, heads)
    qt = Transpose<perm = [0, 2, 1, 3]>(qh)
    kt = Transpose<perm = [0, 2, 3, 1]>(kh)
    vt = Transpose<perm = [0, 2, 1, 3]>(vh)
    scores = MatMul(qt, kt)
    scaled = Mul(scores, scale)
    masked = Add(scaled, mask)
    weights = Softmax<axis = -1>(masked)
    mixed = MatMul(weights, vt)
    moved = Add(mixed, row)
    back = Transpose<perm = [0, 2, 1, 3]>(moved)
    joined = Reshape(back, tokens)
    y = Add(x, joined)
"""
TOKENS = {
    "wq": array((8, 8), 1),
    "wk": array((8, 8), 2),
    "wv": array((8, 8), 3),
    "heads": np.array([0, 0, 2, 4]),
    "tokens": np.array([0, 0, 8]),
    "scale": np.float32([0.5]),
    "mask": np.where(np.arange(5) > 3, np.float32(-1e4), np.float32(0)).reshape(1, 1, 1, 5),
    "row": array((5, 1), 4),
}
BLOCKS = {
    "attention": (ATTENTION, "[N,5,8]", TOKENS),
    "token_mlp": (
        """
        n = LayerNormalization<axis = -1>(x, g, b)
        flat = Reshape(n, rows)
        h = Gemm<transB = 1>(flat, w, c)
        a = Div(h, root)
        e = Erf(a)
        o = Add(e, one)
        p = Mul(h, o)
        s = Reshape(p, tokens)
        y = Add(x, s)
        """,
        "[N,5,8]",
        {
            "g": array((8,), 5),
            "b": array((8,), 6),
            "w": array((8, 8), 7),
            "c": array((8,)),
            "root": np.float32([1.41421356]),
            "one": np.float32([1]),
            "rows": np.array([-1, 8]),
            "tokens": np.array([-1, 5, 8]),
        },
    ),
    "excited": (
        """
        c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w, b)
        r = Relu(c)
        m = GlobalAveragePool(r)
        f = Conv<kernel_shape = [1, 1]>(m, v)
        g = HardSigmoid(f)
        s = Mul(r, g)
        t = Conv<kernel_shape = [3, 3], group = 3, strides = [2, 1]>(s, d)
        p = AveragePool<kernel_shape = [2, 3], pads = [0, 1, 0, 1], count_include_pad = 1>(t)
        y = Resize<mode = "cubic">(p, , up)
        """,
        "[N,3,8,6]",
        {
            "w": array((6, 3, 3, 3), 1),
            "b": array((6,), 2),
            "v": array((6, 6, 1, 1), 3),
            "d": array((9, 2, 3, 3), 4),
            "up": np.float32([1, 1, 2, 1.5]),
        },
    ),
    "windows": (
        """
        r = Reshape(x, split)
        t = Transpose<perm = [0, 1, 3, 2, 4, 5]>(r)
        w = Reshape(t, windows)
        e = Einsum<equation = "wtc,wsc->wts">(w, w)
        s = Softmax<axis = -1>(e)
        m = MatMul(s, w)
        b = Reshape(m, back)
        u = Transpose<perm = [0, 1, 3, 2, 4, 5]>(b)
        y = Reshape(u, whole)
        """,
        "[N,4,4,3]",
        {
            "split": np.array([-1, 2, 2, 2, 2, 3]),
            "windows": np.array([-1, 4, 3]),
            "back": np.array([-1, 2, 2, 2, 2, 3]),
            "whole": np.array([-1, 4, 4, 3]),
        },
    ),
    "sequence_first": (
        """
        t = Transpose<perm = [1, 0, 2]>(x)
        s = CumSum(t, zero)
        a, b = Split<axis = 0>(s, parts)
        c = Concat<axis = 0>(b, a)
        y = Transpose<perm = [1, 0, 2]>(c)
        """,
        "[N,3,2]",
        {"zero": np.array(0), "parts": np.array([1, 2])},
    ),
    "images_together": ("s = Softmax<axis = 0>(x) y = Sub(x, s)", "[N,3]", {}),
}
"""Networks, the shapes of their inputs, and constants."""


@pytest.mark.parametrize("images", [1, 2, 3, 7])
@pytest.mark.parametrize("name", BLOCKS)
def test_networks_for_the_whole_batch(name, images):
    """A value of another image, or in another place, would be found."""
    nodes, shape, tensors = BLOCKS[name]
    contents = model(nodes, f"float{shape} x", "float y", tensors)
    program = onnx.ModelProto.FromString(contents)
    sizes = [images, *map(int, re.findall(r"\d+", shape))]
    x = array(sizes, 11)
    assert difference(reference(program, x), run(contents, x)) <= TOLERANCE


def test_any_value_and_every_value():
    contents = model("a = Relu(x) b = Add(a, one) y = Mul(b, b)", tensors={"one": np.float32([1])})
    x = array((3, 2))
    assert np.array_equal(run(contents, x, output_name="b"), np.maximum(x, 0) + 1)
    options = {"engine": "plain", "output_name": "*"}
    with lenet_cpp.Predictor.from_bytes(contents, **options) as predictor:
        values = predictor.run_outputs(x)
    assert list(values) == ["y", "a", "b"]
    assert np.array_equal(values["a"], np.maximum(x, 0))


def test_images_of_any_size():
    nodes = "c = Conv(x, w) y = GlobalAveragePool(c)"
    contents = model(nodes, "float[N,3,H,W] x", "float y", {"w": array((2, 3, 3, 3))})
    program = onnx.ModelProto.FromString(contents)
    with lenet_cpp.Predictor.from_bytes(contents, engine="plain") as predictor:
        for sizes in [(2, 3, 5, 4), (1, 3, 3, 9), (2, 3, 5, 4)]:
            x = array(sizes)
            assert difference(reference(program, x), predictor.run(x)) <= TOLERANCE
        with pytest.raises(lenet_cpp.BadInput, match="window larger"):
            predictor.run(array((1, 3, 2, 4)))


def test_program_for_a_fixed_number_of_images_runs_in_pieces():
    nodes, shape, tensors = BLOCKS["windows"]
    shape = shape.replace("N", "2")
    contents = model(nodes, f"float{shape} x", f"float{shape} y", tensors)
    x = array((4, 4, 4, 3))
    expected = [reference(onnx.ModelProto.FromString(contents), part) for part in np.split(x, 2)]
    assert difference(np.concatenate(expected), run(contents, x)) <= TOLERANCE


def test_integers_and_bools_are_exact():
    nodes = """
        i = ArgMax<axis = 1, keepdims = 0>(x)
        big = Mul(i, factor)
        rest = Mod(big, seven)
        y = Cast<to = 1>(rest)
    """
    tensors = {"factor": np.array([3_037_000_500]), "seven": np.array([7])}
    x = array((5, 4))
    expected = x.argmax(1) * 3_037_000_500 % 7
    assert np.array_equal(run(model(nodes, "float[N,4] x", "float[N] y", tensors), x), expected)


def test_numbers_of_an_input_are_not_rounded():
    nodes = "d = Sub(x, one) y = Cast<to = 1>(d)"
    contents = model(nodes, "double[N,2] x", "float[N,2] y", {"one": np.float64([1])})
    x = np.array([[1 + 2**-40, 1 - 2**-40]])
    assert np.array_equal(run(contents, x), np.float32(x - 1))


def test_what_it_does_not_define_is_named():
    contents = model("y = Det(x)", "float[N,2,2] x", "float[N] y")
    with pytest.raises(lenet_cpp.Unsupported, match="Det"):
        run(contents, array((1, 2, 2)))


def test_auto_does_not_take_it_and_no_message_advises_it():
    contents = model("y = Softmax<axis = 0>(x)", "float[N,3] x", "float[N,3] y")
    with pytest.raises(lenet_cpp.Unsupported, match="images stay apart") as caught:
        lenet_cpp.Predictor.from_bytes(contents, engine="native")
    assert "plain" not in str(caught.value)
    with lenet_cpp.Predictor.from_bytes(contents) as predictor:
        assert predictor.options["engine"] == "onnxruntime"


def test_time_limit_ends_a_run_between_operators():
    nodes = " ".join(f"x{i + 1} = Erf(x{i})" for i in range(200))
    contents = model(nodes, "float[N,100000] x0", "float[N,100000] x200")
    with pytest.raises(lenet_cpp.BackendFailure, match="time_limit_ms"):
        run(contents, array((4, 100000)), time_limit_ms=1)


@pytest.mark.parametrize(
    ("nodes", "x", "shape", "tensors"),
    [
        ("i = Cast<to = 7>(x) s = Softmax(i) y = Cast<to = 1>(s)", "[N,3]", (2, 3), {}),
        ("i = Cast<to = 7>(x) g = Gather<axis = 1>(x, i) y = ReduceSum(g)", "[N,3]", (2, 3), {}),
        (
            "i = Cast<to = 7>(x) y = GatherElements<axis = 1>(t, i)",
            "[N,3]",
            (4, 3),
            {"t": array((2, 3))},
        ),
        ("i = Cast<to = 7>(x) y = ScatterND(x, i, x)", "[N,2]", (2, 2), {}),
    ],
)
def test_what_cannot_be_computed_is_an_error(nodes, x, shape, tensors):
    """Types and indices that only a run shows to be wrong."""
    contents = model(nodes, f"float{x} x", "float y", tensors)
    with pytest.raises(lenet_cpp.Error):
        run(contents, np.full(shape, 7, np.float32))


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax_of_older_operator_sets(kind, opset):
    """Before 13 they go along all axes from theirs on, by default from the second."""
    contents = model(f"y = {kind}(x)", "float[N,2,3] x", "float[N,2,3] y", opset=opset)
    x = array((2, 2, 3))
    rows = x.astype("f8").reshape((2, 6) if opset < 13 else (4, 3))
    powers = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)
    expected = {"Softmax": powers, "LogSoftmax": np.log(powers)}
    expected["Hardmax"] = rows == rows.max(1, keepdims=True)
    assert difference(expected[kind].reshape(x.shape), run(contents, x)) <= TOLERANCE
