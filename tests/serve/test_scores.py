"""What every command and the server say of outputs that are logits, probabilities, scores of a
sigmoid, of no known kind, or the numbers of classes, beside what the network itself gives.
"""

import csv
import io
import json
import re
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.base.layer_helper import LayerHelper
from PIL import Image

import lenet_cpp
from lenet_cpp.cli import main
from lenet_cpp.data.images import digit
from numpy_reference import softmax
from scripts.predict import predict, py_infer
from shared_models import both_formats, output_networks


class Reshaped(nn.Layer):
    """A softmax of three axes, whose result gets another shape."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(784, 10)

    def forward(self, x):
        rows = paddle.reshape(self.linear(paddle.flatten(x, 1)), [-1, 1, 10])
        return paddle.reshape(nn.functional.softmax(rows), [-1, 10])


def ends_in(*last, first=nn.Flatten):
    return nn.Sequential(first(), nn.Flatten(), nn.Linear(784, 10), *last)


class Unscaled(nn.Layer):
    """Times one, as Paddle's executor ends the programs that it saves."""

    def forward(self, x):
        return paddle.scale(x, 1.0)


class Unfolded(nn.Layer):
    """With an operator that the check does not know."""

    def forward(self, x):
        return nn.functional.unfold(x, 4, strides=4)


class Activation(nn.Layer):
    """One that Paddle 3.3 does not export as a .pdmodel, which earlier versions do."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def forward(self, x):
        if not isinstance(x, paddle.static.Variable):
            return getattr(nn.functional, self.name)(x)
        helper = LayerHelper(self.name)
        out = helper.create_variable_for_type_inference(x.dtype)
        helper.append_op(type=self.name, inputs={"X": x}, outputs={"Out": out})
        return out


# How each ends, what its outputs are, and how it is loaded.
NETWORKS = {
    "linear": (ends_in, "logits", True),
    "softmax": (lambda: ends_in(nn.Softmax()), "probabilities", True),
    "sigmoid": (lambda: ends_in(Activation("sigmoid")), "scores", True),
    "softmax times one": (lambda: ends_in(nn.Softmax(), Unscaled()), "probabilities", True),
    "reshaped": (Reshaped, "probabilities", True),
    "tanh": (lambda: ends_in(Activation("tanh")), "unknown", True),
    "unchecked": (lambda: ends_in(nn.Softmax(), first=Unfolded), "probabilities", False),
    "unchecked sigmoid": (lambda: ends_in(Activation("sigmoid"), first=Unfolded), "scores", False),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory, mnist_test):
    folder = tmp_path_factory.mktemp("images")
    for number, pixels in enumerate(mnist_test.images[:3]):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module", params=NETWORKS)
def case(request, images, tmp_path_factory):
    """Programs, image files and the same as a batch, the outputs of Paddle's own layers for it,
    their kind, and whether the program can be checked.
    """
    make, kind, checked = NETWORKS[request.param]
    folder = tmp_path_factory.mktemp("scores")
    paddle.seed(7)
    layer = make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        programs = both_formats(layer, (1, 28, 28), folder)
    digit().save(folder / "preprocess.json")
    batch = digit().batch(images)
    return programs, images, batch, layer(paddle.to_tensor(batch)).numpy(), kind, checked


def expected(outputs, kind):
    return softmax(outputs) if kind == "logits" else outputs


def agrees(predictions, outputs, kind):
    """Whether the best three classes of each image and their values are the network's."""
    name = "score" if kind == "unknown" else "probability"
    for found, row in zip(predictions, expected(outputs, kind), strict=True):
        order = np.argsort(-row)[:3]
        assert [int(one["class_id"]) for one in found] == order.tolist()
        values = [float(one[name]) for one in found]
        np.testing.assert_allclose(values, row[order], rtol=1e-4, atol=1e-6)
    return True


def test_the_predictor_says_what_its_outputs_are(case):
    programs, _, batch, outputs, kind, checked = case
    for program in programs:
        options = {} if checked else {"check_program": False, "accelerator": "plain"}
        with lenet_cpp.Predictor(program, **options) as predictor:
            assert predictor.output_role == kind
            np.testing.assert_allclose(predictor.run(batch), outputs, rtol=1e-4, atol=1e-6)


def predictions_of(text, suffix):
    """The three classes of each image, of a text in JSON or CSV."""
    if suffix == "json":
        return [one["predictions"] for one in json.loads(text)]
    rows = list(csv.DictReader(io.StringIO(text)))
    return [rows[i : i + 3] for i in (0, 3, 6)]


@pytest.mark.parametrize("suffix", ["json", "csv"])
@pytest.mark.parametrize("command", ["predict", "py_infer", "lenet_classify"])
def test_commands(case, command, suffix, tmp_path, root, run_program):
    programs, images, _, outputs, kind, checked = case
    for program in programs:
        flags = [f"--model_file={program}", "--topk=3", *map(str, images)]
        flags += [] if checked else ["--check_program=false"]
        if command == "lenet_classify":
            flags += [f"--format={suffix}", "--accelerator=plain"]
            done = run_program(*flags, program=root / "build" / command)
            assert done.returncode == 0, done.stderr
            text = done.stdout
        else:
            target = tmp_path / f"r.{suffix}"
            assert {"predict": predict, "py_infer": py_infer}[command](
                [*flags, f"--output={target}"]
            ) == 0
            text = target.read_text()
        assert agrees(predictions_of(text, suffix), outputs, kind)


def test_bulk_and_the_table(case, tmp_path, capsys):
    programs, images, batch, outputs, kind, checked = case
    best = expected(outputs, kind).max(axis=1)
    arguments = [f"--model_file={programs[0]}", *map(str, images)]
    arguments += [] if checked else ["--check_program=false"]
    assert predict(arguments) == 0
    assert f"{best[0]:.5f}"[:-1] in capsys.readouterr().out
    options = {} if checked else {"check_program": False, "accelerator": "plain"}
    value = "score" if kind == "unknown" else "probability"
    predictor = lenet_cpp.BatchPredictor(programs[0], outputs=["class_id", value], **options)
    np.testing.assert_allclose(predictor.columns(batch)[value], best, rtol=1e-4)
    if kind == "unknown":
        wrong = lenet_cpp.BatchPredictor(programs[0], outputs=["probability"])
        with pytest.raises(lenet_cpp.Unsupported, match="ask for 'score'"):
            wrong.columns(batch)
    table = tmp_path / "rows.csv"
    many = ["predict-many", *arguments, "--workers=1", f"--output={table}"]
    assert main(many) == 0
    rows = csv.DictReader(io.StringIO(table.read_text()))
    np.testing.assert_allclose([float(row[value]) for row in rows], best, rtol=1e-4)


@pytest.mark.parametrize(
    "case", [name for name, (_, _, checked) in NETWORKS.items() if checked], indirect=True
)
def test_the_server_gives_the_outputs_as_they_are(case, run_server, serve_program):
    """As the protocol has it, for logits too. The server loads checked models only."""
    programs, _, batch, outputs, *_ = case
    with run_server(serve_program, programs[0], "--port=0") as server:
        (ready,) = json.loads(server.ask("POST", "/v2/repository/index")[2])
        meta = json.loads(server.ask("GET", f"/v2/models/{ready['name']}")[2])
        tensor = {"name": meta["inputs"][0]["name"], "datatype": "FP32"}
        tensor |= {"shape": list(batch.shape), "data": batch.ravel().tolist()}
        output = {"name": meta["outputs"][0]["name"], "parameters": {"classification": 3}}
        asked = {"inputs": [tensor], "outputs": [output]}
        reply = server.ask("POST", f"/v2/models/{ready['name']}/infer", json.dumps(asked))
    texts = np.array(json.loads(reply[2])["outputs"][0]["data"]).reshape(3, 3)
    for found, row in zip(texts, outputs, strict=True):
        values, classes = zip(*(text.split(":")[:2] for text in found), strict=True)
        assert list(map(int, classes)) == np.argsort(-row)[:3].tolist()
        np.testing.assert_allclose(np.float32(values), np.sort(row)[::-1][:3], rtol=1e-4)


@pytest.fixture(params=["ArgMax", "TopK"])
def numbered(request, images, tmp_path):
    """An .onnx whose only output are class numbers, a batch for it, and the numbers by NumPy."""
    onnx = pytest.importorskip("onnx", reason="the model of this test is made with it")
    pytest.importorskip("onnxruntime", reason="which runs it")
    weights = np.random.default_rng(3).standard_normal((784, 10)).astype(np.float32)
    end, shape, count = {
        "ArgMax": ("y = ArgMax<axis=1, keepdims=0>(l)", "[N]", 1),
        "TopK": ("v, y = TopK<axis=1>(l, k)", "[N,3]", 3),
    }[request.param]
    nodes = f"f = Flatten(x) l = MatMul(f, w) {end}"
    graph = onnx.parser.parse_graph(f"g (float[N,1,28,28] x) => (int64{shape} y) {{ {nodes} }}")
    for name, values in (("w", weights), ("k", np.int64([3]))):
        graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    opset = [onnx.helper.make_opsetid("", 17)]
    model = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), model)
    digit().save(tmp_path / "preprocess.json")
    batch = digit().batch(images)
    return model, batch, np.argsort(-(batch.reshape(3, 784) @ weights), axis=1)[:, :count]


NAMES = [f"class {number}" for number in range(10)]


def test_class_numbers_alone(numbered, images, tmp_path, root, run_program, capsys):
    model, batch, best = numbered
    with lenet_cpp.Predictor(model) as predictor:
        assert predictor.output_role == "class_numbers"
        (found,) = predictor.run_outputs(batch).values()
        assert found.dtype == np.int64
        assert (found.reshape(best.shape) == best).all()
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(NAMES))
    flags = (f"--model_file={model}", f"--labels={labels}")
    program = root / "build" / "lenet_classify"
    for suffix in ("json", "csv"):
        target = tmp_path / f"r.{suffix}"
        assert predict([*flags, *map(str, images), f"--output={target}"]) == 0
        for text in (
            target.read_text(),
            run_program(*flags, f"--format={suffix}", *images, program=program).stdout,
        ):
            if suffix == "json":
                rows = [row for one in json.loads(text) for row in one["predictions"]]
                wanted = [(c, NAMES[c], None) for c in best.ravel().tolist()]
            else:
                rows = list(csv.DictReader(io.StringIO(text)))
                wanted = [(str(c), NAMES[c], "") for c in best.ravel().tolist()]
            assert [(row["class_id"], row["label"], row["score"]) for row in rows] == wanted
    capsys.readouterr()
    assert predict([*flags, str(images[0])]) == 0
    assert re.search(rf" {best[0, 0]} .* -\n", capsys.readouterr().out)


def test_class_numbers_in_bulk_and_served(numbered, run_server, serve_program):
    model, batch, best = numbered
    bulk = {"outputs": ["class_id", "label"], "labels": NAMES}
    columns = lenet_cpp.BatchPredictor(model, **bulk).columns(batch)
    assert columns["class_id"].tolist() == best[:, 0].tolist()
    assert columns["label"].tolist() == [NAMES[c] for c in best[:, 0]]
    with pytest.raises(lenet_cpp.Unsupported, match="ask for 'class_id' or 'label'"):
        lenet_cpp.BatchPredictor(model, outputs=["score"]).columns(batch)
    with run_server(serve_program, model, "--port=0") as server:
        tensor = {"name": "x", "shape": [3, 1, 28, 28], "datatype": "FP32"}
        asked = {"inputs": [tensor | {"data": batch.ravel().tolist()}]}
        status, _, reply = server.ask("POST", "/v2/models/model/infer", json.dumps(asked))
        assert status == 200
        assert json.loads(reply)["outputs"][0]["data"] == best.ravel().tolist()
        asked["outputs"] = [{"name": "y", "parameters": {"classification": 1}}]
        status, _, reply = server.ask("POST", "/v2/models/model/infer", json.dumps(asked))
        assert (status, b"has no score for each class" in reply) == (400, True)


class Pairs(paddle.nn.Layer):
    """Takes two images at a time."""

    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(paddle.reshape(x, [2, 4]))


def test_a_model_of_two_images_at_a_time_is_served(run_server, serve_program, tmp_path):
    """A request of another number is refused; the first run, which measures, is not one."""
    layer = Pairs()
    images = np.random.default_rng(1).random((2, 2, 2), np.float32)
    expected = layer(paddle.to_tensor(images)).numpy()
    program = both_formats(layer, (2, 2), tmp_path)[1]
    with run_server(serve_program, program, "--port=0") as server:
        for count, wanted in ((1, 400), (2, 200)):
            data = images[:count]
            tensor = {"name": "x", "shape": data.shape, "datatype": "FP32"}
            asked = {"inputs": [tensor | {"data": data.ravel().tolist()}]}
            reply = server.ask("POST", "/v2/models/pdmodel/infer", json.dumps(asked))
            assert reply[0] == wanted, reply[2]
            assert (b"a batch of 1 (" in reply[2]) == (wanted == 400)
        found = json.loads(reply[2])["outputs"][0]["data"]
        np.testing.assert_allclose(found, expected.ravel(), rtol=1e-5, atol=1e-6)


class Places(paddle.nn.Layer):
    """The two largest values and, in another output, their places."""

    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(4, 5)

    def forward(self, x):
        return paddle.topk(self.linear(paddle.flatten(x, 1)), 2)


def test_integers_beside_scores_are_served(run_server, serve_program, tmp_path):
    layer = Places()
    images = np.random.default_rng(1).random((3, 2, 2), np.float32)
    best, order = (one.numpy() for one in layer(paddle.to_tensor(images)))
    program = both_formats(layer, (2, 2), tmp_path)[1]
    with lenet_cpp.Predictor(program) as predictor:
        values, places = (spec.name for spec in predictor.output_specs)
    tensor = {"name": "x", "shape": images.shape, "datatype": "FP32"}
    asked = {"inputs": [tensor | {"data": images.ravel().tolist()}]}
    with run_server(serve_program, program, "--port=0") as server:
        for outputs in ([], [values, places]):
            body = asked | {"outputs": [{"name": name} for name in outputs]}
            reply = server.ask("POST", "/v2/models/pdmodel/infer", json.dumps(body))
            found = {one["name"]: one["data"] for one in json.loads(reply[2])["outputs"]}
            assert list(found) == [values, places]
            np.testing.assert_allclose(found[values], best.ravel(), rtol=1e-5, atol=1e-6)
            assert found[places] == order.ravel().tolist()


class Shares(paddle.nn.Layer):
    """What each image has of a batch's sum: of one image, everything."""

    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(4, 5)

    def forward(self, x):
        return nn.functional.softmax(self.linear(paddle.flatten(x, 1)), 0)


def test_requests_are_no_batch_of_a_model_that_joins_images(run_server, serve_program, tmp_path):
    program = both_formats(Shares(), (2, 2), tmp_path)[1]
    tensor = {"name": "x", "shape": [1, 2, 2], "datatype": "FP32", "data": [0.1, 0.2, 0.3, 0.4]}
    body = json.dumps({"inputs": [tensor]}).encode()
    with (
        run_server(serve_program, program, "--port=0", "--loop_us=0", "--workers=1") as server,
        ThreadPoolExecutor(16) as pool,
    ):
        ask = partial(server.ask, "POST", "/v2/models/pdmodel/infer", body)
        replies = [each.result() for each in [pool.submit(ask) for _ in range(200)]]
    found = [json.loads(reply[2])["outputs"][0]["data"] for reply in replies]
    assert all(each == [1, 1, 1, 1, 1] for each in found)


def test_the_description_is_of_the_classifier(run_server, serve_program, tmp_path):
    """Wherever it stands among the outputs; other outputs have no scores of classes."""
    networks = output_networks("json")
    image = np.load(networks / "images.npy")[:1].transpose(0, 3, 1, 2).astype("f4") / 255
    logits = np.load(networks / "features_first" / "truth.npz")["logits"][0]
    tensor = {"name": "x", "shape": [1, 3, 16, 16], "datatype": "FP32"}
    asked = {"inputs": [tensor | {"data": image.ravel().tolist()}]}
    with run_server(serve_program, networks / "features_first", "--port=0") as server:
        path = "/v2/models/features_first/infer"
        names = {}
        for name in ("fetch_name_0", "fetch_name_1"):
            wanted = [{"name": name, "parameters": {"classification": 1}}]
            status, _, reply = server.ask("POST", path, json.dumps(asked | {"outputs": wanted}))
            names[name] = status, json.loads(reply)
        status, reply = names["fetch_name_0"]
        assert reply["outputs"][0]["data"][0].count(":") == 1  # features have no names
        status, reply = names["fetch_name_1"]
        (text,) = reply["outputs"][0]["data"]
        value, number, label = text.split(":")
        assert (int(number), label) == (
            logits.argmax(),
            ["cat", "cow", "dog", "horse", "pig"][int(number)],
        )
        assert float(value) == pytest.approx(logits.max(), rel=1e-4)
    with run_server(serve_program, networks / "top_k", "--port=0") as server:
        status, _, reply = server.ask("POST", "/v2/models/top_k/infer", json.dumps(asked))
        values, numbers = json.loads(reply)["outputs"]
        assert (values["datatype"], numbers["datatype"]) == ("FP32", "INT64")
        assert numbers["data"] == np.argsort(-logits)[:3].tolist()
        wanted = [{"name": values["name"], "parameters": {"classification": 1}}]
        status, _, _ = server.ask(
            "POST", "/v2/models/top_k/infer", json.dumps(asked | {"outputs": wanted})
        )
        assert status == 400


def test_the_server_loads_no_model_with_other_names(serve_program, run_program, tmp_path):
    shutil.copytree(output_networks("json") / "features_first", made := tmp_path / "few")
    described = json.loads((made / "preprocess.json").read_text())
    described["labels"] = described["labels"][:3]
    (made / "preprocess.json").write_text(json.dumps(described))
    done = run_program(made, "--port=0", program=serve_program)
    assert done.returncode == 4
    assert "preprocess.json' names 3 classes, the model has 5" in done.stderr
