"""What the native engine's passes join, in each instruction set: against onnxruntime, and against
the same engine with ``ir_optim=False``, which runs no passes.
"""

import itertools

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare
from processor import INSTRUCTION_SETS, processor_has

pytest.importorskip("onnx", reason="the models of these tests are made with it")
pytest.importorskip("onnxruntime", reason="the answers are compared with its own")

# Where there is no onnx, the lines above skip this file; importing it first would fail.
from onnx_files import model, reference

# The sets that have kernels of their own in float32.
SETS = [name for name in INSTRUCTION_SETS[:4] if processor_has(name)]


def check(path, images, monkeypatch):
    """Compare all instruction sets, with passes and without, with onnxruntime."""
    expected = reference(path, images)
    assert np.isfinite(expected).all()
    for isa, optimized in itertools.product(SETS, (True, False)):
        monkeypatch.setenv("LENET_NATIVE_ISA", isa)
        with lenet_cpp.Predictor(path, engine="native", ir_optim=optimized) as predictor:
            for count in (1, len(images)):
                found = predictor.run(images[:count])
                assert compare(expected[:count], found).agrees, (isa, optimized, count)


def count_layers(path, **options):
    with lenet_cpp.Predictor(path, engine="native", **options) as predictor:
        return len(predictor.profile(images=1, runs=1).parts[-1].layers)


# ---- attention


def attention(tokens, channels, heads, on_scores, on_values, *, rank=1, scaled=False, masked=False):
    """Return softmax(q k^T) v whose products are added to, or multiplied by, a row.

    Args:
        masked: Whether the row is -infinity for the last third of the tokens.
    """
    rng = np.random.default_rng(0)
    depth = channels // heads
    tensors = {name: rng.uniform(-0.7, 0.7, (channels, channels)) for name in ("wq", "wk", "wv")}
    tensors |= {"m": rng.uniform(0.5, 2, (1,) * (rank - 1) + (tokens,))}
    if masked:
        tensors["m"][..., -(tokens // 3) :] = -np.inf
    tensors |= {"b": rng.uniform(0.5, 2, depth), "half": np.float32(0.5)}
    tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    tensors["heads"] = np.array([0, tokens, heads, depth])
    tensors["back"] = np.array([0, tokens, channels])
    tensors["flat"] = np.array([0, channels, tokens])
    nodes = "x1 = Reshape(x, flat) t = Transpose<perm=[0, 2, 1]>(x1) "
    for name in "qkv":
        nodes += f"{name}1 = MatMul(t, w{name}) {name}2 = Reshape({name}1, heads) "
        nodes += f"{name} = Transpose<perm=[0, 2, 1, 3]>({name}2) "
    nodes += "kt = Transpose<perm=[0, 1, 3, 2]>(k) "
    nodes += "r = Mul(q, half) s = MatMul(r, kt) " if scaled else "s = MatMul(q, kt) "
    last = "s"
    for index, operator in enumerate(on_scores):
        nodes += f"s{index} = {operator}({last}, m) "
        last = f"s{index}"
    nodes += f"p = Softmax<axis=-1>({last}) a = MatMul(p, v) "
    last = "a"
    for index, operator in enumerate(on_values):
        nodes += f"a{index} = {operator}({last}, b) "
        last = f"a{index}"
    nodes += f"z = Transpose<perm=[0, 2, 1, 3]>({last}) y = Reshape(z, back)"
    return model(nodes, f"float[N,{channels},{tokens},1] x", "float y", tensors)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
    ("on_scores", "on_values"),
    [
        (["Add"], []),
        (["Sub"], []),
        (["Mul"], []),
        (["Mul", "Add"], []),
        (["Add", "Add"], []),
        (["Add", "Add", "Add"], []),
        (["Add", "Mul"], []),
        ([], ["Add"]),
        ([], ["Mul"]),
        ([], ["Add", "Mul"]),
        (["Add"], ["Add"]),
    ],
)
def test_a_row_beside_the_products_of_an_attention(
    on_scores, on_values, scaled, tmp_path, monkeypatch
):
    path = tmp_path / "model.onnx"
    for tokens, channels, heads, rank in ((6, 8, 2, 1), (6, 8, 1, 4), (50, 64, 4, 3)):
        options = {"rank": rank, "scaled": scaled}
        path.write_bytes(attention(tokens, channels, heads, on_scores, on_values, **options))
        images = np.random.default_rng(1).uniform(-1, 1, (3, channels, tokens, 1))
        check(path, images.astype(np.float32), monkeypatch)
    assert count_layers(path) < count_layers(path, ir_optim=False)


@pytest.mark.parametrize("on_scores", [["Add"], ["Add", "Add", "Add"]])
def test_a_row_that_hides_tokens_from_an_attention(on_scores, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(attention(6, 8, 2, on_scores, [], masked=True))
    images = np.random.default_rng(1).uniform(-1, 1, (3, 8, 6, 1))
    check(path, images.astype(np.float32), monkeypatch)


# ---- what fills the last vector of channels


FUNCTIONS = {
    "c / x": "d = Div(c, a1)",
    "Reciprocal": "d = Reciprocal(a1)",
    "Log": "d = Log(a1)",
    "x ** -1": "d = Pow(a1, minus)",
    "c / Sqrt": "s = Sqrt(a1) d = Div(c, s)",
    "x / x": "d = Div(a1, a1)",
    "a / b": "q = Mul(a1, a1) d = Div(a1, q)",
    "Sqrt of a difference": "e = Mul(a1, eight) g = Sigmoid(a1) h = Sub(e, g) d = Sqrt(h)",
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_channels_that_do_not_fill_a_vector(name, tmp_path, monkeypatch):
    """None is finite where it is computed of the zeros behind the last channel."""
    path = tmp_path / "model.onnx"
    for channels, kernel, residual in itertools.product((3, 17, 33), (1, 3, 5), (False, True)):
        outputs, size = 16, 8
        rng = np.random.default_rng(0)
        tensors = {
            "w": rng.uniform(-0.5, 0.5, (outputs, channels, kernel, kernel)),
            "w0": rng.uniform(0.1, 0.5, (channels, channels, 1, 1)),
            "c": np.full((1, 1), 2),
            "one": np.ones(()),
            "eight": np.full((), 8),
            "minus": -np.ones(()),
        }
        tensors = {key: value.astype(np.float32) for key, value in tensors.items()}
        before = "b = Conv(a, w0) a1 = Add(b, a)" if residual else "a1 = Add(a, one)"
        nodes = f"a = Conv(x, w0) {before} {FUNCTIONS[name]} "
        nodes += f"y = Conv<pads={[kernel // 2] * 4}>(d, w)"
        x = f"float[N,{channels},{size},{size}] x"
        path.write_bytes(model(nodes, x, "float y", tensors))
        images = rng.uniform(0.5, 1, (2, channels, size, size)).astype(np.float32)
        check(path, images, monkeypatch)
