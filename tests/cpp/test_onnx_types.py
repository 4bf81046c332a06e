"""Element types and shapes that an .onnx declares for its input and outputs.

Against Python's onnxruntime, which runs the same files.
"""

import numpy as np
import pytest

import lenet_cpp

pytest.importorskip("onnx", reason="the models of these tests are made with it")
pytest.importorskip("onnxruntime", reason="the engine needs its library")

# Where there is no onnx, the lines above skip this file; importing it first would fail.
from onnx_files import array, model, reference, same, write

TYPED = {
    "uint8": ("c = Cast<to=1>(x) y = Div(c, s)", [0, 255], [0.5, -1, 256]),
    "int32": ("c = Cast<to=1>(x) y = Div(c, s)", [-(2**31), 2**24], [0.5, 2**31]),
    "int64": ("t = Transpose<perm=[0,1]>(x) y = Cast<to=1>(t)", [-(2**63), 7], [0.5, 2**63]),
    "float64": ("c = Cast<to=1>(x) y = Div(c, s)", [1e-30, 0.1], []),
    "float16": ("c = Cast<to=1>(x) y = Div(c, s)", [2**-24 * 1.5, 0.1, 65519, -3e-8], [65520]),
    "bfloat16": ("c = Cast<to=1>(x) y = Div(c, s)", [1e-39, 0.1, 3e38, 1 + 2**-8], []),
}
"""By the type of the input: nodes, numbers that it takes and such that it does not."""


@pytest.mark.parametrize("engine", ["onnxruntime", "native"])
@pytest.mark.parametrize("name", TYPED)
def test_inputs_of_other_types(name, engine, tmp_path):
    nodes, good, bad = TYPED[name]
    kind = {"float64": "double"}.get(name, name)
    contents = model(nodes, f"{kind}[N,2] x", tensors={"s": np.float32(3)})
    path = write(tmp_path / "m.onnx", contents)
    x = np.resize(np.float32(good), (3, 2))
    if name == "bfloat16":  # Python's onnxruntime takes no array of it
        expected = rounded_to_bfloat16(x) / np.float32(3)
    else:
        expected = reference(path, x.astype(name))
    with lenet_cpp.Predictor(path, engine=engine) as predictor:
        assert (predictor.input_spec.dtype, predictor.output_spec.dtype) == (name, "float32")
        np.testing.assert_allclose(predictor.run(x), expected, rtol=2e-7)
        if name == "uint8":  # pixels are not divided by 255 first
            pixels = np.array([[3, 200]], np.uint8)
            np.testing.assert_allclose(predictor.run(pixels), reference(path, pixels), rtol=2e-7)
        for value in bad:
            with pytest.raises(lenet_cpp.BadInput, match=rf"'x' has the value .*model's {name}"):
                predictor.run(np.float32([[1, value]]))
        found = predictor.run(x)
        if name == "bfloat16":
            own = x.astype(
                pytest.importorskip("ml_dtypes", reason="NumPy has no bfloat16").bfloat16
            )
        else:
            own = x.astype(name)
        assert same(predictor.run(own), found)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_the_remedy_where_native_has_no_kernel(kind, tmp_path):
    """onnxruntime has kernels for float16, and few for bfloat16."""
    contents = model("y = Hardmax(x)", f"{kind}[N,2] x", f"{kind}[N,2] y")
    path = write(tmp_path / "m.onnx", contents)
    exported = " with a float32 export of this bfloat16 model" if kind == "bfloat16" else ""
    match = f"no kernel .*use engine onnxruntime{exported} instead of native"
    with pytest.raises(lenet_cpp.Unsupported, match=match):
        lenet_cpp.Predictor(path, engine="native")
    if kind == "float16":
        x = array((3, 2))
        with lenet_cpp.Predictor(path, engine="onnxruntime") as predictor:
            assert same(predictor.run(x), reference(path, x.astype("f2")).astype("f4"))
        return
    with pytest.raises(lenet_cpp.Unsupported, match="onnxruntime cannot load"):
        lenet_cpp.Predictor(path, engine="onnxruntime")


def rounded_to_bfloat16(x):
    """Return float32 numbers, rounded to the nearest of bfloat16, in the middle to the even one."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


@pytest.mark.parametrize("kind", ["float16", "double"])
def test_outputs_of_other_types(kind, tmp_path):
    """They are given as float32, and before integers, which keep their dtype."""
    number = {"float16": 10, "double": 11}[kind]
    nodes = f"y = Cast<to={number}>(x) i = Cast<to=7>(x)"
    path = write(tmp_path / "m.onnx", model(nodes, y=f"int64[N,2] i, {kind}[N,2] y"))
    x = array((3, 2))
    with lenet_cpp.Predictor(path, engine="onnxruntime") as predictor:
        specs = [(spec.name, spec.dtype) for spec in predictor.output_specs]
        assert specs == [("y", "float32"), ("i", "int64")]
        found = predictor.run_outputs(x * 100)["i"]
        assert same(found, (x * 100).astype(np.int64))
        assert (predictor.run(x) == x.astype("f2" if kind == "float16" else "f4")).all()


@pytest.mark.parametrize("kind", ["uint8", "int32", "int64"])
def test_integers_where_there_is_nothing_else(kind, tmp_path):
    number = {"uint8": 2, "int32": 6, "int64": 7}[kind]
    nodes = f"y = Cast<to={number}>(x) z = Greater(x, x)"
    path = write(tmp_path / "m.onnx", model(nodes, y=f"bool[N,2] z, {kind}[N,2] y"))
    x = np.float32([[0, 7], [200, 255]])
    with lenet_cpp.Predictor(path) as predictor:
        assert [(spec.name, spec.dtype) for spec in predictor.output_specs] == [("y", kind)]
        assert same(predictor.run_outputs(x)["y"], x.astype(kind))
        assert same(predictor.run(x), x.astype(kind))
        many = np.tile(x, (2000, 1))
        pool = lenet_cpp.PredictorPool(path, size=1)
        assert same(pool.run(many), many.astype(kind))
        with lenet_cpp.IsolatedPredictor(path) as isolated:
            assert same(isolated.run(x), x.astype(kind))
        if kind != "uint8":
            exact = np.float32([[-(2**24), 2**24]])
            np.testing.assert_array_equal(predictor.run_outputs(exact)["y"], exact)
            with pytest.raises(lenet_cpp.Unsupported, match=r"'y' holds .* beyond 16777216"):
                predictor.run(np.float32([[0, 2**24 + 2]]))


def test_a_shape_that_is_declared_wrong(tmp_path, run_program, program):
    """onnxruntime runs such a file, with a warning; so does this."""
    contents = model("y = Transpose<perm=[2,0,1]>(x)", "float[N,4,3] x", "float[1,K] y")
    path = write(tmp_path / "m.onnx", contents)
    x = array((1, 4, 3))
    with lenet_cpp.Predictor(path) as predictor:
        with pytest.warns(UserWarning, match=r"'y' has the shape \[3, 1, 4\]; the model declares"):
            found = predictor.run(x)
        assert same(found, reference(path, x))
        # Of several images none has a row of its own.
        with pytest.raises(lenet_cpp.BackendFailure, match=r"'y' for 2 images has shape"):
            predictor.run(array((2, 4, 3)))
    done = run_program(f"--model_file={path}")
    assert (done.returncode, "warning: the output 'y' has the shape" in done.stderr) == (0, True)
    contents = model("y = Relu(x)", "float[N,2] x", "float[N,1,2] y")
    path = write(tmp_path / "m.onnx", contents)
    with pytest.raises(lenet_cpp.Unsupported, match=r"declared as \[N, 1, 2\].*use engine onnxr"):
        lenet_cpp.Predictor(path, engine="native")
    with lenet_cpp.Predictor(path) as predictor:
        assert same(predictor.run(array((70, 2))), reference(path, array((70, 2))))
