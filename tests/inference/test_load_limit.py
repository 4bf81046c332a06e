"""A load by onnxruntime that never ends: load_seconds, signals, forks, the end of the process."""

import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import lenet_cpp
from slow_loads import environment, paddle_environment, put_models
from snippets import run_command

BACKEND_FAILURE = 8
# What each script begins with. The test ends a process that does not end, with an exception.
HEAD = """
import os, signal, sys, threading, time
import numpy as np
import lenet_cpp
never, loads = sys.argv[1:3]
def load(path, **options):
    return lenet_cpp.Predictor(path, **options)
def refused(**options):
    try:
        load(never, **options)
    except lenet_cpp.Error as error:
        return type(error).__name__ + ": " + str(error)
def runs():
    with load(loads) as predictor:  # EyeLike: a 1 in each row, the next further on
        images = np.array([[0, 3, 1, 2], [9, 7, 5, 8]], np.float32)
        return predictor.run(images).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
"""


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    return environment(tmp_path_factory.mktemp("slow"))


@pytest.fixture
def run_script(slow, tmp_path):
    def run(script):
        command = (sys.executable, "-c", HEAD + script, *put_models(tmp_path))
        done = run_command(*command, env=slow, timeout=100)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return run


def test_given_up_and_going_on(run_script):
    """Others are loaded meanwhile, until four have been given up; then with the native engine."""
    lines = run_script(
        """
from lenet_cpp._core import Config
print(Config().load_seconds)
for _ in range(4):
    works = runs()
    print(refused(load_seconds=1), works)
print(refused(load_seconds=1))
print(lenet_cpp.Predictor(model_dir=lenet_cpp.bundled_model_dir()).options["engine"])
"""
    )
    assert lines[0] == "120"
    late = (
        r"BackendFailure: '\S*never.onnx': its load takes longer than load_seconds, 1, and .* True"
    )
    assert all(re.fullmatch(late, line) for line in lines[1:5]), lines
    assert "4 loads were given up" in lines[5]
    assert lines[6:] == ["native"]


def test_ctrl_c_ends_a_load(run_script):
    lines = run_script(
        """
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    load(never)
except KeyboardInterrupt:
    print("interrupted", runs())
"""
    )
    assert lines == ["interrupted True"]


def test_the_interpreter_ends_while_a_thread_loads(run_script):
    lines = run_script(
        """
threading.Thread(target=refused, daemon=True).start()
time.sleep(0.5)
print("the end", flush=True)
"""
    )
    assert lines == ["the end"]


def test_a_fork_after_a_load_was_given_up(run_script):
    """The child lacks the thread, which may hold locks of the library."""
    lines = run_script(
        """
refused(load_seconds=1)
child = os.fork()
if child == 0:
    try:
        runs()
    except lenet_cpp.Unsupported as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    )
    (line,) = lines
    assert "this process was forked while another thread was loading" in line


@pytest.fixture(params=["lenet_infer_test", "lenet_classify"])
def program(request, root, built, tmp_path):
    """A command that loads the first model."""
    never, _ = put_models(tmp_path)
    photos = [root / "examples" / "photos" / "2-pen.jpg"] * (request.param == "lenet_classify")
    return [built(request.param), f"--model_file={never}", *photos]


def test_programs_give_up(program, slow):
    done = run_command(*program, "--load_seconds=1", env=slow, timeout=60)
    assert done.returncode == BACKEND_FAILURE
    assert "never.onnx': its load takes longer than load_seconds, 1" in done.stderr


def test_programs_end_by_a_signal(program, slow):
    with subprocess.Popen(list(map(str, program)), env=slow) as process:
        time.sleep(1)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
        assert time.monotonic() - began < 4  # the timer ends it after five seconds


PADDLE = """
import sys, threading, time
import numpy as np
import lenet_cpp
digit = np.zeros((1, 1, 28, 28), np.float32)
def load(**options):
    return lenet_cpp.Predictor(model_dir=sys.argv[1], engine="paddle", **options)
def refused(call):
    try:
        call()
    except lenet_cpp.BackendFailure as error:
        print(error, flush=True)
"""


def test_what_paddle_holds_while_it_loads(tmp_path, model_dir):
    """Others are not kept waiting: what needs no lock of the load runs, all else is refused."""
    script = """
never = sys.argv[2]
name = never + ".later"
import os
os.rename(never, name)
with load(accelerator="onednn") as one, load(accelerator="plain") as plain:
    expected = plain.run(digit)
    assert np.abs(one.run(digit) - expected).max() < 1e-4
    os.rename(name, never)
    second = lambda: load(accelerator="plain", load_seconds=2)
    waits = threading.Thread(target=refused, args=(second,))
    waits.start()
    time.sleep(1)
    began = time.monotonic()
    refused(lambda: one.run(digit))
    waits.join()
    assert (plain.run(digit) == expected).all()
    refused(lambda: load(accelerator="plain"))
    refused(lambda: load())
    print(time.monotonic() - began < 20)
"""
    slow = paddle_environment(tmp_path)
    command = (sys.executable, "-c", PADDLE + script, model_dir, slow["NEVER_LOADS"])
    done = run_command(*command, env=slow, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    *lines, quick = done.stdout.splitlines()
    assert quick == "True"
    assert len(lines) == 4
    assert sum("its load takes longer than load_seconds, 2" in line for line in lines) == 1
    held = "the load of another model was given up (load_seconds) and still keeps Paddle"
    assert sum(held in line for line in lines) == 3, lines


@pytest.mark.parametrize("accelerator", ["plain", "onednn", "openvino"])
def test_the_bits_are_those_of_any_thread(model_dir, accelerator):
    """Each load has a thread of its own; a run in another one gives the same bits."""
    images = np.random.default_rng(0).random((5, 1, 28, 28), np.float32)
    options = {"engine": "paddle", "accelerator": accelerator}
    outputs = []

    def run():
        with lenet_cpp.Predictor(model_dir=model_dir, **options) as predictor:
            outputs.append(predictor.run(images))

    run()
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outputs) == 5
    assert all((output == outputs[0]).all() for output in outputs)
