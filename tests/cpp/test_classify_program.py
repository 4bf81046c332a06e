"""lenet_classify from outside, and the C++ decoders beside Pillow's.

Pixels come from Pillow by ``read_image``, probabilities from the logits that
:class:`lenet_cpp.Predictor` gives and NumPy's exponentials. ``lenet_api_call``, one call of the
C++ API as a program, gives tensors of any size; ``lenet_classify`` those that a model takes.
"""

import csv
import io
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import time
import zlib
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
from lenet_cpp.data import images as prepare
from lenet_cpp.data.images import Normalize, Pipeline, Resize, ToCHW, digit
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir
from numpy_reference import softmax

USAGE, FILE_NOT_FOUND, BAD_MODEL, BAD_INPUT, UNSUPPORTED = 2, 3, 4, 5, 6


@pytest.fixture(scope="session")
def classifier(root):
    path = root / "build" / "lenet_classify"
    assert path.is_file(), f"{path} is missing: run ./run.sh, or ./test.sh, which builds it"
    cache = (path.parent / "CMakeCache.txt").read_text()
    left_out = re.search(r"^LENET_LEFT_OUT:INTERNAL=(.*)", cache, flags=re.MULTILINE)[1]
    assert not left_out, f"the program was built without {left_out}: install and build again"
    return path


@pytest.fixture(scope="session")
def run_program(run_program, classifier):
    return partial(run_program, program=classifier)


@pytest.fixture
def cpp_tensor(root, tmp_path, run_program):
    """What C++ makes of an image with a pipeline; the line of its error when it refuses it."""
    route = root / "build" / "lenet_api_call"
    assert route.is_file(), f"{route} is missing: run ./test.sh, which builds it"

    def cpp_tensor(pipeline, image, memory=resource.RLIM_INFINITY):
        preprocess, output = tmp_path / "route.json", tmp_path / "route.npy"
        pipeline.save(preprocess)
        result = run_program(
            *(f"image={image}", f"preprocess={preprocess}", f"output={output}"),
            program=route,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory)),
        )
        assert (result.returncode, result.stderr) == (0, "")
        return np.load(output) if result.stdout.startswith("image ") else result.stdout.strip()

    return cpp_tensor


def raw(mode):
    """The pixels as they are."""
    channels = 1 if mode == "L" else 3
    return Pipeline(mode, (Normalize(1.0, (0.0,) * channels, (1.0,) * channels), ToCHW()))


def assert_same_bits(actual, expected):
    assert isinstance(actual, np.ndarray), actual
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()


def photo(height, width, seed=0):
    """Soft shapes with some noise, as photos have."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noisy = soft.astype(int) + rng.integers(-10, 11, soft.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def chunk(kind, content):
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png(width, height, depth, colour, data, *chunks):
    """A PNG around ``data``, already compressed."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), *chunks, chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_16(samples, colour, *chunks):
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    height, width = samples.shape[:2]
    return png(width, height, 16, colour, zlib.compress(rows), *chunks)


# The same bits where nothing is resampled and the file keeps the pixels

WIDTH, HEIGHT = 83, 61


def deep(channels):
    return np.random.default_rng(2).integers(0, 1 << 16, (HEIGHT, WIDTH, channels))


def lossless():
    """File name to content: each kind of pixel that the containers have."""
    files = {}

    def save(name, image, **options):
        file = io.BytesIO()
        image.save(file, {"pgm": "PPM"}.get(name[-3:], name[-3:]), **options)
        files[name] = file.getvalue()

    opaque, transparent = photo(HEIGHT, WIDTH), photo(HEIGHT, WIDTH)
    alpha = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    transparent.putalpha(Image.fromarray(alpha))
    white = Image.new("RGBA", (WIDTH, HEIGHT), "white")
    white.putalpha(transparent.getchannel("A").point(lambda alpha: alpha * (alpha < 128)))
    for mode in ("1", "L", "P", "RGB"):
        save(f"{mode}.png", opaque.convert(mode))
        save(f"{mode}.bmp", opaque.convert(mode))
    for kind, image in (("", transparent), ("white_", white)):
        save(f"{kind}LA.png", image.convert("LA"))
        save(f"{kind}RGBA.png", image)
        save(f"{kind}RGBA.bmp", image)
    save("palette_alpha.png", transparent.quantize(64))
    save("palette_colour.png", opaque.convert("P"), transparency=3)
    save("RGB.ppm", opaque)
    save("L.pgm", opaque.convert("L"))
    for colour, channels in ((0, 1), (2, 3), (4, 2), (6, 4)):
        files[f"16_bits_{channels}.png"] = png_16(deep(channels), colour)
    sample = struct.pack(">H", int(deep(1)[3, 4, 0]))
    files["16_bits_transparent.png"] = png_16(deep(1), 0, chunk(b"tRNS", sample))
    bits = np.random.default_rng(3).integers(0, 256, (HEIGHT, 1 + (WIDTH + 3) // 4), np.uint8)
    bits[:, 0] = 0
    files["2_bits.png"] = png(WIDTH, HEIGHT, 2, 0, zlib.compress(bits.tobytes()))
    return files


LOSSLESS = lossless()


@pytest.mark.parametrize("name", LOSSLESS)
def test_same_bits(name, cpp_tensor, tmp_path):
    file = tmp_path / name
    file.write_bytes(LOSSLESS[name])
    for pipeline in (raw("L"), raw("RGB")):
        assert_same_bits(cpp_tensor(pipeline, file), pipeline(file))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation, cpp_tensor, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    image, file = photo(HEIGHT, WIDTH), tmp_path / "image"
    image.save(file, "PNG", exif=exif)
    assert_same_bits(cpp_tensor(raw("RGB"), file), raw("RGB")(file))
    image.save(file, "JPEG", exif=exif)
    assert_same_bits(cpp_tensor(raw("RGB"), file), raw("RGB")(file))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("size", [(375, 500), (17, 33), (1, 1)])
def test_jpegs_have_pillow_s_bits(mode, size, cpp_tensor, tmp_path):
    file = tmp_path / "image.jpg"
    image = photo(*size).convert(mode)
    more = {"quality": 30, "progressive": True}, {"restart_marker_rows": 1}, {"keep_rgb": True}
    for options in (*({"quality": 90, "subsampling": i} for i in range(3)), *more):
        image.save(file, **options)
        with Image.open(file) as decoded:
            expected = np.asarray(decoded.convert("RGB")).transpose(2, 0, 1)
        assert_same_bits(cpp_tensor(raw("RGB"), file), expected.astype(np.float32))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("size", "target"),
    [
        *((size, {"short_side": 256}) for size in ((375, 500), (500, 375), (100, 131), (256, 300))),
        ((700, 513), {"short_side": 64}),
        ((90, 120), {"size": (41, 200)}),
        ((333, 257), {"size": (28, 28)}),
        ((300, 200), {"size": (99, 100)}),  # columns first, by one pixel
        ((300, 200), {"size": (100, 100)}),
        ((7, 1), {"size": (30, 20)}),
    ],
)
def test_resized_as_by_pillow(size, target, interpolation, cpp_tensor, tmp_path):
    image, file = photo(*size), tmp_path / "image.png"
    image.save(file)
    height, width = target.get("size") or (
        int(side * target["short_side"] / min(size)) for side in size
    )
    method = Image.Resampling[interpolation.upper()]
    if interpolation != "nearest":  # one pass after the other, whose order depends on the version
        columns_first = size[0] - height > 2 * max(0, size[1] - width)
        image = image.resize((size[1], height) if columns_first else (width, size[0]), method)
    expected = np.asarray(image.resize((width, height), method)).transpose(2, 0, 1)
    for mode in ("RGB", "BGR"):
        pipeline = Pipeline(mode, (Resize(interpolation=interpolation, **target), *raw(mode).steps))
        in_order = expected if mode == "RGB" else expected[::-1]
        assert_same_bits(cpp_tensor(pipeline, file), in_order.astype(np.float32))


DIGITS = read_mnist_dir(sample_dir()).test.images


def on_paper(digit_pixels, side, height, width, seed):
    """Dark ink on paper in uneven light, with noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    paper = 205 - 50 * np.sin(columns / width * 3 + seed) * rows / height
    large = Image.fromarray(digit_pixels).resize((side, side), Image.Resampling.BICUBIC)
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    ink = np.zeros((height, width))
    ink[top : top + side, left : left + side] = large
    values = paper - ink * rng.uniform(0.2, 0.8) + rng.normal(0, rng.uniform(0, 9), ink.shape)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Digits as images of several kinds."""
    path = tmp_path_factory.mktemp("digits")
    Image.fromarray(DIGITS[0]).save(path / "a_mnist.png")
    Image.fromarray(255 - DIGITS[1]).save(path / "b_dark.PGM", "PPM")
    for i, (side, height, width) in enumerate(((40, 60, 50), (280, 300, 400), (620, 700, 900))):
        on_paper(DIGITS[2 + i], side, height, width, i).save(path / f"c_{i}.png")
    on_paper(DIGITS[9], 500, 800, 600, 9).convert("RGB").save(path / "d.bmp")
    (path / "notes.txt").write_text("no image")
    return path


@pytest.fixture(scope="session")
def files(folder):
    return [path for path in sorted(folder.iterdir()) if path.suffix != ".txt"]


@pytest.fixture(scope="session")
def model(model_dir, tmp_path_factory):
    """The bundled model with its preprocessing beside it, and nothing that lists their sums."""
    path = shutil.copytree(model_dir, tmp_path_factory.mktemp("model") / "lenet")
    (path / "SHA256SUMS").unlink()
    digit().save(path / "preprocess.json")
    return path


@pytest.fixture(scope="session")
def expected(model, files):
    """The probabilities of all classes, [images, 10]."""
    return softmax(lenet_cpp.Predictor(model_dir=model).run(digit().batch(files)))


def test_digits_have_the_same_bits(run_ok, model, files, tmp_path):
    run_ok(f"--model_dir={model}", f"--output_tensor={tmp_path / 'x.npy'}", *files)
    tensor = np.load(tmp_path / "x.npy")
    assert_same_bits(tensor, digit().batch(files))
    # The first is MNIST's own; all have the digit's mass in the middle.
    assert np.array_equal(tensor[0, 0], DIGITS[0] / np.float32(255))
    rows = (tensor.sum(axis=(1, 3)) * np.arange(28)).sum(axis=1) / tensor.sum(axis=(1, 2, 3))
    assert np.all(np.abs(rows - 14) < 1.5)


FIELDS = ("class_id", "label", "probability")


def best_of(text):
    """Of each image the class that comes first: its number, label and probability."""
    found = (result["predictions"][0] for result in json.loads(text))
    return zip(*map(itemgetter(*FIELDS), found), strict=True)


def test_json(run_ok, model, files, expected):
    results = json.loads(run_ok(f"--model_dir={model}", "--format=json", "--topk=10", *files))
    assert [result["file"] for result in results] == list(map(str, files))
    for result, row in zip(results, expected, strict=True):
        ids, labels, actual = zip(*map(itemgetter(*FIELDS), result["predictions"]), strict=True)
        assert list(ids) == np.argsort(-row, kind="stable").tolist()
        assert labels == tuple(map(str, ids))
        np.testing.assert_allclose(actual, row[list(ids)], rtol=1e-4, atol=1e-7)


def test_csv_is_python_s(run_ok, model, files, expected, tmp_path):
    from lenet_cpp.inference.results import CSV_COLUMNS

    (tmp_path / "labels").write_text("\n".join(f"the {i}, or so" for i in range(10)))
    text = run_ok(
        f"--model_dir={model}", "--format=csv", "--topk=2", f"--labels={tmp_path / 'labels'}",
        *files,
    )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["file"] for row in rows[::2]] == list(map(str, files))
    assert [row["rank"] for row in rows] == ["1", "2"] * len(files)
    assert [int(row["class_id"]) for row in rows[::2]] == expected.argmax(axis=1).tolist()
    assert all(row["label"] == f"the {row['class_id']}, or so" for row in rows)


def test_text_of_a_folder(run_ok, model, folder, files, expected):
    lines = run_ok(f"--model_dir={model}", folder, "--topk", "1").splitlines()
    assert lines[::2] == list(map(str, files))
    for line, row in zip(lines[1::2], expected, strict=True):
        best = int(row.argmax())
        assert line == f"  {row[best]:.6f}  class {best}  {best}"


@pytest.mark.parametrize("options", [["--batch_size=4"], ["--threads=2", "--accelerator=onednn"]])
def test_batches_and_engines_agree(run_ok, model, files, expected, options):
    text = run_ok(f"--model_dir={model}", "--format=json", *options, *files)
    ids, _, probabilities = best_of(text)
    assert list(ids) == expected.argmax(axis=1).tolist()
    np.testing.assert_allclose(probabilities, expected.max(axis=1), rtol=1e-4)


def test_model_by_its_files(run_ok, model, model_dir, files, tmp_path):
    named = (f"--model_file={model}/lenet.pdmodel", f"--params_file={model}/lenet.pdiparams")
    preprocess = shutil.copy(model / "preprocess.json", tmp_path / "other.json")
    # The bundled model has a preprocess.json of its own, whose checksum SHA256SUMS has.
    bundled = [f"--model_dir={model_dir}"]
    others = [*named, f"--preprocess={preprocess}"], ["--model_file=lenet.pdmodel"], bundled
    for flags in (named, *others):
        assert run_ok(*flags, *files, cwd=model) == run_ok(f"--model_dir={model}", *files)


def test_snippet_of_the_documentation(run_ok, root, classifier, model, files, expected, tmp_path):
    page = (root / "docs" / "preprocessing.md").read_text()
    first = "    #include <lenet/image_pipeline.h>\n"
    code = re.search(rf"^{first}(?:    .*\n|\n)*", page, re.MULTILINE)[0]
    includes = re.findall("#include.*", code)
    body = re.sub("#include.*", "", code)
    body = body.replace("inference_model/lenet", str(model)).replace("photo.jpg", str(files[2]))
    body += '\nfor (float logit : logits.data) std::printf("%.9g\\n", logit);'
    text = "\n".join(["#include <cstdio>", *includes, "int main() {", body, "}", ""])
    (tmp_path / "main.cc").write_text(text)
    build = classifier.parent
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{root / 'cpp' / 'include'}"]
    libraries = [f"-L{build}", "-llenet", f"-Wl,-rpath,{build}"]
    files = [tmp_path / "main.cc", "-o", tmp_path / "main"]
    subprocess.run(["c++", *flags, *files, *libraries], check=True)
    logits = np.array(run_ok(program=tmp_path / "main").split(), np.float64)
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), expected[2], rtol=1e-4)


def test_version(run_ok):
    assert run_ok("--version").startswith("lenet_classify ")


@pytest.fixture(scope="module")
def softmax_model(tmp_path_factory):
    from lenet_cpp.export.inference_model import export_model

    path = tmp_path_factory.mktemp("softmax")
    export_model(None, path, model="lenet", seed=3, softmax=True, formats=["json", "pdmodel"])
    (path / "SHA256SUMS").unlink()
    digit().save(path / "preprocess.json")
    return path


@pytest.mark.parametrize("format_", ["json", "pdmodel"])
@pytest.mark.parametrize("described", [True, False])
def test_softmax_is_applied_once(run_ok, softmax_model, format_, described, files, tmp_path):
    """With a manifest that says what the outputs are, and without."""
    folder = shutil.copytree(softmax_model, tmp_path / "model")
    if not described:
        (folder / "manifest.json").unlink()
    program = f"--model_file={folder}/lenet.{format_}"
    (result,) = json.loads(run_ok(program, "--format=json", "--topk=10", files[0]))
    actual = [prediction["probability"] for prediction in result["predictions"]]
    assert sum(actual) == pytest.approx(1, abs=1e-6)
    probabilities = lenet_cpp.Predictor(folder / f"lenet.{format_}").run(digit().batch(files[:1]))
    expected = np.sort(probabilities[0])[::-1]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    *_, (again,) = best_of(run_ok(program, "--format=json", "--softmax", files[0]))
    assert again < expected[0]


def test_logits_without_a_manifest(run_ok, model, files, expected, tmp_path):
    for name in ("lenet.json", "lenet.pdiparams", "preprocess.json"):
        shutil.copy(model / name, tmp_path)
    _, labels, probabilities = best_of(run_ok(f"--model_dir={tmp_path}", "--format=json", *files))
    assert labels == (None,) * len(files)
    np.testing.assert_allclose(probabilities, expected.max(axis=1), rtol=1e-4)


SCAN = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0"
BAD = {
    "zero bytes": ("is empty", b""),
    "text": ("is not an image", b"hello"),
    "PNG signature": ("cut short", b"\x89PNG\r\n\x1a\n"),
    "20,000 x 20,000": ("has 20000 x 20000 pixels, over the limit",
        png(20000, 20000, 8, 2, zlib.compress(bytes(1 << 20)))),
    "JPEG of 65,500 x 65,500": ("over the limit",
        b"\xff\xd8\xff\xc0\0\x0b\x08" + struct.pack(">HH", 65500, 65500)
        + b"\x01\x01\x11\0" + SCAN + b"\xff\xd9"),
    "JPEG of 101 scans": ("more than 100 scans", b"\xff\xd8" + 101 * SCAN + b"\xff\xd9"),
    "BMP of 30,000 x 30,000": ("over the limit",
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 30000, 30000, 1, 24, *[0] * 6)),
    "PPM of 30,000 x 30,000": ("damaged", b"P6 30000 30000 255 x"),
    "2 x 2 pixels that unpack to 256 MiB":
        ("damaged", png(2, 2, 8, 2, zlib.compress(bytes(1 << 28), 1))),
    "damaged PNG": ("is a damaged PNG: IDAT",
        png(2, 2, 8, 0, zlib.compress(bytes(6))).replace(b"IDAT", b"IDAT\x79", 1)[:-1]),
    "palette index out of range": ("damaged", png(1, 1, 8, 3, zlib.compress(b"\0\x09"))),
    "16-bit PPM": ("65535", b"P6 1 1 65535 abcdef"),
    "GIF": ("convert it to PNG", b"GIF89a"),
    "WebP": ("is a WebP", b"RIFF\0\0\0\0WEBPVP8 "),
    "TIFF": ("is a TIFF", b"II*\0\x08\0\0\0"),
    "blank paper": ("found no digit", b"P5 30 30 255 " + bytes([200]) * 900),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_image(name, fails, model, cpp_tensor, tmp_path):
    words, content = BAD[name]
    code = UNSUPPORTED if name in {"GIF", "WebP", "TIFF"} else BAD_INPUT
    file = tmp_path / "image"
    file.write_bytes(content)
    fails(code, f"'{file}'", f"--model_dir={model}", file)
    if name == "blank paper":
        fails(code, words, f"--model_dir={model}", file)
    else:  # without the engine, in little memory: nothing is made of a size that a header claims
        assert words in str(cpp_tensor(raw("L"), file, memory=1 << 27))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.pgm"])
def test_truncated_image(name, cpp_tensor, tmp_path):
    file = tmp_path / name
    photo(28, 28).convert("L").save(file)
    content = file.read_bytes()
    assert isinstance(cpp_tensor(raw("L"), file), np.ndarray)
    last = len(content) - 1
    for size in {*range(1, 40, 8), *range(40, last, last // 12), last}:
        file.write_bytes(content[:size])
        assert str(cpp_tensor(raw("L"), file)).startswith(f"BadInput '{file}' "), size


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (USAGE, "name a model", "DIGIT"),
        (USAGE, "name images", "--model_dir=MODEL"),
        (USAGE, "--format is 'xml'", "--model_dir=MODEL --format=xml DIGIT"),
        (FILE_NOT_FOUND, "missing.png", "--model_dir=MODEL DIGIT missing.png"),
        (FILE_NOT_FOUND, "no image in this folder", "--model_dir=MODEL empty"),
        (FILE_NOT_FOUND, "not a regular file", "--model_dir=MODEL pipe"),
        (BAD_INPUT, "names 2 classes, the model has 10", "--model_dir=MODEL --labels=two DIGIT"),
        (
            BAD_INPUT, "'sizes/1.png': the preprocessing gives [1, 1, 29, 29]",
            "--model_dir=MODEL --preprocess=raw.json sizes",
        ),
    ],
)  # fmt: skip
def test_refusals(code, words, arguments, fails, model, files, tmp_path):
    for name in ("empty", "sizes"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "two").write_text("one\ntwo\n")
    for i, side in enumerate((28, 29)):
        photo(side, side).save(tmp_path / "sizes" / f"{i}.png")
    raw("L").save(tmp_path / "raw.json")
    named = arguments.replace("MODEL", str(model)).replace("DIGIT", str(files[0]))
    fails(code, words, *named.split(), cwd=tmp_path)


def test_preprocessing_that_does_not_fit(fails, run_program, model, files, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / "preprocess.json").unlink()
    fails(FILE_NOT_FOUND, "--preprocess", f"--model_dir={folder}", files[0])
    prepare.imagenet(32).save(folder / "preprocess.json")
    fails(BAD_INPUT, "the preprocessing gives [1, 3, 32, 32]", f"--model_dir={folder}", files[0])
    (folder / "preprocess.json").write_text('{"format_version": 7}')
    fails(BAD_MODEL, "preprocess.json' is not a valid", f"--model_dir={folder}", files[0])
    digit().save(folder / "preprocess.json")
    (folder / "SHA256SUMS").write_text("0" * 64 + "  preprocess.json\n")
    fails(BAD_MODEL, "SHA-256", f"--model_dir={folder}", files[0])
    for accepted in ("--check_hashes=false", f"--preprocess={folder}/preprocess.json"):
        assert run_program(f"--model_dir={folder}", accepted, files[0]).returncode == 0


def test_output_file(run_ok, model, files, tmp_path):
    printed = run_ok(f"--model_dir={model}", "--format=csv", *files)
    target = tmp_path / "result.csv"
    target.write_text("before")
    assert run_ok(f"--model_dir={model}", "--format=csv", f"--output={target}", *files) == ""
    assert target.read_text() == printed
    assert list(tmp_path.iterdir()) == [target]


def test_output_that_fails(fails, run_program, model, files, tmp_path):
    missing = tmp_path / "missing" / "result.csv"
    fails(FILE_NOT_FOUND, str(missing), f"--model_dir={model}", f"--output={missing}", files[0])
    target = tmp_path / "result.csv"
    target.write_text("before")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"bad")
    fails(BAD_INPUT, "bad.png", f"--model_dir={model}", f"--output={target}", files[0], bad)
    assert target.read_text() == "before"
    with Path("/dev/full").open("w") as full:
        result = run_program(f"--model_dir={model}", files[0], stdout=full)
    assert result.returncode == 1
    assert "standard output" in result.stderr


def test_closed_pipe(run_program, model, files):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        result = run_program(f"--model_dir={model}", files[0], stdout=closed)
    assert (result.returncode, result.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number, classifier, model, files, tmp_path):
    target = tmp_path / "result.csv"
    target.write_text("before")
    command = [classifier, f"--model_dir={model}", "--engine=paddle", f"--output={target}"]
    command += [files[-2]] * 20000
    with subprocess.Popen(command, stderr=subprocess.PIPE, env={}) as process:
        # Threads of the engine: the model is loaded, so the signals are caught.
        deadline = time.monotonic() + 60
        while "libpaddle" not in Path(f"/proc/{process.pid}/maps").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(60) == -number
        assert process.stderr.read() == b""
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]
