"""Element types and shapes that an .onnx declares for its input and outputs.

Against Python's onnxruntime, which runs the same files.
"""

import numpy as np
import pytest

import lenet_cpp

pytest.importorskip("onnx", reason="the models of these tests are made with it")
pytest.importorskip("onnxruntime", reason="the engine needs its library")

# Where there is no onnx, the lines above skip this file; importing it first would fail.
import onnx
import onnxruntime
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
    contents = model("y = MeanVarianceNormalization(x)", f"{kind}[N,2,3,3] x", f"{kind}[N,2,3,3] y")
    path = write(tmp_path / "m.onnx", contents)
    other = (
        "a float32 export of this bfloat16 model" if kind == "bfloat16" else "engine onnxruntime"
    )
    match = f"no kernel .*use {other} instead of native"
    with pytest.raises(lenet_cpp.Unsupported, match=match):
        lenet_cpp.Predictor(path, engine="native")
    if kind == "float16":
        x = array((3, 2, 3, 3))
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
    dtype = {"double": "float64"}.get(kind, kind)
    nodes = f"y = Cast<to={number}>(x) i = Cast<to=7>(x)"
    path = write(tmp_path / "m.onnx", model(nodes, y=f"int64[N,2] i, {kind}[N,2] y"))
    x = array((3, 2))
    with lenet_cpp.Predictor(path, engine="onnxruntime") as predictor:
        specs = [(spec.name, spec.dtype) for spec in predictor.output_specs]
        assert specs == [("y", dtype), ("i", "int64")]
        found = predictor.run_outputs(x * 100)["i"]
        assert same(found, (x * 100).astype(np.int64))
        assert same(predictor.run(x), x.astype(dtype).astype("f4"))
        assert same(predictor.run_outputs(x)["y"], x.astype(dtype).astype("f4"))
    with lenet_cpp.IsolatedPredictor(path, engine="onnxruntime") as isolated:
        assert same(isolated.run(x), x.astype(dtype).astype("f4"))


@pytest.mark.parametrize("kind", ["uint8", "int32", "int64"])
def test_integers_where_there_is_nothing_else(kind, tmp_path):
    number = {"uint8": 2, "int32": 6, "int64": 7}[kind]
    nodes = f"y = Cast<to={number}>(x) z = IsNaN(x)"
    path = write(tmp_path / "m.onnx", model(nodes, y=f"{kind}[N,2] y, bool[N,2] z"))
    x = np.float32([[0, 7], [200, 255]])
    with lenet_cpp.Predictor(path) as predictor:
        specs = [(spec.name, spec.dtype) for spec in predictor.output_specs]
        assert specs == [("y", kind), ("z", "bool")]
        assert same(predictor.run_outputs(x, "z")["z"], np.isnan(x))
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


BATCHLESS = """
    y = Softmax(x) mean = ReduceMean<axes=[0, 1], keepdims=0>(x) top = ReduceMax<axes=[0]>(x)
    most = ArgMax<axis=0, keepdims=0>(x) t = Transpose(x)
    high = Greater(x, mean)
"""


def batchless(path, *, declared=True, rank=2):
    """Write a model most of whose outputs have no batch axis."""
    shapes = {"y": "[N,2]", "mean": "", "top": "[1,2]", "most": "[2]", "t": "[2,N]"}
    kinds = {name: "int64" if name == "most" else "float" for name in shapes}
    if not declared:
        shapes = dict.fromkeys(shapes, "")
    types = ", ".join(f"{kinds[name]}{shape} {name}" for name, shape in shapes.items())
    nodes, x = BATCHLESS, "float[N,2] x"
    if rank == 4:
        nodes, x = "x = Flatten(image)" + nodes, "float[N,1,1,2] image"
    made = onnx.load_from_string(model(nodes, x, f"{types}, bool[N,2] high"))
    if declared:  # a scalar has a shape, without sizes
        made.graph.output[1].type.tensor_type.shape.SetInParent()
    return write(path, made.SerializeToString())


@pytest.mark.parametrize("shapes", ["declared", "left out"])
def test_outputs_without_a_batch_axis(shapes, tmp_path):
    """They are those of the whole run, as onnxruntime itself gives them, and never of pieces."""
    path = batchless(tmp_path / "m.onnx", declared=shapes == "declared")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    with lenet_cpp.Predictor(path, engine="onnxruntime") as predictor:
        for count in (1, 2, 3, 200):
            x = array((count, 2))
            expected = dict(zip(names, session.run(None, {"x": x}), strict=True))
            found = predictor.run_outputs(x)
            assert list(found) == ["y", "mean", "top", "t", "most", "high"]
            for name, value in found.items():
                assert same(value, expected[name]), (count, name)
            assert same(predictor.run_outputs(x, "mean")["mean"], expected["mean"])
        with pytest.raises(lenet_cpp.BadInput, match=r"'mean' has no batch axis.* at least one"):
            predictor.run_outputs(array((0, 2)), "mean")
        assert predictor.run(array((0, 2))).shape == (0, 2)
    with lenet_cpp.Predictor(path, engine="onnxruntime", max_batch_size=2) as predictor:
        x = array((5, 2))
        assert same(predictor.run(x), session.run(["y"], {"x": x})[0])
        message = r"'mean' has no batch axis.*5 images would run in pieces of 2; .*max_batch_size"
        with pytest.raises(lenet_cpp.BadInput, match=message):
            predictor.run_outputs(x, "mean")
        assert same(
            predictor.run_outputs(x[:2], "mean")["mean"], session.run(["mean"], {"x": x[:2]})[0]
        )


def test_the_program_writes_every_output(tmp_path, run_program):
    """By its name and with its type; one without a batch axis has an entry for each batch."""
    path = batchless(tmp_path / "m.onnx", rank=4)
    x = array((6, 1, 1, 2))
    np.save(tmp_path / "x.npy", x)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(size):
        flags = ("--engine=onnxruntime", f"--batch_size={size}", "--output=y.npz")
        return run_program(f"--model_file={path}", "--input=x.npy", *flags, cwd=tmp_path)

    for size in (3, 6):
        done = run(size)
        assert done.returncode == 0, done.stderr
        runs = [session.run(None, {"image": x[i : i + size]}) for i in range(0, 6, size)]
        with np.load(tmp_path / "y.npz") as written:
            assert sorted(written) == sorted(names)
            for name, *parts in zip(names, *runs, strict=True):
                by_image = name in {"y", "high"}
                whole = parts[0] if len(parts) == 1 else np.stack(parts)
                assert same(written[name], np.concatenate(parts) if by_image else whole), name
    done = run(4)
    assert (done.returncode, "divides the number of images" in done.stderr) == (6, True), done


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
        x = array((2, 4, 3))
        with pytest.warns(UserWarning, match=r"'y' has the shape \[3, 2, 4\]; the model declares"):
            assert same(predictor.run(x), reference(path, x))
    done = run_program(f"--model_file={path}")
    assert (done.returncode, "warning: the output 'y' has the shape" in done.stderr) == (0, True)
    contents = model("y = Relu(x)", "float[N,2] x", "float[N,1,2] y")
    path = write(tmp_path / "m.onnx", contents)
    with pytest.raises(lenet_cpp.Unsupported, match=r"declared as \[N, 1, 2\].*use engine onnxr"):
        lenet_cpp.Predictor(path, engine="native")
    with lenet_cpp.Predictor(path) as predictor:
        assert same(predictor.run(array((70, 2))), reference(path, array((70, 2))))
