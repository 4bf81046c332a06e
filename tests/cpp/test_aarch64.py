"""The native engine on aarch64: its program, cross-compiled and run in an emulator, against Paddle
and against this machine's.

``LENET_TEST_AARCH64=1`` builds it, in minutes, with Debian's g++-aarch64-linux-gnu and qemu-user;
otherwise these tests are skipped. ``nox -s aarch64`` runs the C++ tests there as well.
"""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir, to_model_input
from lenet_cpp.quantize import QuantizationSettings, mnist_images, open_source
from lenet_cpp.quantize.task import make_task, run_tasks
from snippets import printed_by

ROOT = Path(__file__).parents[2]
COMPILER = "aarch64-linux-gnu-g++"
EMULATORS = ("qemu-aarch64", "qemu-aarch64-static")
BAD_INPUT, UNSUPPORTED = 5, 6
# Of ARMv8.0, without dot products of bytes; the emulator's own has all that it knows of.
OLD_PROCESSOR = {"QEMU_CPU": "cortex-a53"}


@pytest.fixture(scope="module")
def command(run_program):
    """What runs the program."""
    if os.environ.get("LENET_TEST_AARCH64") != "1":
        pytest.skip("not compiled for aarch64: nox -s aarch64, or LENET_TEST_AARCH64=1")
    emulator = next(filter(None, map(shutil.which, EMULATORS)), None)
    if emulator is None or shutil.which(COMPILER) is None:
        pytest.skip(f"no {COMPILER} or no {EMULATORS[0]}: g++-aarch64-linux-gnu, qemu-user")
    python = f"-DPython3_EXECUTABLE={sys.executable}"
    build = ("--build", "--preset", "aarch64", "--target", "lenet_infer_native")
    for arguments in (("--preset", "aarch64", python), build):
        printed_by("cmake", *arguments, cwd=ROOT)
    program = ROOT / "build" / "aarch64" / "lenet_infer_native"
    return partial(run_program, "-L", "/usr/aarch64-linux-gnu", program, program=emulator)


@pytest.fixture
def emulated(command):
    """Run the program, with these variables; what it says is JSON."""

    def run(*arguments, code=0, **variables):
        done = command(*arguments, "--format=json", env=variables, timeout=None)
        assert done.returncode == code, done.stderr
        return done.stderr if code else json.loads(done.stdout)

    return run


@pytest.fixture
def predict(emulated, tmp_path):
    def run(model, images, *arguments, **variables):
        np.save(tmp_path / "x.npy", images)
        files = (f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'y.npy'}")
        emulated(f"--model_file={model}", *files, *arguments, **variables)
        return np.load(tmp_path / "y.npy")

    return run


@pytest.fixture(scope="module")
def images():
    """Digits, noise, and extremes."""
    digits = to_model_input(read_mnist_dir(sample_dir()).test.images[:100])
    noise = np.random.default_rng(0).random((9, 1, 28, 28))
    ends = [np.zeros((1, 28, 28)), np.ones((1, 28, 28)), np.full((1, 28, 28), 1e30)]
    return np.concatenate([digits, noise, ends]).astype(np.float32)


@pytest.fixture(scope="module")
def model(model_dir, tmp_path_factory):
    """The bundled LeNet as one of its files, or as ONNX."""

    def find(suffix):
        if suffix != "onnx":
            return model_dir / f"lenet.{suffix}"
        pytest.importorskip("paddle2onnx", reason="the exporter is its own")
        path = tmp_path_factory.mktemp("onnx") / "lenet.onnx"
        export = (sys.executable, ROOT / "scripts" / "export_onnx.py", model_dir, "-o", path)
        subprocess.run(export, check=True, capture_output=True)
        return path

    return find


@pytest.mark.parametrize("suffix", ["pdmodel", "json", "onnx"])
def test_lenet_agrees_with_paddle(predict, model, model_dir, images, suffix):
    path = model(suffix)
    with lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator="plain") as paddle:
        expected = paddle.run(images)
    for name in ("scalar", "neon"):
        found = predict(path, images, LENET_NATIVE_ISA=name)
        assert compare(expected, found).agrees, name
        assert (found.argmax(axis=1) == expected.argmax(axis=1)).all(), name
        # Side by side, with a rest; one by one.
        for size in (6, 1):
            pieces = predict(path, images, f"--batch_size={size}", LENET_NATIVE_ISA=name)
            np.testing.assert_array_equal(pieces, found)
    np.testing.assert_array_equal(predict(path, images), found)  # neon is the one that is chosen


def test_int8_gives_the_bits_of_other_processors(predict, model_dir, images, tmp_path):
    calibration = mnist_images(sample_dir(), 64)
    with open_source("lenet") as source:
        options = (calibration, "static-ptq", QuantizationSettings(), tmp_path, tmp_path)
        run_tasks([make_task(source, *options)])
    path = tmp_path / "lenet.pdmodel"
    with lenet_cpp.Predictor(path, engine="native", precision="int8") as native:
        expected = native.run(images)
    arguments = ("--engine=native", "--int8")
    sets = [{"LENET_NATIVE_ISA": name} for name in ("scalar", "neon", "neondotprod")]
    for variables in (*sets, {}, OLD_PROCESSOR):
        for size in (50, 1):
            found = predict(path, images, *arguments, f"--batch_size={size}", **variables)
            np.testing.assert_array_equal(found, expected, err_msg=str(variables))


def test_an_instruction_set_is_named_or_refused(emulated, model_dir):
    profile = (f"--model_dir={model_dir}", "--profile", "--repeats=1")
    assert emulated(*profile)["instructions"] == "neon"
    assert emulated(*profile, **OLD_PROCESSOR)["instructions"] == "neon"
    assert emulated(*profile, LENET_NATIVE_ISA="scalar")["instructions"] == "scalar"
    dotprod = {**OLD_PROCESSOR, "LENET_NATIVE_ISA": "neondotprod"}
    assert "processor has no neondotprod" in emulated(*profile, code=UNSUPPORTED, **dotprod)
    message = emulated(*profile, code=BAD_INPUT, LENET_NATIVE_ISA="avx2")
    assert "'avx2'; expected one of neondotprod, neon, scalar" in message
