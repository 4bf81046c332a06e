"""The package as a user installs it, in a fresh environment: the wheel alone, then with Paddle.

Here the wheel is made from the object files of build/, and Paddle is that of this environment.
`nox` builds the wheel in pip's isolated environment and installs each supported Paddle.
"""

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import lenet_cpp
from snippets import printed_by, run_command

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

IMPORT_ORDERS = "import lenet_cpp", "import paddle, lenet_cpp", "import lenet_cpp, paddle"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A folder outside the repository."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, root, elsewhere, reuse):
    """The wheel, built with the packages that are here.

    Without the page's module, which takes longest to link: ./run.sh installs a wheel that has it.
    """
    folder = tmp_path_factory.mktemp("wheel")
    printed_by(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        f"--config-settings=build-dir={folder / 'build'}",
        "--config-settings=cmake.define.LENET_WEB=OFF",
        *("--wheel-dir", folder, root),
        cwd=elsewhere,
        env=os.environ | reuse,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, wheel, elsewhere, digits):
    """An environment with the wheel, to which Paddle was added from this one.

    The interpreter; what predict() gave before, and which packages there were then.
    """
    environment = tmp_path_factory.mktemp("environment") / "venv"
    printed_by(sys.executable, "-m", "venv", "--without-pip", environment, cwd=elsewhere)
    python = environment / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    printed_by(*pip, "install", "--quiet", wheel, cwd=elsewhere)
    packages = printed_by(*pip, "list", "--format=freeze", cwd=elsewhere)
    logits = predict_with(python, IMPORT_ORDERS[0], digits)
    (site,) = environment.glob("lib/python3*/site-packages")
    for package in Path(str(metadata.distribution("paddlepaddle").locate_file(""))).iterdir():
        if not (site / package.name).exists() and "lenet_cpp" not in package.name:
            (site / package.name).symlink_to(package)
    return python, logits, packages


@pytest.fixture(scope="module")
def digits(elsewhere):
    path = elsewhere / "digits.npy"
    np.save(path, np.random.default_rng(0).random((5, 1, 28, 28), dtype=np.float32))
    return path


def predict_with(python, imports, digits, predict="lenet_cpp.predict"):
    code = f"{imports}; import numpy; numpy.save('out', {predict}(numpy.load('digits.npy')))"
    printed_by(python, "-W", "ignore", "-c", code, cwd=digits.parent)
    return np.load(digits.with_name("out.npy"))


def test_without_paddle(fresh, digits):
    _, logits, packages = fresh
    assert "numpy==" in packages
    assert "paddle" not in packages
    np.testing.assert_array_equal(logits, lenet_cpp.predict(np.load(digits)))


def test_paddle_may_come_later(fresh, digits):
    """The engine paddle of the same installation runs once there is a Paddle."""
    options = {"engine": "paddle", "accelerator": "plain"}
    predict = f"lenet_cpp.Predictor(model_dir=lenet_cpp.bundled_model_dir(), **{options}).run"
    found = predict_with(fresh[0], "import lenet_cpp", digits, predict)
    with lenet_cpp.Predictor(model_dir=lenet_cpp.bundled_model_dir(), **options) as predictor:
        np.testing.assert_array_equal(found, predictor.run(np.load(digits)))


@pytest.mark.parametrize("imports", IMPORT_ORDERS)
def test_pip_install(fresh, digits, imports):
    logits = predict_with(fresh[0], imports, digits)
    np.testing.assert_array_equal(logits, lenet_cpp.predict(np.load(digits)))


# Boost and zlib are Debian's, and optional: no Python package brings them.
NO_SERVER = "built without Boost or zlib: apt-get install libboost-dev zlib1g-dev, then ./run.sh"


@pytest.mark.parametrize("name", ["lenet_classify", "lenet_infer_native", "lenet_serve"])
def test_programs(fresh, root, soname, name):
    """They find the package's library, and need no other but the system's."""
    (folder,) = fresh[0].parents[1].glob("lib/python3*/site-packages/lenet_cpp/bin")
    if not (root / "build" / name).is_file():
        assert not (folder / name).exists()
        pytest.skip(NO_SERVER)
    assert printed_by(folder / name, "--version", cwd="/", env={}).startswith(f"{name} ")
    dynamic = printed_by("readelf", "--dynamic", folder / name)
    dynamic += printed_by("readelf", "--dynamic", folder.parent / soname)
    assert not re.search(r"NEEDED.*lib(jpeg|png)", dynamic)
    assert str(root) not in dynamic


@pytest.mark.parametrize("options", [{}, {"engine": "paddle", "accelerator": "plain"}])
def test_serve(fresh, root, digits, options):
    """The command finds the server of the package, and that one Paddle, which wants Python."""
    if not (root / "build" / "lenet_serve").is_file():
        pytest.skip(NO_SERVER)
    model = lenet_cpp.bundled_model_dir()
    with lenet_cpp.Predictor(model_dir=model, **options) as predictor:
        logits = predictor.run(np.load(digits))
    command = [str(fresh[0].with_name("lenet-cpp")), "serve", str(model), "--port=0"]
    command += [f"--{name}={value}" for name, value in options.items()]
    more = {"cwd": digits.parent, "env": {"PATH": ""}, "text": True}
    with subprocess.Popen(command, stdout=subprocess.PIPE, **more) as process:
        try:
            address = process.stdout.readline().split()[-1]
            url = f"{address}/v2/models/lenet/infer"
            raw = {"Inference-Header-Content-Length": "0"}
            request = urllib.request.Request(url, np.load(digits).tobytes(), raw)
            with urllib.request.urlopen(request, timeout=60) as response:
                length = int(response.headers["Inference-Header-Content-Length"])
                found = np.frombuffer(response.read()[length:], "<f4")
            png = urllib.request.Request(url, b"\x89PNG\r\n\x1a\n")
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(png, timeout=60)
            assert refused.value.code == 415
            assert b"with -DLENET_IMAGE_LIBRARIES=ON" in refused.value.read()
            process.terminate()
            assert process.wait(40) == 0
        finally:
            process.kill()
    np.testing.assert_array_equal(found.reshape(logits.shape), logits)


def test_wheel(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    files = ("lenet.pdmodel", "lenet.json", "lenet.pdiparams", "manifest.json", "preprocess.json")
    assert {
        *("lenet_cpp/py.typed", "lenet_cpp/_core.pyi"),
        *(f"lenet_cpp/bundled/lenet/{file}" for file in files),
        "lenet_cpp/mnist_sample/train-images-idx3-ubyte.gz",
        *("lenet_cpp/bin/lenet_classify", "lenet_cpp/bin/lenet_infer_native"),
    } <= {*names}
    # The Paddle library comes from the paddlepaddle package, never from inside ours.
    assert not [name for name in names if "libpaddle" in name or "libdnnl" in name]


def test_typed_for_users(tmp_path):
    """mypy --strict accepts correct uses of the public API and refuses wrong ones."""
    (tmp_path / "good.py").write_text(
        "import numpy as np\nimport lenet_cpp\n"
        "from numpy.typing import NDArray\n"
        "logits: NDArray[np.float32] = lenet_cpp.predict(np.zeros((28, 28)))\n"
        "p = lenet_cpp.Predictor('m.pdmodel', threads=2, accelerator='onednn')\n"
        "names: list[str] = lenet_cpp.classify(logits).labels\n"
    )
    (tmp_path / "bad.py").write_text(
        "import lenet_cpp\nlenet_cpp.Predictor('m.pdmodel', thread=2)\n"
    )
    command = (sys.executable, "-m", "mypy", "--strict", "--cache-dir=cache", "good.py", "bad.py")
    done = run_command(*command, cwd=tmp_path)
    assert done.returncode == 1
    (error,) = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert error.startswith("bad.py:2: error: ")
    assert 'Unexpected keyword argument "thread"' in error
