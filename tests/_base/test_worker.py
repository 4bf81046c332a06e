"""Functions in a child process: what they answer, how they fail, and that they end."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from lenet_cpp._base.worker import WorkerCrashed, call
from lenet_cpp.errors import BackendFailure, BadModel

FUNCTIONS = """
import os, signal, sys, time

def add(a, b, report):
    report("adding", 1, 2)
    print("on stdout")
    os.write(1, b"by the descriptor\\n")
    return {"sum": a + b, "executable": sys.executable, "path": os.environ.get("PYTHONPATH")}

def refuse(report):
    from lenet_cpp.errors import BadModel
    class Special(BadModel): pass
    raise Special("no good")

def fail(report):
    raise ValueError("no good")

def fail_alike(report):
    import shutil
    raise shutil.Error("no good")

def crash(report):
    print("the last words", flush=True)
    os.abort()

def leave(report):
    sys.exit(3)

def sleep(pid_file, report):
    with open(pid_file, "w") as file:
        file.write(str(os.getpid()))
    report("sleeping", 0, 1)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    path = tmp_path_factory.mktemp("functions") / "functions.py"
    path.write_text(FUNCTIONS)
    return path


def run(functions, name, arguments=None, **options):
    return call(f"{functions}:{name}", arguments or {}, doing="adding up", **options)


def test_answer_progress_and_what_was_printed(functions):
    told = []
    answer = run(functions, "add", {"a": 2, "b": 3}, report=lambda *each: told.append(each))
    assert answer.result["sum"] == 5
    assert sorted(answer.printed.splitlines()) == ["by the descriptor", "on stdout"]
    assert told == [("adding", 1, 2)]


def test_a_module_of_the_package_is_found():
    assert call("lenet_cpp.quantize.methods:quantize", {"tasks": []}, doing="x").result is None


def test_another_interpreter_sees_the_package_and_nothing_else(functions, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    answer = run(functions, "add", {"a": 2, "b": 3}, python=Path(sys.executable))
    assert answer.result["path"] != "/nowhere"
    assert os.pathsep not in answer.result["path"]


def test_errors_of_ours_keep_their_class(functions):
    with pytest.raises(BadModel, match=r"^no good$"):
        run(functions, "refuse")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fail", "adding up failed: ValueError: no good"),
        ("fail_alike", "adding up failed: shutil.Error: no good"),  # also called Error
        ("leave", "adding up failed: it printed nothing"),
        ("crash", "adding up was ended by SIGABRT: the last words"),
    ],
)
def test_other_ends_are_backend_failures(functions, name, said):
    with pytest.raises(BackendFailure) as caught:
        run(functions, name)
    assert str(caught.value) == said
    if name == "crash":
        assert isinstance(caught.value, WorkerCrashed)
        assert caught.value.signal == "SIGABRT"


def test_a_time_limit_ends_it(functions, tmp_path):
    pid = tmp_path / "pid"
    with pytest.raises(BackendFailure, match=r"^adding up took longer than 0.5 s and was ended$"):
        run(functions, "sleep", {"pid_file": str(pid)}, seconds=0.5)
    if pid.exists() and pid.read_text():
        assert not alive(int(pid.read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_does_not_outlive_its_caller(functions, tmp_path, number):
    pid = tmp_path / "pid"
    code = f"""
        from lenet_cpp._base.worker import call
        call({f"{functions}:sleep"!r}, {{"pid_file": {str(pid)!r}}}, doing="x",
             report=lambda *_: print("ready", flush=True))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as caller:  # fmt: skip
        assert caller.stdout.readline() == "ready\n"
        caller.send_signal(number)
        assert caller.wait(30) == -number
    worker = int(pid.read_text())
    deadline = time.monotonic() + 30
    while alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid):
    """Whether a process is there and not only its entry, which its reaper still has to take."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
