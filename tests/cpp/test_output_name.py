"""Any value of a program as the only output in the native engine, against other engines."""

import os
import re
import sys

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare
from lenet_cpp.data import load_mnist

pytest.importorskip("onnx", reason="the models of these tests are made with it")
pytest.importorskip("onnxruntime", reason="the answers are compared with its own")

# Where there is no onnx, the lines above skip this file; importing it first would fail.
import onnx
from onnx_files import model, reference

from processor import needs_bf16
from snippets import printed_by

# A small network of many kinds of values: of rank 4, 3 and 2, one that is moved, sums, an early
# end, a classifier with its bias, and what has no kernel behind them.
NODES = """
    c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b) r = Relu(c)
    p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
    d = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(p, v) s = Add(d, p)
    t = Transpose<perm=[0,2,3,1]>(s) u = Reshape(t, tokens) q = MatMul(u, k)
    m = ReduceMean<axes=[1], keepdims=0>(q) l = MatMul(m, o) a = Add(l, e) y = Softmax(a)
"""
VALUES = ["c", "r", "p", "d", "s", "t", "u", "q", "m", "l", "a", "y"]


def tensors():
    random = np.random.default_rng(2)
    shapes = {
        "w": (8, 3, 3, 3),
        "b": (8,),
        "v": (8, 8, 3, 3),
        "k": (8, 12),
        "o": (12, 5),
        "e": (5,),
    }
    found = {
        name: (random.standard_normal(shape) / 3).astype("float32")
        for name, shape in shapes.items()
    }
    return found | {"tokens": np.array([0, -1, 8])}


def write(folder, *, nodes=NODES, size=(12, 14), y="float[N,5] y"):
    path = folder / "model.onnx"
    height, width = size
    path.write_bytes(model(nodes, f"float[N,3,{height},{width}] x", y, tensors()))
    return path


def cut(path, name):
    """Return onnxruntime's model of one of the values; its shape is left open."""
    made = onnx.load(path)
    del made.graph.output[:]
    made.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    onnx.save(made, cut_path := path.with_name(f"{name}.onnx"))
    return cut_path


IMAGES = np.random.default_rng(1).uniform(-1, 1, (20, 3, 12, 14)).astype("float32")


@pytest.mark.parametrize("size", [(12, 14), ("H", "W")])
@pytest.mark.parametrize("name", VALUES)
def test_any_value_of_an_onnx(name, size, tmp_path):
    path = write(tmp_path, size=size)
    with lenet_cpp.Predictor(path, output_name=name) as predictor:
        assert predictor.options["engine"] == "native"
        assert [spec.name for spec in predictor.output_specs] == [name]
        for count in (1, 3, 20):
            expected = reference(cut(path, name), IMAGES[:count])
            found = predictor.run(IMAGES[:count])
            assert found.shape == expected.shape
            assert compare(expected, found).agrees


def test_what_is_behind_the_output_is_neither_computed_nor_needed(tmp_path):
    """An operator without a kernel is no reason then; and the last product's input is known."""
    path = write(tmp_path, nodes=NODES.replace("y = Softmax(a)", "h = EyeLike(a) y = Identity(h)"))
    with pytest.raises(lenet_cpp.Unsupported, match="EyeLike"):
        lenet_cpp.Predictor(path, engine="native")
    expected = reference(cut(path, "m"), IMAGES)
    with (
        lenet_cpp.Predictor(path, engine="native", output_name="features") as features,
        lenet_cpp.Predictor(path, engine="native", output_name="p") as early,
    ):
        assert compare(expected, features.run(IMAGES)).agrees
        assert features.output_role == "features"
        layers = [predictor.profile(1, runs=1).parts[0].layers for predictor in (features, early)]
        assert len(layers[0]) > len(layers[1])


@pytest.mark.parametrize("size", [(12, 14), ("H", "W")])
@pytest.mark.parametrize("option", [{}, {"engine": "native", "threads": 2, "precision": "bf16"}])
def test_all_values_of_an_onnx(size, option, tmp_path):
    """In float32 whatever the precision, beside a run that stays as it was."""
    if "precision" in option:
        needs_bf16()
    path = write(tmp_path, size=size)
    with lenet_cpp.Predictor(path, **option) as predictor:
        before = predictor.run(IMAGES)
        for count in (1, 20):
            layers = predictor.run_layers(IMAGES[:count])
            assert [layer.name for layer in layers] == VALUES
            for layer in layers:
                expected = reference(cut(path, layer.name), IMAGES[:count])
                assert layer.values.shape == expected.shape
                assert compare(expected, layer.values).agrees, layer.name
        assert [layer.op_type for layer in layers[:3]] == ["Conv", "Relu", "MaxPool"]
        assert np.array_equal(predictor.run(IMAGES), before)
        assert predictor.options["engine"] == "native"
    with lenet_cpp.Predictor(path, output_name="*") as predictor:
        assert [spec.name for spec in predictor.output_specs] == ["y", *VALUES[:-1]]
        assert np.array_equal(predictor.run_outputs(IMAGES, "m")["m"], layers[8].values)


def test_values_whose_images_are_not_first(tmp_path):
    """They have the shape of the program, in which an image may have several entries."""
    nodes = """t = Transpose<perm=[1, 0, 2]>(x) s = Sin(t) w = Reshape(x, rows) u = Cos(w)
        v = Reshape(u, back) k = Transpose<perm=[2, 1, 0]>(x) b = Transpose<perm=[1, 0, 2]>(s)
        c = Transpose<perm=[2, 1, 0]>(k) y = Sum(b, v, c)"""
    tensors = {"rows": np.array([-1, 6]), "back": np.array([-1, 5, 6])}
    path = tmp_path / "model.onnx"
    path.write_bytes(model(nodes, "float[N,5,6] x", "float y", tensors))
    images = np.random.default_rng(0).standard_normal((3, 5, 6)).astype("f4")
    with lenet_cpp.Predictor(path, engine="native", threads=2, max_batch_size=2) as predictor:
        for count in (1, 3):
            layers = predictor.run_layers(images[:count])
            assert [layer.name for layer in layers] == list("tswuvkbcy")
            for layer in layers:
                expected = reference(cut(path, layer.name), images[:count])
                assert layer.values.shape == expected.shape
                assert np.allclose(layer.values, expected, atol=1e-5), layer.name
    with lenet_cpp.Predictor(path, engine="native", output_name="*") as predictor:
        shapes = {spec.name: list(spec.shape) for spec in predictor.output_specs}
        assert shapes["t"] == [5, -1, 6]
        assert shapes["w"] == [-1, 6]
        assert shapes["k"] == [6, 5, -1]
    with (
        lenet_cpp.Predictor(path, output_name="*", max_batch_size=2) as predictor,
        pytest.raises(lenet_cpp.BadInput, match="'t' has no batch axis"),
    ):
        predictor.run_outputs(images)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("z", lenet_cpp.BadInput, "has no value 'z' that an operator gives"),
        ("w", lenet_cpp.BadInput, "has no value 'w'"),
        ("x", lenet_cpp.BadInput, "has no value 'x'"),
    ],
)
def test_names_of_no_value(name, error, said, tmp_path):
    with pytest.raises(error, match=said):
        lenet_cpp.Predictor(write(tmp_path), output_name=name)


def test_other_engines_do_not_cut(tmp_path):
    with pytest.raises(lenet_cpp.Unsupported, match="does not support output_name; use the native"):
        lenet_cpp.Predictor(write(tmp_path), engine="onnxruntime", output_name="m")
    two = NODES.replace("y = Softmax(a)", "f = MatMul(m, o) y = Add(a, f)")
    with pytest.raises(lenet_cpp.BadInput, match="not give its output by one product"):
        lenet_cpp.Predictor(write(tmp_path, nodes=two), output_name="features")


def test_every_value_of_a_pdmodel(model_dir):
    """Paddle's engine shows what each operator gives, when it fuses none."""
    digits = load_mnist().test.images[:3, None].astype("float32") / 255
    path = model_dir / "lenet.pdmodel"
    options = {"engine": "paddle", "accelerator": "plain", "ir_optim": False}
    with lenet_cpp.Predictor(path, **options) as theirs:
        layers = theirs.run_layers(digits)
    of_images = [layer for layer in layers if layer.values.shape[0] == len(digits)]
    assert len(of_images) > 10
    for layer in of_images:  # others are the biases of convolutions, made to fit
        with lenet_cpp.Predictor(path, engine="native", output_name=layer.name) as predictor:
            found = predictor.run(digits)
        assert found.shape == layer.values.shape
        assert compare(layer.values, found).agrees, layer.name
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        ours = predictor.run_layers(digits)
    assert [layer.name for layer in ours] == [layer.name for layer in of_images]
    for layer, expected in zip(ours, of_images, strict=True):
        assert layer.op_type == expected.op_type
        assert compare(expected.values, layer.values).agrees, layer.name
    with lenet_cpp.Predictor(model_dir / "lenet.json", output_name="fetch_name_0") as predictor:
        assert [spec.name for spec in predictor.output_specs] == ["fetch_name_0"]
        assert compare(layers[-1].values, predictor.run(digits)).agrees
    # LeNet's last product takes 84 numbers.
    for suffix in ("pdmodel", "json"):
        with lenet_cpp.Predictor(
            model_dir / f"lenet.{suffix}", output_name="features"
        ) as predictor:
            features = predictor.run(digits)
        assert features.shape == (3, 84)
        (expected,) = [layer.values for layer in layers if layer.values.shape == (3, 84)][-1:]
        assert compare(expected, features).agrees


def test_what_a_fetch_gives_is_what_it_takes(tmp_path):
    """In PIR a fetch gives a value of its own, also the second output's."""
    paddle = pytest.importorskip("paddle", reason="it exports the network")

    class Two(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.linear = paddle.nn.Linear(4, 3)

        def forward(self, x):
            first = self.linear(x)
            return first, paddle.nn.functional.relu(first)

    layer = Two()
    spec = paddle.static.InputSpec([None, 4], "float32", "x")
    paddle.jit.save(layer, str(tmp_path / "two"), input_spec=[spec])
    batch = np.random.default_rng(1).standard_normal((5, 4)).astype("float32")
    wanted = [one.numpy() for one in layer(paddle.to_tensor(batch))]
    path = tmp_path / "two.json"
    seen = []
    for number in range(30):
        name = f"value {number}"
        try:
            predictor = lenet_cpp.Predictor(path, engine="native", output_name=name)
        except (lenet_cpp.BadInput, lenet_cpp.Unsupported):
            continue
        with predictor:
            assert [spec.name for spec in predictor.output_specs] == [name]
            seen.append(predictor.run(batch))
    for one in wanted:  # by its own name, and by that of what is fetched
        assert sum(each.shape == one.shape and compare(one, each).agrees for each in seen) >= 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Paddle's older programs
def test_every_value_of_a_variable_that_is_written_twice(tmp_path):
    paddle = pytest.importorskip("paddle", reason="it makes the program")
    static = paddle.static
    paddle.enable_static()
    try:
        with paddle.pir_utils.OldIrGuard():
            main, startup = static.Program(), static.Program()
            with static.program_guard(main, startup):
                x = static.data("x", [-1, 3], "float32")
                ones = paddle.nn.initializer.Assign(np.eye(3))
                weight = paddle.create_parameter([3, 3], "float32", "w", default_initializer=ones)
                block = main.global_block()
                y, z = (
                    block.create_var(name=name, dtype="float32", shape=[-1, 3]) for name in "yz"
                )
                for kind, inputs, out, scale in (
                    ("matmul_v2", {"X": x, "Y": weight}, z, None),
                    ("scale", {"X": z}, y, 3.0),
                    ("scale", {"X": y}, y, 5.0),
                ):
                    more = {"scale": scale, "bias": 0.0} if scale else {}
                    block.append_op(type=kind, inputs=inputs, outputs={"Out": out}, attrs=more)
                executor = static.Executor(paddle.CPUPlace())
                executor.run(startup)
                static.save_inference_model(
                    str(tmp_path / "twice"), [x], [y], executor, program=main
                )
    finally:
        paddle.disable_static()
    batch = np.array([[1, -2, 3]], "float32")
    path = tmp_path / "twice.pdmodel"
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        layers = predictor.run_layers(batch)
    scaled = [(batch * factor).tolist() for factor in (1, 3, 15)]
    assert [layer.values.tolist() for layer in layers[:3]] == scaled
    assert [layer.name for layer in layers[:3]] == ["z", "y (1)", "y"]
    assert len({layer.name for layer in layers}) == len(layers)
    for layer in layers[:3]:
        with lenet_cpp.Predictor(path, engine="native", output_name=layer.name) as predictor:
            assert predictor.run(batch).tolist() == layer.values.tolist()
    with lenet_cpp.Predictor(path, engine="native", output_name="*") as predictor:
        outputs = predictor.run_outputs(batch)
    assert sorted(each.tolist() for each in outputs.values()) == sorted(scaled)


def test_names_that_print_alike(tmp_path):
    """None of these letters is printed as it is."""
    kinds = {"卷积_1": "Relu", "池化_1": "Neg", "激活_1": "Abs"}
    names = ["x", *kinds, "y"]
    nodes = [
        onnx.helper.make_node(kind, [take], [give])
        for kind, take, give in zip([*kinds.values(), "Neg"], names, names[1:], strict=False)
    ]
    ends = [onnx.helper.make_tensor_value_info(name, 1, ["N", 3]) for name in "xy"]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.save(made, path := tmp_path / "m.onnx")
    batch = np.array([[1, -2, 3]], "float32")
    values = [np.maximum(batch, 0)]
    values += [-values[0], np.abs(-values[0]), -np.abs(-values[0])]
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        layers = predictor.run_layers(batch)
    found = [(layer.op_type, layer.values.tolist()) for layer in layers]
    assert found == [
        (kind, one.tolist()) for kind, one in zip([*kinds.values(), "Neg"], values, strict=True)
    ]
    assert len({layer.name for layer in layers}) == 4


@pytest.fixture(scope="module", params=["pdmodel", "json"])
def labelled(request, root, tmp_path_factory):
    """A program that feeds a label and fetches the accuracy before the scores."""
    folder = tmp_path_factory.mktemp(request.param)
    variables = os.environ | {"FLAGS_enable_pir_api": str(int(request.param == "json"))}
    command = (sys.executable, "-W", "ignore", root / "tests/label_models.py", folder)
    printed_by(*command, env=variables)
    return folder


def test_the_scores_of_a_program_that_takes_a_label(labelled):
    named = r"'(?:image', 'label|label', 'image)'"
    said = rf"has 2 inputs \({named}\); .* its output '([^']+)' needs one input only"
    for options in ({}, {"check_program": False}, {"engine": "native"}):
        with pytest.raises(lenet_cpp.Unsupported, match=said) as refusal:
            lenet_cpp.Predictor(model_dir=labelled, **options)
    name = re.search(said, str(refusal.value))[1]
    images, expected = (np.load(labelled / f"{each}.npy") for each in ("images", "scores"))
    for options in ({}, {"check_program": False}):
        with lenet_cpp.Predictor(model_dir=labelled, output_name=name, **options) as predictor:
            assert (predictor.input_spec.name, len(predictor.output_specs)) == ("image", 1)
            assert compare(expected, predictor.run(images)).agrees


def test_the_output_of_an_onnx_that_needs_one_of_two_inputs(tmp_path):
    nodes = "f = Flatten(x) y = Softmax(f) d = Sub(f, z) e = ReduceMean<keepdims=0>(d)"
    path = tmp_path / "two.onnx"
    inputs, outputs = "float[N,3] x, float[N,3] z", "float e, float[N,3] y"
    path.write_bytes(model(nodes, inputs, outputs, {}))
    with pytest.raises(lenet_cpp.Unsupported, match="its output 'y' needs one input only"):
        lenet_cpp.Predictor(path)
    numbers = np.random.default_rng(0).random((4, 3), np.float32)
    with lenet_cpp.Predictor(path, output_name="y") as predictor:
        exponents = np.exp(numbers)
        expected = exponents / exponents.sum(axis=1, keepdims=True)
        assert compare(expected, predictor.run(numbers)).agrees
    with pytest.raises(lenet_cpp.Unsupported, match=r"has 2 inputs \('x', 'z'\); [^;]*$"):
        lenet_cpp.Predictor(path, output_name="e")


def test_a_value_that_is_overwritten_behind_the_output(tmp_path):
    """What the output does not need is not checked, but who writes what it needs is."""
    path = tmp_path / "again.onnx"
    path.write_bytes(model("y = Relu(x) y = Neg(x)", "float[N,3] x", "float[N,3] y", {}))
    with pytest.raises(lenet_cpp.BadModel, match="overwrites 'y'"):
        lenet_cpp.Predictor(path, engine="native", output_name="y")


def test_features_of_a_program_in_a_circle_are_refused(tmp_path):
    path = tmp_path / "circle.onnx"
    nodes = "a = Relu(b) b = Relu(a) c = Add(a, x) y = Flatten(b)"
    path.write_bytes(model(nodes, "float[N,3] x", "float[N,3] y", {}))
    with pytest.raises((lenet_cpp.BadInput, lenet_cpp.BadModel)):
        lenet_cpp.Predictor(path, engine="native", output_name="features")
