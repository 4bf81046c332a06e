"""Where no Paddle is installed: the package, its commands, and the program lenet_infer_native."""

import json
import re
import shutil
import sys
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.data.mnist import sample_dir
from snippets import run_command, run_page

UNSUPPORTED, FILE_NOT_FOUND = 6, 3
REMEDY = "pip install '.[paddle]' in a clone of lenet_cpp, or pip install "
SYSTEM_LIBRARIES = {
    *("libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libpthread.so.0"),
    "ld-linux-x86-64.so.2",
}
MAX_BYTES = 3_250_000
NOWHERE = "/nonexistent/libpaddle.so"


run = partial(run_command, timeout=120)


def base_requirements(root):
    """The packages that `pip install lenet-cpp` brings."""
    text = (root / "pyproject.toml").read_text()
    table = re.search(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert table is not None
    return re.findall(r'"([\w-]+)', table[1])


@pytest.fixture(scope="module")
def bare(root, copy_package, tmp_path_factory):
    """The interpreter of an environment with this package and what it requires, and no Paddle."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    assert run(sys.executable, "-m", "venv", "--without-pip", folder).returncode == 0
    (site,) = folder.glob("lib/python3*/site-packages")
    for name in base_requirements(root):
        files = metadata.files(name) or []
        here = Path(str(metadata.distribution(name).locate_file("")))
        for top in {file.parts[0] for file in files} - {".."}:
            if (here / top).exists() and not (site / top).exists():
                (site / top).symlink_to(here / top)
    copy_package(site)
    if not (site / "lenet_cpp" / "mnist_sample").exists():  # the package of a source tree
        shutil.copytree(sample_dir(), site / "lenet_cpp" / "mnist_sample")
    return folder / "bin" / "python"


@pytest.fixture
def bare_run(bare, tmp_path):
    """Run Python there, in an empty folder, with nothing of this process's environment.

    The plug-in of a source tree would find the Paddle that it was built against.
    """
    environment = {"PATH": "/usr/bin:/bin", "LENET_PADDLE_LIBRARY": NOWHERE}

    def run_bare(*arguments):
        return run(bare, "-B", *arguments, cwd=tmp_path, env=environment)

    return run_bare


def test_paddle_is_not_required(root):
    names = base_requirements(root)
    assert "numpy" in names
    assert not {"paddlepaddle", "setuptools", "httpx", "reprod-log"} & set(names)


@pytest.mark.parametrize("value", [None, "ON", "OFF", "0"])
def test_a_wheel_without_paddle(root, monkeypatch, value):
    """LENET_PADDLE=OFF pip install . brings no Paddle for the build, and builds all the rest."""
    reader = pytest.importorskip("scikit_build_core.settings.skbuild_read_settings")
    monkeypatch.delenv("LENET_PADDLE", raising=False)
    if value is not None:
        monkeypatch.setenv("LENET_PADDLE", value)
    settings = reader.SettingsReader.from_file(root / "pyproject.toml", {}).settings
    off = value in {"OFF", "0"}
    assert any("paddlepaddle" in name for name in settings.build.requires) == (not off)
    assert settings.cmake.define["LENET_BUILD_PYTHON"]
    assert settings.cmake.define.get("LENET_PADDLE", "ON") == ("OFF" if off else "ON")


def test_the_same_bits_as_beside_paddle(bare_run, tmp_path):
    digits = np.random.default_rng(0).random((70, 1, 28, 28), dtype=np.float32)
    np.save(tmp_path / "digits.npy", digits)
    code = """
import sys, numpy
digits = numpy.load("digits.npy")
import lenet_cpp
folder = lenet_cpp.bundled_model_dir()
numpy.save("logits.npy", lenet_cpp.predict(digits))
for name in ("lenet.pdmodel", "lenet.json"):
    with lenet_cpp.Predictor(folder / name, engine="native") as predictor:
        numpy.save(name + ".npy", predictor.run(digits))
foreign = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(*sorted(foreign - {"__main__", "sitecustomize", "usercustomize"}))
"""
    done = bare_run("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    # Nothing but NumPy is imported to predict: no Pillow, no YAML, no progress bars.
    assert done.stdout.split() == ["lenet_cpp", "numpy"]
    for name in ("lenet.pdmodel", "lenet.json"):
        path = lenet_cpp.bundled_model_dir() / name
        with lenet_cpp.Predictor(path, engine="native") as predictor:
            expected = predictor.run(digits)
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), expected)
    np.testing.assert_array_equal(np.load(tmp_path / "logits.npy"), lenet_cpp.predict(digits))


def test_what_is_imported_later_is_there(bare_run):
    code = """
import sys, lenet_cpp
slow = {"lenet_cpp.inference.isolated", "lenet_cpp.paddle_engines.classification"}
assert not slow & sys.modules.keys()
assert {"InferenceEngine", "IsolatedPredictor"} <= set(dir(lenet_cpp))
from lenet_cpp import InferenceEngine, IsolatedPredictor
assert lenet_cpp.IsolatedPredictor is IsolatedPredictor
assert all(hasattr(lenet_cpp, name) for name in lenet_cpp.__all__)
try:
    lenet_cpp.nothing
except AttributeError as error:
    print(error)
"""
    done = bare_run("-c", code)
    assert (done.stdout, done.stderr) == ("module 'lenet_cpp' has no attribute 'nothing'\n", "")


def test_predict_command(bare_run, root, model_dir, tmp_path):
    (tmp_path / "digit.pgm").write_bytes(
        b"P5 28 28 255\n"
        + bytes(255 if 12 <= i % 28 <= 15 and 4 <= i // 28 < 24 else 0 for i in range(784))
    )
    command = (root / "scripts" / "predict.py", "-i", "digit.pgm", "-d", model_dir)
    done = bare_run(*command, "--topk=1", "--output=classes.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert ",1," in (tmp_path / "classes.csv").read_text()


COMMANDS = """
import contextlib, io, json, runpy, sys
for command in json.load(open("commands.json")):
    sys.argv = command
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            try:
                runpy.run_path(command[0], run_name="__main__")
                code = 0
            except SystemExit as ended:
                code = ended.code
    print(json.dumps([code, out.getvalue(), errors.getvalue()]))
"""


def test_commands_say_what_to_install(bare_run, root, model_dir, tmp_path):
    (tmp_path / "digit.pgm").write_bytes(b"P5 28 28 255\n" + bytes(784))
    commands = [
        "train",
        "export_model --seed 0 -o out",
        "infer -i digit.pgm -m lenet -p lenet.pdparams",
        "py_infer -i digit.pgm -d {model}",
        "predict -i digit.pgm -d {model} --engine=python",
        "verify --model-dir {model} --across",
        "verify --model-dir {model} --layers --params lenet.pdparams",
        "convert_model {model}/lenet.pdmodel -o out --to separate",
        "quantize --method static-ptq --model-dir {model} -o out",
        "export_onnx {model} -o lenet.onnx",
    ]
    given = [command.format(model=model_dir).split() for command in commands]
    paths = [[f"{root}/scripts/{name}.py", *arguments] for name, *arguments in given]
    (tmp_path / "commands.json").write_text(json.dumps(paths))
    done = bare_run("-c", COMMANDS)
    assert (done.returncode, done.stderr) == (0, "")
    for command, line in zip(commands, done.stdout.splitlines(), strict=True):
        code, out, errors = json.loads(line)
        assert (code, out) == (UNSUPPORTED, ""), (command, errors)
        assert len(errors.splitlines()) == 1, command
        assert REMEDY in errors.splitlines()[-1], command
    assert {path.name for path in tmp_path.iterdir()} == {"digit.pgm", "commands.json"}


def test_verify_compares_with_the_plain_program(bare_run, root, model_dir):
    done = bare_run(f"{root}/scripts/verify.py", "--model-dir", model_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert "The engines agree with the plain program" in done.stdout


# Of those that the commands above do not reach.
FUNCTIONS = """
import json, sys
from pathlib import Path
from lenet_cpp import bundled_model_dir, models
from lenet_cpp.export.inference_model import export_separate
from lenet_cpp.interchange.torch.state import paddle_state, torch_state
from lenet_cpp.models.weights import fetch
from lenet_cpp.export.separate_layout import write_separate

model, out = bundled_model_dir(), Path("out")
Path("colours.py").write_text("import paddle")
calls = {
    "build": lambda: models.build("lenet"),
    "resolve": lambda: models.resolve("colours.py:SPEC"),
    "export_separate": lambda: export_separate(None, out, seed=0),
    "write_separate": lambda: write_separate(model / "lenet.pdmodel", out),
    "paddle_state": lambda: paddle_state({}, "lenet"),
    "torch_state": lambda: torch_state({}, "lenet"),
    "fetch": lambda: fetch("https://localhost/weights.pdparams"),
}
found = {}
for name, call in calls.items():
    try:
        call()
    except Exception as error:
        found[name] = [type(error).__name__, str(error)]
print(json.dumps(found))
"""


def test_a_command_that_reaches_paddle_unasked_says_what_to_install(bare_run):
    code = "import sys; from lenet_cpp.cli import run_cli; {}; sys.exit(run_cli(reach))"
    done = bare_run("-c", code.format("reach = lambda: __import__('paddle.nn')"))
    assert (done.returncode, len(done.stderr.splitlines())) == (UNSUPPORTED, 1)
    assert REMEDY in done.stderr.splitlines()[-1]
    done = bare_run("-c", code.format("reach = lambda: __import__('nothing_of_ours')"))
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_functions_say_what_to_install(bare_run):
    done = bare_run("-c", FUNCTIONS)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 7
    for name, (kind, message) in found.items():
        assert kind == "Unsupported", (name, kind, message)
        assert REMEDY in message, (name, message)


def test_layers_where_there_is_no_engine_to_give_way_to(bare_run):
    code = """
import lenet_cpp, numpy
digits = numpy.ones((3, 28, 28), "float32")
with lenet_cpp.Predictor(model_dir=lenet_cpp.bundled_model_dir()) as predictor:
    before = predictor.run(digits)
    for _ in range(2):
        layers = predictor.run_layers(digits)
        assert len(layers) > 10 and numpy.allclose(layers[-1].values, before, 1e-4, 1e-5)
        assert predictor.options["engine"] == "native"
        assert (predictor.run(digits) == before).all()
        assert (predictor.clone().run(digits) == before).all()
"""
    done = bare_run("-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture(scope="module")
def stand_alone(program, tmp_path_factory):
    """lenet_infer_native, stripped, in a folder of its own."""
    path = tmp_path_factory.mktemp("program") / "lenet_infer_native"
    done = run("strip", "-o", path, program.with_name("lenet_infer_native"))
    assert done.returncode == 0, done.stderr
    return path


def test_the_program_needs_the_system_only(stand_alone):
    text = run("readelf", "-d", stand_alone).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", text))
    assert {"libc.so.6", "libstdc++.so.6"} <= needed <= SYSTEM_LIBRARIES
    assert "PATH)" not in text  # no place to look for others
    assert stand_alone.stat().st_size < MAX_BYTES
    # A stream brings the locales, which are 400 kB of a static program.
    assert "ios_base" not in run("nm", "-D", stand_alone).stdout


@pytest.mark.parametrize("name", ["lenet.pdmodel", "lenet.json"])
def test_the_program_gives_the_same_bits(stand_alone, model_dir, tmp_path, name):
    digits = np.random.default_rng(1).random((70, 1, 28, 28), dtype=np.float32)
    np.save(tmp_path / "digits.npy", digits)
    model = f"--model_file={model_dir / name}"
    output = tmp_path / "logits.npy"
    command = (stand_alone, model, f"--input={tmp_path / 'digits.npy'}")
    done = run(*command, f"--output={output}", "--format=json", cwd="/", env={})
    assert (done.returncode, done.stderr) == (0, "")
    with lenet_cpp.Predictor(model_dir / name, engine="native") as predictor:
        np.testing.assert_array_equal(np.load(output), predictor.run(digits))
    # VmHWM is of this program alone: what started it has far more.
    assert 1e6 < json.loads(done.stdout)["peak_bytes"] < 30e6


def test_the_program_says_what_it_lacks(stand_alone, model_dir, tmp_path):
    (tmp_path / "empty.onnx").touch()
    version = run(stand_alone, "--version", env={})
    ours = lenet_cpp.__version__
    lines = rf"lenet_infer_native {ours}\nnative {ours}\n"
    lines += "".join(
        rf"{name} is not available: this build has no {name} engine; .*\n"
        for name in ("onnxruntime", "paddle")
    )
    lines += rf"plain {ours}\n"
    assert re.fullmatch(lines + r"native bf16 is .*\n", version.stdout)
    usage = run(stand_alone, "--help", env={}).stdout
    assert usage.endswith("\nThis program has the native engine only.\n")
    assert "  lenet_infer_native model.onnx" in usage
    assert "lenet_infer_test" not in usage
    text = run(stand_alone, f"--model_dir={model_dir}", "--profile", "--repeats=1", env={}).stdout
    assert text.startswith(f"lenet_infer_native {lenet_cpp.__version__}: engine native")
    for engine, remedy, model in (
        ("paddle", "-DLENET_PADDLE=ON", model_dir / "lenet.pdmodel"),
        ("onnxruntime", "-DLENET_WITH_ONNXRUNTIME=ON", tmp_path / "empty.onnx"),
    ):
        done = run(stand_alone, f"--model_file={model}", f"--engine={engine}", env={})
        assert (done.returncode, done.stdout) == (UNSUPPORTED, ""), done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert f"has no {engine} engine" in done.stderr
        assert remedy in done.stderr


def test_a_build_without_paddle_looks_for_none(root, tmp_path):
    settings = ("-DLENET_PADDLE=OFF", "-DLENET_WITH_ONNXRUNTIME=OFF", "-G", "Ninja")
    nowhere = f"-DPADDLE_INFERENCE_DIR={tmp_path / 'nowhere'}"
    done = run("cmake", "-S", root, "-B", tmp_path / "build", *settings, nowhere)
    assert done.returncode == 0, done.stderr
    assert "Without the paddle engine" in done.stdout
    assert "Paddle Inference" not in done.stdout
    commands = (tmp_path / "build" / "compile_commands.json").read_text()
    compiled = {Path(one["file"]).name for one in json.loads(commands)}
    assert {"lenet_infer_test.cc", "native_engine.cc", "without.cc"} <= compiled
    assert not {"plugin_loader.cc", "paddle_engine.cc", "python_stubs.c"} & compiled
    assert "compat" not in commands


def test_page(root, model_dir, tmp_path):
    """Each command of docs/without-paddle.md that is for a shell or for Python."""
    python, program, moved = run_page(root / "docs" / "without-paddle.md", tmp_path, model_dir)
    assert python == "(2, 10)\n"
    assert "engine native" in program
    assert "libstdc++.so.6" in program
    assert "paddle" not in program
    assert "engine native" in moved
