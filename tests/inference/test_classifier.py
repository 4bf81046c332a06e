"""Classifier: every kind of argument, what comes back, and what it says of a bad one.

Logits are compared with LeNet in NumPy, written from the definition, and pictures with Pillow.
"""

import copy
import io
import json
import pickle
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import get_type_hints

import numpy as np
import pytest
import torch
from onnx import helper, parser
from PIL import Image

import lenet_cpp
import numpy_reference
from digit_photos import photo
from lenet_cpp import (
    BadInput,
    BadModel,
    BatchPredictor,
    Classifier,
    FileNotFound,
    InferenceEngine,
    Result,
    Unsupported,
    images,
)
from lenet_cpp.cli import main
from lenet_cpp.paddle_engines import classification
from predictor_cases import close, in_child


@pytest.fixture(scope="module")
def classifier():
    with Classifier() as made:
        yield made


@pytest.fixture(scope="module")
def picture(mnist_test):
    """A grey Pillow image of a 7 on paper."""
    number = mnist_test.labels.tolist().index(7)
    return photo(mnist_test.images[number], "paper", 0)


@pytest.fixture
def folder(tmp_path, mnist_test):
    """Photos 0.png to 4.png, and a file that is none."""
    for number in range(5):
        photo(mnist_test.images[number], "paper", number).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.md").write_text("no image")
    return tmp_path


def as_model(text):
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(parser.parse_graph(text), ir_version=8, opset_imports=opsets)


def means(node="MatMul(b, w)", outputs="float[N,3] y", height=8, width=8):
    """An .onnx of a colour picture: the means of its channels, and an operator after these."""
    return as_model(
        f"g (float[N,3,{height},{width}] x) => ({outputs})"
        " <float[3,3] w = {1,0,0,0,1,0,0,0,1}>"
        f" {{ a = GlobalAveragePool(x) b = Flatten(a) c = MatMul(b, w) y = {node} }}"
    )


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Files of the means, one of them with the names of classes and a preprocessing."""
    scale = images.Normalize(1 / 255, (0.0,) * 3, (1.0,) * 3)
    steps = (images.Resize(8), images.CenterCrop((8, 8)), scale, images.ToCHW())
    pipeline = images.Pipeline("RGB", steps)
    bare, described = (tmp_path_factory.mktemp("onnx") / f"{name}.onnx" for name in "ab")
    model = means()
    bare.write_bytes(model.SerializeToString())
    known = {"classes": ["red", "green", "blue"], "preprocess": pipeline.to_dict()}
    for key, value in known.items():
        model.metadata_props.add(key=f"lenet_cpp.{key}", value=json.dumps(value))
    described.write_bytes(model.SerializeToString())
    return SimpleNamespace(bare=bare, described=described, pipeline=pipeline)


def one(classifier, image):
    result = classifier(image)
    assert not isinstance(result, list)
    return result


def test_logits_are_those_of_numpy(classifier, model_dir, mnist_test):
    x = mnist_test.images[:40]
    expected = numpy_reference.lenet(model_dir / "lenet.pdiparams", x / 255)
    for given in (x, x[:, None], (x / 255).astype("f4"), (x / 255)[:, None], list(x)):
        results = classifier(given)
        assert close(np.stack([result.logits for result in results]), expected.astype("f4"))
        shares = numpy_reference.softmax(expected)
        assert np.abs(np.stack([result.probabilities for result in results]) - shares).max() < 1e-5
        assert [result.class_id for result in results] == expected.argmax(axis=1).tolist()
        assert [result.label for result in results] == [str(n) for n in expected.argmax(axis=1)]
    (best, second) = results[0].top(2)
    assert (best.class_id, second.class_id) == tuple(np.argsort(-expected[0])[:2])
    assert results[0].probability == best.probability == results[0].probabilities.max()
    assert len(results[0].predictions) == 5
    assert len(results[0].top(99)) == 10


class Bare:
    """An array with the two methods of DLPack and nothing else."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


def test_one_picture_in_every_form(classifier, picture, tmp_path):
    path = tmp_path / "seven.png"
    picture.save(path)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by a quarter
    turned = tmp_path / "turned.png"
    picture.transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    grey = np.asarray(picture)
    rgb = np.asarray(picture.convert("RGB"))
    chw = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    expected = one(classifier, picture).logits
    content = path.read_bytes()
    for source in (
        path,
        str(path),
        turned,
        content,
        bytearray(content),
        grey,
        grey[..., None],
        rgb,
        chw,
        chw[:1],
        rgb[:, ::-1][:, ::-1],
        torch.from_numpy(chw),
        Bare(rgb.copy()),
    ):
        result = one(classifier, source)
        np.testing.assert_allclose(result.logits, expected, atol=1e-5)
        assert result.source is source or hasattr(source, "__dlpack__")
    tensor = images.digit()(path)
    for array in (tensor, tensor[0], torch.from_numpy(tensor), Bare(tensor), tensor.tolist()):
        np.testing.assert_allclose(one(classifier, array).logits, expected, atol=1e-5)


def test_what_gives_a_list(classifier, folder, mnist_test):
    names = [str(label) for label in mnist_test.labels[:5]]
    paths = [folder / f"{number}.png" for number in range(5)]
    (folder / "list.txt").write_text("".join(f"{path.name}\n" for path in paths))
    opened = [Image.open(path) for path in paths]
    for several in (
        folder,
        str(folder),
        f"{folder}/*.png",
        folder / "list.txt",
        paths,
        tuple(paths),
        opened,
        [np.asarray(image) for image in opened],
        iter(paths),
        [folder],
        [*opened * 20][:5],
    ):
        results = classifier(several)
        assert isinstance(results, list)
        assert [result.label for result in results] == names
    assert [result.source for result in classifier(folder)] == paths
    assert [result.label for result in classifier([paths[0]])] == names[:1]
    assert len(classifier([paths[0], mnist_test.images[:3], folder])) == 1 + 3 + 5
    for nothing in ([], (), mnist_test.images[:0], np.zeros((0, 28, 28)), iter([])):
        assert classifier(nothing) == []


def test_uint8_colour_is_red_first(colours):
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    with Classifier(colours.described) as classifier:
        for source in (red, red.transpose(2, 0, 1), Image.fromarray(red)):
            assert one(classifier, source).label == "red"
        assert one(classifier, red[..., ::-1]).label == "blue"
        assert [each.label for each in classifier(np.stack([red, red[..., ::-1]]))] == [
            "red",
            "blue",
        ]
        # Floats are not prepared: 255 stays 255.
        assert one(classifier, np.float32(red).transpose(2, 0, 1)).logits[0] == 255
        large = np.full((40, 60, 3), 51, np.uint8)
        np.testing.assert_allclose(one(classifier, large).logits, 0.2, rtol=1e-6)
        assert one(classifier, large[..., 0]).class_id == 0  # grey


def test_what_is_known_of_a_model(colours, model_dir, tmp_path, picture):
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    content = colours.described.read_bytes()
    for model in (colours.described, str(colours.described), (content, b""), content):
        with Classifier(model) as classifier:
            assert one(classifier, red).label == "red"
            assert classifier.labels == ("red", "green", "blue")
    with Classifier(colours.bare) as classifier:
        with pytest.warns(UserWarning, match="prepared as for ImageNet"):
            classifier(red)
        for source in (red, Image.fromarray(red), np.asarray(red)[None]):
            classifier(source)  # which says it no more
        result = one(classifier, np.zeros((3, 8, 8), np.float32))
        assert (result.class_id, result.label) == (0, None)
    bare = Classifier(colours.bare, preprocess=colours.pipeline, labels=["r", "g", "b"])
    assert one(bare, red).label == "r"
    names = tmp_path / "names.txt"
    names.write_text("0 rot\n1 grün\n2 blau\n", encoding="utf-8")
    for path in (names, str(names)):
        named = Classifier(colours.bare, preprocess=colours.pipeline, labels=path)
        assert named.labels == ("rot", "grün", "blau")
    files = [(model_dir / name).read_bytes() for name in ("lenet.pdmodel", "lenet.pdiparams")]
    for model in (
        model_dir,
        model_dir / "lenet.pdmodel",
        model_dir / "lenet.json",
        model_dir / "lenet",
    ):
        assert one(Classifier(model), picture).label == "7"
    carried = Classifier(tuple(files), preprocess=model_dir / "preprocess.json")
    assert one(carried, picture).class_id == 7
    shutil.copytree(model_dir, tmp_path / "damaged")
    (tmp_path / "damaged" / "SHA256SUMS").unlink()
    (tmp_path / "damaged" / "manifest.json").write_text("{")
    with pytest.raises(BadModel, match="manifest"):
        Classifier(tmp_path / "damaged")


def test_logits_only_where_the_model_gives_them():
    for last, known in {"Softmax": True, "Sigmoid": True, "Tanh": False}.items():
        classifier = Classifier(means(f"{last}(c)").SerializeToString())
        result = one(classifier, np.ones((3, 8, 8), np.float32))
        assert result.logits is None
        assert (result.probabilities is not None) == (result.probability is not None) == known
        assert result.outputs.shape == (3,)
        assert ("score" in repr(result)) != known


def test_class_numbers_alone_and_no_classes():
    x = np.zeros((2, 3, 8, 8), np.float32)
    x[0, 1] = x[1, 2] = 1
    numbers = means(outputs="int64[N] y", node="ArgMax<axis=1, keepdims=0>(b)")
    with Classifier(numbers.SerializeToString(), labels=["r", "g", "b"]) as classifier:
        results = classifier(x)
        assert [result.label for result in results] == ["g", "b"]
        assert [repr(result) for result in results] == ["g", "b"]
        assert results[0].probabilities is None
        assert results[0].probability is None
        assert results[0].logits is None
    pixels = means(outputs="float[N,3,8,8] y", node="Relu(x)")
    with pytest.raises(Unsupported, match="no classifier"):
        Classifier(pixels.SerializeToString())(x)


def test_pictures_of_several_sizes(colours):
    """Of a model for any size they come back in their order."""
    steps = colours.pipeline.steps[2:]
    pictures = [np.zeros((*size, 3), np.uint8) for size in ((8, 9), (20, 30), (8, 9), (5, 5))]
    for number, picture in enumerate(pictures):
        picture[..., number % 3] = 255
    model = means(height="H", width="W").SerializeToString()
    with Classifier(model, preprocess=images.Pipeline("RGB", steps)) as classifier:
        assert [result.class_id for result in classifier(pictures)] == [0, 1, 2, 0]
    text = "g (float[N,1,H,W] x) => (float[N,1] y) { a = GlobalAveragePool(x) y = Flatten(a) }"
    with Classifier(as_model(text).SerializeToString()) as grey:
        assert len(grey(np.zeros((20, 30, 5)))) == len(grey(np.zeros((20, 1, 30, 3)))) == 20
        one(grey, np.zeros((1, 30, 4)))
        for floats in (np.zeros((20, 30, 3)), np.zeros((20, 30, 1))):  # none of 20 images
            with pytest.raises(BadInput, match="as uint8 pixels"):
                grey(floats)
    fixed = Classifier(colours.bare, preprocess=images.Pipeline("RGB", steps))
    with pytest.raises(BadInput, match=r"takes images of \[3, 8, 8\].* gives \[3, 20, 30\]"):
        fixed(pictures[1])


BAD = {
    "no file": ("gone.png", FileNotFound, r"gone\.png does not exist"),
    "no match": ("*.none", FileNotFound, "no image that matches"),
    "nothing": (None, BadInput, "got None$"),
    "a number": (5, BadInput, "got int"),
    "a list in a list": (["0.png", [1.0]], BadInput, "got list"),
    "a lost one in a list": (["0.png", "gone.png"], FileNotFound, r"gone\.png"),
    "no bytes": (b"", BadInput, "empty"),
    "floats of a picture": (np.zeros((50, 40)), BadInput, "float64 of shape .*: convert it"),
    "integers": (np.zeros((28, 28), int), BadInput, r"int64 .*values\.astype\('uint8'\), if 255"),
    "integers of a colour picture": (np.zeros((3, 50, 40), int), BadInput, r"\.astype\('uint8'\)"),
    "floats, channels first": (np.zeros((3, 50, 40)), BadInput, r"\(values \* 255\)\.astype"),
    "digits in rows": (np.zeros((2, 784)), BadInput, r"with \.reshape\(-1, 1, 28, 28\)"),
    "a URL": ("https://example.org/7.png", FileNotFound, "it is a URL: download it first"),
    "a home": ("~/none/7.png", FileNotFound, "only a shell replaces '~'"),
    "NaN": (np.full((28, 28), np.nan), BadInput, "NaN"),
    "five pictures in a row": (np.zeros((5, 50, 40), np.uint8), BadInput, r"got \[5, 50, 40\]"),
    "one row": (np.zeros(784, np.uint8), BadInput, "an array of pixels"),
    "a mask": (np.ma.masked_array(np.zeros((28, 28))), BadInput, "masked"),
    "a file that is open": (io.BytesIO(b"x"), BadInput, "got BytesIO"),
    "a mapping": ({"0.png": 0}, BadInput, "got dict"),
    "no name": ("", BadInput, "the name of an image is empty"),
    "no height": (np.zeros((8, 0), np.uint8), BadInput, "0"),
    "gradients": (torch.zeros(28, 28, requires_grad=True), BadInput, "grad"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_images(kind, classifier, folder, monkeypatch):
    monkeypatch.chdir(folder)
    image, error, message = BAD[kind]
    with pytest.raises(error, match=message):
        classifier(image)
    with pytest.raises(error, match=message):
        list(classifier.stream(image))
    assert one(classifier, "0.png").label == "0"


def test_a_folder_without_images_and_a_bad_file_in_one(classifier, folder):
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFound, match="empty: no image in this folder"):
        classifier(folder / "empty")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:90])
    with pytest.raises(BadInput, match=r"3\.png is a damaged PNG: it is cut short"):
        classifier(folder)
    coming, found = classifier.stream(folder, batch_size=4), []
    with pytest.raises(BadInput, match=r"3\.png"):
        found.extend(coming)
    assert [result.source.name for result in found] == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"top": 0}, BadInput, "top is 0"),
        ({"top": 2.5}, BadInput, "top is 2.5"),
        ({"labels": ["a", "b"]}, BadInput, "2 labels for 10 classes"),
        ({"labels": "0123456789"}, FileNotFound, "0123456789"),
        ({"labels": "names\0.txt"}, BadInput, "is no path"),
        ({"labels": "\ud800"}, BadInput, "is no path"),
        ({"labels": range(10)}, BadInput, "list of names"),
        ({"labels": dict.fromkeys("0123456789")}, BadInput, "list of names"),
        ({"labels": set("0123456789")}, BadInput, "list of names"),
        ({"labels": [*"012345678", "\ud800"]}, BadInput, "list of names"),
        ({"labels": 5}, BadInput, "list of names"),
        ({"labels": np.arange(10)}, BadInput, "list of names"),
        ({"model": (b"a", b"b", b"c")}, BadInput, "the bytes of two files, got 3"),
        ({"model": ()}, BadInput, "the bytes of two files, got 0"),
        ({"preprocess": "none.json"}, FileNotFound, "none.json"),
        ({"threads": 0}, BadInput, "threads"),
        ({"model": "nowhere"}, FileNotFound, "nowhere"),
        ({"model": "none.onnx"}, FileNotFound, r"none\.onnx"),
        ({"model": 5}, BadInput, "got int"),
        ({"model": {}}, BadInput, "got dict"),
        ({"model": None}, BadInput, "the model is None: name one, or leave it out"),
        ({"model": "https://example.org/m.onnx"}, FileNotFound, "it is a URL: download it first"),
        ({"model": "~/none.onnx"}, FileNotFound, "only a shell replaces '~'"),
        ({"model": ("program", "params")}, BadInput, "got str"),
        ({"model": b"junk"}, BadModel, "program in memory"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Classifier(**arguments)


def test_stream_reads_ahead_and_no_further(classifier, picture):
    taken = []

    def endless():
        while True:
            taken.append(picture)
            yield picture

    coming = classifier.stream(endless(), batch_size=3)
    assert taken == []
    assert [next(coming).label for _ in range(4)] == ["7"] * 4
    assert 6 <= len(taken) <= 12
    coming.close()
    for wrong in (0, -1, 1.5, None):
        with pytest.raises(BadInput, match="batch_size"):
            classifier.stream([], batch_size=wrong)


def test_a_stream_of_one_buffer(classifier, mnist_test):
    """As cameras and loaders give them: the next image comes in the same memory."""
    given = (mnist_test.images[:40] / 255).astype(np.float32)

    def buffered():
        buffer = np.empty((28, 28), np.float32)
        for image in given:
            buffer[...] = image
            yield buffer

    found = [result.logits for result in classifier.stream(buffered(), batch_size=16)]
    assert np.array_equal(found, lenet_cpp.predict(given))


@pytest.mark.parametrize("end", [RuntimeError("camera"), "gone.png", 5, np.zeros((3, 3))])
def test_what_comes_before_the_end_of_an_iterable_is_answered(classifier, picture, end):
    def coming():
        yield from [picture] * 3
        if isinstance(end, Exception):
            raise end
        yield end

    found = []
    with pytest.raises((RuntimeError, FileNotFound, BadInput)):
        found.extend(classifier.stream(coming(), batch_size=2))
    assert [result.label for result in found] == ["7"] * 3


def test_an_engine_closed_while_it_prepares_its_run(digits, monkeypatch):
    engine = InferenceEngine().load_predictor()
    monkeypatch.setattr(classification, "as_own", lambda x, *_: (engine.close(), x)[1])
    with pytest.raises(BadInput, match="no model is loaded"):
        engine.run(digits)


def test_progress_when_asked(classifier, folder, capsys):
    assert len(list(classifier.stream(folder, batch_size=2))) == 5
    assert capsys.readouterr().err == ""
    assert len(list(classifier.stream(folder, batch_size=2, progress=True))) == 5
    assert "5/5" in capsys.readouterr().err


def test_shared_by_threads(mnist_test):
    with Classifier() as classifier:
        expected = [result.logits for result in classifier(mnist_test.images[:32])]
        start = threading.Barrier(4)

        def run(number):
            if number < 4:
                start.wait()
            return classifier(mnist_test.images[number]).logits

        with ThreadPoolExecutor(4) as pool:
            for found, logits in zip(pool.map(run, range(32)), expected, strict=True):
                np.testing.assert_array_equal(found, logits)


FORKED = """
import os, sys
import numpy as np
from lenet_cpp import Classifier
classifier = Classifier(threads=2)
x = np.zeros((300, 28, 28), np.float32)
expected = [r.class_id for r in classifier(x)]
child = os.fork()
if child == 0:
    os._exit(0 if [r.class_id for r in classifier(x)] == expected else 1)
assert os.waitpid(child, 0)[1] == 0
"""


def test_used_in_a_forked_child(tmp_path):
    in_child(FORKED, cwd=tmp_path)


def test_annotations_can_be_resolved():
    functions = [Classifier.__init__, Classifier.__call__, Classifier.stream, Classifier.close]
    functions += [Classifier.labels.fget, Result, Result.top, Result.probability.fget]
    for each in functions:
        assert get_type_hints(each)


def test_a_classifier_stays_in_its_process(classifier):
    for copied in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="BatchPredictor"):
            copied(classifier)


def test_closing(picture):
    classifier = Classifier()
    with classifier as same:
        assert same is classifier
        pending = classifier.stream([picture] * 3, batch_size=1)
        next(pending)
    for use in (
        lambda: classifier(picture),
        lambda: classifier.stream([]),
        lambda: next(pending),
        classifier.__enter__,
    ):
        with pytest.raises(BadInput, match="closed"):
            use()
    classifier.close()


def test_a_result_in_one_line_and_in_a_notebook(classifier, picture, tmp_path):
    result = one(classifier, picture)
    assert re.fullmatch(r"7 \(\d+\.\d %\)(, \d \(\d+\.\d %\))*", repr(result))
    html = result._repr_html_()
    assert html.startswith('<img src="data:image/png;base64,')
    assert html.count("<tr>") == 5
    hostile = ["<script>alert(1)</script>\n", *"123456789"]
    path = tmp_path / "<b>&.png"
    picture.save(path)
    with Classifier(labels=hostile[1:6] + hostile[:1] * 3 + hostile[6:8], top=10) as other:
        found = one(other, path)
    assert "\n" not in repr(found)
    html = found._repr_html_()
    assert "<script" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;" in html
    assert "&lt;b&gt;&amp;.png" in html
    path.unlink()
    assert found._repr_html_().startswith("<table>")
    assert one(classifier, np.zeros((28, 28)))._repr_html_().startswith("<table>")
    again = pickle.loads(pickle.dumps(found))
    assert (again.label, again.top(1)) == (found.label, found.top(1))


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"topk": 3}, r"unknown option 'topk'; did you mean 'top'\?"),
        ({"top_k": 3}, r"unknown option 'top_k'; did you mean 'top'\?"),
        ({"num_threads": 2}, r"unknown option 'num_threads'; did you mean 'threads'\?"),
        ({"batch": 1}, "unknown option 'batch'; choose among labels, engine, threads, top, "),
    ],
)
def test_an_unknown_option_gets_the_name_that_was_meant(option, said):
    with pytest.raises(BadInput, match=said):
        Classifier(**option)


def test_each_class_says_what_it_is_in_one_line(model_dir):
    with InferenceEngine() as engine:
        assert repr(engine) == "<InferenceEngine auto of nothing yet>"
        engine.load_predictor(model_dir=model_dir)
        shown = [repr(one) for one in (Classifier(), engine, BatchPredictor(model_dir=model_dir))]
    for line, name in zip(shown, ("Classifier", "InferenceEngine", "BatchPredictor"), strict=True):
        assert line.startswith(f"<{name} ")
        assert "lenet" in line
        assert "\n" not in line


FAR_BEYOND_WHITE = pytest.mark.filterwarnings("ignore:.*a white pixel becomes -3e")


@pytest.fixture
def overflowing(tmp_path):
    """An .onnx whose description makes numbers of pixels that it cannot add up.

    The means of the channels are -infinity, of which the product with 0 is NaN.
    """
    (tmp_path / "overflowing").mkdir()
    path = tmp_path / "overflowing" / "model.onnx"
    path.write_bytes(means().SerializeToString())
    steps = images.Normalize(1 / 255, (3e38,) * 3, (1.0,) * 3), images.ToCHW()
    pipeline = images.Pipeline("RGB", (images.Resize(size=(8, 8)), *steps))
    pipeline.save(path.with_name("preprocess.json"))
    return path


@FAR_BEYOND_WHITE
def test_no_class_is_made_of_nan(overflowing, folder):
    """The error names the picture and the layer; a run alone gives what there is."""
    problem = "the model gives no class: output 0 of 3 is NaN; the first NaN is of MatMul 'y';"
    for engine, words in (("native", problem), ("onnxruntime", problem.partition("; the")[0])):
        with Classifier(overflowing, engine=engine) as classifier:
            for given in (folder / "0.png", [folder / "0.png", folder / "1.png"]):
                with pytest.raises(BadInput, match=re.escape(f"{folder / '0.png'}: {words}")):
                    classifier(given)
    with InferenceEngine("native").load_predictor(overflowing) as engine:
        outputs = engine.run(engine.preprocess(folder / "0.png"))
        assert np.isnan(outputs).all()
        for use in (engine.postprocess, engine.topk, engine.probabilities, engine.interpret):
            with pytest.raises(BadInput, match="image 0: the model gives no class: output 0 of 3"):
                use(outputs)
        assert engine.topk([-np.inf, 0.0, -1.0])[0][0].class_id == 1
        with pytest.raises(BadInput, match="output 1 of 3 is infinite, of which a softmax"):
            engine.topk([0.0, np.inf, 0.0])


@FAR_BEYOND_WHITE
def test_rows_without_a_class_are_errors_of_a_table(overflowing, folder):
    rows = {"image": np.array([str(folder / f"{number}.png") for number in range(2)], object)}
    arguments = {"model_file": overflowing, "engine": "native", "kind": "path"}
    wanted = ("class_id", "label", "score", "logits")
    found = BatchPredictor(**arguments, errors="why", outputs=wanted)(rows)
    assert found["class_id"].tolist() == [-1, -1]
    assert np.isnan(found["score"]).all()
    assert all("the first NaN is of MatMul 'y'" in why for why in found["why"])
    with pytest.raises(BadInput, match="row 0 of 'image': the image: the model gives no class"):
        BatchPredictor(**arguments, outputs=("class_id",))(rows)
    raw = BatchPredictor(**arguments, outputs=("logits",))(rows)["logits"]
    assert np.isnan(raw).all()


@FAR_BEYOND_WHITE
def test_the_commands_skip_pictures_without_a_class(overflowing, folder, tmp_path, capsys):
    arguments = [str(overflowing), str(folder / "0.png"), "--engine=native"]
    assert main(["predict", *arguments]) == 5
    assert f"{folder / '0.png'}: the model gives no class" in capsys.readouterr().err
    assert main(["predict", *arguments, "--skip-errors", "--json"]) == 5  # no image is left
    (printed,) = json.loads(capsys.readouterr().out)
    assert "the first NaN is of MatMul" in printed["error"]
    output = tmp_path / "many.jsonl"
    assert main(["predict-many", *arguments, "--skip-errors", f"--output={output}"]) == 5
    assert "the first NaN is of MatMul" in output.read_text()


MEMORY = """
import resource, sys, warnings
import numpy as np
from PIL import Image
import lenet_cpp
from lenet_cpp import images
from lenet_cpp.cli import main

folder, picture = sys.argv[1:]
pixels = np.zeros((60_000, 28, 28), np.uint8)
halves = np.zeros((60_000, 28, 28), np.float16)
file = open(picture, "rb").read()
loaded = lenet_cpp.Predictor(engine="native")
classifier = lenet_cpp.Classifier(engine="native")
batch = lenet_cpp.BatchPredictor(engine="native", kind="path")
engine = lenet_cpp.InferenceEngine("native").load_predictor(model_dir=folder)
last = images.Normalize(1, (0.0,), (1.0,)), images.ToCHW()
grows = images.Pipeline("L", (images.Resize(size=(9000, 9000)), *last))
small = Image.new("L", (28, 28))
small.save("small.png")
loaded.run(pixels[:1]), classifier(small), batch({"image": np.array(["small.png"], object)})
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (48 << 20),) * 2)
for name, call in {
    "read_image": lambda: images.read_image(picture, "RGB"),
    "read_image of bytes": lambda: images.read_image(file, "RGB"),
    "Pipeline": lambda: grows(small),
    "Pipeline.batch": lambda: grows.batch([small] * 2),
    "Predictor.run": lambda: loaded.run(halves),
    "Predictor.run_outputs": lambda: loaded.run_outputs(halves),
    "Predictor.run_layers": lambda: loaded.run_layers(halves),
    "classify": lambda: lenet_cpp.classify(picture),
    "classify of arrays": lambda: lenet_cpp.classify(halves),
    "Classifier": lambda: classifier(picture),
    "Classifier.stream": lambda: list(classifier.stream([picture])),
    "BatchPredictor": lambda: batch({"image": np.array([picture], object)}),
    "InferenceEngine.preprocess": lambda: engine.preprocess(picture),
    "InferenceEngine.run": lambda: engine.run(halves),
}.items():
    try:
        call()
        print(name, "returned")
    except lenet_cpp.BackendFailure:
        pass
    except Exception as error:
        print(name, type(error).__name__, error)
with open("errors.txt", "w") as sys.stderr:
    status = main(["predict", folder, picture])
print("the command", status)
"""


def test_memory_that_runs_out_is_a_failure_in_every_call(model_dir, tmp_path):
    """As docs/errors.md says; in a picture of 81 million pixels, and 47 million halves."""
    folder = shutil.copytree(model_dir, tmp_path / "lenet")
    (folder / "SHA256SUMS").unlink()
    images.digit().save(folder / "preprocess.json")
    picture = tmp_path / "large.png"
    Image.new("L", (9000, 9000), 255).save(picture)
    assert in_child(MEMORY, folder, picture, cwd=tmp_path) == "the command 8\n"
    assert "not enough memory to decode" in (tmp_path / "errors.txt").read_text()
