"""Models that nothing describes: every program prepares their images by the shape of the input.

Scores are compared with NumPy, OpenCV and Pillow, which prepare the pictures and multiply by the
weights.
"""

import base64
import json
import shutil
import subprocess
import warnings
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnx
import paddle
import pytest
from linear_models import CLASSES, of_classify, of_server, save_onnx, weights_of
from paddle import nn
from PIL import Image

import lenet_cpp
from lenet_cpp import _core, images
from lenet_cpp.cli import main
from lenet_cpp.data.images import Pipeline
from shared_models import both_formats

SIDE = 40  # of pictures in colour
DIGIT, COLOUR = (1, 28, 28), (3, SIDE, SIDE)
FORMATS = ("pdmodel", "json", "onnx")
FILE_NOT_FOUND, UNSUPPORTED = 3, 6


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The programs of both shapes in each format, each in a folder of its own."""
    found = {}
    for shape in (DIGIT, COLOUR):
        folder, weights = tmp_path_factory.mktemp("models"), weights_of(shape)
        layer = nn.Sequential(nn.Flatten(), nn.Linear(len(weights), CLASSES))
        layer[1].weight.set_value(paddle.to_tensor(weights))
        layer[1].bias.set_value(paddle.zeros([CLASSES]))
        for name in FORMATS:
            (folder / name).mkdir()
            found[shape, name] = folder / name / f"{name}.{name}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            for path in both_formats(layer, shape, folder):
                for part in (path, path.with_suffix(".pdiparams")):
                    part.rename(folder / path.stem / part.name)
        save_onnx(found[shape, "onnx"], shape, weights)
    return found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, mnist_test):
    """A picture for each shape, and what NumPy and OpenCV make of it."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels = mnist_test.images[0]
    Image.fromarray(pixels).save(folder / "digit.png")
    colours = np.random.default_rng(1).integers(0, 256, (81, 131, 3)).astype(np.uint8)
    Image.fromarray(colours).save(folder / "colour.png")
    image = Image.open(folder / "colour.png")
    # PaddleClas: the short side becomes 40 * 256 / 224, which is 45.7, and the middle is cut out.
    factor = 46 / 81
    resized = cv2.resize(colours, (round(131 * factor), round(81 * factor)))
    top, left = (resized.shape[0] - SIDE) // 2, (resized.shape[1] - SIDE) // 2
    # torchvision: Resize(46) and CenterCrop(40) of a Pillow image.
    width, height = int(46 * 131 / 81), 46
    smooth = image.resize((width, height), Image.Resampling.BILINEAR)
    left_of_it, top_of_it = round((width - SIDE) / 2.0), round((height - SIDE) / 2.0)
    square = (left_of_it, top_of_it, left_of_it + SIDE, top_of_it + SIDE)

    def normal(pixels):
        values = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        return values.transpose(2, 0, 1)

    return {
        DIGIT: (folder / "digit.png", pixels[None] / 255),  # one with a dark rim stays
        COLOUR: (folder / "colour.png", normal(resized[top:, left:][:SIDE, :SIDE])),
        "pytorch": (folder / "colour.png", normal(np.asarray(smooth.crop(square)))),
    }


OF_PADDLECLAS = "OpenCV, which PaddleClas uses"
OF_TORCHVISION = "Pillow, which torchvision uses"


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        *((shape, name) for shape in (DIGIT, COLOUR) for name in FORMATS),
        (COLOUR, "pytorch"),
    ],
    ids=str,
)
def test_every_program_gives_the_same_scores(
    shape, name, programs, pictures, root, run_program, run_server, serve_program, tmp_path, capsys
):
    picture, values = pictures["pytorch" if name == "pytorch" else shape]
    if name == "pytorch":
        program = tmp_path / "m.onnx"
        save_onnx(program, shape, weights_of(shape), producer="pytorch")
    else:
        program = programs[shape, name]
    expected = values.reshape(-1) @ weights_of(shape).astype(float)
    agree = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    says = {DIGIT: "prepared as digits", COLOUR: "prepared as for ImageNet (short side 46, middle"}

    def is_note(text):
        (line,) = (each for each in text.splitlines() if "prepared as" in each)
        assert says[shape] in line
        resize = OF_TORCHVISION if name == "pytorch" else OF_PADDLECLAS
        assert (f"the bilinear resize of {resize};" in line) == (shape == COLOUR)
        assert str(program.with_name("preprocess.json")) in line
        return True

    scores, said = of_classify(run_program, root, program, picture)
    agree(scores, expected)
    assert is_note(said)
    with pytest.warns(UserWarning, match="nothing describes") as caught:
        found = lenet_cpp.Classifier(program)(picture)
    agree(found.logits, expected)
    assert [is_note(str(each.message)) for each in caught] == [True]
    powers = np.exp(expected - expected.max())
    for command in ("predict", "predict-many"):
        out = tmp_path / f"{command}.csv"
        with pytest.warns(UserWarning, match="nothing describes") as caught:
            assert main([command, str(program), str(picture), f"--output={out}"]) == 0
        assert [is_note(str(each.message)) for each in caught] == [True]
        first = out.read_text().splitlines()[1].split(",")
        assert str(expected.argmax()) in first
        assert any(
            abs(float(each) - powers.max() / powers.sum()) < 1e-4
            for each in first
            if each.replace(".", "").isdigit()
        )
    scores, said = of_server(run_server, serve_program, program, picture, tmp_path)
    agree(scores, expected)
    assert is_note(said)


def paste(message, **options):
    """Run the command that a message ends with in a shell, as somebody who pastes it would."""
    assert "python" not in message.lower()
    subprocess.run(message[message.index("printf ") :], shell=True, check=True, **options)


@pytest.mark.parametrize("producer", ["", "pytorch"])
@pytest.mark.parametrize("shape", [DIGIT, COLOUR], ids=str)
def test_the_note_pasted_writes_what_was_used(
    shape, producer, pictures, root, run_program, tmp_path
):
    folder = tmp_path / 'my $model\'s "`ls`" 모델'
    folder.mkdir()
    save_onnx(folder / "m.onnx", shape, weights_of(shape), producer=producer)
    classify = partial(of_classify, run_program, root, folder / "m.onnx", pictures[shape][0])
    scores, said = classify()
    paste(said)
    assert [path.name for path in sorted(folder.iterdir())] == ["m.onnx", "preprocess.json"]
    library = None if producer == "pytorch" else "opencv"
    used = images.digit() if shape == DIGIT else images.imagenet(SIDE, library=library)
    assert Pipeline.load(folder / "preprocess.json") == used
    text, _ = _core.usual_description(Path("m"), "", (-1, *shape), "float32", producer, {})
    assert Pipeline.from_dict(json.loads(text)) == used
    assert classify() == (scores, "")


def test_a_server_says_that_a_model_takes_two_pictures(run_server, serve_program, tmp_path):
    text = "g (float[2,3,2,2] x) => (float[2,12] y) { y = Flatten(x) }"
    opsets = [onnx.helper.make_opsetid("", 17)]
    made = onnx.helper.make_model(onnx.parser.parse_graph(text), ir_version=8, opset_imports=opsets)
    onnx.save(made, tmp_path / "m.onnx")
    Image.new("RGB", (6, 4), "red").save(tmp_path / "red.png")
    red = base64.b64encode((tmp_path / "red.png").read_bytes()).decode()
    log = tmp_path / "log.txt"
    with (
        log.open("w") as out,
        run_server(serve_program, tmp_path / "m.onnx", "--port=0", stderr=out) as server,
    ):
        answers = []
        for count in (1, 2):
            tensor = {"name": "x", "datatype": "BYTES", "shape": [count], "data": [red] * count}
            body = json.dumps({"inputs": [tensor]})
            answers.append(server.ask("POST", "/v2/models/m/infer", body))
    assert "note: it takes 2 images at once" in log.read_text()
    assert answers[0][0] == 400
    assert json.loads(answers[0][2])["error"] == (
        "input 'x' has shape [1, 3, 2, 2]; the model expects [2, 3, 2, 2], or a multiple of 2"
        " images: give it 2 at once, or export it with an open batch"
    )
    assert answers[1][0] == 200


def test_a_model_in_memory_is_prepared_as_its_file(pictures, tmp_path):
    picture, values = pictures["pytorch"]
    save_onnx(tmp_path / "m.onnx", COLOUR, weights_of(COLOUR), producer="pytorch")
    with pytest.warns(UserWarning, match=OF_TORCHVISION) as caught:
        found = lenet_cpp.Classifier((tmp_path / "m.onnx").read_bytes())(picture)
    np.testing.assert_allclose(
        found.logits, values.reshape(-1) @ weights_of(COLOUR), rtol=1e-4, atol=1e-4
    )
    (said,) = (str(each.message) for each in caught)
    description = json.loads(said[said.index("{") :])
    assert Pipeline.from_dict(description) == images.imagenet(SIDE)


def test_a_file_beside_the_model_wins(programs, pictures, root, run_program, tmp_path):
    save_onnx(tmp_path / "m.onnx", COLOUR, weights_of(COLOUR))
    steps = (images.Resize(size=(SIDE, SIDE)), images.Normalize(1.0, (0.0,) * 3, (255.0,) * 3))
    Pipeline("RGB", (*steps, images.ToCHW())).save(tmp_path / "preprocess.json")
    picture = pictures[COLOUR][0]
    pixels = np.asarray(Image.open(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    expected = (pixels / 255).transpose(2, 0, 1).reshape(-1) @ weights_of(COLOUR)
    scores, said = of_classify(run_program, root, tmp_path / "m.onnx", picture)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    assert said == ""
    found = lenet_cpp.Classifier(tmp_path / "m.onnx")(picture)
    np.testing.assert_allclose(found.logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((3, "H", "W"), "float32", "whose size is open"),
        ((3, 32, 48), "float32", "[N, 3, 32, 48], which are neither digits"),
        ((1, 32, 32), "float32", "[N, 1, 32, 32], which are neither digits"),
        ((3, 32, 32), "uint8", "takes uint8 [N, 3, 32, 32], which are neither digits"),
        ((784,), "float32", "takes float32 [N, 784], and pictures"),
        ((32, 32, 3), "float32", "takes float32 [N, 32, 32, 3], which are neither digits"),
    ],
    ids=str,
)
def test_other_inputs_are_named(
    shape, dtype, words, root, run_program, run_server, serve_program, pictures, tmp_path, capsys
):
    program, picture = tmp_path / "m.onnx", pictures[COLOUR][0]
    sizes = [224 if isinstance(size, str) else size for size in shape]
    save_onnx(program, shape, np.ones((int(np.prod(sizes)), CLASSES), np.float32), dtype)
    takes_pictures = len(shape) == 3 and {1, 3} & {shape[0], shape[-1]}
    code = FILE_NOT_FOUND if takes_pictures else UNSUPPORTED
    classify = partial(
        run_program, f"--model_file={program}", picture, program=root / "build" / "lenet_classify"
    )
    done = classify()
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    message = line.partition(": ")[2].partition(": ")[2]
    assert words in message
    with lenet_cpp.Classifier(program) as classifier, pytest.raises(lenet_cpp.Error) as raised:
        classifier(picture)
    assert str(raised.value) == message
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    for command in ("predict", "predict-many"):
        assert main([command, str(program), str(picture), f"-o{tmp_path / 'o.csv'}"]) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith(message)
    tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "data": [""]}
    with run_server(serve_program, program, "--port=0") as server:
        request = json.dumps({"inputs": [tensor]})
        status, _, body = server.ask("POST", "/v2/models/m/infer", request)
    assert status == 400
    assert json.loads(body)["error"].endswith(message)
    if code == FILE_NOT_FOUND:
        paste(message)
        assert classify().returncode == 0


def test_what_one_program_takes_each_takes(
    programs, pictures, root, run_program, run_server, serve_program, tmp_path
):
    """A folder, a program, and a program without its suffix."""
    folder = shutil.copytree(programs[DIGIT, "pdmodel"].parent, tmp_path / "model")
    program, picture = folder / "pdmodel.pdmodel", pictures[DIGIT][0]
    images.digit().save(folder / "preprocess.json")
    paths = (program, program.with_suffix(""), folder)
    expected = lenet_cpp.Classifier(program)(picture).logits
    for path in paths:
        for flag in ("model_file", "model_dir"):
            done = run_program(f"--{flag}={path}", picture, program=root / "build/lenet_classify")
            assert (done.returncode, done.stderr) == (0, ""), (flag, path)
            with lenet_cpp.Predictor(**{flag: path}) as predictor:
                assert predictor.model_file == program
        assert np.array_equal(lenet_cpp.Classifier(path)(picture).logits, expected)
        for command in ("predict", "predict-many"):
            out = tmp_path / f"{command}.csv"
            assert main([command, str(path), str(picture), f"--output={out}"]) == 0
            out.unlink()
        with run_server(serve_program, path, "--port=0") as server:
            assert server.ask("GET", "/v2/health/ready")[0] == 200
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "m.pdmodel").write_bytes(program.read_bytes())
    with pytest.raises(lenet_cpp.FileNotFound, match=r"half/m\.pdiparams' is missing"):
        lenet_cpp.Classifier(tmp_path / "half")
