"""A folder as a toolkit exports it, run by each face as it is: what each says beside NumPy.

The network is a mean, a product and an activation, and its pictures have the size that it takes,
so that NumPy computes it from the definition. ``nox -s paddleclas`` compares with the toolkits.
"""

import base64
import json

import numpy as np
import paddle
import pytest
from PIL import Image
from pyarrow import parquet

from lenet_cpp import Classifier
from lenet_cpp.cli import main
from pictures import random_pixels
from scripts.predict import predict

OPS = """PreProcess:
  transform_ops:
    - NormalizeImage: {scale: 1.0/255.0, mean: [0.5, 0.4, 0.3], std: [0.1, 0.2, 0.3], order: ''}
    - ToCHWImage: null
PostProcess:
"""
NAMES = ["tench", "no", "great white shark, man-eater", "90"]
TOPK = "  Topk: {topk: 2, label_list: [tench, 'no', 'great white shark, man-eater', 90]}\n"
MULTI = "  MultiLabelThreshOutput: {threshold: 0.5, class_id_map_file: ../x/names.txt}\n"
TABLE = "  main_indicator: TableAttribute\n  TableAttribute: {source_threshold: 0.6}\n"
CASES = {
    "topk": (TOPK, 4, paddle.nn.Softmax),
    "multi": (MULTI, 4, paddle.nn.Sigmoid),
    "table": (TABLE, 6, paddle.nn.Sigmoid),
}


def weights_of(count):
    return np.random.default_rng(count).normal(0, 0.5, (3, count)).astype(np.float32)


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """The folder, its pictures, and what the network gives for them, [pictures, outputs]."""
    post_process, count, activation = CASES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    layers = paddle.nn.Sequential(
        paddle.nn.AdaptiveAvgPool2D(1),
        paddle.nn.Flatten(),
        paddle.nn.Linear(3, count),
        activation(),
    )
    layers[2].weight.set_value(weights_of(count))
    layers.eval()
    spec = paddle.static.InputSpec([None, 3, 20, 24], "float32", name="x")
    paddle.jit.save(layers, str(folder / "inference"), input_spec=[spec])
    (folder / "inference.yml").write_text(OPS + post_process)
    (folder / "names.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(NAMES)))
    pictures = [folder / f"{number}.png" for number in range(3)]
    pixels = [random_pixels(20, 24, 3) // (number + 1) for number in range(3)]
    for path, values in zip(pictures, pixels, strict=True):
        Image.fromarray(values).save(path)
    means = np.stack(pixels).mean(axis=(1, 2), dtype=np.float64) / 255
    products = ((means - [0.5, 0.4, 0.3]) / [0.1, 0.2, 0.3]) @ weights_of(count)
    exponentials = np.exp(products)
    softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
    outputs = softmax if request.param == "topk" else 1 / (1 + np.exp(-products))
    return request.param, folder, pictures, outputs


class Beside(paddle.nn.Layer):
    """Classes, and the means of the channels in another output."""

    def __init__(self, classes):
        super().__init__()
        self.linear = paddle.nn.Linear(3, classes)

    def forward(self, x):
        means = x.mean([2, 3])
        return self.linear(means), means


def table_of(row):
    """TableAttribute's texts: with one threshold of its own, that of the source."""
    names = ("Photo Scanned", "Numerous Little", "Multicolor Black-and-White", "Blurry Clear")
    names += ("With-Obstacles Without-Obstacles", "Tilted Horizontal")
    above = row > [0.6, 0.5, 0.5, 0.5, 0.5, 0.5]
    texts = [name.split()[int(flag)] for name, flag in zip(names, above, strict=True)]
    return texts, above.astype(int).tolist()


def expected_of(kind, row):
    """The numbers of the classes, their names and scores; or the attributes."""
    if kind == "table":
        return table_of(row)
    best = np.argsort(-row)[:2] if kind == "topk" else np.flatnonzero(row >= 0.5)
    return best.tolist(), [NAMES[number] for number in best], row[best]


def check(kind, entry, row, number="class_id"):
    """Compare an entry of the JSON that the programs and the server write."""
    if kind == "table":
        assert (entry["attributes"], entry["output"]) == expected_of(kind, row)
        return
    numbers, names, scores = expected_of(kind, row)
    found = entry["predictions"]
    assert [one[number] for one in found] == numbers
    assert [one["label"] for one in found] == names
    assert np.abs([one["probability"] for one in found] - scores).max(initial=0) < 2e-5


def test_programs_agree_with_numpy(case, root, run_program, tmp_path):
    kind, folder, pictures, outputs = case
    program = root / "build" / "lenet_classify"
    done = run_program("--format=json", f"--model_dir={folder}", *pictures, program=program)
    assert done.returncode == 0, done.stderr
    for entry, row in zip(json.loads(done.stdout), outputs, strict=True):
        check(kind, entry, row)
    target = tmp_path / "found.json"
    assert predict([*map(str, pictures), "-d", str(folder), "--output", str(target)]) == 0
    assert json.loads(target.read_text()) == json.loads(done.stdout)


def test_the_classifier_agrees_with_numpy(case):
    """What has several labels or attributes is never answered as if it had one."""
    kind, folder, pictures, outputs = case
    with Classifier(folder, top=2) as classifier:
        results = classifier(pictures)
    for result, row in zip(results, outputs, strict=True):
        np.testing.assert_allclose(result.outputs, row, atol=2e-5)
        if kind == "table":
            assert list(result.attributes) == table_of(row)[0]
            assert (result.label, result.class_id, result.predictions) == (None, None, ())
            assert repr(result) == ", ".join(result.attributes)
            continue
        numbers, names, scores = expected_of(kind, row)
        found = result.predictions
        assert [(one.class_id, one.label) for one in found] == list(
            zip(numbers, names, strict=True)
        )
        assert np.abs([one.probability for one in found] - scores).max(initial=0) < 2e-5
        assert result.top(1)[0].class_id == row.argmax()
        if not numbers:
            assert (result.label, repr(result)) == (None, "nothing above the threshold")


def test_bulk_prediction_agrees_with_numpy(case, tmp_path):
    kind, folder, pictures, outputs = case
    target = tmp_path / "found.parquet"
    assert main(["predict-many", str(folder), *map(str, pictures), "-o", str(target)]) == 0
    for entry, row in zip(parquet.read_table(target).to_pylist(), outputs, strict=True):
        if kind == "table":
            texts, flags = expected_of(kind, row)
            assert (entry["labels"], entry["class_ids"]) == (texts, np.flatnonzero(flags).tolist())
            continue
        numbers, names, scores = expected_of(kind, row)
        if kind == "multi":
            assert (entry["class_ids"], entry["labels"]) == (numbers, names)
        else:
            assert (entry["class_id"], entry["label"]) == (numbers[0], names[0])
            assert abs(entry["probability"] - scores[0]) < 2e-5


def test_the_server_agrees_with_numpy(case, run_server, serve_program):
    kind, folder, pictures, outputs = case
    data = [base64.b64encode(path.read_bytes()).decode() for path in pictures]
    tensor = {"name": "x", "shape": [len(data)], "datatype": "BYTES", "data": data}
    with run_server(serve_program, f"m={folder}", "--port=0") as server:
        _, _, about = server.ask("GET", "/v2/models/m")
        name = json.loads(about)["outputs"][0]["name"]
        most = 2 if kind == "topk" else outputs.shape[1]
        wanted = {"name": name, "parameters": {"classification": most}}
        body = json.dumps({"inputs": [tensor], "outputs": [wanted]})
        status, _, reply = server.ask("POST", "/v2/models/m/infer", body)
        for path, row in zip(pictures, outputs, strict=True):
            answer = json.loads(server.ask("PUT", "/v2/models/m/infer", path.read_bytes())[2])
            check(kind, answer if kind == "table" else {"predictions": answer}, row, "class")
    assert status == 200, reply
    (output,) = json.loads(reply)["outputs"]
    assert output["shape"] == [len(data), most]
    for texts, row in zip(np.reshape(output["data"], (len(data), most)), outputs, strict=True):
        found = [text for text in texts if text]
        if kind == "table":
            assert found == expected_of(kind, row)[0]
            continue
        numbers, names, scores = expected_of(kind, row)
        parts = [text.split(":", 2) for text in found]
        assert [(int(number), label) for _, number, label in parts] == list(
            zip(numbers, names, strict=True)
        )
        assert np.abs([float(one[0]) for one in parts] - scores).max(initial=0) < 2e-5


def test_what_stands_over_the_description(case, root, run_program, tmp_path):
    _, folder, pictures, outputs = case
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"name {number}" for number in range(outputs.shape[1])))
    program = root / "build" / "lenet_classify"
    command = ["--format=json", f"--model_dir={folder}", pictures[0]]

    def run(*flags):
        done = run_program(*flags, *command, program=program)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)[0]

    best = int(outputs[0].argmax())
    (one,) = run("--topk=1", f"--labels={labels}")["predictions"]
    assert (one["class_id"], one["label"]) == (best, f"name {best}")
    strict = run("--threshold=0.999999")
    assert strict.get("predictions") == [] or strict["output"] == [0] * 6


def test_a_description_that_cannot_be_followed(case, root, run_program, run_server, serve_program):
    """The program refuses it by name; the server takes tensors, and says why it takes no images."""
    _, folder, pictures, _ = case
    description = folder / "inference.yml"
    text = description.read_text()
    description.write_text(text.replace("order: ''", "order: '', channel_num: 4"))
    try:
        program = root / "build" / "lenet_classify"
        done = run_program(f"--model_dir={folder}", pictures[0], program=program)
        assert (done.returncode, done.stdout) == (6, "")
        assert "inference.yml': NormalizeImage.channel_num 4" in done.stderr
        with run_server(serve_program, f"m={folder}", "--port=0") as server:
            image = pictures[0].read_bytes()
            status, _, reply = server.ask("POST", "/v2/models/m/infer", image)
            assert status == 400
            assert "channel_num 4" in json.loads(reply)["error"]
            zeros = {"name": "x", "shape": [1, 3, 20, 24], "datatype": "FP32", "data": [0] * 1440}
            body = json.dumps({"inputs": [zeros]})
            assert server.ask("POST", "/v2/models/m/infer", body)[0] == 200
    finally:
        description.write_text(text)


def test_the_server_names_classes_where_they_are_as_many(
    run_server, run_program, serve_program, tmp_path
):
    """Four names are none of two outputs, nor of an output beside the classifier's."""
    spec = paddle.static.InputSpec([None, 3, 20, 24], "float32", name="x")
    images = np.zeros((1, 3, 20, 24), np.float32)
    asked = {"inputs": [{"name": "x", "shape": images.shape, "datatype": "FP32"}]}
    asked["inputs"][0]["data"] = images.ravel().tolist()
    for classes in (4, 2):
        folder = tmp_path / str(classes)
        paddle.jit.save(Beside(classes), str(folder / "inference"), input_spec=[spec])
        (folder / "inference.yml").write_text(OPS + TOPK)
    done = run_program(folder, "--port=0", program=serve_program)
    assert done.returncode == 4
    assert "names 4 classes, the model has 2" in done.stderr
    with run_server(serve_program, f"m={tmp_path / '4'}", "--port=0") as server:
        about = json.loads(server.ask("GET", "/v2/models/m")[2])
        names = [one["name"] for one in about["outputs"]]
        for name in names:
            output = {"name": name, "parameters": {"classification": 2}}
            body = json.dumps(asked | {"outputs": [output]})
            status, _, reply = server.ask("POST", "/v2/models/m/infer", body)
            assert status == 200, reply
            named = [text.count(":") == 2 for text in json.loads(reply)["outputs"][0]["data"]]
            assert named == [name == names[0]] * 2
    # Nor of three features instead of four classes.
    options = ("--port=0", "--engine=native", "--output_name=features")
    with run_server(serve_program, f"m={tmp_path / '4'}", *options) as server:
        (about,) = json.loads(server.ask("GET", "/v2/models/m")[2])["outputs"]
        output = {"name": about["name"], "parameters": {"classification": 2}}
        status, _, body = server.ask(
            "POST", "/v2/models/m/infer", json.dumps(asked | {"outputs": [output]})
        )
        assert status == 200, body
        assert json.loads(body)["outputs"][0]["data"] == ["0:0", "0:1"]


@pytest.mark.parametrize("size", [(20, 20), (18, 24)])
def test_a_classifier_that_ultralytics_exported(size, root, run_program, tmp_path):
    """Its metadata has the names, and the size that pictures get, as Pillow computes it."""
    onnx = pytest.importorskip("onnx", reason="the file is made with it")
    height, width = size
    nodes = """m = GlobalAveragePool(x) f = Flatten(m) l = MatMul(f, w) y = Softmax(l)"""
    weights = onnx.numpy_helper.from_array(weights_of(3), "w")
    text = f"<ir_version: 8, opset_import: ['' : 17]> g (float[N,3,{height},{width}] x) => "
    graph = onnx.parser.parse_model(text.replace("'", '"') + "(float[N,3] y) {" + nodes + "}")
    graph.graph.initializer.append(weights)
    names = {0: "tench", 1: "great 'white' shark", 2: 'é "x" \\'}
    entries = {"task": "classify", "names": str(names), "imgsz": str([*size]), "stride": "1"}
    onnx.helper.set_model_props(graph, entries)
    onnx.save(graph, tmp_path / "yolo11n-cls.onnx")
    image = Image.fromarray(random_pixels(41, 60, 3))
    image.save(tmp_path / "photo.png")
    # torchvision's Resize of the short side, or of both, and its CenterCrop.
    scaled = (int(20 * 60 / 41), 20) if height == width else (width, height)
    small = image.resize(scaled, Image.Resampling.BILINEAR)
    left = round((small.width - width) / 2)
    means = np.asarray(small.crop((left, 0, left + width, height)), np.float64).mean((0, 1)) / 255
    exponentials = np.exp(means @ weights_of(3))
    row = exponentials / exponentials.sum()
    order = np.argsort(-row)
    result = Classifier(tmp_path / "yolo11n-cls.onnx")(tmp_path / "photo.png")
    assert [one.label for one in result.predictions] == [names[number] for number in order]
    assert np.abs([one.probability for one in result.predictions] - row[order]).max() < 2e-5
    model = f"--model_file={tmp_path / 'yolo11n-cls.onnx'}"
    program = root / "build" / "lenet_classify"
    done = run_program(model, "--format=json", tmp_path / "photo.png", program=program)
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(done.stdout)
    assert [one["label"] for one in entry["predictions"]] == [names[number] for number in order]
    assert np.abs([one["probability"] for one in entry["predictions"]] - row[order]).max() < 2e-5


@pytest.mark.parametrize(
    "changed",
    [
        {"task": "detect"},
        {"names": "{0: 'a', 2: 'b'}", "imgsz": "x"},
        {"names": "{0: open('x')}", "imgsz": "[0, 4]"},
        {"names": "{0: 'a'", "imgsz": "[4, 4, 4]"},
        {"names": "{0: 'a\\q'}", "imgsz": "-3"},
        {"names": "{0: 'a'} x", "imgsz": "4", "channels": "1"},
    ],
)
def test_metadata_of_another_form_say_nothing(changed):
    from lenet_cpp import _core

    entries = {"task": "classify", "names": "{0: 'a', 1: \"b\\u00e9\\x41\"}", "imgsz": "4"}
    preprocess, classes = _core.describe_metadata(entries)
    assert json.loads(preprocess)["steps"][0]["short_side"] == 4
    assert classes == ["a", "béA"]
    assert _core.describe_metadata({**entries, **changed}) == ("", [])
