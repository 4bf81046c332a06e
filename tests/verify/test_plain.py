"""verify against the plain program: engines that agree, a planted fault, and what is refused."""

import json

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.cli.verify import main
from lenet_cpp.errors import Unsupported
from lenet_cpp.verify import plain

onnx = pytest.importorskip("onnx", reason="the models of these tests are made with it")

# A chain with a branch beside it: of each value those that are computed of it.
NODES = """
    c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w) r = Relu(c)
    p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r) n = Neg(p) t = Tanh(p) s = Add(n, t)
    m = GlobalAveragePool(s) f = Flatten(m) y = MatMul(f, o)
"""
BEHIND = {
    "c": "rpntsmfy",
    "r": "pntsmfy",
    "p": "ntsmfy",
    "n": "smfy",
    "t": "smfy",
    "s": "mfy",
    "m": "fy",
    "f": "y",
    "y": "",
}
TYPES = {
    "c": "Conv",
    "r": "Relu",
    "p": "MaxPool",
    "n": "Neg",
    "t": "Tanh",
    "s": "Add",
    "m": "GlobalAveragePool",
    "f": "Flatten",
    "y": "MatMul",
}


def write(path, nodes=NODES, *, x="float[N,3,8,8] x", y="float[N,5] y"):
    """Write a model with weights w [4, 3, 3, 3] and o [4, 5], and the number two."""
    random = np.random.default_rng(0)
    graph = onnx.parser.parse_graph(f"g ({x}) => ({y}) {{ {nodes} }}")
    for name, shape in {"w": (4, 3, 3, 3), "o": (4, 5)}.items():
        values = random.standard_normal(shape).astype(np.float32)
        graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([2]), "two"))
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=opsets), path)
    return path


@pytest.fixture
def verify(capsys):
    def run(*arguments):
        status = main([*map(str, arguments), "--json"])
        return status, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def plant(monkeypatch):
    """A fault of the native engine: some values are wrong, in whatever way they are computed."""

    def put(wrong, *, passes_only=False):
        class Faulty(lenet_cpp.Predictor):
            def run_outputs(self, images, *names):
                found = super().run_outputs(images, *names)
                options = self.options
                if options["engine"] != "native" or (passes_only and not options["ir_optim"]):
                    return found
                return {
                    name: x + np.asarray(0.5 if x.dtype.kind == "f" else 1, x.dtype)
                    if name in wrong
                    else x
                    for name, x in found.items()
                }

        monkeypatch.setattr(plain, "Predictor", Faulty)

    return put


def test_engines_that_agree(verify, tmp_path):
    path = write(tmp_path / "m.onnx")
    status, found = verify(path)
    assert (status, found["agrees"], found["reference"]) == (0, True, "plain")
    assert (found["data"], found["images"]) == ("3 random images", 3)
    rows = {(row["engine"], row["threads"], row["batch_size"]) for row in found["rows"]}
    engines = {engine for engine, _, _ in rows}
    assert engines >= {"native"}
    assert rows == {(e, t, n) for e in engines for t in (1, 2) for n in (1, 2, 3)}
    # Not compared with themselves: float32 rounds what the plain program does not.
    assert 0 < found["largest_difference"] < 1e-5
    assert found["first_differing_layer"] is None
    report = tmp_path / "report.json"
    options = ("--threads=1", "--batch-sizes=4", "--images=5", f"--report={report}")
    status, found = verify(path, *options)
    assert json.loads(report.read_text())["rows"] == found["rows"]
    assert {(row["threads"], row["batch_size"]) for row in found["rows"]} == {(1, 4)}
    assert found["images"] == 5


@pytest.mark.parametrize("fault", BEHIND)
def test_the_first_layer_that_differs(fault, verify, plant, tmp_path, capsys):
    path = write(tmp_path / "m.onnx")
    plant(fault + BEHIND[fault])
    status, found = verify(path)
    assert (status, found["agrees"]) == (1, False)
    layer = found["first_differing_layer"]
    assert (layer["name"], layer["operator"]) == (fault, TYPES[fault])
    assert layer["shape"][0] == 1
    assert 0.49 < layer["largest_difference"] < 0.51
    assert found["cause"].startswith("the reader or a kernel")
    assert main([str(path)]) == 1
    text = capsys.readouterr().out
    assert f"The first layer that differs is {TYPES[fault]} '{fault}' [1, " in text


def test_a_value_that_is_right_again(verify, plant, tmp_path):
    """The operator that is named takes right values and gives a wrong one."""
    plant("cy")
    _, found = verify(write(tmp_path / "m.onnx"))
    assert found["first_differing_layer"]["name"] == "y"


def test_a_pass_as_the_cause(verify, plant, tmp_path):
    plant("sy", passes_only=True)
    status, found = verify(write(tmp_path / "m.onnx"))
    assert status == 1
    assert found["cause"].startswith("a pass of the native engine")


@pytest.mark.parametrize(
    ("more", "x", "y", "images"),
    [
        ("", "float[4,3,8,8] x", "float[4,5] y", 4),  # a fixed number of images
        ("", "float[N,3,H,W] x", "float[N,5] y", 3),
        ("k = ArgMax<axis=1, keepdims=0>(y)", "float[N,3,8,8] x", "float[N,5] y, int64[N] k", 3),
        ("v, k = TopK(y, two)", "float[N,3,8,8] x", "float[N,2] v, int64[N,2] k", 3),
        ("k = Softmax(y)", "float[N,3,8,8] x", "float[N,5] y, float[N,5] k", 3),
    ],
)
def test_other_inputs_and_outputs(more, x, y, images, verify, tmp_path):
    status, found = verify(write(tmp_path / "m.onnx", NODES + more, x=x, y=y))
    assert (status, found["images"]) == (0, images)
    assert {row["engine"] for row in found["rows"]} >= {"native"}
    if images == 4:
        assert {row["batch_size"] for row in found["rows"]} == {4}


def test_a_wrong_integer_of_a_second_output(verify, plant, tmp_path):
    plant("k")
    y = "float[N,2] v, int64[N,2] k"
    status, found = verify(write(tmp_path / "m.onnx", NODES + "v, k = TopK(y, two)", y=y))
    assert status == 1
    assert found["share_of_tolerance"] is None
    layer = found["first_differing_layer"]
    assert (layer["operator"], layer["name"]) == ("TopK", "k")


def test_an_engine_that_refuses_is_no_failure(verify, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="the other engine")

    class Refusing(lenet_cpp.Predictor):
        def __init__(self, *arguments, engine, **options):
            if engine == "native":
                raise Unsupported("operator 'X' is not supported by the native engine")
            super().__init__(*arguments, engine=engine, **options)

    monkeypatch.setattr(plain, "Predictor", Refusing)
    status, found = verify(write(tmp_path / "m.onnx"))
    assert status == 0
    assert {row["engine"] for row in found["rows"]} == {"onnxruntime"}
    assert found["refusals"] == {"native": "operator 'X' is not supported by the native engine"}


def test_nothing_to_compare_is_an_error(tmp_path, monkeypatch, capsys):
    def refuse(*_, engine, **__):
        raise Unsupported(f"{engine} refuses")

    monkeypatch.setattr(plain, "Predictor", refuse)
    assert main([str(write(tmp_path / "m.onnx"))]) == Unsupported.exit_code
    said = capsys.readouterr().err
    assert "nothing to compare: plain: plain refuses; native: native refuses" in said


@pytest.mark.parametrize("name", ["folder", "folder/m", "folder/m.onnx"])
def test_what_names_an_onnx(name, verify, tmp_path):
    """A folder has other files too, such as labels and a description in JSON."""
    folder = tmp_path / "folder"
    folder.mkdir()
    path = write(folder / "m.onnx")
    (folder / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    (folder / "preprocess.json").write_text("{}")
    status, found = verify(tmp_path / name)
    assert (status, found["model"], found["reference"]) == (0, str(path), "plain")


def test_a_folder_whose_model_is_below(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    write(tmp_path / "model" / "m.onnx")
    assert main([str(tmp_path)]) == 3
    said = f"{tmp_path} has no .pdmodel, .json or .onnx: name the folder of the model, such as"
    assert f"{said} {tmp_path}/model" in capsys.readouterr().err


def test_a_folder_of_paddle(model_dir, verify):
    status, found = verify(model_dir, "--plain")
    assert status == 0
    assert "native" in {row["engine"] for row in found["rows"]}


def test_images_of_the_users_own(model_dir, digits, verify, tmp_path):
    from PIL import Image

    for i in range(2):
        Image.fromarray((digits[i, 0] * 255).astype(np.uint8)).save(tmp_path / f"{i}.png")
    status, found = verify(model_dir / "lenet.json", f"-i={tmp_path}")
    assert (status, found["data"]) == (0, "2 image files")


@pytest.mark.parametrize("option", ["--params=p", "--accelerators=plain", "--across"])
def test_options_of_the_routes_are_refused(option, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(write(tmp_path / "m.onnx")), option])
    assert "cannot be combined with --plain" in capsys.readouterr().err
