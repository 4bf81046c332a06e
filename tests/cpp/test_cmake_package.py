"""The CMake package: installed, moved, found by another project, run with nothing around it."""

import re
import shutil
import subprocess
from functools import partial
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
    return partial(run_program, env={"PATH": ""}, cwd="/")


@pytest.fixture(scope="module")
def prefix(root, program, tmp_path_factory):
    """The installed package, moved after it was installed."""
    folder = tmp_path_factory.mktemp("package")
    checked("cmake", "--install", program.parent, "--prefix", folder / "first")
    (folder / "first").rename(folder / "moved")
    return folder / "moved"


@pytest.fixture(scope="module")
def build_consumer(root, prefix, tmp_path_factory):
    def build(wanted="0.1"):
        folder = tmp_path_factory.mktemp("consumer")
        source = shutil.copytree(root / "examples" / "cmake_consumer", folder / "source")
        lists = source / "CMakeLists.txt"
        lists.write_text(lists.read_text().replace("(lenet 0.1", f"(lenet {wanted}"))
        flags = "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror -fvisibility=hidden"
        where = ("-S", source, "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
        checked("cmake", *where, flags)
        checked("cmake", "--build", folder / "build")
        return folder / "build" / "classify"

    return build


@pytest.fixture(scope="module")
def consumer(build_consumer):
    return build_consumer()


def test_consumer_classifies(consumer, run_bare, run_program, model_dir, tmp_path):
    np.save(tmp_path / "x.npy", read_mnist_dir(sample_dir()).test.images[:200])
    result = run_bare(model_dir, tmp_path / "x.npy", program=consumer)
    assert (result.returncode, result.stderr) == (0, "")
    run_program(f"--model_dir={model_dir}", "--input=x.npy", "--output=y.npy", cwd=tmp_path)
    classes = np.load(tmp_path / "y.npy").argmax(axis=1)
    assert list(map(int, result.stdout.split())) == classes.tolist()


def test_consumer_reports_errors(consumer, run_bare, tmp_path):
    result = run_bare(tmp_path / "nowhere", tmp_path / "none.npy", program=consumer)
    assert (result.returncode, result.stdout) == (3, "")
    assert "FileNotFound" in result.stderr
    assert run_bare(program=consumer).returncode == 2


def test_installed_program_runs_from_its_new_place(prefix, run_bare, model_dir):
    program = prefix / "bin" / "lenet_infer_test"
    result = run_bare(f"--model_dir={model_dir}", program=program)
    assert (result.returncode, result.stderr) == (0, "")
    assert "logits" in result.stdout


def test_installed_files(root, prefix):
    files = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_file()}
    (library,) = [name for name in files if name.endswith("/liblenet.so")]
    folder = Path(library).parent
    headers = {f"include/lenet/{path.name}" for path in (root / "cpp/include/lenet").iterdir()}
    described = {f"{folder}/cmake/lenet/lenet-config{more}.cmake" for more in ("", "-version")}
    assert headers | described <= files
    assert {"bin/lenet_infer_test", "bin/lenet_classify", f"{folder}/liblenet_paddle.so"} <= files
    assert not [name for name in files if "paddle_inference_api" in name]


def test_exports_are_those_listed(program):
    """Each public class and function, and nothing else. After a change that is meant:

    nm -DC --defined-only build/liblenet.so | cut -c20- | LC_ALL=C sort -u \\
        >tests/cpp/exported_symbols.txt
    """
    lines = checked("nm", "-DC", "--defined-only", program.with_name("liblenet.so")).splitlines()
    found = sorted({line.split(maxsplit=2)[2] for line in lines})
    assert found == Path(__file__).with_name("exported_symbols.txt").read_text().splitlines()
    assert "liblenet.so.0.1]" in checked("readelf", "-d", program.with_name("liblenet.so"))


def test_each_public_declaration_is_exported(root):
    """What is not would be found by the programs here, which are linked with the rest too."""
    for path in (root / "cpp" / "include" / "lenet").iterdir():
        declared = re.findall(r"^(?:class \w+ [:{]|[A-Za-z].*\().*", path.read_text(), re.MULTILINE)
        assert [line for line in declared if not line.startswith("LENET_API ")] == [], path


def test_nothing_refers_to_the_build(program, prefix):
    build = str(program.parent)
    for path in prefix.rglob("*"):
        if path.suffix == ".cmake":
            assert build not in path.read_text(), path
        elif path.is_file() and path.parent.name != "lenet":  # a program or library
            text = checked("readelf", "-d", path)
            found = re.search(r"\(R(?:UN)?PATH\).*\[(.*)\]", text)
            folders = found[1].split(":") if found else []
            # An empty entry would be the folder that the program is started in.
            assert all(folder and not folder.startswith(build) for folder in folders), path


def test_another_version_is_not_accepted(build_consumer):
    with pytest.raises(AssertionError, match=r"compatible\s+with requested version"):
        build_consumer("7.0")
