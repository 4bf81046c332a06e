"""The table of bad input (bad_input_cases.py) through the three routes, and what no table can hold.

Through every route each row gives the typed error of design section 5, in one line that names what
is wrong, or the right answer; no route aborts, dies of a signal, hangs, prints a traceback or
leaves a file behind. What must not take the tests down with it runs in processes of its own, and
the calls of C++ and of Python each in one such process, unless it needs limits of its own.
"""

import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import bad_input_cases
import numpy as np
import pytest
from bad_input_cases import Case

import lenet_cpp
from lenet_cpp.agreement import compare
from lenet_cpp.data.mnist import read_idx
from numpy_reference import lenet

SECONDS = 60
EXIT_CODES = {
    "FileNotFound": 3,
    "BadModel": 4,
    "BadInput": 5,
    "Unsupported": 6,
    "VersionMismatch": 7,
    "BackendFailure": 8,
}


class Result(NamedTuple):
    """What came of a call, through any route."""

    kind: str  # the name of an error, or "ok"
    message: str
    output: Any = None
    peak_mib: float = 0


def python(*arguments):
    return [sys.executable, *map(os.fsdecode, arguments)]


def ran(command, text=True, **options):
    options = {"text": text, "timeout": SECONDS, **options}
    return subprocess.run(command, capture_output=True, check=False, **options)


# Prints the greatest resident memory of the command, in KiB, after its errors. Started from the
# test's own large process, the command would be counted with that process's memory.
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(done.returncode)
"""


def command_of(case, command):
    if case.unprivileged and os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may read every file, and setpriv, which takes that away, is missing")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    if case.peak_mib is not None:
        command = python("-I", "-S", "-c", MEASURE, *command)
    for limit, value in (("as", case.address_space), ("fsize", case.file_size)):
        if value is not None:
            command = ["prlimit", f"--{limit}={value}", *command]
    return command


def execute(case, folder, command, **options):
    environment = {"TMPDIR": str(folder / "tmp")}
    done = ran(command_of(case, command), text=False, env=environment, **options)
    assert done.returncode >= 0, f"signal {-done.returncode}: {done.stderr!r}"
    errors, mib = done.stderr.decode(), 0
    if case.peak_mib is not None:
        *lines, kib = errors.splitlines(keepends=True)
        errors, mib = "".join(lines), int(kib) / 1024
    return done.returncode, done.stdout.decode(), errors, mib


def named(case, request, folder):
    arguments = {**request.model, **request.options, "labels": request.labels}
    arguments["input"] = request.input
    if case.array is not None:  # as a file, for the routes that read files
        arguments["input"] = folder / "array.npy"
        np.save(arguments["input"], case.array(), allow_pickle=True)
    arguments["output"] = request.output or (folder / "answer.npy" if case.answer else None)
    return {name: value for name, value in arguments.items() if value is not None}


def take_answer(folder):
    path = folder / "answer.npy"
    if path.exists():
        array = np.load(path)
        path.unlink()
        return array
    return None


def text_of(name, value):
    return name.encode() + b"=" + os.fsencode(value if isinstance(value, bytes) else str(value))


class CppRoute:
    """A process of lenet_api_call that makes the calls, and another one when it dies."""

    def __init__(self, folder):
        self.temporary = folder  # of its libraries
        self._process = None

    def __call__(self, case, request, folder, built):
        arguments = named(case, request, folder)
        if request.labels is not None:
            arguments = {"labels": request.labels}
        if request.pool is not None:
            arguments["pool"] = request.pool
        texts = [text_of(*item) for item in arguments.items()]
        command = [str(built("lenet_api_call")), *texts]
        mib = 0
        if case.alone:
            # A library leaves the signals of its process alone. With the limit on a file's size
            # comes SIGXFSZ, which Python has already set to be ignored, and hands on like this.
            code, out, errors, mib = execute(case, folder, command, restore_signals=False)
            assert (code, errors) == (0, "")
        else:
            out = self._answer(command[0], texts)
        kind, _, message = out.rstrip("\n").partition(" ")
        return Result(kind, "" if kind == "ok" else message, take_answer(folder), mib)

    def _answer(self, program, texts):
        if self._process is None:
            options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            options["env"] = {"TMPDIR": str(self.temporary)}
            with (self.temporary / "errors").open("ab") as errors:
                self._process = subprocess.Popen([program, "-"], stderr=errors, **options)
        stop = threading.Timer(SECONDS, self._process.kill)
        stop.start()
        self._process.stdin.write(b"\0".join([*texts, b"", b""]))
        self._process.stdin.flush()
        out = bytearray()
        while (byte := self._process.stdout.read(1)) not in {b"", b"\0"}:
            out += byte
        stop.cancel()
        died = self._process.wait() if byte == b"" else None
        if died is not None:
            self.close()
        errors = (self.temporary / "errors").read_text()
        os.truncate(self.temporary / "errors", 0)
        assert (died, errors) == (None, "")
        assert [path.name for path in self.temporary.iterdir()] == ["errors"]
        return out.decode()

    def close(self):
        if self._process is not None:
            self._process.communicate()
        self._process = None


def program(case, request, folder, built):
    command = [str(built("lenet_infer_test"))]
    command += [b"--" + text_of(*item) for item in named(case, request, folder).items()]
    command += request.flags
    code, out, errors, mib = execute(case, folder, command)
    if code == 0:
        assert errors == ""
        assert out.startswith("lenet_infer_test ")
        return Result("ok", "", take_answer(folder), mib)
    start, said = errors.removesuffix("\n").split(": ", 1)
    assert (out, start, case.usage) == ("", "lenet_infer_test", code == 2)
    if case.usage:
        assert said.endswith(" (see --help)")
        return Result("BadInput", said)
    kind, message = said.split(": ", 1)
    assert code == EXIT_CODES[kind]
    return Result(kind, message)


def call_python(name, request):
    """Make the call of that row; an error that is not ours leaves as it is."""
    case = next(case for case in bad_input_cases.CASES if case.name == name)
    switches = {"true": True, "false": False}
    arguments = {**request.model, **request.options}
    arguments = {key: switches.get(str(value), value) for key, value in arguments.items()}
    try:
        images = np.zeros((1, 28, 28), np.float32)
        if case.array is not None:
            images = case.array()
        elif request.input is not None:
            images = read_idx(request.input)
        if request.pool is not None:
            return Result("ok", "", lenet_cpp.PredictorPool(**arguments, size=request.pool))
        with lenet_cpp.Predictor(**arguments) as predictor:
            return Result("ok", "", predictor.run(images))
    except lenet_cpp.Error as error:
        return Result(type(error).__name__, str(error))


class PythonRoute:
    """A process that makes the calls, and another one when it dies."""

    def __init__(self):
        self._pool = None

    def __call__(self, case, request, _folder, _built):
        assert not case.alone, "limits would hold for all later calls"
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            return self._pool.submit(call_python, case.name, request).result(SECONDS)
        except BaseException:
            self.close()
            raise

    def close(self):
        if self._pool is not None:
            for process in self._pool._processes.values():
                process.kill()
            self._pool.shutdown()
        self._pool = None


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    cpp, python = CppRoute(tmp_path_factory.mktemp("cpp")), PythonRoute()
    yield {"cpp": cpp, "program": program, "python": python}
    cpp.close()
    python.close()


@pytest.fixture
def folder(model_dir):
    """A folder with a copy of the model, which a test may damage; gone with everything after it."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        (path / "tmp").mkdir()
        shutil.copytree(model_dir, path / "model")
        yield path


def contents(folder):
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
        found[str(path.relative_to(folder))] = (status.st_mode, size)
    found.pop("array.npy", None)
    return found


@pytest.fixture
def small_disk(folder):
    mounted = []

    def mount():
        place = folder / "disk"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(place)]
        if ran(command).returncode != 0:
            pytest.skip("mounting a small file system takes root's privileges")
        mounted.append(place)

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(
    ("case", "route"),
    bad_input_cases.each(),
    ids=lambda value: value.name if isinstance(value, Case) else value,
)
def test_table(routes, built, folder, small_disk, case, route):
    original = folder / "model" / "lenet.pdiparams"
    weights = Path(shutil.copy(original, folder / "tmp"))
    if case.small_disk:
        small_disk()
    request = case.prepare(folder)
    if case.keeps is not None:
        request.output.write_bytes(case.keeps)
    expected = case.answer() if case.answer is not None else None
    rows = lenet(weights, expected) if expected is not None else None
    weights.unlink()
    before = contents(folder)

    result = routes[route](case, request, folder, built)

    assert result.kind == case.gives, result.message
    if result.kind != "ok":
        assert case.words in result.message
        assert result.message.isprintable(), "one line"
        assert 0 < len(result.message) < 12_000
    elif rows is not None:
        rows = np.tile(rows, (case.repeats, 1)).astype(np.float32)
        assert compare(rows, result.output).agrees
    if case.peak_mib is not None:
        assert 100 < result.peak_mib < case.peak_mib
    assert contents(folder) == before, "nothing is left, nothing is changed"
    if case.keeps is not None:
        assert request.output.read_bytes() == case.keeps


def test_the_table_covers_every_row_route_and_error():
    runs = bad_input_cases.each()
    assert {case.name for case, _ in runs} == {case.name for case in bad_input_cases.CASES}
    assert len(bad_input_cases.CASES) >= 180
    for route in bad_input_cases.ROUTES:
        found = [case.gives for case, of in runs if of == route]
        assert {*found} >= {"ok", *EXIT_CODES} - {"VersionMismatch"}  # which needs another Paddle


def test_a_predictor_of_unhashed_foreign_weights_differs(folder):
    """What the table calls "runs as that model": the answers are the other model's."""
    bad_input_cases.unhashed(folder)
    x = bad_input_cases.digits(3)
    own = lenet_cpp.Predictor(model_dir=folder / "model", accelerator="plain").run(x)
    bad_input_cases.negate_last_weights(folder)
    other = lenet_cpp.Predictor(model_dir=folder / "model", accelerator="plain").run(x)
    assert not np.allclose(own, other)
    expected = lenet(folder / "model" / "lenet.pdiparams", x).astype(np.float32)
    assert compare(expected, other).agrees


# Signals

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
# Paddle's library takes long to load here, and says so.
SLOW_LIBRARY = """
#include <unistd.h>
__attribute__((constructor)) static void wait() { write(2, "loading\\n", 8); sleep(60); }
"""


@pytest.fixture
def start(program, folder):
    """Start the program on pixels up to 255, of which it warns between loading and running."""
    processes = []
    np.save(folder / "array.npy", np.full((2000, 28, 28), 255, np.float32))

    def started(*flags, **environment):
        command = [program, f"--model_dir={folder / 'model'}"]
        environment = {"TMPDIR": str(folder / "tmp"), **environment}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0}
        command += [f"--input={folder / 'array.npy'}", *flags]
        processes.append(subprocess.Popen(command, env=environment, **pipes))
        return processes[-1]

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def says(process, words):
    assert words in process.stderr.readline()


def ended_by(process, number):
    out, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, out, errors) == (-number, b"", b"")


@pytest.mark.parametrize("phase", ["loading", "running"])
def test_signals_leave_nothing(start, folder, tmp_path, phase):
    """While it loads, each ends it some seconds later: hence all of them at once."""
    output = folder / "logits.npy"
    output.write_text("before")
    before = contents(folder)
    flags, environment, words = ("--repeats=1000000000",), {}, b"warning"
    if phase == "loading":
        library = str(compile_library(tmp_path, SLOW_LIBRARY))
        flags, environment = ("--engine=paddle",), {"LENET_PADDLE_LIBRARY": library}
        words = b"loading\n"
    started = {each: start(f"--output={output}", *flags, **environment) for each in SIGNALS}
    for number, process in started.items():
        says(process, words)
        process.send_signal(number)
    for number, process in started.items():
        ended_by(process, number)
    assert contents(folder) == before
    assert output.read_text() == "before"


def test_a_signal_ends_a_program_that_waits_for_a_reader(start, folder):
    os.mkfifo(folder / "pipe")
    process = start(f"--output={folder / 'pipe'}")
    says(process, b"warning")
    status = Path(f"/proc/{process.pid}/stat")
    while status.read_text().rpartition(")")[2].split()[0] != "S":  # runs until it opens the pipe
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    ended_by(process, signal.SIGTERM)


def test_a_signal_ignored_by_the_caller_stays_ignored(start, folder):
    os.mkfifo(folder / "pipe")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        process = start(f"--output={folder / 'pipe'}")
    finally:
        signal.signal(signal.SIGHUP, before)
    says(process, b"warning")
    process.send_signal(signal.SIGHUP)  # it runs, or waits for the pipe to be opened
    (folder / "logits.npy").write_bytes((folder / "pipe").read_bytes())
    out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert b"lenet_infer_test" in out
    assert np.load(folder / "logits.npy").shape == (2000, 10)


def test_ctrl_c_in_python(tmp_path):
    """It comes while a run is under way: the loop starts the timer, and does nothing but run."""
    code = """
import os, signal, sys, threading, numpy, lenet_cpp
predictor = lenet_cpp.Predictor(model_dir=lenet_cpp.bundled_model_dir(), accelerator="plain")
x = numpy.random.default_rng(0).random((3, 28, 28), dtype=numpy.float32)
expected = predictor.run(x)
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    while True:
        predictor.run(x)
except KeyboardInterrupt:
    assert (predictor.run(x) == expected).all()
    print("interrupted")
"""
    done = ran(python("-c", code))
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


def compile_library(folder, source):
    (folder / "fake.cc").write_text(source)
    library = folder / "libpaddle.so"
    flags = ["-shared", "-fPIC", "-w", "-Wl,-soname,libpaddle.so"]
    subprocess.run(["c++", *flags, "-o", library, folder / "fake.cc"], check=True)
    return library


VERSION_ONLY = """
#include <string>
namespace paddle_infer {
std::string GetVersion() { return "version: 2.6.2\\ncommit: 0\\nbranch: none"; }
}
"""


@pytest.mark.parametrize("complete", [False, True], ids=["without our symbols", "with all"])
def test_paddle_of_another_version(built, model_dir, tmp_path, complete):
    source, words = VERSION_ONLY, "undefined symbol"
    if complete:
        words = "Paddle 2.6.2 was found, this build supports >=3.1,<3.4"
        # The symbols that our plug-in expects of Paddle.
        listing = ran(["nm", "-D", "--undefined-only", built("liblenet_paddle.so")])
        names = [line.split()[-1] for line in listing.stdout.splitlines() if "paddle" in line]
        missing = [n for n in names if not any(word in n for word in ("@", "lenet", "GetVersion"))]
        assert missing
        source += 'extern "C" {\n' + "".join(f"void {n}() {{}}\n" for n in missing) + "}\n"
    library = compile_library(tmp_path, source)
    environment = {**os.environ, "LENET_PADDLE_LIBRARY": str(library)}
    code = """
import lenet_cpp
try:
    lenet_cpp.Predictor(model_dir=lenet_cpp.bundled_model_dir(), engine="paddle")
except lenet_cpp.Error as error:
    print(type(error).__name__, error)
"""
    model = f"model_dir={model_dir}"
    for command, result in (
        ([built("lenet_api_call"), model, "engine=paddle"], 0),
        ([built("lenet_infer_test"), f"--{model}", "--engine=paddle"], 7),
        (python("-c", code), 0),
    ):
        done = ran(command, env=environment)
        said = done.stdout + done.stderr
        assert done.returncode == result, said
        assert len(said.splitlines()) == 1
        assert "VersionMismatch" in said
        assert words in said
        assert "install paddlepaddle>=3.1,<3.4" in said
