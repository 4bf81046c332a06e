"""Pictures for models of [N, height, width, channels], as Keras and TensorFlow export them.

What each face answers is compared with Pillow's resize, Keras's three preparations as
``keras.applications.imagenet_utils.preprocess_input`` defines them, and a product in NumPy.
"""

import base64
import ctypes
import json

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
from lenet_cpp import Classifier, Predictor, images
from lenet_cpp.cli import main
from pictures import random_pixels

onnx = pytest.importorskip("onnx", reason="models of these tests are made with it")

HEIGHT = WIDTH = 8
NAMES = ["daisy", "red rose", "tulip"]
BAD_MODEL, BAD_INPUT = 4, 5


def caffe(pixels):
    return pixels[..., ::-1] - np.array([103.939, 116.779, 123.68])


def tf(pixels):
    return pixels / 127.5 - 1


def torch(pixels):
    return (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]


MODES = {"caffe": caffe, "tf": tf, "torch": torch}


def weights_of(mode):
    scale = 1e-4 if mode == "caffe" else 1e-2
    drawn = np.random.default_rng(7).normal(0, scale, (HEIGHT, WIDTH, 3, len(NAMES)))
    return drawn.astype(np.float32)


def write_model(path, mode, *, channels_last=True, height=str(HEIGHT)):
    """Write a product with every value of the image, and a softmax."""
    weights = weights_of(mode)
    shape = f"{height},{WIDTH},3" if channels_last else f"3,{height},{WIDTH}"
    # tf2onnx begins with such a Transpose.
    first = "f = Flatten(t) " if channels_last else "f = Flatten(x) "
    turn = "t = Transpose<perm = [0, 3, 1, 2]>(x) " if channels_last else ""
    text = f'<ir_version: 8, opset_import: ["" : 13]> g (float[N,{shape}] x) => (float[N,3] y) '
    model = onnx.parser.parse_model(text + "{" + turn + first + "l = MatMul(f, w) y = Softmax(l)}")
    flat = weights.transpose(2, 0, 1, 3).reshape(-1, len(NAMES))
    model.graph.initializer.append(onnx.numpy_helper.from_array(flat, "w"))
    onnx.save(model, path)


def expected_of(photo, mode):
    """Return the probabilities, as NumPy computes them of Pillow's image."""
    small = Image.open(photo).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)
    values = MODES[mode](np.asarray(small, np.float64))
    products = np.einsum("hwc,hwck->k", values, weights_of(mode).astype(np.float64))
    exponentials = np.exp(products - products.max())
    return exponentials / exponentials.sum()


@pytest.fixture(scope="module", params=MODES)
def case(request, tmp_path_factory):
    """A folder with a model, its description and its labels, the photo, and what is right."""
    folder = tmp_path_factory.mktemp(request.param)
    write_model(folder / "model.onnx", request.param)
    images.keras(request.param, WIDTH).save(folder / "preprocess.json")
    (folder / "labels.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(NAMES)))
    photo = folder / "photo.png"
    coarse = Image.fromarray(random_pixels(4, 6, 3))
    coarse.resize((30, 21), Image.Resampling.BICUBIC).save(photo)
    return request.param, folder, photo, expected_of(photo, request.param)


def test_a_description_without_to_chw_keeps_the_channels_last(case):
    mode, _, photo, _ = case
    small = Image.open(photo).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)
    expected = MODES[mode](np.asarray(small, np.float64))
    found = images.keras(mode, WIDTH)(photo)
    assert found.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    first = images.keras(mode, WIDTH, channels_last=False)(photo)
    assert (first == found.transpose(2, 0, 1)).all()
    smooth = images.keras(mode, WIDTH, interpolation="bilinear")(photo)
    small = Image.open(photo).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(smooth, MODES[mode](np.asarray(small, np.float64)), atol=2e-5)


def test_a_mode_that_keras_does_not_have():
    with pytest.raises(lenet_cpp.BadInput, match="mode is 'onnx'; expected one of caffe, tf"):
        images.keras("onnx")


def check(predictions, expected):
    order = np.argsort(-expected)
    assert [label for label, _ in predictions] == [NAMES[number] for number in order]
    assert np.abs([value for _, value in predictions] - expected[order]).max() < 2e-5


def test_the_classifier_takes_files_and_pixels(case):
    _, folder, photo, expected = case
    with Classifier(folder / "model.onnx") as classifier:
        assert classifier.labels == tuple(NAMES)
        pixels = np.asarray(Image.open(photo))
        for given in (photo, pixels, np.stack([pixels, pixels])):
            found = classifier(given)
            for result in found if isinstance(found, list) else [found]:
                check([(one.label, one.probability) for one in result.predictions], expected)


def test_a_run_takes_pixels_with_a_pipeline(case):
    """C++ normalizes the pixels where the engine reads them."""
    mode, folder, _, _ = case
    pixels = np.stack([random_pixels(HEIGHT, WIDTH, 3), 255 - random_pixels(HEIGHT, WIDTH, 3)])
    pipeline = images.keras(mode, WIDTH)
    with Predictor(folder / "model.onnx", engine="native") as predictor:
        found = predictor.run(pixels, pipeline=pipeline)
        values = np.stack([pipeline(each) for each in pixels])
        assert (found == predictor.run(values)).all()


def test_lenet_classify(case, root, run_program, tmp_path):
    _, folder, photo, expected = case
    program, written = root / "build" / "lenet_classify", tmp_path / "input.npy"
    command = ("--format=json", f"--output_tensor={written}", f"--model_dir={folder}", photo)
    done = run_program(*command, program=program)
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(done.stdout)
    check([(one["label"], one["probability"]) for one in entry["predictions"]], expected)
    assert np.load(written).shape == (1, HEIGHT, WIDTH, 3)


def test_the_server_takes_image_files(case, run_server, serve_program):
    _, folder, photo, expected = case
    data = [base64.b64encode(photo.read_bytes()).decode()] * 2
    tensor = {"name": "x", "shape": [2], "datatype": "BYTES", "data": data}
    wanted = {"name": "y", "parameters": {"classification": len(NAMES)}}
    with run_server(serve_program, f"m={folder}", "--port=0") as server:
        body = json.dumps({"inputs": [tensor], "outputs": [wanted]})
        status, _, reply = server.ask("POST", "/v2/models/m/infer", body)
    assert status == 200, reply
    for texts in np.reshape(json.loads(reply)["outputs"][0]["data"], (2, len(NAMES))):
        parts = [text.split(":", 2) for text in texts]
        check([(label, float(value)) for value, _, label in parts], expected)


def test_match_preprocess_finds_it(case, tmp_path, capsys):
    mode, folder, photo, expected = case
    np.save(tmp_path / "scores.npy", expected[None].astype(np.float32))
    output = tmp_path / "preprocess.json"
    command = [str(folder / "model.onnx"), str(photo), "--expect", str(tmp_path / "scores.npy")]
    assert main(["match-preprocess", *command, "-o", str(output)]) == 0, capsys.readouterr().out
    found = images.Pipeline.load(output)
    assert found.channels_last
    difference = np.abs(found(photo) - images.keras(mode, WIDTH)(photo)).max()
    assert difference < 1e-4


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_description_for_the_other_order(
    channels_last, root, run_program, run_server, serve_program, tmp_path
):
    """Every face says the same: both orders, and what to change; arrays need no description."""
    model = tmp_path / "model.onnx"
    write_model(model, "tf", channels_last=channels_last)
    description = images.keras("tf", WIDTH, channels_last=not channels_last)
    description.save(tmp_path / "preprocess.json")
    photo = tmp_path / "photo.png"
    Image.fromarray(random_pixels(HEIGHT, WIDTH, 3)).save(photo)
    first, last = "[N, 3, height, width]", "[N, height, width, 3]"
    gives, takes = (first, "[N, 8, 8, 3]") if channels_last else (last, "[N, 3, 8, 8]")
    remedy = "leave the step ToCHW out" if channels_last else 'with {"type": "ToCHW"}'
    said = f"gives images {gives}, the model takes {takes}"

    with pytest.raises(lenet_cpp.BadInput) as given:
        Classifier(model, preprocess=description)
    classifier = Classifier(model)
    shape = (1, HEIGHT, WIDTH, 3) if channels_last else (1, 3, HEIGHT, WIDTH)
    assert classifier(np.zeros(shape, np.float32))[0].probability == pytest.approx(1 / 3)
    with pytest.raises(lenet_cpp.BadInput) as beside:
        classifier(photo)
    with Predictor(model) as predictor, pytest.raises(lenet_cpp.BadInput) as run:
        predictor.run(random_pixels(HEIGHT, WIDTH, 3), pipeline=description)
    program = root / "build" / "lenet_classify"
    done = run_program(f"--model_file={model}", photo, program=program)
    assert done.returncode == BAD_INPUT
    with run_server(serve_program, f"m={tmp_path}", "--port=0") as server:
        image, header = photo.read_bytes(), {"Content-Type": "image/png"}
        status, _, reply = server.ask("POST", "/v2/models/m/infer", image, header)
        assert status == 400
    texts = [str(each.value) for each in (given, beside, run)]
    for text in (*texts, done.stderr, json.loads(reply)["error"]):
        assert said in text
        assert remedy in text
    for text in (texts[1], done.stderr):
        assert str(tmp_path / "preprocess.json") in text


def test_the_c_api(case, built):
    _, folder, photo, expected = case

    class Error(ctypes.Structure):
        _fields_ = (("code", ctypes.c_int32), ("message", ctypes.c_char * 1020))

    class Prediction(ctypes.Structure):
        _fields_ = (
            ("class_id", ctypes.c_int64),
            ("label", ctypes.c_char_p),
            ("value", ctypes.c_float),
            ("score", ctypes.c_float),
            ("head", ctypes.c_char_p),
        )

    class Result(ctypes.Structure):
        _fields_ = (("predictions", ctypes.POINTER(Prediction)), ("count", ctypes.c_size_t))

    library, error = ctypes.CDLL(str(built("liblenet.so"))), Error()
    library.lenet_config_create.restype = ctypes.c_void_p
    config = ctypes.c_void_p(library.lenet_config_create())
    file, name = str(folder / "model.onnx").encode(), b"model_file"
    assert library.lenet_config_set(config, name, file, ctypes.byref(error)) == 0, error.message
    handle, result = ctypes.c_void_p(), ctypes.POINTER(Result)()
    made = library.lenet_classifier_create(config, None, ctypes.byref(handle), ctypes.byref(error))
    assert made == 0, error.message
    data = photo.read_bytes()
    code = library.lenet_classifier_classify_file(
        *(handle, data, ctypes.c_size_t(len(data)), ctypes.c_size_t(0), None),
        *(ctypes.byref(result), ctypes.byref(error)),
    )
    assert code == 0, error.message
    found = result.contents.predictions[: result.contents.count]
    check([(one.label.decode(), one.value) for one in found], expected)
    library.lenet_result_free(result)
    library.lenet_classifier_free(handle)
    library.lenet_config_free(config)


def test_an_open_height(tmp_path):
    """A model of any height, whose sizes the runs tell, gets pixels in the same way."""
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[N,H,8,3] x) => (float[N,3] y) {
            t = Transpose<perm = [0, 3, 1, 2]>(x) m = GlobalAveragePool(t) y = Flatten(m) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "open.onnx")
    pixels = random_pixels(5, 8, 3)
    with Predictor(tmp_path / "open.onnx", engine="native") as predictor:
        found = predictor.run(pixels, pipeline=images.keras("caffe", 8))
    np.testing.assert_allclose(found[0], caffe(pixels.astype(np.float64)).mean((0, 1)), rtol=1e-4)


def test_labels_beside_a_model(root, run_program, tmp_path):
    """Read labels as Custom Vision writes them, and refuse another number of them than classes."""
    write_model(tmp_path / "model.onnx", "tf")
    images.keras("tf", WIDTH).save(tmp_path / "preprocess.json")
    labels = tmp_path / "labels.txt"
    labels.write_text("\r\n".join(NAMES))
    assert Classifier(tmp_path / "model.onnx").labels == tuple(NAMES)
    labels.write_text("\n".join(NAMES[:2]))
    said = "labels.txt' names 2 classes, the model has 3"
    with pytest.raises(lenet_cpp.BadModel, match=said):
        Classifier(tmp_path / "model.onnx")
    photo = tmp_path / "photo.png"
    Image.fromarray(random_pixels(HEIGHT, WIDTH, 3)).save(photo)
    program = root / "build" / "lenet_classify"
    done = run_program(f"--model_file={tmp_path / 'model.onnx'}", photo, program=program)
    assert done.returncode == BAD_MODEL
    assert said in done.stderr
    own = Classifier(tmp_path / "model.onnx", labels=["a", "b", "c"])
    assert own.labels == ("a", "b", "c")
