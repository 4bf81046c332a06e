"""The CMake package: installed, moved, found by another project, run with nothing around it."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lenet_cpp.data.mnist import read_mnist_dir, sample_dir


def checked(*command, **options):
    result = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def run_bare(run_program):
    """Run a program with an empty PATH and nothing of Python's."""

    def run(path, *arguments):
        return run_program(*arguments, program=path, env={"PATH": ""}, cwd="/")

    return run


@pytest.fixture(scope="module")
def prefix(root, program, tmp_path_factory):
    """The installed package, moved after it was installed."""
    folder = tmp_path_factory.mktemp("package")
    checked("cmake", "--install", program.parent, "--prefix", folder / "first")
    (folder / "first").rename(folder / "moved")
    return folder / "moved"


@pytest.fixture(scope="module")
def build_consumer(root, prefix, tmp_path_factory):
    def build(cmake_lists=None):
        folder = tmp_path_factory.mktemp("consumer")
        source = Path(shutil.copytree(root / "examples" / "cmake_consumer", folder / "source"))
        if cmake_lists is not None:
            (source / "CMakeLists.txt").write_text(cmake_lists)
        checked(
            "cmake", "-S", source, "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={prefix}",
            "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror",
        )  # fmt: skip
        checked("cmake", "--build", folder / "build")
        return folder / "build" / "classify"

    return build


@pytest.fixture(scope="module")
def consumer(build_consumer):
    return build_consumer()


def test_consumer_classifies(consumer, run_bare, run_program, model_dir, tmp_path):
    digits = read_mnist_dir(sample_dir()).test
    np.save(tmp_path / "digits.npy", digits.images[:200])
    result = run_bare(consumer, model_dir, tmp_path / "digits.npy")
    assert (result.returncode, result.stderr) == (0, "")
    classes = [int(line) for line in result.stdout.split()]
    logits = tmp_path / "logits.npy"
    run_program(
        f"--model_dir={model_dir}", f"--input={tmp_path / 'digits.npy'}", f"--output={logits}"
    )
    assert classes == np.load(logits).argmax(axis=1).tolist()


def test_consumer_reports_errors(consumer, run_bare, tmp_path):
    result = run_bare(consumer, tmp_path / "nowhere", tmp_path / "none.npy")
    assert result.returncode == 3
    assert result.stdout == ""
    assert "FileNotFound" in result.stderr
    assert run_bare(consumer).returncode == 2


def test_installed_program_runs_from_its_new_place(prefix, run_bare, model_dir):
    result = run_bare(prefix / "bin" / "lenet_infer_test", f"--model_dir={model_dir}")
    assert (result.returncode, result.stderr) == (0, "")
    assert "logits" in result.stdout


def test_installed_files(root, prefix):
    files = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_file()}
    (library,) = [name for name in files if name.endswith("/liblenet.so")]
    folder = Path(library).parent
    headers = {f"include/lenet/{path.name}" for path in (root / "cpp/include/lenet").iterdir()}
    assert headers <= files
    assert {"bin/lenet_infer_test", "bin/lenet_classify", f"{folder}/liblenet_paddle.so"} <= files
    assert f"{folder}/cmake/lenet/lenet-config.cmake" in files
    assert f"{folder}/cmake/lenet/lenet-config-version.cmake" in files
    assert not [name for name in files if "paddle_inference_api" in name]


def test_nothing_refers_to_the_build(program, prefix):
    build = str(program.parent)
    for path in prefix.rglob("*"):
        if not path.is_file():
            continue
        if path.suffix == ".cmake":
            assert build not in path.read_text(), path
        elif path.parent.name != "lenet":  # a program or library
            text = checked("readelf", "-d", path)
            found = re.search(r"\(R(?:UN)?PATH\).*\[(.*)\]", text)
            folders = found[1].split(":") if found else []
            # An empty entry would be the folder that the program is started in.
            assert all(folder and not folder.startswith(build) for folder in folders), path


def test_another_version_is_not_accepted(build_consumer, root):
    text = (root / "examples" / "cmake_consumer" / "CMakeLists.txt").read_text()
    with pytest.raises(AssertionError, match=r"compatible\s+with requested version"):
        build_consumer(text.replace("find_package(lenet 0.1", "find_package(lenet 7.0"))
