"""What several test files share."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

import lenet_cpp
import shared_models
from lenet_cpp._base.worker import PROGRAM_DESC
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir, to_model_input
from lenet_cpp.export import separate_layout
from numpy_reference import lenet_parameters
from one_child import one_child as one_child_of

# What onnxruntime and OpenVINO go by (docs/troubleshooting.md); they send nothing, and leave no
# identifier in the home.
os.environ |= {"ORT_DISABLE_TELEMETRY": "1", "CI": "true"}
# What the native engine reads without having written it in this run is NaN (docs/hacking.md).
os.environ["LENET_NATIVE_FORGET"] = "1"
# Threads of OpenMP that wait for work sleep: as many processes run tests as there are cores.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
STARTED = threading.Event()  # a test

# The files that take longest, first: at the end no process then works alone on a long one.
LONGEST = (
    *("test_quantize.py", "test_running.py", "test_parity.py", "test_verify_models.py"),
    *("test_random_networks.py", "test_benchmark_runs.py", "test_page.py", "test_operators.py"),
    *("test_inference_engine.py", "test_onnx_import.py", "test_isolated.py", "test_open_sizes.py"),
    *("test_conversions.py", "test_hostile_http.py", "test_precision.py", "test_bad_input.py"),
    *("test_training.py", "test_native_int8.py", "test_gpu_check.py", "test_models.py"),
)

# Tests that run Paddle in another process, whose failure does not say that it is missing.
PADDLE_ELSEWHERE = re.compile(
    r"/test_(operators|quantize\w*|paddleslim|packaging|without_paddle|commands|random_networks"
    r"|benchmark_(?:runs|contenders)|fetch_\w+|paddle_versions|lenet_cpp|parity)\.py"
    r"|test_(json_report_says|version$|report_has_only|python_is_not_loaded"
    r"|finds_paddle|a_missing_plug|a_program_that_embeds|predictors_alive|fork_while|paddle_of"
    r"|ctrl_c_in|the_bundled_model_is|json\[options1|interrupted$)"
)

# How to install what tests import, where ./test.sh, which installs all of it, did not.
INSTALL = {
    "--group dev": "cv2 google grpc grpc_health kubernetes_validate matplotlib nox pillow_heif"
    " pyarrow tritonclient yaml",
    "--group docs": "breathe myst_parser sphinx",
    "--group torch-cpu": "safetensors torch",
    "'lenet-cpp[bench,onnx]'": "ai_edge_litert fastapi flatbuffers onnx onnx_graphsurgeon"
    " onnxruntime onnxscript openvino paddle2onnx uvicorn",
}

# What CMake calls as LAUNCHER COMPILER ... -MF DEPENDENCIES -o OBJECT -c SOURCE.
LAUNCHER = """#!/bin/sh
for argument; do
    case $before in -o) object=$argument ;; -MF) dependencies=$argument ;; esac
    before=$argument
done
# A wheel decodes no photos. The objects of build/web have the folder of the sources in their names.
case "$object $*" in
    */images/decode.cc.o*_HAS_*=0*) exec "$@" ;;
esac
case $object in
    CMakeFiles/*/cpp/src/*)
        built=web/${object%%.dir/*}.dir${LENET_BUILT%/build}/cpp/src/${object#*/cpp/src/} ;;
    CMakeFiles/*) built=web/$object ;;
    *) built=$object ;;
esac
[ -f "$LENET_BUILT/$built" ] || exec "$@"
cp "$LENET_BUILT/$built" "$object" && echo "$object:" >"$dependencies"
"""

# A shell ignores SIGINT in what it starts in the background, and nohup ignores SIGHUP; children
# inherit that, and the tests that send these signals would wait for ever. A child starts with the
# default of a signal that has a handler here.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, lambda _number, _frame: None)
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--nightly", action="store_true", help="run the tests marked nightly too")
    text = "skip the tests that need Paddle, or another library that is not installed"
    parser.addoption("--without-paddle", action="store_true", help=text)


def pytest_configure(config):
    """Make the folder of models that are exported once for all processes of the run."""
    if shared_models.STORE not in os.environ:
        folder = os.environ[shared_models.STORE] = tempfile.mkdtemp(prefix="lenet-tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder))
        config.add_cleanup(lambda: os.environ.pop(shared_models.STORE))


def pytest_sessionstart(session):
    """Say every 20 seconds that the processes still collect, which takes up to two minutes."""
    plugins = session.config.pluginmanager

    def report():
        began = time.monotonic()
        while not STARTED.wait(20):
            passed = time.monotonic() - began
            plugins.get_plugin("terminalreporter").write_line(f"collecting: {passed:.0f} s")

    if plugins.has_plugin("dsession"):
        threading.Thread(target=report, daemon=True).start()


def pytest_runtest_logstart():
    STARTED.set()


def pytest_sessionfinish():
    STARTED.set()


def pytest_collection_modifyitems(config, items):
    """Bring the tests into the order in which processes take files (--no-loadscope-reorder)."""
    if not config.getoption("nightly"):
        later = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=later)
        items[:] = [item for item in items if item not in set(later)]
    if config.getoption("without_paddle"):
        for item in filter(lambda item: PADDLE_ELSEWHERE.search(item.nodeid), items):
            item.add_marker(
                pytest.mark.skip(
                    "runs Paddle in another process, which --without-paddle leaves out"
                )
            )
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


def skip_without_library(report, node):
    """Make of a failure for want of a library a skipped test that says how to install it."""
    if report.failed and (name := re.search(r"No module named '(\w+)'", str(report.longrepr))):
        for what, names in INSTALL.items():
            if name[1] in names.split() and find_spec(name[1]) is None:
                why = f"Skipped: needs {name[1]}: python -m pip install {what}"
                report.outcome, report.longrepr = "skipped", (str(node.path), 0, why)
    if report.failed and node.config.getoption("without_paddle"):
        absent = (
            r"No module named '(?!lenet_cpp)(\w+)|needs the Python package (\w\S*?):"
            r"|this build has no (paddle) engine|Python \S+ has no (PaddlePaddle) yet"
        )
        if found := re.search(absent, str(report.longrepr)):
            report.outcome = "skipped"
            report.longrepr = (
                str(node.path),
                0,
                f"Skipped: needs {next(filter(None, found.groups()))}",
            )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return skip_without_library((yield), collector)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    return skip_without_library((yield), item)


def running_children():
    """Return the processes below this one that have not ended."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # there are none: the usual case, which costs one system call
        return set()
    found = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            # Python's own helpers stay until the interpreter ends.
            helper = "from multiprocessing" in " ".join(process.cmdline())
            if process.status() != psutil.STATUS_ZOMBIE and not helper:
                found.add(process)
    return found


@pytest.fixture(scope="module", autouse=True)
def no_process_is_left():
    """End the processes that the tests of a file leave running, and fail the last one for that.

    Not after each test: a file may keep a process for several.
    """
    before = running_children()
    yield
    _, left = psutil.wait_procs(running_children() - before, timeout=5)
    commands = [" ".join(process.cmdline()) for process in left]
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=5)
    assert commands == [], "tests of this file left these processes running; they are ended now"


@pytest.fixture(scope="session")
def root():
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def copy_package():
    """Copy the whole package into a folder: an editable installation has it in two."""

    def copy(site):
        for folder in lenet_cpp.__path__:
            shutil.copytree(
                folder,
                site / "lenet_cpp",
                ignore=shutil.ignore_patterns("__pycache__"),
                dirs_exist_ok=True,
            )

    return copy


@pytest.fixture(scope="session")
def built():
    """Find a program or another file of the build; skip the test where it is missing."""

    def find(name):
        path = BUILD / name
        if not path.is_file():
            cache = BUILD / "CMakeCache.txt"
            part = {"lenet_serve": "SERVE", "lenet_serve_grpc": "GRPC"}.get(name)
            pattern = rf"^LENET_{part}_LEFT_OUT:INTERNAL=(.+)"
            left_out = cache.is_file() and re.search(pattern, cache.read_text(), re.MULTILINE)
            first = f"apt-get install {left_out[1]} && " if left_out else ""
            pytest.skip(f"build/{name} is missing; to build it, run: {first}./test.sh")
        return path

    return find


@pytest.fixture(scope="session")
def program(built):
    """The C++ program."""
    return built("lenet_infer_test")


@pytest.fixture(scope="session")
def soname():
    """What programs call liblenet."""
    return f"liblenet.so.{lenet_cpp.__version__.rpartition('.')[0]}"


@pytest.fixture(scope="session")
def run_program(program, built):
    """Run the C++ program, or another, without Python's environment around it."""

    def run(*arguments, program=program, env=None, **more):
        if Path(program).parent == BUILD:
            built(Path(program).name)
        command = [str(program), *map(str, arguments)]
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 120} | more
        return subprocess.run(command, text=True, check=False, env=env or {}, **more)

    return run


@pytest.fixture(scope="session")
def model_dir():
    """The bundled model: lenet.pdmodel, lenet.json, lenet.pdiparams, manifest.json, SHA256SUMS."""
    return lenet_cpp.bundled_model_dir()


@pytest.fixture(scope="session")
def mnist_test():
    """The test images and labels of the sample."""
    return read_mnist_dir(sample_dir()).test


@pytest.fixture(scope="session")
def digits(mnist_test):
    """Its images as LeNet takes them."""
    return to_model_input(mnist_test.images)


@pytest.fixture(scope="session")
def layer(model_dir):
    """LeNet with the bundled model's parameters, read by the definition of their format."""
    network = lenet_cpp.models.build("lenet")
    weights = lenet_parameters(model_dir / "lenet.pdiparams")
    assert network.set_state_dict(weights) == ([], [])
    network.eval()
    return network


@pytest.fixture(scope="session")
def params(layer, tmp_path_factory):
    """The same as a .pdparams file."""
    import paddle

    path = tmp_path_factory.mktemp("checkpoint") / "lenet.pdparams"
    paddle.save(layer.state_dict(), str(path))
    return path


@pytest.fixture(scope="module")
def one_child():
    """Do all conversions of layouts in one child process.

    Some tests in tests/export/test_export.py have one for each, as users have.
    """
    with one_child_of(separate_layout, PROGRAM_DESC):
        yield


@pytest.fixture(scope="module")
def narrow():
    """Give the ResNets an eighth of their filters, where a module is not about their size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lenet_cpp.models.resnet_vd._WIDTHS", (8, 16, 32, 64))
        yield


@pytest.fixture(scope="session")
def reuse(root, tmp_path_factory):
    """Variables for a build of the same sources: it takes the object files of ``build/``.

    Compiling takes minutes, and the build in ``build/`` has just done it. When that one is not up
    to date, there are no such variables, and everything is compiled.
    """
    build = root / "build"
    folders = [root / name for name in ("cmake", "cpp", "web")]
    sources = [root / "CMakeLists.txt", *(file for each in folders for file in each.rglob("*"))]
    newest = max(source.stat().st_mtime for source in sources if source.is_file())
    compiled = build / "compiled"  # by ./run.sh
    if not compiled.exists() or compiled.stat().st_mtime < newest:
        return {}
    launcher = tmp_path_factory.mktemp("launcher") / "reuse"
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    return {"CMAKE_CXX_COMPILER_LAUNCHER": str(launcher), "LENET_BUILT": str(build)}
