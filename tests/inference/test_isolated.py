"""lenet_cpp.IsolatedPredictor: a model in a process of its own."""

import fcntl
import os
import pickle
import shutil
import signal
import subprocess
import sys
import termios
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.inference import isolated
from predictor_cases import in_child


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(5).random((5, 1, 28, 28), dtype=np.float32)


def isolated_predictor(model_dir, **options):
    options = {"model_dir": model_dir, "accelerator": "plain", **options}
    return lenet_cpp.IsolatedPredictor(**options)


@pytest.fixture
def predictor(model_dir):
    with isolated_predictor(model_dir) as made:
        yield made


def gone(pid):
    """Whether a process ended (a zombie that nobody waits for counts)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("suffix", ["pdmodel", "json"])
def test_same_outputs_as_in_this_process(model_dir, images, suffix):
    program = model_dir / f"lenet.{suffix}"
    with (
        lenet_cpp.Predictor(program, accelerator="plain") as here,
        lenet_cpp.IsolatedPredictor(program, accelerator="plain") as there,
    ):
        assert there.input_spec == here.input_spec
        assert there.output_spec == here.output_spec
        large = np.repeat(images, 500, axis=0)  # more than a pipe holds, both ways
        pixels = (images * 255).astype(np.uint8)
        for given in (images[:1], images, images[:0], large, pixels):
            expected, found = here.run(given), there.run(given)
            assert (found.dtype, found.shape) == (np.float32, expected.shape)
            assert found.tobytes() == expected.tobytes()


def test_typed_errors_pass_and_the_predictor_lives_on(predictor, images):
    pid = predictor.pid
    with pytest.raises(lenet_cpp.BadInput, match="expected shape"):
        predictor.run(images[..., :27])
    with pytest.raises(lenet_cpp.BadInput, match="NaN or infinity"):
        predictor.run(np.full_like(images, np.nan))
    assert predictor.run(images).shape == (5, 10)
    assert predictor.pid == pid


def test_models_that_cannot_be_loaded(model_dir, tmp_path):
    with pytest.raises(lenet_cpp.FileNotFound, match="nothing"):
        lenet_cpp.IsolatedPredictor(tmp_path / "nothing.pdmodel")
    shutil.copytree(model_dir, tmp_path / "model")
    params = tmp_path / "model" / "lenet.pdiparams"
    params.write_bytes(params.read_bytes()[:-1])
    with pytest.raises(lenet_cpp.BadModel, match="pdiparams"):
        lenet_cpp.IsolatedPredictor(model_dir=tmp_path / "model")
    for wrong, words in (
        ({"speed": 3}, "unknown option 'speed'"),
        ({"threads": object()}, "cannot be sent"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"memory_limit": 0}, "memory_limit"),
    ):
        with pytest.raises(lenet_cpp.BadInput, match=words):
            lenet_cpp.IsolatedPredictor(model_dir=model_dir, **wrong)


def test_relative_paths_are_of_this_process(model_dir, monkeypatch):
    monkeypatch.chdir(model_dir)
    with lenet_cpp.IsolatedPredictor("lenet.pdmodel", accelerator="plain") as predictor:
        assert predictor.output_spec.shape == (-1, 10)


@pytest.mark.parametrize("sent", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_crash_in_mid_run_is_an_error_and_the_next_run_starts_anew(predictor, images, sent):
    expected = predictor.run(images)
    pid = predictor.pid
    os.kill(pid, signal.SIGSTOP)

    def end_in_mid_run():
        channel = predictor._child._channel
        wait_until(lambda: any(fcntl.ioctl(channel, termios.TIOCOUTQ, bytes(4))))  # it was asked
        os.kill(pid, sent)
        os.kill(pid, signal.SIGCONT)

    failure = pytest.raises(lenet_cpp.BackendFailure, match=f"ended by {sent.name} while running")
    with ThreadPoolExecutor(1) as killer, failure:
        killer.submit(end_in_mid_run)
        predictor.run(images)
    assert gone(pid)
    assert np.array_equal(predictor.run(images), expected)
    assert predictor.pid != pid


def test_a_run_that_takes_too_long(predictor, images):
    pid = predictor.pid
    predictor._timeout = 0.3
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(lenet_cpp.BackendFailure, match=r"ended after 0\.3 s while running"):
        predictor.run(images)
    assert gone(pid)
    predictor._timeout = 60.0
    assert predictor.run(images).shape == (5, 10)


def test_memory_is_limited(model_dir):
    """A batch whose intermediate results do not fit; the same fits without the limit."""
    images = np.zeros((4096, 1, 28, 28), np.float32)
    limited = {"max_batch_size": 4096, "memory_limit": 1000 << 20}
    with isolated_predictor(model_dir, **limited) as predictor:
        with pytest.raises(lenet_cpp.BackendFailure):
            predictor.run(images)
        assert predictor.run(images[:2]).shape == (2, 10)
    with isolated_predictor(model_dir, max_batch_size=4096) as predictor:
        assert predictor.run(images).shape == (4096, 10)


@pytest.mark.parametrize(
    ("limit", "words"),
    [({"timeout": 0.01}, "while loading"), ({"engine": "paddle", "memory_limit": 200 << 20}, None)],
    ids=["time", "memory"],
)
def test_loading_is_limited(model_dir, limit, words):
    with pytest.raises(lenet_cpp.BackendFailure, match=words):
        lenet_cpp.IsolatedPredictor(model_dir=model_dir, **limit)


def test_the_child_has_few_rights_and_no_environment(predictor, monkeypatch):
    process = Path(f"/proc/{predictor.pid}")
    lines = (process / "limits").read_text().splitlines()
    limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    assert limits["Max address space"] == [str(4 << 30)] * 2
    assert limits["Max open files"] == ["256"] * 2
    assert limits["Max core file size"] == ["0", "0"]
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    assert status["NoNewPrivs"] == "1"
    assert os.getsid(predictor.pid) == predictor.pid
    items = (process / "environ").read_text().split("\0")
    names = {item.partition("=")[0] for item in items if item}
    libraries = {"LENET_PADDLE_LIBRARY", "LD_LIBRARY_PATH"}
    assert names <= {"PYTHONPATH", "OPENBLAS_NUM_THREADS", *libraries}
    assert "liblenet_paddle.so" in (process / "maps").read_text()


def test_closed(model_dir, images):
    predictor = isolated_predictor(model_dir)
    pid = predictor.pid
    predictor.close()
    predictor.close()
    assert predictor.pid is None
    assert gone(pid)
    with pytest.raises(lenet_cpp.BadInput, match="closed"):
        predictor.run(images)
    with pytest.raises(lenet_cpp.BadInput, match="closed"), predictor:
        pass
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(predictor)


def test_dropped_without_close(model_dir):
    pid = isolated_predictor(model_dir).pid
    assert gone(pid)


def test_shared_by_threads_and_outliving_the_one_that_made_it(model_dir, images):
    with ThreadPoolExecutor(1) as maker:
        predictor = maker.submit(isolated_predictor, model_dir).result()
    pid = predictor.pid
    time.sleep(0.7)  # longer than the child takes to look for its parent
    expected = predictor.run(images)
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(predictor.run, [images] * 4))
    assert all(np.array_equal(result, expected) for result in results)
    assert predictor.pid == pid
    predictor.close()


def started(code, *command, stderr=None):
    return subprocess.Popen(
        [sys.executable, *command, "-c", textwrap.dedent(code)],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    )


def test_the_child_ends_with_its_parent(model_dir):
    """Killed, the parent cannot tell its child."""
    code = f"""
        import time, lenet_cpp
        made = lenet_cpp.IsolatedPredictor(model_dir={str(model_dir)!r}, engine="native")
        print(made.pid, flush=True)
        time.sleep(100)
    """
    with started(code) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    wait_until(lambda: gone(pid))


def test_a_busy_child_ends_with_its_parent_too():
    """In mid-run it reads nothing, so that the end of its input alone would not end it."""
    code = """
        import os, sys, time
        from lenet_cpp.inference._isolated_child import _end_with_parent
        _end_with_parent(os.getppid(), sys.stdin.buffer)
        print("busy", flush=True)
        time.sleep(100)
    """
    child = started(code)
    assert child.stdout.readline() == b"busy\n"
    child.stdin.close()
    child.stdout.close()
    assert child.wait(timeout=30) == -signal.SIGKILL


def test_a_fork_that_ends_leaves_the_child_to_its_parent(tmp_path):
    code = """
import os, sys
import numpy as np
from lenet_cpp import IsolatedPredictor

predictor, image = IsolatedPredictor(engine="native"), np.zeros((1, 1, 28, 28), np.float32)
predictor.run(image)
before, fork = predictor.pid, os.fork()
if fork == 0:
    sys.exit()
os.waitpid(fork, 0)
predictor.run(image)
assert predictor.pid == before
"""
    in_child(code, cwd=tmp_path)


GARBLED = "the child process sent an invalid reply"
# What a child says, and what is said of it.
LIARS = {
    "no message": ("out(b'x' * 15); os._exit(0)", "ended with exit code 0 while loading"),
    "last words": (
        "os.write(2, b'first\\nbecause'); os._exit(7)",
        r"ended with exit code 7 \(because\) while",
    ),
    "short last words": ("os.write(2, b'why'); os._exit(7)", r"exit code 7 \(why\) while"),
    "message of any length": (
        "out(struct.pack('<QQ', 1 << 60, 0))",
        f"{GARBLED} while loading the model: a message longer than it may be",
    ),
    "array of any length": (
        "tell(GOOD); read(); out(struct.pack('<QQ', 2, 1 << 60) + b'{}')",
        f"{GARBLED} while running the model: a message longer than it may be",
    ),
    "text that is no JSON": ("out(struct.pack('<QQ', 3, 0) + b'{,}')", f"{GARBLED}.*: no message"),
    "deep JSON": (
        "out(struct.pack('<QQ', 60000, 0) + b'[' * 60000)",
        f"{GARBLED} while loading the model: no message",
    ),
    "no object": ("tell([1])", f"{GARBLED} while loading the model: no message"),
    "no specs": ("tell({})", f"{GARBLED} while loading the model: the description of a tensor"),
    "a shape that is none": (
        "tell({**GOOD, 'output': ['y', [-1, 1 << 70], 'float32']})",
        f"{GARBLED}.*: a shape",
    ),
    "an unknown error": (
        "tell({'error': 'SystemExit', 'message': 'x'})",
        f"{GARBLED} while loading the model: an error",
    ),
    "an array of another size": (
        "tell(GOOD); read(); tell({'shape': [1, 10]}, b'1234')",
        f"{GARBLED}.*: an array that does not have the announced size",
    ),
    "open dimensions": (
        "tell(GOOD); read(); tell({'shape': [-1, -1]}, b'1234')",
        f"{GARBLED}.*: a shape",
    ),
    "silence": ("", r"ended after 0\.5 s while loading the model"),
}


@pytest.mark.parametrize("lie", LIARS)
def test_what_the_child_sends_is_not_trusted(monkeypatch, model_dir, lie):
    """A child under the control of a hostile model says what it likes."""
    said, words = LIARS[lie]
    code = f"""
        import json, os, struct, sys, time
        GOOD = {{"input": ["x", [-1, 1, 28, 28], "float32"], "output": ["y", [-1, 10], "float32"]}}
        def out(data):
            while data:
                data = data[os.write(0, data):]
        def tell(message, array=b""):
            text = json.dumps(message).encode()
            out(struct.pack("<QQ", len(text), len(array)) + text + array)
        def read():
            head = os.read(0, 16)
            left = sum(struct.unpack("<QQ", head))
            while left:
                left -= len(os.read(0, left))
        read()
        {said}
        time.sleep(100)
    """

    command = (sys.executable, "-I", "-c", textwrap.dedent(code))
    monkeypatch.setattr(isolated, "_COMMAND", command)
    # Only who says nothing is ended for the time that it takes.
    timeout = 0.5 if lie == "silence" else 60
    with pytest.raises(lenet_cpp.BackendFailure, match=words):
        lenet_cpp.IsolatedPredictor(model_dir=model_dir, timeout=timeout).run(
            np.zeros((1, 1, 28, 28), np.float32)
        )
