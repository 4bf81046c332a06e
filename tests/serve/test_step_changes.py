"""--mean, --std, --resize, --crop and --library: the same steps in every program.

Scores are compared with NumPy, Pillow and OpenCV, which prepare the pictures as torchvision and
PaddleClas do, and multiply by the weights of the model.
"""

import csv
import json
import re
import subprocess
import warnings
from functools import partial

import cv2
import numpy as np
import pytest
from linear_models import CLASSES, of_classify, of_server, save_onnx, weights_of
from PIL import Image

import lenet_cpp
from lenet_cpp import _core, images
from lenet_cpp.cli import main
from lenet_cpp.data.images import CenterCrop, Digit, Normalize, Pipeline, Resize, ToCHW

SIDE = 40
SHAPE = (3, SIDE, SIDE)
WRONG_USAGE, BAD_INPUT = 2, 5
OWN_MEAN, OWN_STD = (0.41, 0.52, 0.37), (0.21, 0.19, 0.27)
CAFFE = (100.0, 110.0, 120.0)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "colour.png"
    pixels = np.random.default_rng(1).integers(0, 256, (81, 131, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def middle(pixels):
    """torchvision's CenterCrop."""
    top, left = (round((side - SIDE) / 2.0) for side in pixels.shape[:2])
    return pixels[top : top + SIDE, left : left + SIDE]


def by_pillow(image):
    """torchvision's Resize(50) and CenterCrop(40)."""
    return middle(np.asarray(image.resize((int(50 * 131 / 81), 50), Image.Resampling.BILINEAR)))


def by_paddleclas(image):
    """ResizeImage(resize_short=50) and CropImage(40)."""
    pixels = cv2.resize(np.asarray(image), (round(131 * 50 / 81), 50))
    top, left = ((side - SIDE) // 2 for side in pixels.shape[:2])
    return pixels[top : top + SIDE, left : left + SIDE]


def whole(image):
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def whole_by_opencv(image):
    return cv2.resize(np.asarray(image), (SIDE, SIDE))


HALF = Normalize(1 / 255, (0.5,) * 3, (0.5,) * 3)
WHOLE = Resize(size=(SIDE, SIDE))
DESCRIBED = Pipeline("RGB", (WHOLE, HALF, ToCHW()))
SHARE = Pipeline("RGB", (CenterCrop(share=(0.5, 0.5)), Resize(size=(8, 8)), HALF, ToCHW()))
OF_CAFFE = Pipeline("BGR", (WHOLE, Normalize(1.0, (9.0,) * 3, (2.0,) * 3), ToCHW()))
NONE = {"mean": "0", "std": "1"}

# The description beside the model, the options, the pixels, and mean and std for them.
CASES = {
    "all of torchvision": (
        None,
        {
            "mean": "0.41,0.52,0.37",
            "std": "0.21,0.19,0.27",
            "resize": "50",
            "crop": "40",
            "library": "pillow",
        },
        by_pillow,
        (255 * np.array(OWN_MEAN), 255 * np.array(OWN_STD)),
    ),
    "all of PaddleClas": (
        None,
        {**NONE, "resize": "50", "crop": "40,40", "library": "opencv"},
        by_paddleclas,
        (0, 255),
    ),
    "of 255": (
        None,
        {
            "mean": "123.675,116.28,103.53/255",
            "std": "58.395,57.12,57.375/255",
            "resize": "40,40",
            "crop": "none",
            "library": "opencv",
        },
        whole_by_opencv,
        ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    ),
    "only a crop": (
        None,
        {**NONE, "resize": "none", "crop": "40", "library": "pillow"},
        lambda i: middle(np.asarray(i)),
        (0, 255),
    ),
    "only a mean": (DESCRIBED, {"mean": "0.2"}, whole, (51, 127.5)),
    "only a std": (DESCRIBED, {"std": "0.25"}, whole, (127.5, 63.75)),
    "another size": (DESCRIBED, {"resize": "50", "crop": "40"}, by_pillow, (127.5, 127.5)),
    "another library": (DESCRIBED, {"library": "opencv"}, whole_by_opencv, (127.5, 127.5)),
    "in place of a share": (SHARE, {"resize": "50", "crop": "40"}, by_pillow, (127.5, 127.5)),
    "a mean in BGR": (
        OF_CAFFE,
        {"mean": "100,110,120/255"},
        lambda image: whole(image)[..., ::-1],
        (CAFFE, 2),
    ),
    "a mean of pixels from 0 to 1 in BGR": (
        OF_CAFFE,
        {"mean": "0.4,0.5,0.2"},
        lambda image: whole(image)[..., ::-1],
        ((102, 127.5, 51), 2),
    ),
}


def arguments_of(options):
    """Return keyword arguments of Classifier for these options."""
    values = {}
    for name, text in options.items():
        if re.fullmatch(r"[0-9.,]+", text):
            numbers = [
                float(part) if name in {"mean", "std"} else int(part) for part in text.split(",")
            ]
            values[name] = numbers if len(numbers) > 1 else numbers[0]
        else:
            values[name] = text
    return values


def flags_of(options):
    return [f"--{name}={value}" for name, value in options.items()]


def note_of(text):
    (line,) = (each for each in text.splitlines() if " with the given " in each)
    return line


@pytest.mark.parametrize("name", CASES)
def test_every_program_gives_the_same_scores(
    name, picture, root, run_program, run_server, serve_program, tmp_path, capsys
):
    described, options, prepare, (mean, std) = CASES[name]
    program = tmp_path / "m.onnx"
    save_onnx(program, SHAPE, weights_of(SHAPE))
    if described:
        described.save(tmp_path / "preprocess.json")
    values = (prepare(Image.open(picture)).astype(float) - np.array(mean)) / np.array(std)
    expected = values.transpose(2, 0, 1).reshape(-1) @ weights_of(SHAPE).astype(float)
    agree = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    flags = flags_of(options)

    scores, said = of_classify(run_program, root, program, picture, *flags)
    agree(scores, expected)
    note = note_of(said)
    assert all(name in note for name in options)
    # Nothing is assumed of a model without a description when each step is given.
    assert "as for ImageNet" not in note
    assert ("for pixels from 0 to 255" in note) == any("/255" in text for text in options.values())

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "nothing describes")
        with lenet_cpp.Classifier(program, **arguments_of(options)) as classifier:
            agree(classifier(picture).logits, expected)
        table = tmp_path / "classes.csv"
        command = ["predict", str(program), str(picture), f"--output={table}", *flags]
        assert main([*command, f"--topk={CLASSES}"]) == 0
    powers = np.exp(expected - expected.max())
    with table.open() as file:
        found = {int(row["class_id"]): float(row["probability"]) for row in csv.DictReader(file)}
    agree([found[number] for number in range(CLASSES)], powers / powers.sum())
    if described:  # otherwise a warning has the note
        assert note_of(capsys.readouterr().err).endswith(note[note.index("images are") :])

    scores, said = of_server(run_server, serve_program, program, picture, tmp_path, *flags)
    agree(scores, expected)
    assert note_of(said).endswith(note[note.index(" prepared ") :])

    # The line at the end of the note keeps it.
    assert "python" not in note.lower()
    subprocess.run(note[note.index("printf ") :], shell=True, check=True)
    scores, said = of_classify(run_program, root, program, picture)
    agree(scores, expected)
    assert said == ""


def test_a_model_of_open_size_needs_all_of_them(picture, root, run_program, tmp_path):
    save_onnx(tmp_path / "m.onnx", (3, "H", "W"), weights_of(SHAPE))
    options = {"mean": "0.41,0.52,0.37", "std": "0.21,0.19,0.27", "crop": "40"}
    pixels = middle(np.asarray(Image.open(picture)))
    values = ((pixels / 255 - OWN_MEAN) / OWN_STD).transpose(2, 0, 1)
    classify = partial(of_classify, run_program, root, tmp_path / "m.onnx", picture)
    scores, said = classify(*flags_of(options))
    np.testing.assert_allclose(scores, values.reshape(-1) @ weights_of(SHAPE), rtol=1e-4, atol=1e-4)
    assert "so they are prepared with the given mean" in said
    for left_out in options:
        some = {name: value for name, value in options.items() if name != left_out}
        with pytest.raises(lenet_cpp.FileNotFound, match="whose size is open"):
            lenet_cpp.Classifier(tmp_path / "m.onnx", **some)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean": "0.4"}, r"resize of Pillow, which torchvision uses, but with the given mean \("),
        ({"library": "opencv"}, "resize of OpenCV, which PaddleClas uses, but with the given libr"),
        ({"resize": "none"}, r"standard deviation\), but with the given resize"),
    ],
    ids=str,
)
def test_the_note_says_what_is_assumed(changes, words):
    _, note = _core.usual_description("m.onnx", "", (-1, *SHAPE), "float32", "pytorch", changes)
    assert re.search("prepared as for ImageNet .*" + words, note)
    changes = {"mean": "0", "std": "1", "resize": "40", "crop": "40"}
    _, note = _core.usual_description("m.onnx", "", (-1, *SHAPE), "float32", "", changes)
    assert "so they are prepared with the bilinear resize of OpenCV, which Paddle" in note


def test_a_resize_takes_the_place_of_the_search_for_a_digit():
    changes = {"resize": "28,28", "mean": "0.1307", "std": "0.3081"}
    text, _ = _core.usual_description("m.onnx", "", (-1, 1, 28, 28), "float32", "pytorch", changes)
    resize, normalize, _ = Pipeline.from_dict(json.loads(text)).steps
    assert resize == Resize(size=(28, 28))
    assert normalize == Normalize(1 / 255, (0.1307,), (0.3081,))
    assert any(isinstance(step, Digit) for step in images.digit().steps)


AREA = Pipeline(
    "RGB", (Resize(size=(SIDE, SIDE), library="opencv", interpolation="area"), HALF, ToCHW())
)
INVERTED = Pipeline("RGB", (WHOLE, Normalize(-1 / 255, (-1.0,) * 3, (1.0,) * 3), ToCHW()))


@pytest.mark.parametrize(
    ("described", "flags", "status", "said"),
    [
        (None, {"mean": "0.4,x"}, WRONG_USAGE, "mean is '0.4,x'; expected a number for each"),
        (None, {"mean": "104.5"}, WRONG_USAGE, "end numbers for pixels from 0 to 255 with /255"),
        (None, {"mean": "300/255"}, WRONG_USAGE, "mean is '300/255'"),
        (None, {"mean": "nan"}, WRONG_USAGE, "mean is 'nan'"),
        (None, {"mean": ""}, WRONG_USAGE, "mean is ''"),
        (None, {"mean": "0.1,0.2,0.3,0.4"}, WRONG_USAGE, "mean is '0.1,0.2,0.3,0.4'"),
        (None, {"std": "0.2,0,0.2"}, WRONG_USAGE, "a standard deviation is above 0"),
        (None, {"resize": "40x40"}, WRONG_USAGE, "resize is '40x40'; expected the length"),
        (None, {"resize": "0"}, WRONG_USAGE, "resize is '0'"),
        (None, {"resize": "99999,99999"}, WRONG_USAGE, "of at most 89478485 pixels"),
        (None, {"crop": "1,2,3"}, WRONG_USAGE, "crop is '1,2,3'; expected the side"),
        (None, {"library": "cv"}, WRONG_USAGE, "library is 'cv'; expected pillow or opencv"),
        (None, {"std": "0.1,0.2"}, BAD_INPUT, "std: 2 numbers for images of 3 channels; give 1"),
        (
            None,
            {"resize": "none", "crop": "none", "library": "pillow"},
            BAD_INPUT,
            "neither resized nor",
        ),
        (AREA, {"library": "pillow"}, BAD_INPUT, "library: pillow does not have the filter area"),
        (INVERTED, {"mean": "0.5"}, BAD_INPUT, "mean, std: the scale of the description is below"),
    ],
    ids=str,
)
def test_wrong_values_name_the_option(
    described, flags, status, said, picture, root, run_program, serve_program, tmp_path, capsys
):
    program = tmp_path / "m.onnx"
    save_onnx(program, SHAPE, weights_of(SHAPE))
    if described:
        described.save(tmp_path / "preprocess.json")
    given = flags_of(flags)
    classify = root / "build" / "lenet_classify"
    for command in (
        [classify, f"--model_file={program}", picture, *given],
        [serve_program, program, "--port=0", *given],
    ):
        done = run_program(*command[1:], program=command[0])
        assert done.returncode == status, done.stderr
        assert said in done.stderr.splitlines()[-1]  # the server's log may come first
    with pytest.raises(lenet_cpp.BadInput) as raised:
        lenet_cpp.Classifier(program, **flags)
    assert said in str(raised.value)
    command = ["predict", str(program), str(picture), *given]
    if status == WRONG_USAGE:
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == status
    else:
        assert main(command) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_server_of_several_models_refuses_them(run_program, serve_program, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_onnx(tmp_path / name / "m.onnx", SHAPE, weights_of(SHAPE))
    for models in ([tmp_path / "a", tmp_path / "b"], [tmp_path]):
        done = run_program(*models, "--port=0", "--mean=0.5", program=serve_program)
        assert done.returncode == BAD_INPUT
        assert "the given mean (for pixels from 0 to 1) can be for one model only" in done.stderr


ONE_THIRD = (0.485, 0.229)  # of ImageNet's red
SHARE_OF_255 = r"scale 0\.00392156862745098 \(1/255\)"  # as a file can have it


@pytest.mark.parametrize(
    ("scale", "mean", "std", "said"),
    [
        (1 / 255, 104.5, 1, "white pixel becomes -103.5 and a black one -104.5.* mean 0.4098 was"),
        (1 / 255, 104.5, 58.0, "white pixel becomes -1.784 and .* scale 1 was probably meant"),
        (1, *ONE_THIRD, f"a white pixel becomes 1111 and a black one -2.118.* {SHARE_OF_255} was"),
        (1, 0.485, 1, f"a white pixel becomes 254.5 .* {SHARE_OF_255} was probably meant"),
        (1, 0, 0.229, f"a white pixel becomes 1114 and a black one -?0.* {SHARE_OF_255} was"),
        (1 / 255, 0.485, 58.395, "a white pixel becomes 0.008819 .* std 0.229 was"),
        (1 / 255, 123.675, 0.229, "a black one -540.1.* mean 0.485 was probably meant"),
        (1, 123.675, 0.229, f"a black one -540.1.* {SHARE_OF_255} and mean 0.485 was probably"),
        (1 / 65025, 0, 1, f"a white pixel becomes 0.003922 .* {SHARE_OF_255} was probably meant"),
    ],
)
def test_units_that_contradict_each_other_are_named(scale, mean, std, said):
    pipeline = Pipeline("L", (Normalize(scale, (mean,), (std,)), ToCHW()))
    assert re.search(said, _core.unit_note(json.dumps(pipeline.to_dict())))
    # One channel of three is enough.
    numbers = (0.5 * 255 * scale, mean, 0.0), (0.25 * 255 * scale, std, 255 * scale)
    pipeline = Pipeline("RGB", (Normalize(scale, *numbers), ToCHW()))
    assert re.search(said, _core.unit_note(json.dumps(pipeline.to_dict())))


@pytest.mark.parametrize(
    ("scale", "mean", "std"),
    [
        (1 / 255, 0.485, 0.229),  # ImageNet
        (1 / 255, 0.5, 0.5),
        (1 / 255, 0, 1),  # ToTensor
        (1, 0, 255),
        (1, 0, 1),  # a network that normalizes pixels from 0 to 255 itself
        (1, 123.68, 1),  # Caffe, and Keras's caffe
        (1, 103.939, 1),
        (1, 127.5, 128),  # Inception, MobileFaceNet
        (0.017, 2.1, 1),  # Caffe's MobileNet: (pixel - 123.68) * 0.017
        (1 / 127.5, 1, 1),  # Keras's tf
        (1, 128, 1),  # integers of 8 bits
        (1 / 255, 0.1307, 0.3081),  # MNIST
        (1 / 255, 0.9, 0.03),  # pictures without contrast
        (1 / 255, 0.5, 0.02),
        (-1 / 255, -1, 1),  # inverted
        (1, 1, 1),
        (1 / 256, 0.5, 0.25),
    ],
)
def test_what_toolkits_write_is_not_named(scale, mean, std):
    pipeline = Pipeline("L", (Normalize(scale, (mean,), (std,)), ToCHW()))
    assert _core.unit_note(json.dumps(pipeline.to_dict())) == ""


def test_every_program_says_it_once(
    picture, root, run_program, run_server, serve_program, tmp_path, capsys
):
    program = tmp_path / "m.onnx"
    save_onnx(program, SHAPE, weights_of(SHAPE))
    mean = Normalize(1 / 255, (104.5,) * 3, (1.0,) * 3)
    Pipeline("RGB", (WHOLE, mean, ToCHW())).save(tmp_path / "preprocess.json")
    said = "a white pixel becomes -103.5 and a black one -104.5"

    assert of_classify(run_program, root, program, picture)[1].count(said) == 1
    assert of_server(run_server, serve_program, program, picture, tmp_path)[1].count(said) == 1
    with pytest.warns(UserWarning, match=said), lenet_cpp.Classifier(program) as classifier:
        classifier(picture)
    for command in ("predict", "predict-many"):
        with pytest.warns(UserWarning, match=said) as caught:
            assert main([command, str(program), str(picture), f"-o{tmp_path / 'o.csv'}"]) == 0
        assert len(caught) == 1
