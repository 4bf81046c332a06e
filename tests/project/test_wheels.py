"""tools/wheels: what it makes of a wheel; and with --nightly, the wheels themselves."""

import json
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare
from snippets import printed_by
from tools.wheels import __main__ as wheels
from tools.wheels.finish import finish

INFO = "lenet_cpp-0.1.0.dist-info"
PARTS = {"pypi/nlohmann-json@3.12.0": "MIT", "pypi/pybind11@3.1.0": "BSD-3-Clause"}
THIS = f"{sys.version_info[0]}.{sys.version_info[1]}"
CODE = (
    "import sys, numpy, lenet_cpp; images = numpy.load(sys.argv[1]);"
    "numpy.save(sys.argv[2], lenet_cpp.predict(images))"
)


@pytest.fixture
def built(tmp_path):
    """A wheel as a build leaves it, with one program."""
    path = tmp_path / "lenet_cpp-0.1.0-cp311-cp311-linux_x86_64.whl"
    files = {
        "lenet_cpp/bin/lenet_classify": "program",
        "lenet_cpp/py.typed": "",
        "lenet_cpp/_core.cpython-311-x86_64-linux-gnu.so": "module",
        f"{INFO}/METADATA": "Metadata-Version: 2.4\nName: lenet-cpp\nVersion: 0.1.0\n",
        f"{INFO}/WHEEL": "Wheel-Version: 1.0\nTag: cp311-cp311-linux_x86_64\n",
        f"{INFO}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o755 if "/bin/" in name else 0o644) << 16
            archive.writestr(info, text)
    return path


def test_finished_wheel(built, tmp_path):
    first = finish(built, tmp_path / "first", "aarch64", "2.17", PARTS)
    second = finish(built, tmp_path / "second", "aarch64", "2.17", PARTS)
    assert first.name == "lenet_cpp-0.1.0-cp311-cp311-manylinux_2_17_aarch64.whl"
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    with zipfile.ZipFile(first) as archive:
        assert "lenet_cpp/_core.cpython-311-aarch64-linux-gnu.so" in archive.namelist()
        tag = archive.read(f"{INFO}/WHEEL").decode().splitlines()[-1]
        assert tag == "Tag: cp311-cp311-manylinux_2_17_aarch64"
        assert archive.getinfo("lenet_cpp/bin/lenet_classify").external_attr >> 16 & 0o111
        sbom = json.loads(archive.read(f"{INFO}/sboms/lenet-cpp.cdx.json"))
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    assert sbom["metadata"]["component"]["purl"] == "pkg:pypi/lenet-cpp@0.1.0"
    found = {each["purl"]: each["licenses"][0]["expression"] for each in sbom["components"]}
    assert found == {f"pkg:{name}": license_ for name, license_ in PARTS.items()}
    # pip compares each file with RECORD when it is told to install without an index.
    python = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    python += ["--python-version", "3.11", "--only-binary=:all:"]
    here = finish(built, tmp_path, "x86_64", "2.17", PARTS)
    printed_by(*python, "--target", tmp_path / "site", here)
    record = (tmp_path / "site" / INFO / "RECORD").read_text()
    assert "sboms/lenet-cpp.cdx.json,sha256=" in record


# ---- the wheels


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The wheels of this CPython by processor: in LENET_TEST_WHEELS, else built here."""
    folder = Path(os.environ.get("LENET_TEST_WHEELS") or tmp_path_factory.mktemp("wheels"))
    if not list(folder.glob("*.whl")):
        pytest.importorskip("ziglang", reason="a compiler of 300 MB: pip install ziglang")
        command = (sys.executable, "-m", "tools.wheels", "--python", THIS, "--output-dir", folder)
        printed_by(*command, cwd=wheels.ROOT)
    tag = f"cp{THIS.replace('.', '')}"
    archs = wheels.ARCHITECTURES
    return {arch: wheel for arch in archs for wheel in folder.glob(f"*{tag}*{arch}.whl")}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("digits") / "digits.npy"
    np.save(path, np.random.default_rng(0).random((70, 1, 28, 28), np.float32))
    return path


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("arch", wheels.ARCHITECTURES)
def test_verdict_of_auditwheel(made, arch):
    pytest.importorskip("auditwheel", reason="for these tests alone: pip install auditwheel")
    if arch not in made:
        pytest.skip(f"LENET_TEST_WHEELS has no wheel for {arch}")
    said = printed_by(sys.executable, "-m", "auditwheel", "show", made[arch])
    assert f"manylinux_2_17_{arch}" in " ".join(said.split())


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_wheels_in_fresh_environments(made, digits, tmp_path):
    """All in the folder that are for this processor, each with its own CPython."""
    expected = lenet_cpp.predict(np.load(digits))
    for wheel in sorted(made["x86_64"].parent.glob("*x86_64.whl")):
        minor = re.findall(r"-cp3(\d+)-", wheel.name)[0]
        printed_by(f"python3.{minor}", "-m", "venv", tmp_path / minor)
        python = tmp_path / minor / "bin" / "python"
        printed_by(python, "-m", "pip", "install", "--quiet", wheel)
        printed_by(python, "-c", CODE, digits, tmp_path / "out.npy", cwd=tmp_path)
        np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
        command = python.with_name("lenet-cpp")
        assert "onnxruntime" in printed_by(command, "--version")
    if wheels.find_server_libraries("x86_64")["LENET_SERVE"] == "OFF":
        pytest.skip("all but lenet_serve ran: apt-get install libboost-dev zlib1g-dev")
    assert "native" in printed_by(command, "serve", "--version")


@pytest.mark.nightly
def test_wheel_in_an_emulator(made, digits, tmp_path):
    """With Debian's Python for aarch64, which is unpacked and not installed."""
    emulator = shutil.which("qemu-aarch64")
    root = Path(os.environ.get("LENET_TEST_ARM64_ROOT", "/nowhere"))
    python = root / "usr" / "bin" / f"python{THIS}"
    if emulator is None or not python.exists() or "aarch64" not in made:
        pytest.skip("no wheel, no qemu-user, or no Debian for arm64 unpacked: docs/wheels.md")
    with zipfile.ZipFile(made["aarch64"]) as archive:
        archive.extractall(tmp_path / "site")
    variables = {"PYTHONPATH": f"{tmp_path / 'site'}", "PATH": ""}
    command = (emulator, "-L", root, python, "-c", CODE, digits, tmp_path / "out.npy")
    printed_by(*command, env=variables, cwd=tmp_path)
    assert compare(lenet_cpp.predict(np.load(digits)), np.load(tmp_path / "out.npy")).agrees


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_same_bytes_from_another_folder(made, clone, tmp_path):
    command = (sys.executable, "-m", "tools.wheels", "--arch", "x86_64", "--python", THIS)
    printed_by(*command, "--output-dir", tmp_path, cwd=clone)
    (again,) = tmp_path.glob("*.whl")
    assert again.read_bytes() == made["x86_64"].read_bytes()
