"""lenet-cpp match-preprocess finds how images were prepared, from outputs of other programs.

Images are prepared by Pillow, OpenCV and NumPy as PaddleClas, PaddleX, torchvision and timm do it,
and the networks are computed by PyTorch.
"""

import re

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from lenet_cpp.cli import main, match_preprocess
from lenet_cpp.data.images import Pipeline
from lenet_cpp.inference.predictor import Predictor
from snippets import run_page

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5,) * 3, (0.5,) * 3
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
UNIT = (0.0,) * 3, (1.0,) * 3


def pil(filter_, short, size):
    """torchvision's Resize and CenterCrop; timm's, where ``short`` is size / crop_pct."""

    def prepare(image):
        width, height = image.size
        wide, high = (
            (int(short * width / height), short)
            if width > height
            else (short, int(short * height / width))
        )
        left, top = round((wide - size) / 2.0), round((high - size) / 2.0)
        return np.asarray(image.resize((wide, high), filter_))[top:, left:][:size, :size]

    return prepare


def opencv(flag, short, size):
    """PaddleClas's ResizeImage and CropImage."""

    def prepare(image):
        pixels = np.asarray(image)
        percent = short / min(pixels.shape[:2])
        high, wide = (round(side * percent) for side in pixels.shape[:2])
        pixels = cv2.resize(pixels, (wide, high), interpolation=flag)
        top, left = (high - size) // 2, (wide - size) // 2
        return pixels[top : top + size, left : left + size]

    return prepare


def whole(resize):
    def resize_to(size):
        return lambda image: np.asarray(resize(image, (size, size)))

    return resize_to


def preparations(size):
    """Return name to: pixels of an image, mean and std, whether BGR, and the scale."""
    bilinear, bicubic = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
    usual = round(size * 256 / 224)
    by_area = whole(
        lambda image, to: cv2.resize(np.asarray(image), to, interpolation=cv2.INTER_AREA)
    )
    by_opencv = whole(lambda image, to: cv2.resize(np.asarray(image), to))
    by_pillow = whole(lambda image, to: image.resize(to, bilinear))
    return {
        "torchvision": (pil(bilinear, usual, size), IMAGENET, False, 1 / 255),
        "PaddleClas": (opencv(cv2.INTER_LINEAR, usual, size), IMAGENET, False, 1 / 255),
        "PaddleClas in BGR": (opencv(cv2.INTER_LINEAR, usual, size), IMAGENET, True, 1 / 255),
        "PaddleClas by area": (opencv(cv2.INTER_AREA, usual, size), IMAGENET, False, 1 / 255),
        "PaddleX": (by_opencv(size), HALF, False, 1 / 255),
        "timm": (pil(bicubic, usual, size), HALF, False, 1 / 255),
        "timm, crop_pct 0.9": (pil(bicubic, int(size / 0.9), size), IMAGENET, False, 1 / 255),
        "timm, crop_pct 0.95": (pil(bicubic, int(size / 0.95), size), HALF, False, 1 / 255),
        "CLIP": (pil(bicubic, size, size), CLIP, False, 1 / 255),
        "the whole by area": (by_area(size), UNIT, False, 1 / 255),
        "the whole by Pillow": (by_pillow(size), UNIT, False, 1 / 255),
        "Caffe": (opencv(cv2.INTER_NEAREST, usual, size), UNIT, True, 1.0),
    }


def tensors(preparation, images):
    resize, (mean, std), bgr, scale = preparation
    result = []
    for image in images:
        pixels = resize(image)[..., :: -1 if bgr else 1].astype(np.float32)
        values = (pixels * np.float32(scale) - np.float32(mean)) / np.float32(std)
        result.append(values.transpose(2, 0, 1))
    return np.stack(result)


def network(seed, size, classes, ending=None):
    """Return the bytes of an .onnx, and the same in PyTorch."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(6, 3, 7, 7)).astype(np.float32) / 7
    side = (size - 7) // 5 + 1
    weights = rng.normal(size=(6 * side * side, classes)).astype(np.float32) / side
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], strides=[5, 5]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"]),
    ]
    if ending:
        nodes[-1].output[0] = "z"
        nodes.append(helper.make_node("Softmax", ["z"], ["y"], axis=1))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "network",
        [value("x", TensorProto.FLOAT, ["n", 3, size, size])],
        [value("y", TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(kernel, "k"), numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def run(batch):
        found = torch.nn.functional.conv2d(torch.tensor(batch), torch.tensor(kernel), stride=5)
        return (found.relu().flatten(1) @ torch.tensor(weights)).numpy()

    onnx.checker.check_model(model)
    return model.SerializeToString(), run


NETWORKS = {  # seed, size, classes, what is at the end
    "logits": (0, 64, 10),
    "many classes": (1, 56, 100),
    "probabilities": (2, 48, 7, "Softmax"),
}


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """20 pictures of many sizes: soft shapes with some noise, as photos have."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(20):
        rng = np.random.default_rng(seed)
        width, height = map(int, rng.integers(90, 190, 2))
        coarse = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        soft = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noisy = np.asarray(soft) + rng.integers(-10, 11, (height, width, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{seed:02}.png")
    return folder


@pytest.mark.parametrize("name", preparations(64))
@pytest.mark.parametrize("of", NETWORKS)
def test_finds_the_preparation(of, name, pictures, tmp_path, capsys):
    seed, size, *more = NETWORKS[of]
    model, run = network(seed, size, *more)
    (tmp_path / "model.onnx").write_bytes(model)
    images = [Image.open(path) for path in sorted(pictures.iterdir())]
    expected = tensors(preparations(size)[name], images)
    scores = run(expected)
    # Logits of a network with a softmax; some probabilities of those without.
    apply = name in {"PaddleX", "timm"} and of != "probabilities"
    scores = softmax(scores) if apply else scores
    np.save(tmp_path / "scores.npy", scores)
    command = ["match-preprocess", str(tmp_path / "model.onnx"), str(pictures)]
    output = tmp_path / "preprocess.json"
    command += ["--expect", str(tmp_path / "scores.npy"), "-o", str(output)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    whose = []
    if of == "probabilities":
        whose = ["expected"]
    elif apply:
        whose = ["model's"]
    assert re.findall("softmax of the (.*) outputs", printed) == whose
    found = Pipeline.load(output).batch(sorted(pictures.iterdir()))
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max(), printed


def test_finds_how_photos_of_digits_are_prepared(root, model_dir, tmp_path, capsys):
    photos = sorted((root / "examples" / "photos").glob("*.jpg"))
    digits = Pipeline.load(model_dir / "preprocess.json").batch(photos)
    model = model_dir / "lenet.pdmodel"
    with Predictor(model) as predictor:
        np.save(tmp_path / "scores.npy", predictor.run(digits))
    output = tmp_path / "preprocess.json"
    command = ["match-preprocess", str(model), *map(str, photos), "-o", str(output)]
    assert main([*command, "--expect", str(tmp_path / "scores.npy")]) == 0
    assert "Digit" in capsys.readouterr().out
    np.testing.assert_allclose(Pipeline.load(output).batch(photos), digits, atol=1e-6)


def center_crop(size):
    """torchvision's CenterCrop, which adds a black border to an image that is too small."""

    def prepare(image):
        pixels = np.asarray(image)
        high, wide = (max(size - side, 0) for side in pixels.shape[:2])
        border = ((high // 2, (high + 1) // 2), (wide // 2, (wide + 1) // 2), (0, 0))
        pixels = np.pad(pixels, border)
        top, left = (round((side - size) / 2.0) for side in pixels.shape[:2])
        return pixels[top : top + size, left : left + size]

    return prepare


KNOWN = (0.41, 0.52, 0.37), (0.21, 0.19, 0.27)
FLAGS_OF_KNOWN = ["--mean=0.41,0.52,0.37", "--std=0.21,0.19,0.27"]


def match(folder, images, expected, *flags):
    """Return the status of the command for pixels that were prepared so."""
    model, run = network(0, 64, 10)
    (folder / "model.onnx").write_bytes(model)
    np.save(folder / "scores.npy", run(expected))
    command = ["match-preprocess", str(folder / "model.onnx"), *map(str, images), *flags]
    command += ["--expect", str(folder / "scores.npy"), "-o", str(folder / "preprocess.json")]
    return main(command)


def require_same(folder, images, expected):
    found = Pipeline.load(folder / "preprocess.json").batch(images)
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_finds_a_crop_without_a_resize(pictures, tmp_path):
    """PyTorch's guides prepare with CenterCrop and ToTensor alone."""
    noise = np.random.default_rng(7).integers(0, 256, (51, 100, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "low.png")
    paths = [*sorted(pictures.iterdir())[:3], tmp_path / "low.png"]
    expected = tensors((center_crop(64), UNIT, False, 1 / 255), map(Image.open, paths))
    assert match(tmp_path, paths, expected) == 0
    require_same(tmp_path, paths, expected)


@pytest.mark.parametrize(
    "flags", [FLAGS_OF_KNOWN, ["--mean=104.55,132.6,94.35/255", "--std=53.55,48.45,68.85/255"]]
)
def test_known_values_are_taken_as_they_are(flags, pictures, tmp_path, capsys):
    paths = sorted(pictures.iterdir())[:2]
    resize = pil(Image.Resampling.BILINEAR, 73, 64)
    expected = tensors((resize, KNOWN, True, 1 / 255), map(Image.open, paths))
    assert match(tmp_path, paths, expected) == 1
    assert match(tmp_path, paths, expected, *flags) == 0, capsys.readouterr().out
    require_same(tmp_path, paths, expected)
    with pytest.raises(SystemExit):
        match(tmp_path, paths, expected, flags[0])
    assert "--mean and --std are needed together" in capsys.readouterr().err


def test_a_preparation_has_to_match_every_picture(pictures, tmp_path):
    paths = sorted(pictures.iterdir())[:3]
    expected = tensors((center_crop(64), KNOWN, False, 1 / 255), map(Image.open, paths))
    assert match(tmp_path, paths, expected, *FLAGS_OF_KNOWN) == 0
    other = tensors(
        (pil(Image.Resampling.BILINEAR, 73, 64), KNOWN, False, 1 / 255), map(Image.open, paths)
    )
    for number in range(3):
        mixed = expected.copy()
        mixed[number] = other[number]
        assert match(tmp_path, paths, mixed, *FLAGS_OF_KNOWN) == 1


@pytest.mark.parametrize(
    ("row", "are"), [([0.25, 0.75], True), ([1.5, -0.5], False), ([0.5, 0.6], False)]
)
def test_what_counts_as_probabilities(row, are):
    assert match_preprocess._is_probabilities(np.array([row])) == are


def test_finds_what_smooth_pixels_do_not_tell(tmp_path, capsys, monkeypatch):
    """In noise a wrong size or wrong values may be nearer than another way of resizing."""
    noise = np.random.default_rng(5).integers(0, 256, (200, 300, 3), np.uint8)
    model, run = network(0, 64, 10)
    (tmp_path / "model.onnx").write_bytes(model)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    expected = tensors(preparations(64)["PaddleClas by area"], [Image.fromarray(noise)])
    np.save(tmp_path / "scores.npy", run(expected))
    command = ["match-preprocess", *(str(tmp_path / f) for f in ("model.onnx", "noise.png"))]
    output = tmp_path / "preprocess.json"
    command += ["--expect", str(tmp_path / "scores.npy"), "-o", str(output)]
    assert main(command) == 0, capsys.readouterr().out
    found = Pipeline.load(output).batch([tmp_path / "noise.png"])
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()
    monkeypatch.setattr(match_preprocess._Search, "_near", lambda *_: set())
    assert main(command) == 1  # the first three rounds do not find it


def test_a_wrong_network_fits_none(pictures, tmp_path, capsys, monkeypatch):
    run_images, ran = Predictor.run, []
    monkeypatch.setattr(Predictor, "run", lambda *of: ran.append(len(of[1])) or run_images(*of))
    model, _ = network(0, 64, 10)
    _, other = network(3, 64, 10)
    (tmp_path / "model.onnx").write_bytes(model)
    paths = sorted(pictures.iterdir())[:2]
    images = [Image.open(path) for path in paths]
    np.save(tmp_path / "scores.npy", other(tensors(preparations(64)["timm"], images)))
    command = ["match-preprocess", str(tmp_path / "model.onnx"), *map(str, paths)]
    command += ["--expect", str(tmp_path / "scores.npy"), "-o", str(tmp_path / "preprocess.json")]
    assert main([*command, "--top", "2"]) == 1
    printed = capsys.readouterr().out
    assert "none of 1032 preparations fits" in printed
    assert "give --mean and --std if you know them; a photo may have an EXIF orientation" in printed
    assert sum(ran) <= 1032 / 2  # a network takes longer than all else
    assert len(printed.splitlines()) == 2 + 2 + 1
    assert not (tmp_path / "preprocess.json").exists()


def test_a_picture_that_is_too_simple_says_so(tmp_path, capsys):
    model, run = network(0, 64, 10)
    (tmp_path / "model.onnx").write_bytes(model)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    image.save(tmp_path / "small.png")
    batch = tensors((np.asarray, IMAGENET, False, 1 / 255), [image])
    np.save(tmp_path / "scores.npy", run(batch)[0])  # one image needs no axis of images
    command = ["match-preprocess", str(tmp_path / "model.onnx"), str(tmp_path / "small.png")]
    assert main([*command, "--expect", str(tmp_path / "scores.npy")]) == 0
    printed = capsys.readouterr().out
    # No resize at all: 7 interpolations in two roundings, the short side or both sides; and only a
    # crop, in two roundings.
    assert "the first 30 preparations fit these images equally well" in printed
    row = printed.splitlines()[2].partition("%")[2]
    assert re.split("  +", row.strip()) == (
        ["pillow bilinear", "64 x 64", "64 x 64", "torchvision", "RGB", "ImageNet"]
    )


@pytest.mark.parametrize(
    ("scores", "status", "said"),
    [
        (np.zeros((2, 10), np.float32), 5, r"float32 \[2, 10\]: give floats, \[1, classes\]"),
        (np.zeros((1, 10), np.int64), 5, "int64"),
        (np.zeros((1, 9), np.float32), 5, "10 outputs for an image, 9 are expected"),
        (np.full((1, 10), np.nan, np.float32), 5, "not all finite"),
        (b"no array", 5, "is no .npy file"),
        (None, 3, "cannot read .*scores.npy"),
    ],
)
def test_expected_outputs_of_no_use(scores, status, said, pictures, tmp_path, capsys):
    (tmp_path / "model.onnx").write_bytes(network(0, 64, 10)[0])
    if isinstance(scores, bytes):
        (tmp_path / "scores.npy").write_bytes(scores)
    elif scores is not None:
        np.save(tmp_path / "scores.npy", scores)
    command = ["match-preprocess", str(tmp_path / "model.onnx"), str(pictures / "00.png")]
    assert main([*command, "--expect", str(tmp_path / "scores.npy")]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("lenet-cpp: error: ")
    assert re.search(said, line)


def test_the_page(root, program, model_dir, tmp_path):
    _, compared, verified, matched, classified = run_page(
        root / "docs" / "same-numbers.md", tmp_path, model_dir
    )
    assert float(compared.split()[-1]) <= 1e-4
    assert "The engines agree with the plain program" in verified
    best = re.split("  +", matched.splitlines()[2])
    assert (best[2], best[3], best[-1]) == ("pillow bicubic", "28 x 28", "mean 0.5, std 0.5")
    assert "wrote preprocess.json" in matched
    assert re.search(r"class \d", classified)
