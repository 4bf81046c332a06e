"""lenet_infer_test from outside: what it computes, prints, refuses and needs.

The expected numbers come from LeNet written out in NumPy; tests/verify/test_parity.py has every
format and accelerator, the table of test_bad_input.py what models and arrays it refuses.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from lenet_cpp import _core
from lenet_cpp.agreement import compare
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir, write_idx
from numpy_reference import lenet

PADDLE = Path(sysconfig.get_path("purelib"), "paddle", "base", "libpaddle.so")
FILE_NOT_FOUND, BACKEND_FAILURE = 3, 8
DIGITS = read_mnist_dir(sample_dir()).test
PIXELS = DIGITS.images[:7]


def assert_same(actual, expected):
    assert compare(expected.astype(np.float32), np.asarray(actual, np.float32)).agrees


def parse(text):
    """The classes and the outputs that a report tells."""
    rows = re.findall(r"^image (\d+): class (\d+), logits (.+)$", text, flags=re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(len(rows)))
    logits = np.array([[float(value) for value in row.split()] for _, _, row in rows], np.float32)
    return [int(number) for _, number, _ in rows], logits


@pytest.fixture(scope="module")
def expected(model_dir):
    return lenet(model_dir / "lenet.pdiparams", PIXELS / 255)


@pytest.fixture(scope="module")
def images_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, PIXELS)
    return path


def test_guides_command(run_ok, model_dir):
    params = model_dir / "lenet.pdiparams"
    text = run_ok(f"--model_file={model_dir / 'lenet.pdmodel'}", f"--params_file={params}")
    assert "zeros" in text
    assert "[1, 1, 28, 28]" in text
    classes, logits = parse(text)
    zeros = lenet(params, np.zeros((1, 28, 28)))
    assert_same(logits, zeros)
    assert classes == [zeros.argmax()]


def test_batches_do_not_change_the_answer(run_ok, model_dir, images_file, expected):
    for size in (2, 100):
        flags = ("--model_dir", model_dir, "--input", images_file, "--batch_size", size)
        assert_same(parse(run_ok(*flags))[1], expected)
    text = run_ok("--model_dir", model_dir, "--batch_size=3")
    assert "[3, 1, 28, 28]" in text
    assert len(parse(text)[0]) == 3


def test_accuracy_is_the_count(run_ok, model_dir, tmp_path):
    np.save(tmp_path / "images.npy", DIGITS.images)
    write_idx(tmp_path / "labels-idx1-ubyte", DIGITS.labels.astype(np.uint8))
    np.save(tmp_path / "labels.npy", DIGITS.labels.astype(np.int64))
    logits = lenet(model_dir / "lenet.pdiparams", DIGITS.images / 255)
    correct, total = int((logits.argmax(axis=1) == DIGITS.labels).sum()), len(DIGITS.labels)
    for labels in ("labels-idx1-ubyte", "labels.npy"):
        files = ("--input=images.npy", f"--labels={labels}")
        text = run_ok(f"--model_dir={model_dir}", *files, cwd=tmp_path)
        assert f"({correct} of {total})" in text
        (percent,) = re.findall(r"^accuracy ([\d.]+) %", text, flags=re.MULTILINE)
        assert float(percent) == pytest.approx(100 * correct / total, abs=0.005)
        assert f"and {total - 10} more" in text


def test_json_report_says_what_the_text_says(run_ok, model_dir, tmp_path):
    np.save(tmp_path / "images.npy", DIGITS.images[:12])
    np.save(tmp_path / "labels.npy", DIGITS.labels[:12].astype(np.uint8))
    arguments = (
        f"--model_file={model_dir / 'lenet.json'}",
        "--input=images.npy",
        "--labels=labels.npy",
        "--repeats=3",
        "--warmup=0",
        "--engine=paddle",
    )
    text = run_ok(*arguments, cwd=tmp_path)
    classes, logits = parse(text)
    report = json.loads(run_ok(*arguments, "--format=json", cwd=tmp_path))
    outputs = np.array(report["outputs"], np.float32).reshape(report["output_shape"])
    np.testing.assert_array_equal(outputs[:10], logits)
    assert report["classes"][:10] == classes
    assert report["classes"] == outputs.argmax(axis=1).tolist()
    accuracy = report["accuracy"]
    assert f"({accuracy['correct']} of {accuracy['total']})" in text
    assert accuracy["total"] == 12
    assert (
        report.items()
        >= {
            "input_shape": [12, 1, 28, 28],
            "model_file": str(model_dir / "lenet.json"),
            "params_file": str(model_dir / "lenet.pdiparams"),
            "accelerator": "onednn",
            "batch_size": 12,
        }.items()
    )
    latency = report["latency"]
    assert 0 < latency["median_ms"] <= latency["p90_ms"] <= latency["p99_ms"]
    assert latency["images_per_second"] == pytest.approx(1e3 * 12 / latency["median_ms"])


def test_latency_line(run_ok, model_dir):
    text = run_ok(f"--model_dir={model_dir}", "--repeats=20", "--warmup=1")
    shown = r"^latency median ([\d.]+) ms, p90 ([\d.]+) ms, p99 ([\d.]+) ms, (\d+) images/s$"
    (line,) = re.findall(shown, text, flags=re.MULTILINE)
    median, p90, p99, rate = map(float, line)
    assert 0 < median <= p90 <= p99
    assert rate > 0
    assert re.search(r"^load [\d.]+ ms, first run [\d.]+ ms \(batch 1\)$", text, flags=re.MULTILINE)


def test_a_measurement_ends_after_a_time(run_ok, model_dir):
    arguments = (f"--model_dir={model_dir}", "--repeats=1000000000", "--max_seconds=1")
    (runs,) = re.findall(r"images/s \((\d+) of 1000000000 runs, ended by", run_ok(*arguments))
    assert int(runs) >= 1


def test_floats_from_0_to_255_are_warned_of(run_program, model_dir, tmp_path):
    folder = shutil.copytree(model_dir, tmp_path / "model")

    def warning(images, *flags):
        np.save(tmp_path / "x.npy", images)
        result = run_program(f"--model_dir={folder}", "--input=x.npy", *flags, cwd=tmp_path)
        assert result.returncode == 0
        return result.stderr

    floats = PIXELS.astype(np.float32)
    words = r"lenet_infer_test: warning: .* up to 255, .*preprocess.json\) gives 0 to 1: .*\n"
    assert re.fullmatch(words, warning(floats))
    assert re.fullmatch(words, warning(-floats))
    assert warning(floats, "--check_range=false") == ""
    assert warning(PIXELS) == ""
    assert warning(floats / 32) == ""
    # Of -0.42 to 2.82: the usual mean and deviation of MNIST.
    description = (folder / "preprocess.json").read_text()
    (folder / "SHA256SUMS").unlink()
    (folder / "preprocess.json").write_text(
        description.replace('"scale": 1.0', '"scale": 0.00392156862745098')
        .replace("0.0\n", "0.1307\n")
        .replace("255.0", "0.3081")
    )
    assert "gives -0.4242 to 2.821" in warning(floats)
    assert warning(floats / 12) == ""
    for nothing in (lambda file: file.write_text("{"), Path.unlink):
        nothing(folder / "preprocess.json")
        assert warning(floats) == ""


def test_version(run_ok, root, built):
    def found(pattern, path):
        (text,) = re.findall(pattern, path.read_text(), flags=re.MULTILINE)
        return text

    ours = found(r"project\(lenet VERSION ([\d.]+)", root / "CMakeLists.txt")
    folder = found(r"^PADDLE_INFERENCE_DIR:PATH=(.*)$", built("CMakeCache.txt"))
    paddle_dir = Path(folder or root / "third_party" / "paddle_inference")
    paddle = found(r"[Vv]ersion: ([\d.]+)", paddle_dir / "version.txt")
    *lines, onnxruntime, last, plain, bf16 = run_ok("--version").splitlines()
    assert lines == [f"lenet_infer_test {ours}", f"native {ours}"]
    assert onnxruntime.startswith("onnxruntime ")
    assert last == f"paddle {paddle}"
    assert plain == f"plain {ours}"
    assert bf16.startswith("native bf16 is ")


# What the issues ask for beside the options of the library.
PROGRAMS = {
    "lenet_infer_test": "input labels output batch_size format warmup repeats int8 version help",
    "lenet_classify": "preprocess labels output batch_size format topk output_tensor int8",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_names_every_option(name, run_ok, program):
    text = run_ok("--help-all", program=program.with_name(name))
    named = set(re.findall(r"^  --(\w+)", text, flags=re.MULTILINE))
    config = {name for name in vars(_core.Config) if not name.startswith("_")}
    assert config | {*PROGRAMS[name].split()} <= named
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", ["lenet_infer_native", "lenet_classify", "lenet_serve"])
def test_help_is_short_and_begins_with_an_onnx(name, run_ok, built):
    program = built(name)
    short, whole = (run_ok(flag, program=program) for flag in ("--help", "--help-all"))
    first = next(line for line in short.splitlines() if line.startswith(f"  {name} "))
    assert first.startswith(f"  {name} model.onnx")
    options = [set(re.findall(r"^  --(\w+)", text, flags=re.MULTILINE)) for text in (short, whole)]
    assert options[0] < options[1]
    assert {"threads", "engine", "labels", "help_all"} <= options[0]
    assert len(short.splitlines()) < 50
    assert "Exit code" in whole
    assert "Exit code" not in short


def test_report_has_only_our_lines(run_ok, model_dir):
    for accelerator in ("plain", "onednn", "openvino"):
        text = run_ok(f"--model_dir={model_dir}", f"--accelerator={accelerator}")
        starts = [line.split(" ")[0] for line in text.splitlines()]
        assert starts == ["lenet_infer_test", "model", "input", "output", "image", "load"]


def dynamic_section(path):
    return subprocess.check_output(["readelf", "-d", path], text=True)


def test_runs_without_python_path_or_its_own_folder(run_ok, model_dir, tmp_path):
    run_ok(f"--model_dir={model_dir}", env={"PATH": ""}, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == [], "the program leaves nothing in the user's folder"


def test_python_is_not_loaded(run_ok, model_dir, tmp_path):
    debug = {"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(tmp_path / "log")}
    assert run_ok(f"--model_dir={model_dir}", "--engine=paddle", env=debug)
    (log,) = tmp_path.iterdir()
    loaded = set(re.findall(r"calling init: (.+)", log.read_text()))
    assert any("libpaddle" in path for path in loaded)
    assert not [path for path in loaded if "libpython" in path]


@pytest.fixture
def copy(program, tmp_path):
    """A copy of the program, whose libraries a test may damage."""
    for path in (program, *program.parent.glob("liblenet*.so*")):
        shutil.copy(path, tmp_path)
    return {"program": tmp_path / program.name, "cwd": "/"}


def test_finds_paddle_by_rpath_and_says_so_without(run_ok, fails, model_dir, copy, tmp_path):
    arguments = (f"--model_dir={model_dir}", "--engine=paddle")
    run_ok(*arguments, **copy)
    for name in ("liblenet_paddle.so", "liblenet_python_stubs.so"):
        library = tmp_path / name
        (path,) = re.findall(r"\(R(?:UN)?PATH\).*\[(.*)\]", dynamic_section(library))
        content, path = library.read_bytes(), path.encode() + b"\0"
        assert content.count(path) == 1
        library.write_bytes(content.replace(path, b"$ORIGIN".ljust(len(path) - 1, b"/") + b"\0"))
    line = fails(FILE_NOT_FOUND, "libpaddle", *arguments, **copy)
    assert "LENET_PADDLE_LIBRARY" in line
    assert "run ./run.sh, install paddlepaddle>=3.1,<3.4" in line


def test_a_missing_plug_in_is_a_clear_error(fails, model_dir, copy, tmp_path):
    (tmp_path / "liblenet_paddle.so").unlink()
    arguments = (f"--model_dir={model_dir}", "--engine=paddle")
    fails(FILE_NOT_FOUND, "liblenet_paddle.so", *arguments, **copy)


@pytest.mark.parametrize(
    ("name", "code"), [("libpaddle.so", BACKEND_FAILURE), ("missing.so", FILE_NOT_FOUND)]
)
def test_a_library_that_is_none_is_a_clear_error(fails, model_dir, tmp_path, name, code):
    (tmp_path / "libpaddle.so").write_bytes(b"no library")
    library = str(tmp_path / name)
    arguments = (f"--model_dir={model_dir}", "--engine=paddle")
    fails(code, library, *arguments, env={"LENET_PADDLE_LIBRARY": library})


@pytest.mark.parametrize("when", ["python_before", "python_after"])
@pytest.mark.parametrize("library", [None, PADDLE])
def test_a_program_that_embeds_python(run_program, root, model_dir, when, library):
    python = Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME") or "")
    if not python.is_file() or ".so" not in python.name:
        pytest.skip("this Python has no shared library")
    arguments = (f"model_dir={model_dir}", "engine=paddle", f"{when}={python}")
    named = {} if library is None else {"LENET_PADDLE_LIBRARY": str(library)}
    env = {"PYTHONHOME": sys.base_prefix} | named
    result = run_program(*arguments, program=root / "build" / "lenet_api_call", env=env)
    lines = [line.split()[:2] for line in result.stdout.splitlines()]
    expected = [["ok", "[1,"], ["python", "2"]][:: 1 if when == "python_after" else -1]
    assert (result.returncode, lines) == (0, expected), result.stderr


def test_a_missing_library_is_not_found_in_any_language(run_program, root, model_dir, tmp_path):
    """The C library's messages are in the language of the process."""
    environment = {"LC_ALL": "C.UTF-8", "LANGUAGE": "de"}
    missing = tmp_path / "libpaddle.so"
    code = "import ctypes, locale as l, sys; l.setlocale(l.LC_ALL, ''); ctypes.CDLL(sys.argv[1])"
    said = run_program("-c", code, missing, program=sys.executable, env=environment)
    if "cannot open shared object file" in said.stderr:
        pytest.skip("this machine has no messages in German")
    result = run_program(
        *("locale=", f"model_dir={model_dir}", "engine=paddle"),
        program=root / "build" / "lenet_api_call",
        env=environment | {"LENET_PADDLE_LIBRARY": str(missing)},
    )
    assert result.stdout.startswith("FileNotFound ")
    assert str(missing) in result.stdout


@pytest.mark.parametrize("argument", ["--model_dir={}", "--help", "--version"])
def test_full_standard_output(run_program, model_dir, argument):
    with Path("/dev/full").open("w") as full:
        result = run_program(argument.format(model_dir), stdout=full)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "No space left" in result.stderr


@pytest.mark.parametrize("argument", ["--model_dir={}", "--help"])
def test_closed_pipe(run_program, model_dir, argument):
    reader, writer = os.pipe()
    os.close(reader)
    result = run_program(argument.format(model_dir), stdout=writer)
    os.close(writer)
    assert (result.returncode, result.stderr) == (128 + 13, "")


@pytest.mark.parametrize("count", [10, 11, 1000])
def test_of_many_outputs_the_largest_are_printed(run_ok, tmp_path, count):
    onnx = pytest.importorskip("onnx", reason="the model is made with it")
    row = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    graph = onnx.parser.parse_graph(
        f"g (float[N,1] x) => (float[N,{count}] y) {{ m = Mul(x, zero) y = Add(m, row) }}"
    )
    for name, values in (("zero", np.zeros(1, np.float32)), ("row", row[None])):
        graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    opsets = [onnx.helper.make_opsetid("", 17)]
    path = tmp_path / "m.onnx"
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=opsets), path)
    text = run_ok(f"--model_file={path}", "--batch_size=2")
    rows = re.findall(r"^image \d: class (\d+), logits (.+)$", text, flags=re.MULTILINE)
    assert [int(found) for found, _ in rows] == [row.argmax()] * 2
    for _, shown in rows:
        if count == 10:
            assert np.array_equal(np.array(shown.split(), np.float32), row)
            continue
        pairs = re.findall(r"(\d+): (\S+),", shown)
        assert [int(number) for number, _ in pairs] == np.argsort(-row)[:5].tolist()
        assert np.array_equal(np.float32([value for _, value in pairs]), -np.sort(-row)[:5])
        assert shown.endswith(
            f"... (the 5 largest of {count}; --format=json or --output=FILE.npy has all)"
        )
    whole = json.loads(run_ok(f"--model_file={path}", "--format=json"))
    assert np.array_equal(np.float32(whole["outputs"]), row)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--inptu=x", "--input"),
        ("--itn8", "--int8"),
        ("--bacth_size=1", "--batch_size"),
        ("--lables=x", "--labels"),
        ("--outptu=x", "--output"),
    ],
)
def test_swapped_letters(run_program, given, meant):
    done = run_program(given)
    assert done.returncode == 2
    assert f"did you mean {meant}?" in done.stderr
