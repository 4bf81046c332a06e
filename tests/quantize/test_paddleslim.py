"""PaddleSlim's environment, and PaddleSlim itself in it; about 40 s.

The environment takes a minute and 1.4 GB to make. Where there is none these tests are skipped;
``nox -s paddleslim`` makes it, as LENET_TEST_PADDLESLIM=1 does.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir, to_model_input
from lenet_cpp.errors import BackendFailure, Unsupported
from lenet_cpp.formats.manifest import read_manifest
from lenet_cpp.quantize import METHODS, slim
from lenet_cpp.quantize import environments as _environments
from snippets import printed_by, run_command

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def environment():
    """The interpreter of PaddleSlim's environment."""
    try:
        if slim.environment().find() is None and not os.environ.get("LENET_TEST_PADDLESLIM"):
            pytest.skip("PaddleSlim's environment (1.4 GB) is not made: nox -s paddleslim")
        return slim.environment().make(sys.executable)
    except (BackendFailure, Unsupported) as error:
        pytest.skip(f"PaddleSlim's environment cannot be made: {error}")


@pytest.fixture(scope="module")
def made(environment, program, tmp_path_factory):
    """A folder in which all four methods were done by PaddleSlim."""
    folder = tmp_path_factory.mktemp("slim")
    command = [
        sys.executable,
        ROOT / "scripts" / "quantize.py",
        "--method",
        "all",
        "--via",
        "paddleslim",
        "--data-dir",
        sample_dir(),
        "--calibration-images",
        "128",
        "--steps",
        "20",
        "--seconds",
        "0.02",
        "--program",
        program,
        "--output-dir",
        folder,
        "--report",
        folder / "report.json",
    ]
    done = run_command(*command)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder


def test_the_environment_has_what_paddleslim_wants(environment):
    code = "import numpy, paddle, paddleslim; print(numpy.__version__, paddle.__version__)"
    said = printed_by(environment, "-W", "ignore", "-I", "-c", code)
    numpy, paddle = said.splitlines()[-1].split()
    assert numpy.startswith("1.")
    assert paddle == lenet_cpp.paddle_version()


@pytest.mark.parametrize("method", METHODS)
def test_its_models_deploy_like_ours(made, run_program, method):
    folder = made / f"lenet_{method}"
    record = read_manifest(folder).quantization
    assert (record["via"], record["paddleslim_version"]) == ("paddleslim", "2.6.0")
    assert (record["method"], len(record["weights"])) == (method, 5)

    test = read_mnist_dir(sample_dir()).test
    images, labels = made / "images.npy", test.labels
    np.save(images, to_model_input(test.images))
    done = run_program(
        *(f"--model_dir={folder}", "--engine=paddle", "--int8"),
        *(f"--input={images}", f"--output={made / 'logits.npy'}"),
    )
    assert done.returncode == 0, done.stderr
    logits = np.load(made / "logits.npy")
    correct = int((logits.argmax(axis=1) == labels).sum())
    assert correct >= 990
    with lenet_cpp.Predictor(model_dir=folder, engine="paddle", precision="int8") as predictor:
        assert predictor.quantized
        np.testing.assert_array_equal(predictor.run(np.load(images)[:64]), logits[:64])

    report = json.loads((made / "report.json").read_text(encoding="utf-8"))
    found = report["methods"][method]
    assert found["int8_primitives"] == {"convolution": [2, 2], "inner_product": [3, 3]}
    assert (folder / "lenet.pdiparams").stat().st_size < 0.28 * 247_083
    correct_by = {route: entry["correct"] for route, entry in found["routes"].items()}
    # The native engine rounds a sum in the middle of two integers the other way now and then.
    assert abs(correct_by.pop("native") - correct) <= 2
    assert correct_by == dict.fromkeys(("paddle.inference", "C++ program", "lenet_cpp"), correct)


def test_the_environment_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    commands = []

    def pretend(_what, command, _remedy):
        commands.append(command)
        if "venv" in command:
            python = Path(command[-1], "bin", "python")
            python.parent.mkdir(parents=True)
            python.touch()

    monkeypatch.setattr(_environments, "_run", pretend)
    python = slim.environment().make(sys.executable)
    assert python.is_relative_to(tmp_path)
    assert len(commands) == 3
    assert {"paddleslim==2.6.0", "numpy>=1.24,<2", "six", "requests", "decorator"} <= {*commands[1]}
    assert f"paddlepaddle=={lenet_cpp.paddle_version()}" in commands[1]
    assert slim.environment().make(sys.executable) == python
    assert len(commands) == 3


def test_an_environment_that_fails_leaves_nothing(tmp_path, monkeypatch):
    """By what pip itself says; only the environment is no real one, which takes long to make."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(slim, "PADDLESLIM", "0.0.0")
    run = _environments._run

    def link(what, command, remedy):
        if "venv" in command:
            python = Path(command[-1], "bin", "python")
            python.parent.mkdir(parents=True)
            python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
            python.chmod(0o755)
        else:
            run(what, command, remedy)

    monkeypatch.setattr(_environments, "_run", link)
    with pytest.raises(BackendFailure, match=r"installing PaddleSlim failed: ERROR.* --via paddle"):
        slim.environment().make(sys.executable)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
