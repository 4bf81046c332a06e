"""Classes that an .onnx names itself: scikit-learn's models, and those of Custom Vision's form.

Against what scikit-learn itself says of the points, and NumPy.
"""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
from lenet_cpp.data.images import Normalize, Pipeline, ToCHW

onnx = pytest.importorskip("onnx", reason="models of these tests are made with it")
onnxruntime = pytest.importorskip("onnxruntime", reason="it runs the models of these tests")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - skipped without it

SKLEARN = Path(__file__).parents[1] / "data" / "onnx" / "sklearn"
EXPECTED = json.loads((SKLEARN / "expected.json").read_text())
POINTS = np.array(EXPECTED.pop("points"), np.float32)
NATIVE = ("mlp",)  # the native engine has kernels of its operators
TAGS = ["zebra", "a cat", "Éléphant"]  # in no order


def names_of(classes):
    """What a class is called: integers that are but the places in the row are no names."""
    return () if classes == list(range(len(classes))) else tuple(map(str, classes))


@pytest.mark.parametrize("engine", ["native", "onnxruntime", "auto"])
@pytest.mark.parametrize("name", EXPECTED)
def test_scikit_learns_zip_map(name, engine):
    expected = EXPECTED[name]
    probabilities = np.array(expected["probabilities"], np.float32)
    path = SKLEARN / f"{name}.onnx"
    if engine == "native" and name not in NATIVE:
        with pytest.raises(lenet_cpp.Unsupported, match="use engine onnxruntime instead of native"):
            lenet_cpp.Predictor(path, engine=engine)
        return
    with lenet_cpp.Predictor(path, engine=engine) as predictor:
        assert predictor.class_names == names_of(expected["classes"])
        spec = predictor.output_spec
        assert (spec.name, spec.dtype) == ("output_probability", "float32")
        assert spec.shape[1] == len(expected["classes"])
        for points in (POINTS, POINTS[:1]):
            found = predictor.run(points)
            np.testing.assert_allclose(found, probabilities[: len(points)], atol=1e-6)
        outputs = predictor.run_outputs(POINTS)
        assert (outputs.pop("output_probability") == predictor.run(POINTS)).all()
        if outputs:  # numbers of classes; names are left out
            assert outputs["output_label"].tolist() == expected["labels"]
    classifier = lenet_cpp.Classifier(path, engine=engine)
    assert classifier.labels == names_of(expected["classes"])
    results = classifier(POINTS)
    if classifier.labels:
        assert [result.label for result in results] == list(map(str, expected["labels"]))
    else:
        assert [result.predictions[0].class_id for result in results] == expected["labels"]


@pytest.mark.parametrize("name", ["logistic", "forest", "numbered"])
def test_scikit_learn_without_a_zip_map(name):
    expected = EXPECTED[name]
    with lenet_cpp.Predictor(SKLEARN / f"{name}_plain.onnx") as predictor:
        assert predictor.class_names == names_of(expected["classes"])
        np.testing.assert_allclose(predictor.run(POINTS), expected["probabilities"], atol=1e-6)


def tags_model(names=TAGS, outputs=3, **attributes):
    """A network of images that gives a text and a map of scores, as Custom Vision exports it."""
    random = np.random.default_rng(5)
    weights = {"w": random.standard_normal((4, 3, 3, 3)), "k": random.standard_normal((4, outputs))}
    tensors = [
        numpy_helper.from_array(each.astype("float32"), name) for name, each in weights.items()
    ]
    texts = [name.encode() for name in names]
    tensors.append(helper.make_tensor("tags", TensorProto.STRING, [len(texts)], texts))
    tensors.append(numpy_helper.from_array(np.array([-1, 1]), "column"))
    chosen = attributes or {"classlabels_strings": names}
    nodes = [
        helper.make_node("Conv", ["data", "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["m"]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("MatMul", ["f", "k"], ["l"]),
        helper.make_node("Softmax", ["l"], ["p"], axis=1),
        helper.make_node("ZipMap", ["p"], ["loss"], domain="ai.onnx.ml", **chosen),
        helper.make_node("ArgMax", ["p"], ["i"], axis=1, keepdims=0),
        helper.make_node("ArrayFeatureExtractor", ["tags", "i"], ["t"], domain="ai.onnx.ml"),
        helper.make_node("Reshape", ["t", "column"], ["classLabel"]),
    ]
    number = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    key = TensorProto.INT64 if "classlabels_int64s" in chosen else TensorProto.STRING
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(key, number))
    graph = helper.make_graph(
        nodes,
        "tags",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [
            helper.make_tensor_value_info("classLabel", TensorProto.STRING, ["N", 1]),
            helper.make_value_info("loss", maps),
        ],
        tensors,
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=7).SerializeToString()


def scores_of(images):
    """Compute the network by its definition."""
    random = np.random.default_rng(5)
    filters = random.standard_normal((4, 3, 3, 3))
    matrix = random.standard_normal((4, 3))
    windows = np.lib.stride_tricks.sliding_window_view(images.astype(float), (3, 3), axis=(2, 3))
    logits = np.einsum("nchwij,kcij->nkhw", windows, filters).mean((2, 3)) @ matrix
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    """The model file of a network whose last operator names classes, two pictures, and scores."""
    folder = tmp_path_factory.mktemp("tags")
    (folder / "model.onnx").write_bytes(tags_model())
    pipeline = Pipeline("RGB", [Normalize(1 / 255, [0.5] * 3, [0.5] * 3), ToCHW()])
    pipeline.save(folder / "preprocess.json")
    pixels = np.random.default_rng(1).integers(0, 100, (16, 16, 3)).astype(np.uint8)
    paths = []
    for name, shown in (("0.png", pixels), ("1.png", 255 - pixels)):  # with opposite logits
        Image.fromarray(shown).save(folder / name)
        paths.append(folder / name)
    scores = scores_of(pipeline.batch(paths))
    assert len({*scores.argmax(1)}) == 2
    return folder / "model.onnx", paths, scores


def agree(labels, values, scores):
    order = np.argsort(-scores, axis=1)
    assert labels == [[TAGS[place] for place in row] for row in order]
    np.testing.assert_allclose(values, -np.sort(-scores, axis=1), atol=1e-5)


@pytest.fixture(scope="module")
def library_variables():
    """The variables by which the C++ programs find the onnxruntime of the Python package."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    (library,) = folder.glob("libonnxruntime.so*")
    return {"LENET_ONNXRUNTIME_LIBRARY": str(library)}


BOTH_ENGINES = pytest.mark.parametrize("engine", ["native", "onnxruntime"])


@BOTH_ENGINES
def test_python_names_the_classes(tagged, engine):
    path, pictures, scores = tagged
    with lenet_cpp.Predictor(path, engine=engine) as predictor:
        assert predictor.output_role == "probabilities"
        assert predictor.class_names == tuple(TAGS)
        assert [spec.name for spec in predictor.output_specs] == ["loss"]
    results = lenet_cpp.Classifier(path, engine=engine)(pictures)
    agree(
        [[each.label for each in result.predictions] for result in results],
        [[each.probability for each in result.predictions] for result in results],
        scores,
    )


@BOTH_ENGINES
def test_lenet_classify_names_the_classes(tagged, engine, root, run_program, library_variables):
    path, pictures, scores = tagged
    done = run_program(
        f"--model_file={path}",
        f"--engine={engine}",
        "--format=csv",
        *map(str, pictures),
        program=root / "build" / "lenet_classify",
        env=library_variables,
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    images = [[row for row in rows if row["file"] == str(picture)] for picture in pictures]
    agree(
        [[row["label"] for row in image] for image in images],
        [[float(row["probability"]) for row in image] for image in images],
        scores,
    )


@BOTH_ENGINES
def test_the_server_names_the_classes(tagged, engine, run_server, serve_program, library_variables):
    path, pictures, scores = tagged
    images = Pipeline.load(path.with_name("preprocess.json")).batch(pictures)
    request = {
        "inputs": [
            {
                "name": "data",
                "datatype": "FP32",
                "shape": images.shape,
                "data": images.ravel().tolist(),
            }
        ],
        "outputs": [{"name": "loss", "parameters": {"classification": 3}}],
    }
    command = (serve_program, f"m={path}", "--port=0", f"--engine={engine}")
    with run_server(*command, env=library_variables) as server:
        status, _, reply = server.ask("POST", "/v2/models/m/infer", json.dumps(request))
        assert status == 200, reply
    texts = np.array(json.loads(reply)["outputs"][0]["data"]).reshape(2, 3)
    parts = [[text.split(":") for text in row] for row in texts]  # score:place:name
    agree(
        [[name for _score, _place, name in row] for row in parts],
        [[float(score) for score, _place, _name in row] for row in parts],
        scores,
    )


def test_labels_of_files_go_before_those_of_the_program(tagged, tmp_path):
    path, pictures, _ = tagged
    (tmp_path / "model.onnx").write_bytes(path.read_bytes())
    described = json.loads(path.with_name("preprocess.json").read_text())
    described["labels"] = ["x", "y", "z"]
    (tmp_path / "preprocess.json").write_text(json.dumps(described))
    classifier = lenet_cpp.Classifier(tmp_path)
    assert classifier.labels == ("x", "y", "z")
    assert classifier(pictures[0]).label in {"x", "y", "z"}
    given = lenet_cpp.Classifier(tmp_path, labels=["p", "q", "r"])
    assert given.labels == ("p", "q", "r")


@pytest.mark.parametrize("engine", ["native", "onnxruntime", "auto"])
def test_names_that_cannot_be(tmp_path, engine):
    """The file contradicts itself, or onnxruntime cannot tell two classes apart."""
    images = np.zeros((2, 3, 16, 16), np.float32)

    def load(**attributes):
        (tmp_path / "m.onnx").write_bytes(tags_model(**attributes))
        return lenet_cpp.Predictor(tmp_path / "m.onnx", engine=engine)

    for wrong in (b"caf\xe9", b"a\0b"):
        with pytest.raises(lenet_cpp.Unsupported, match="which is no name in UTF-8"):
            load(classlabels_strings=["a", "b", wrong])
    with pytest.raises(lenet_cpp.BadModel, match="names classes twice"):
        load(classlabels_strings=TAGS, classlabels_int64s=[1, 2, 3])
    for attributes in ({"classlabels_strings": TAGS[:2]}, {"classlabels_int64s": [4, 5]}):
        with pytest.raises(lenet_cpp.Error):  # onnxruntime finds it when it runs
            load(**attributes).run(images)
    twice = {"classlabels_strings": ["a", "b", "a"]}
    if engine == "onnxruntime":
        with pytest.raises(lenet_cpp.Unsupported, match="calls two classes 'a'"):
            load(**twice)
    else:
        assert load(**twice).run(images).shape == (2, 3)
    numbers = load(classlabels_int64s=[7, -2, 3])
    assert numbers.class_names == ("7", "-2", "3")
    np.testing.assert_allclose(numbers.run(images), scores_of(images), atol=1e-6)
    assert load(classlabels_int64s=[0, 1, 2]).class_names == ()
