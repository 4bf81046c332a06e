"""Functions in a child process: what they answer, how they fail, and that they end."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lenet_cpp._base.lazy import LazyModule, cached
from lenet_cpp._base.worker import WorkerCrashed, call
from lenet_cpp.errors import BackendFailure, BadModel, Error

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

def hold(report):
    held = [n for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")]
    places = {os.readlink(f"/proc/self/fd/{n}") for n in held if os.get_inheritable(int(n))}
    return [place for place in places if place != os.devnull and "(deleted)" not in place]

def refuse_plainly(report):
    from lenet_cpp.errors import Error
    raise Error("no good")

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


def test_the_base_of_our_errors_too(functions):
    with pytest.raises(Error, match=r"^no good$"):
        run(functions, "refuse_plainly")


def test_what_it_starts_does_not_hold_its_socket(functions):
    """Else the end of a child would be seen only when its own children end."""
    assert run(functions, "hold").result == []


def test_without_streams_of_its_own(functions, tmp_path):
    """As in a daemon, which has closed them."""
    code = f"""
        import os
        os.closerange(0, 3)
        from lenet_cpp._base.worker import call
        found = call({f"{functions}:add"!r}, {{"a": 2, "b": 3}}, doing="x").result["sum"]
        open({str(tmp_path / "found")!r}, "w").write(str(found))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    assert (tmp_path / "found").read_text() == "5"


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
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as caller:
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


def test_what_is_cached_waits_for_no_other_object():
    """functools' waits until Python 3.12, for ever in a child that was forked meanwhile."""
    computing, goes_on = threading.Event(), threading.Event()

    class Slow:
        @cached
        def value(self):
            if threading.current_thread() is not threading.main_thread():
                computing.set()
                goes_on.wait(60)
            return object()

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lambda: Slow().value)
        assert computing.wait(60)
        quick = Slow()
        assert quick.value is quick.value
        assert not slow.done()
        goes_on.set()


def test_a_copy_of_what_is_imported_later_is_the_module():
    later = LazyModule("textwrap")
    for copied in (copy.copy(later), copy.deepcopy(later), pickle.loads(pickle.dumps(later))):
        assert copied is textwrap
