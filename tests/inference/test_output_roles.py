"""What the outputs of a program mean, in C++, on the command line, in Python and in tables.

The classes are those of Paddle's own layers (output_networks.py), by NumPy.
"""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
from numpy_reference import softmax
from scripts.predict import predict
from shared_models import FORMATS, PLAIN_STEPS, output_networks

LABELS = ["cat", "cow", "dog", "horse", "pig"]
ROLES = {
    "top_k": ["probabilities", "indices"],
    "score_and_label": ["probabilities", "indices"],
    "label_and_score": ["probabilities", "indices"],
    "label": ["class_numbers"],
    "float_label": ["class_numbers"],
    "label_and_shares": ["probabilities", "class_numbers"],
    "marks": ["multi_hot"],
    "float_marks": ["multi_hot"],
    "features_first": ["features", "logits"],
    "heads": ["logits"] * 4,
    "places": ["logits"],
    "first_axis": ["probabilities"],
    "maximum": ["logits"],
    "pixels": ["unknown"],
}
NO_CLASSIFIER = ["maximum", "pixels"]
CLASSIFIERS = [name for name in ROLES if name not in NO_CLASSIFIER]


@pytest.fixture(scope="module", params=FORMATS)
def folder(request):
    return output_networks(request.param)


def images_of(folder):
    return sorted(folder.glob("*.png"))


def expected(folder, name, most=3):
    """Return the classes of each image with their values, best first; None where there are none."""
    truth = np.load(folder / name / "truth.npz")
    if name in {"heads", "places", "first_axis"}:
        shares = softmax(truth[name].reshape(-1, 5)).reshape(truth[name].shape)
        # The best class of each answer.
        return [[(int(row.argmax()), float(row.max())) for row in image] for image in shares]
    logits = truth["logits"]
    if name in {"marks", "float_marks"}:
        return [[(int(i), None) for i in np.flatnonzero(row > 0)] for row in logits]
    shares = softmax(logits)
    orders = [np.argsort(-row)[:most] for row in shares]
    found = [
        [(int(i), float(row[i])) for i in order] for order, row in zip(orders, shares, strict=True)
    ]
    if name in {"label", "float_label"}:
        return [[(image[0][0], None)] for image in found]
    return [image[:1] for image in found] if "score" in name else found


def agrees(found, expected):
    assert [[one[0] for one in image] for image in found] == [
        [one[0] for one in image] for image in expected
    ]
    values = [value for image in found for _, value in image]
    wanted = [value for image in expected for _, value in image]
    assert [value is None for value in values] == [value is None for value in wanted]
    values, wanted = ([each for each in all_ if each is not None] for all_ in (values, wanted))
    np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-6)
    return True


def topk_of(name):
    return 1 if name in {"heads", "places", "first_axis"} else 3


@pytest.mark.parametrize("name", ROLES)
def test_the_roles_of_the_outputs(folder, name):
    with lenet_cpp.Predictor(model_dir=folder / name) as predictor:
        assert [spec.role for spec in predictor.output_specs] == ROLES[name]
        assert predictor.output_role == ROLES[name][0]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_classifier_finds_the_classes(folder, name):
    with lenet_cpp.Classifier(folder / name, top=topk_of(name)) as classifier:
        results = classifier(list(images_of(folder)))
    found = [[(one.class_id, one.probability) for one in result.predictions] for result in results]
    assert agrees(found, expected(folder, name))
    for result in results:
        assert all(one.label == LABELS[one.class_id] for one in result.predictions)
        several = len(result.predictions) > 1 and name in {"heads", "places", "first_axis"}
        assert [one.head is not None for one in result.predictions] == (
            [several] * len(result.predictions)
        )
        assert (result.features is not None) == (name == "features_first")
    if name == "features_first":
        truth = np.load(folder / name / "truth.npz")["features"]
        np.testing.assert_allclose([each.features for each in results], truth, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("command", ["predict", "lenet_classify"])
def test_the_commands_print_the_same(folder, name, command, run_program, root, capsys):
    flags = [f"--model_dir={folder / name}", f"--topk={topk_of(name)}"]
    flags += map(str, images_of(folder))
    if command == "predict":
        assert predict([*flags, "--json"]) == 0
        text = capsys.readouterr().out
    else:
        program = root / "build" / "lenet_classify"
        text = run_program(*flags, "--format=json", program=program).stdout
    found = [
        [(one["class_id"], one.get("probability")) for one in image["predictions"]]
        for image in json.loads(text)
    ]
    assert agrees(found, expected(folder, name))


def test_a_csv_has_a_column_for_heads_only_where_there_are_some(folder, run_program, root):
    program = root / "build" / "lenet_classify"
    for name, has_heads in (("heads", True), ("top_k", False)):
        flags = [f"--model_dir={folder / name}", "--topk=1", "--format=csv"]
        text = run_program(*flags, str(images_of(folder)[0]), program=program).stdout
        rows = list(csv.DictReader(io.StringIO(text)))
        assert ("head" in rows[0]) == has_heads
        assert len(rows) == (4 if has_heads else 1)


@pytest.mark.parametrize("name", NO_CLASSIFIER)
def test_what_tells_no_classes_is_refused(folder, name, run_program, root):
    with pytest.raises(lenet_cpp.Unsupported, match="is no classifier"):
        lenet_cpp.Classifier(folder / name)
    program, image = root / "build" / "lenet_classify", str(images_of(folder)[0])
    flags = [f"--model_dir={folder / name}", image]
    assert "is no classifier" in run_program(*flags, program=program).stderr


@pytest.mark.parametrize("name", ["top_k", "label", "label_and_shares", "marks", "features_first"])
def test_tables_have_the_classes(folder, name):
    paths = [str(path) for path in images_of(folder)]
    outputs = ["class_id", "class_ids", "label"]
    predictor = lenet_cpp.BatchPredictor(model_dir=folder / name, outputs=outputs)
    table = predictor.columns(paths)
    wanted = expected(folder, name)
    firsts = [image[0][0] if image else -1 for image in wanted]
    if name == "marks":
        assert [[*ids] for ids in table["class_ids"]] == [[i for i, _ in each] for each in wanted]
    else:
        assert table["class_id"].tolist() == firsts
        assert table["label"].tolist() == [LABELS[i] for i in firsts]


@pytest.mark.parametrize("name", ["heads", "places"])
def test_a_table_has_no_place_for_several_answers(folder, name):
    predictor = lenet_cpp.BatchPredictor(model_dir=folder / name, outputs=["class_id"])
    with pytest.raises(lenet_cpp.Unsupported, match="several answers"):
        predictor.columns([str(images_of(folder)[0])])


def test_names_are_as_many_as_classes_or_an_error(folder, tmp_path, run_program, root):
    """One rule in C++, in Python and on the command line (the server: test_kserve.py)."""
    for name in ("features_first", "top_k", "label"):
        made = tmp_path / name
        made.mkdir()
        for path in (folder / name).iterdir():
            (made / path.name).write_bytes(path.read_bytes())
        description = json.loads((made / "preprocess.json").read_text())
        description["labels"] = LABELS[:3]
        (made / "preprocess.json").write_text(json.dumps(description))
        message = "preprocess.json' names 3 classes, the model has 5"
        flags = [f"--model_dir={made}", str(images_of(folder)[0])]
        program = root / "build" / "lenet_classify"
        assert message in run_program(*flags, program=program).stderr
        with pytest.raises(lenet_cpp.BadModel, match=message):
            lenet_cpp.Classifier(made)


def test_the_note_says_which_output_was_taken(tmp_path, run_program, root):
    """Two classifiers at different depths, as GoogLeNet has: the first one is the main output."""
    onnx = pytest.importorskip("onnx")
    nodes = (
        "g = GlobalAveragePool(x) f = Flatten(g) a = MatMul(f, w)"
        " r = Relu(x) h = GlobalAveragePool(r) k = Flatten(h) b = MatMul(k, v)"
    )
    weights = {
        name: np.random.default_rng(seed).standard_normal((3, 4)).astype("f4")
        for seed, name in enumerate("wv")
    }
    text = f"""<ir_version: 8, opset_import: ["" : 13]>
        g (float[N,3,8,8] x) => (float[N,4] a, float[N,4] b) {{ {nodes} }}"""
    made = onnx.parser.parse_model(text)
    for name, values in weights.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    path = tmp_path / "m.onnx"
    onnx.save(made, path)
    (tmp_path / "preprocess.json").write_text(
        json.dumps({"format_version": 1, "mode": "RGB", "steps": PLAIN_STEPS})
    )
    pixels = np.random.default_rng(5).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(image := tmp_path / "i.png")
    means = pixels.astype("f4").mean((0, 1)) / 255
    program = root / "build" / "lenet_classify"
    common = [f"--model_file={path}", str(image), "--topk=1", "--format=json"]
    for name, values, flags in (("a", "w", []), ("b", "v", ["--output_name=b"])):
        ran = run_program(*common, *flags, program=program)
        (found,) = json.loads(ran.stdout)[0]["predictions"]
        assert found["class_id"] == int((means @ weights[values]).argmax())
        assert ("of the output 'a', the first of 'a', 'b'" in ran.stderr) == (name == "a")
    with pytest.warns(UserWarning, match="output_name chooses another"):
        lenet_cpp.Classifier(path)
    assert lenet_cpp.Classifier(path, output_name="b")(pixels).class_id == int(
        (means @ weights["v"]).argmax()
    )
