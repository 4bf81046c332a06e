"""lenet_classify from outside.

Probabilities come from the logits that :class:`lenet_cpp.Predictor` gives and NumPy's exponentials.
"""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import time
import unicodedata
from contextlib import suppress
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, parser
from PIL import Image

import lenet_cpp
from digit_photos import photo
from lenet_cpp import _core
from lenet_cpp._base.text import printable
from lenet_cpp.data import images as prepare
from lenet_cpp.data.images import Normalize, Pipeline, ToCHW, digit
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir
from numpy_reference import softmax

USAGE, FILE_NOT_FOUND, BAD_MODEL, BAD_INPUT, UNSUPPORTED = 2, 3, 4, 5, 6


@pytest.fixture(scope="session")
def classifier(built):
    path = built("lenet_classify")
    cache = built("CMakeCache.txt").read_text()
    left_out = re.search(r"^LENET_LEFT_OUT:INTERNAL=(.*)", cache, flags=re.MULTILINE)[1]
    assert not left_out, f"the program was built without {left_out}: install and build again"
    return path


@pytest.fixture(scope="session")
def run_program(run_program, classifier):
    return partial(run_program, program=classifier)


DIGITS = read_mnist_dir(sample_dir()).test.images


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Digits as images of several kinds."""
    path = tmp_path_factory.mktemp("digits")
    Image.fromarray(DIGITS[0]).save(path / "a_mnist.png")
    Image.fromarray(255 - DIGITS[1]).save(path / "b_dark.PGM", "PPM")
    for i, kind in enumerate(("small", "paper", "board", "far")):
        photo(DIGITS[2 + i], kind, i).save(path / f"c_{i}.png")
    photo(DIGITS[9], "paper", 9).convert("RGB").save(path / "d.bmp")
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
    assert np.array_equal(tensor, digit().batch(files))
    # The first is MNIST's own; all have the digit's mass in the middle.
    assert np.array_equal(tensor[0, 0], DIGITS[0] / np.float32(255))
    rows = (tensor.sum(axis=(1, 3)) * np.arange(28)).sum(axis=1) / tensor.sum(axis=(1, 2, 3))
    assert np.all(np.abs(rows - 14) < 1.5)


FIELDS = ("class_id", "label", "probability")


@pytest.mark.parametrize("options", [[], ["--batch_size=4", "--accelerator=onednn"]])
def test_json(run_ok, model, folder, files, expected, options):
    flags = (f"--model_dir={model}", "--format=json", "--topk=10", *options)
    results = json.loads(run_ok(*flags, folder))
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
        f"--model_dir={model}",
        "--format=csv",
        "--topk=2",
        f"--labels={tmp_path / 'labels'}",
        *files,
    )
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == tuple(name for name in CSV_COLUMNS if name != "head")
    assert [row["file"] for row in rows[::2]] == list(map(str, files))
    assert [row["rank"] for row in rows] == ["1", "2"] * len(files)
    assert [int(row["class_id"]) for row in rows[::2]] == expected.argmax(axis=1).tolist()
    assert all(row["label"] == f"the {row['class_id']}, or so" for row in rows)


def test_labels_steer_no_terminal(run_ok, model, files, tmp_path):
    """Controls of C1 and of bidirectional text are shown as lenet-cpp predict shows them."""
    labels = [f"<{i}> a\x9b31mb\u202ec\u200b\x7f\ttab\u2028é日本\U000e0041" for i in range(10)]
    (tmp_path / "labels").write_text("\n".join(labels), encoding="utf-8")
    flags = (f"--model_dir={model}", f"--labels={tmp_path / 'labels'}", "--topk=1")
    text = run_ok(*flags, files[0])
    (line,) = [line for line in text.splitlines() if "class " in line]
    shown = line.split("  ")[-1]
    assert shown == printable(labels[int(shown[1])])
    assert shown[3:] == r" a\x9b31mb\u202ec\u200b\x7f\ttab\u2028é日本\U000e0041"
    (result,) = json.loads(run_ok(*flags, "--format=json", files[0]))
    assert result["predictions"][0]["label"] in labels


def test_errors_show_every_character_as_python_does(classifier, files):
    """As a name of a model that does not exist. What a Python may not know is left out."""
    known = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in {"Cn", "Cs"}]
    # Errors have no controls of ASCII, and arguments no NUL and no directories.
    known = [c for c in known if c >= " " and c not in "/\x7f"]
    noncharacters = ["\ufdd0", "\uffff", "\U0001ffff", "\U0010ffff"]
    size = 20_000
    for at in range(0, len(known), size):
        name = "".join(known[at : at + size] + noncharacters)
        done = subprocess.run(
            [classifier, f"--model_dir={name}", files[0]], capture_output=True, check=False
        )
        line = done.stderr.decode("utf-8")  # strict
        assert line[:-1].isprintable()
        assert printable(name) in line, at


def test_bytes_that_are_no_text(classifier, model, files, tmp_path):
    """In the name of a file that is classified, and in that of one that is missing."""
    odd = os.fsdecode(b"\xff \xc3( \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82.png")
    shutil.copy(files[0], tmp_path / odd)
    run = partial(subprocess.run, capture_output=True, check=False)
    text = run([classifier, f"--model_dir={model}", tmp_path / odd]).stdout.decode()  # strict
    assert text.splitlines()[0] == printable(tmp_path / odd)
    found = run([classifier, f"--model_dir={model}", "--format=json", tmp_path / odd]).stdout
    (result,) = json.loads(found.decode())
    assert result["file"].startswith(f"{tmp_path}/\ufffd")
    missing = run([classifier, f"--model_dir={model}", "no\x9b" + odd]).stderr.decode()
    assert r"no\x9b" in missing
    assert missing[:-1].isprintable()


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


def test_outputs_as_they_are_and_without_a_manifest(run_ok, model, files, expected, tmp_path):
    """tests/serve/test_scores.py has models whose outputs are probabilities."""
    folder = shutil.copytree(model, tmp_path / "model")
    flags = (f"--model_dir={folder}", "--format=json", files[0])

    def best(*more):
        return json.loads(run_ok(*flags, *more))[0]["predictions"][0]

    logits = lenet_cpp.Predictor(model_dir=model).run(digit().batch(files[:1]))
    assert best("--softmax=false")["probability"] == pytest.approx(logits.max(), rel=1e-4)
    (folder / "manifest.json").unlink()
    assert best()["probability"] == pytest.approx(expected[0].max(), rel=1e-4)
    assert best()["label"] is None


def test_features_have_no_classes(run_ok, fails, model, files, tmp_path):
    options = (f"--model_dir={model}", "--output_name=features")
    (result,) = json.loads(run_ok(*options, "--format=json", files[0]))
    with lenet_cpp.Predictor(model_dir=model, output_name="features") as predictor:
        (features,) = predictor.run(digit().batch(files[:1]))
    assert result["features"] == pytest.approx(features.tolist(), abs=1e-5)
    engine = lenet_cpp.InferenceEngine(output_name="features")
    engine.load_predictor(model_dir=model)
    assert engine.output_role == "features"
    assert "84 features" in run_ok(*options, files[0])
    fails(UNSUPPORTED, "use --format=json", *options, "--format=csv", files[0])
    (tmp_path / "two").write_text("one\ntwo\n")
    given = (*options, f"--labels={tmp_path / 'two'}", files[0])
    fails(BAD_INPUT, f"'{tmp_path / 'two'}' names classes; the model gives features", *given)
    with lenet_cpp.Classifier(model, output_name="features") as classifier:
        found = classifier(files[0])
    assert found.predictions == ()
    np.testing.assert_allclose(found.features, features, atol=1e-5)


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (USAGE, "name images to classify", "DIGIT"),
        (USAGE, "name images", "--model_dir=MODEL"),
        (USAGE, "--format is 'xml'", "--model_dir=MODEL --format=xml DIGIT"),
        (FILE_NOT_FOUND, "missing.png", "--model_dir=MODEL DIGIT missing.png"),
        (FILE_NOT_FOUND, "no image in this folder", "--model_dir=MODEL empty"),
        (FILE_NOT_FOUND, "not a regular file", "--model_dir=MODEL pipe"),
        (BAD_INPUT, "'blank.png': found no digit", "--model_dir=MODEL blank.png"),
        (BAD_INPUT, "'two' is not an image", "--model_dir=MODEL two"),
        (UNSUPPORTED, "convert it to PNG", "--model_dir=MODEL a.gif"),
        (BAD_INPUT, "names 2 classes, the model has 10", "--model_dir=MODEL --labels=two DIGIT"),
        (
            BAD_INPUT,
            "'sizes/1.png': the preprocessing gives [1, 1, 29, 29]",
            "--model_dir=MODEL --preprocess=raw.json sizes/1.png",
        ),
    ],
)
def test_refusals(code, words, arguments, fails, model, files, tmp_path):
    for name in ("empty", "sizes"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "two").write_text("one\ntwo\n")
    for i, side in enumerate((28, 29)):
        Image.new("L", (side, side)).save(tmp_path / "sizes" / f"{i}.png")
    Image.new("L", (30, 30), 200).save(tmp_path / "blank.png")
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    Pipeline("L", (Normalize(1.0, (0.0,), (1.0,)), ToCHW())).save(tmp_path / "raw.json")
    named = arguments.replace("MODEL", str(model)).replace("DIGIT", str(files[0]))
    fails(code, words, *named.split(), cwd=tmp_path)


def test_preprocessing_that_does_not_fit(fails, run_program, model, files, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / "preprocess.json").unlink()
    prepare.imagenet(32).save(folder / "preprocess.json")
    fails(BAD_INPUT, "the preprocessing gives [1, 3, 32, 32]", f"--model_dir={folder}", files[0])
    (folder / "preprocess.json").write_text('{"format_version": 7}')
    fails(BAD_MODEL, "preprocess.json' is not a valid", f"--model_dir={folder}", files[0])
    digit().save(folder / "preprocess.json")
    (folder / "SHA256SUMS").write_text("0" * 64 + "  preprocess.json\n")
    fails(BAD_MODEL, "SHA-256", f"--model_dir={folder}", files[0])
    for accepted in ("--check_hashes=false", f"--preprocess={folder}/preprocess.json"):
        assert run_program(f"--model_dir={folder}", accepted, files[0]).returncode == 0


@pytest.mark.parametrize("name", ["preprocess.json", "manifest.json", "labels.txt"])
def test_a_listed_file_that_is_missing(name, fails, run_program, model, files, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / "preprocess.json").unlink(missing_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    (folder / "SHA256SUMS").write_text("0" * 64 + f"  {name}\n")
    said = f"{name}' is listed in SHA256SUMS beside it, but missing"
    fails(BAD_MODEL, said, f"--model_dir={folder}", files[0])
    assert run_program(f"--model_dir={folder}", "--check_hashes=false", files[0]).returncode == 0
    named = run_program(f"--model_dir={folder}", f"--preprocess={model}/preprocess.json", files[0])
    assert (named.returncode == 0) == (name == "preprocess.json")


@pytest.fixture
def pairs(tmp_path):
    """An .onnx that takes two pictures at once."""
    text = "g (float[2,3,2,2] x) => (float[2,12] y) { y = Flatten(x) }"
    opsets = [helper.make_opsetid("", 17)]
    made = helper.make_model(parser.parse_graph(text), ir_version=8, opset_imports=opsets)
    (tmp_path / "pairs.onnx").write_bytes(made.SerializeToString())
    Image.new("RGB", (6, 4), "red").save(tmp_path / "red.png")
    return tmp_path / "pairs.onnx"


def test_a_fixed_batch(pairs, run_program):
    red = pairs.with_name("red.png")
    said = (
        "the model expects [2, 3, 2, 2], or a multiple of 2 images: give it 2 at once, or export"
        " it with an open batch; --batch_size=2 gives it 2 images at once"
    )
    done = run_program(pairs, red)
    assert done.returncode == BAD_INPUT
    assert f"has shape [1, 3, 2, 2]; {said}" in done.stderr
    assert run_program(pairs, red, red, "--batch_size=2").returncode == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--crop=1", "the model takes [2, 3, 2, 2]; change --crop"),
        ("--resize=3 --crop=none", "the model takes [2, 3, 2, 2]; change --crop"),
        ("--resize=3,3 --crop=3", "the model takes [2, 3, 2, 2]; change --crop"),
        (
            "--resize=32 --crop=64",
            "the given crop 64,64 takes more pixels than the given resize 32",
        ),
        ("--resize=32,64 --crop=64", "than the given resize 32,64 leaves: give a larger resize"),
    ],
)
def test_given_steps_that_do_not_fit_are_named(options, said, pairs, run_program):
    done = run_program(pairs, pairs.with_name("red.png"), *options.split())
    assert done.returncode == BAD_INPUT
    assert said in done.stderr


@pytest.fixture
def overflowing(tmp_path):
    """An .onnx of sums, which are infinite where pixels are 255: the next layer makes NaN."""
    text = (
        "g (float[N,1,2,2] x) => (float[N,2] y) <float[4,2] v ="
        " {1e36,1e36,1e36,1e36,1e36,1e36,1e36,1e36},"
        " float[2,2] w = {1,2,-1,1}>"
        " { f = Flatten(x) a = MatMul(f, v) b = Relu(a) y = MatMul(b, w) }"
    )
    made = helper.make_model(
        parser.parse_graph(text), ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    )
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "m.onnx").write_bytes(made.SerializeToString())
    Pipeline("L", (Normalize(1.0, (0.0,), (1.0,)), ToCHW())).save(tmp_path / "m/preprocess.json")
    for name, level in (("a", 255), ("b", 1)):
        Image.new("L", (2, 2), level).save(tmp_path / f"{name}.png")
    return tmp_path / "m" / "m.onnx"


def test_no_class_is_made_of_nan(fails, run_program, root, overflowing, tmp_path):
    problem = "the model gives no class: output 0 of 2 is NaN; the first NaN is of MatMul 'y'"
    arguments = (f"--model_file={overflowing}", "a.png", "b.png")
    fails(BAD_INPUT, f"'a.png': {problem}", *arguments[:2], cwd=tmp_path)
    done = run_program(*arguments, "--skip_errors", "--format=json", cwd=tmp_path)
    assert done.returncode == 0
    bad, good = json.loads(done.stdout)
    assert problem in bad["error"]
    assert good["predictions"][0]["class_id"] == 1  # 2 + 1 is more than 1 - 1
    # lenet_infer_test shows outputs as they are, and makes no class of them.
    values = np.array([1, 255], np.float32).repeat(4).reshape(2, 1, 2, 2)
    np.save(tmp_path / "x.npy", values)
    np.save(tmp_path / "labels.npy", np.array([1, 0]))
    other = partial(run_program, f"--model_file={overflowing}", "--input=x.npy", cwd=tmp_path)
    program = root / "build" / "lenet_infer_test"
    shown = other("--check_range=false", program=program).stdout
    assert "image 0: class 1, logits 0 " in shown
    assert re.search("image 1: no class, logits -?nan ", shown)
    done = other("--labels=labels.npy", "--check_range=false", program=program)
    assert (done.returncode, done.stdout) == (BAD_INPUT, "")
    assert f"image 1 of 'x.npy': {problem}" in done.stderr


@pytest.mark.parametrize(
    ("contents", "problem"),
    [
        (b"a\nb\0c\n", "line 2 has a NUL character"),
        ("a\n\u00e9\n".encode("latin-1"), "it is not UTF-8"),
        ("a\n".encode("utf-16"), "it is not UTF-8"),
        (b"\n" * (4 << 20) + b"a", "it has 4194305 bytes; at most 4194304 are read"),
        (b"\xef\xbb\xbf \n", "lists no label"),
    ],
)
def test_bad_labels(contents, problem, fails, model, files, tmp_path):
    """In the program, and in Python by the same reader."""
    (tmp_path / "labels.txt").write_bytes(contents)
    fails(BAD_INPUT, problem, f"--model_dir={model}", "--labels=labels.txt", files[0], cwd=tmp_path)
    with pytest.raises(lenet_cpp.BadInput, match=problem):
        _core.read_class_names(tmp_path / "labels.txt")


def test_labels_are_a_file(fails, model, files, tmp_path):
    said = "there is no file 'cat,dog': labels are given as a file with one name in each line"
    fails(FILE_NOT_FOUND, said, f"--model_dir={model}", "--labels=cat,dog", files[0])
    with pytest.raises(lenet_cpp.FileNotFound, match=said):
        _core.read_class_names(tmp_path.with_name("cat,dog").name)
    (tmp_path / "a,b").write_text("\n".join("abcdefghij"))
    assert _core.read_class_names(tmp_path / "a,b") == [*"abcdefghij"]


def test_the_model_by_its_place(run_ok, fails, model, files):
    """The folder, the program and the path without its suffix, as lenet-cpp predict has them."""
    expected = run_ok(f"--model_dir={model}", *files[:2])
    for given in (model, model / "lenet.pdmodel", model / "lenet"):
        assert run_ok(given, *files[:2]).splitlines() == expected.splitlines()
    fails(BAD_MODEL, "is a PNG picture, not a model", files[0], files[1])


def test_output_that_fails(fails, run_program, model, files, tmp_path):
    missing = tmp_path / "missing" / "result.csv"
    fails(FILE_NOT_FOUND, str(missing), f"--model_dir={model}", f"--output={missing}", files[0])
    target = tmp_path / "result.csv"
    target.write_text("before")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"bad")
    fails(BAD_INPUT, "bad.png", f"--model_dir={model}", f"--output={target}", bad)
    assert target.read_text() == "before"
    with Path("/dev/full").open("w") as full:
        result = run_program(f"--model_dir={model}", files[0], stdout=full)
    assert result.returncode == 1
    assert "standard output" in result.stderr


def test_junk_among_many(run_program, model, folder, files, expected, tmp_path):
    """It costs itself alone, and is in the result with what is wrong."""
    bad = [tmp_path / "empty.png", tmp_path / "text.jpg", tmp_path / "gone.png"]
    bad[0].write_bytes(b"")
    bad[1].write_text("this is no picture")
    given = [bad[0], *files[:3], bad[1], *files[3:], bad[2]]
    for form in ("json", "csv", "text"):
        target = tmp_path / form
        for arguments in (["--batch_size=2"], [f"--output={target}"]):
            command = [f"--model_dir={model}", "--topk=1", f"--format={form}", *arguments, *given]
            done = run_program("--skip-errors", *command)
            assert done.returncode == 0
            assert done.stderr == (
                "lenet_classify: note: 3 of 10 images could not be classified, for example:"
                f" '{bad[0]}' is empty (0 bytes): save or copy it anew\n"
            )
            assert (done.stdout == "") == ("--output" in arguments[0])
        text = target.read_text()
        if form == "json":
            results = json.loads(text)
            assert [result["file"] for result in results] == list(map(str, given))
            wrong = {result["file"]: result["error"] for result in results if "error" in result}
            good = [each["predictions"][0] for each in results if "error" not in each]
            assert [each["class_id"] for each in good] == expected.argmax(axis=1).tolist()
            np.testing.assert_allclose(
                [each["probability"] for each in good], expected.max(axis=1), rtol=1e-4
            )
        elif form == "csv":
            rows = [row for row in csv.DictReader(io.StringIO(text)) if row["error"]]
            wrong = {row["file"]: row["error"] for row in rows}
        assert set(wrong) == set(map(str, bad))
        assert all(path in why for path, why in wrong.items())
    assert text.count("class") == len(files)


def test_one_bad_picture_among_others(run_program, fails, model, files, tmp_path):
    """The others are answered; the status and one line say that one was not."""
    bad = tmp_path / "broken.png"
    bad.write_bytes(files[0].read_bytes()[:90])
    command = (f"--model_dir={model}", "--topk=1", "--format=json")
    done = run_program(*command, files[0], bad, files[1])
    assert done.returncode == BAD_INPUT
    (line,) = done.stderr.splitlines()
    assert line.startswith("lenet_classify: BadInput: 1 of 3 images could not be classified: ")
    assert str(bad) in line
    assert line.endswith("; with --skip_errors the exit code is 0")
    first, error, last = json.loads(done.stdout)
    alone = [json.loads(run_program(*command, file).stdout)[0] for file in files[:2]]
    assert [first, last] == alone
    assert error["file"] == str(bad)
    done = run_program(*command, "--skip_errors", bad, bad)
    assert done.returncode == BAD_INPUT  # nothing was classified
    assert "2 of 2 images could not be classified, for example: " in done.stderr
    fails(BAD_INPUT, str(bad), f"--model_dir={model}", bad)


def test_stacks(run_ok, fails, model, tmp_path):
    """Images of one .npy file are those of as many files."""
    grey = DIGITS[:90]
    np.save(tmp_path / "one.npy", grey[0])
    np.save(tmp_path / "grey.npy", grey)
    np.save(tmp_path / "colour.npy", grey[..., None].repeat(3, axis=3))
    np.save(tmp_path / "empty.npy", grey[:0])
    np.save(tmp_path / "floats.npy", grey / 255)
    options = (f"--model_dir={model}", "--format=json", "--topk=10")
    expected = softmax(lenet_cpp.Predictor(model_dir=model).run(digit().batch([*grey])))
    for name, rows in (("one", 1), ("grey", 90), ("colour", 90), ("empty", 0)):
        results = json.loads(run_ok(*options, tmp_path / f"{name}.npy"))
        files = [f"{tmp_path}/{name}.npy" + f"[{row}]" * (name != "one") for row in range(rows)]
        assert [result["file"] for result in results] == files
        for result, row in zip(results, expected, strict=False):
            ids, _, found = zip(*map(itemgetter(*FIELDS), result["predictions"]), strict=True)
            np.testing.assert_allclose(found, row[list(ids)], rtol=1e-4, atol=1e-7)
    fails(BAD_INPUT, "floats.npy", *options, tmp_path / "floats.npy")


def test_progress_on_a_terminal(classifier, model, tmp_path):
    np.save(tmp_path / "many.npy", np.tile(DIGITS[:500], (40, 1, 1)))
    ours, theirs = os.openpty()
    command = [classifier, f"--model_dir={model}", "--topk=1", tmp_path / "many.npy"]
    with subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL, env={}) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # of a terminal that nobody has open any more
            while piece := os.read(ours, 4096):
                shown += piece
    os.close(ours)
    assert process.returncode == 0
    assert re.search(rb"\d+ of 20000 images, \d+ a second, \d+ s left", shown)
    assert shown.endswith(b"\r\x1b[K")


def test_interrupted(classifier, model, files, tmp_path):
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
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT
        assert process.stderr.read() == b""
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_16_bit_picture_of_12_bits_is_reported(run_program, model_dir, tmp_path):
    """Its high byte is almost black; with ``depth`` it is the picture of 8 bits, and no warning."""
    eight = Image.fromarray(DIGITS[3])
    eight.save(tmp_path / "eight.png")
    for name in ("a.png", "b.png"):
        Image.fromarray(np.asarray(eight).astype(np.uint16) << 4).save(tmp_path / name)
    plain = Pipeline("L", (Normalize(1 / 255, (0,), (1,)), ToCHW()))
    plain.save(tmp_path / "plain.json")
    model = (f"--model_dir={model_dir}", "--format=json")
    files = (tmp_path / "a.png", tmp_path / "b.png")
    done = run_program(*model, f"--preprocess={tmp_path}/plain.json", *files)
    (line,) = done.stderr.splitlines()  # of the first alone
    assert re.fullmatch(r"lenet_classify: warning: '.*a\.png': no sample .* above 4,095; .*", line)
    assert ['"depth": 12' in one["warning"] for one in json.loads(done.stdout)] == [True, True]
    description = tmp_path / "deep.json"
    replace(plain, depth=12).save(description)
    done = run_program(*model, f"--preprocess={description}", *files, tmp_path / "eight.png")
    assert done.stderr == ""
    found = [one["predictions"] for one in json.loads(done.stdout)]
    assert found[0] == found[1] == found[2]
    # The reason, too, why no digit is found.
    assert "above 4,095" in run_program(*model, *files).stderr
