"""Run a function in a fresh process, or in another interpreter.

Paddle reads some flags only when it is imported, static mode and intermediate representations are
states of a whole process, converters print and crash, and some packages live only in an
environment of their own: such work is done in a child process, by :func:`call`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp import errors
from lenet_cpp.errors import BackendFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Report = Callable[[str, int, int], None]
"""Takes what is being done, how far it is, and how far it goes."""

PROGRAM_DESC = {"FLAGS_enable_pir_api": "0"}
"""Variables with which Paddle makes programs in the older format, ProgramDesc."""

_MAIN = Path(__file__).with_name("worker_main.py")
# Variables that would lead another interpreter to the packages of this one.
_PATHS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
_ENDING_SECONDS = 5


@dataclass(frozen=True)
class Answer:
    """What a function returned, and what it and the libraries under it printed."""

    result: Any
    printed: str


class WorkerCrashed(BackendFailure):
    """The process was ended by a signal.

    Attributes:
        signal: The signal's name, such as ``SIGSEGV``.
    """

    def __init__(self, doing: str, number: int, said: str) -> None:
        """Name the signal and the last line that was printed."""
        self.signal = signal.Signals(number).name
        super().__init__(f"{doing} was ended by {self.signal}: {said}")


def call(
    function: str,
    arguments: Mapping[str, Any],
    *,
    doing: str,
    report: Report | None = None,
    python: Path | None = None,
    variables: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> Answer:
    """Run a function in a child process.

    An interrupt (Ctrl-C) is passed on; the child never outlives the call, nor this process.

    Args:
        function: ``package.module:name``, or ``FILE.py:name`` for an interpreter that cannot
            import this package. It takes ``report``, a :data:`Report`, beside the arguments, and
            returns what JSON takes.
        arguments: Its keyword arguments; values that JSON takes.
        doing: What is being done, which begins the message of a failure: ``quantizing``.
        report: Takes the function's progress.
        python: Another environment's interpreter. It sees this package, and otherwise nothing of
            the caller's environment.
        variables: Added to the environment.
        seconds: The time limit; none when None.

    Raises:
        lenet_cpp.Error: What the function raised.
        WorkerCrashed: A signal ended the process.
        BackendFailure: It failed otherwise, or took longer than it may.
    """
    request = {"function": function, "arguments": dict(arguments)}
    with (
        _environment(python, variables or {}) as environment,
        tempfile.TemporaryFile("w+", errors="replace") as log,
        subprocess.Popen(  # noqa: S603 - an interpreter and our own code
            [python or sys.executable, str(_MAIN)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
        ) as child,
    ):
        late = threading.Event()

        def end_late() -> None:
            late.set()
            child.kill()

        watchdog = threading.Timer(seconds or 0, end_late)
        try:
            if seconds is not None:
                watchdog.start()
            found = _converse(child, request, report)
        except KeyboardInterrupt:
            _interrupt(child)
            raise
        finally:
            watchdog.cancel()
            child.kill()
            child.wait()
        log.seek(0)
        printed = log.read()
    if "error" in found:
        raise getattr(errors, found["error"])(found["message"])
    if "result" in found:
        return Answer(found["result"], printed)
    if late.is_set():
        raise BackendFailure(f"{doing} took longer than {seconds:g} s and was ended")
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    said = lines[-1] if lines else "it printed nothing"
    if child.returncode < 0:
        raise WorkerCrashed(doing, -child.returncode, said)
    raise BackendFailure(f"{doing} failed: {said}")


@contextmanager
def _environment(python: Path | None, variables: Mapping[str, str]) -> Iterator[dict[str, str]]:
    environment = {
        **os.environ,
        "PYTHONSAFEPATH": "1",
        "PYTHONWARNINGS": "ignore",
        "GLOG_minloglevel": "3",
        **variables,
    }
    if python is None:
        environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
        yield environment
        return
    for name in _PATHS:
        environment.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="lenet-") as folder:
        package = Path(__file__).resolve().parents[1]
        Path(folder, package.name).symlink_to(package)
        yield environment | {"PYTHONPATH": folder}


def _converse(
    child: subprocess.Popen[str], request: dict[str, Any], report: Report | None
) -> dict[str, Any]:
    """Send the request; return the last line of the answer, or nothing when there is none."""
    if child.stdin is None or child.stdout is None:
        raise AssertionError("the child has pipes")
    with suppress(BrokenPipeError), child.stdin:  # it failed early; what it printed says why
        json.dump(request, child.stdin)
    found: dict[str, Any] = {}
    for line in child.stdout:
        try:
            message = json.loads(line)
        except ValueError:
            continue  # printed by a sitecustomize, before the child took its output away
        if "progress" not in message:
            found = message
        elif report is not None:
            report(*message["progress"])
    child.wait()
    return found


def _interrupt(child: subprocess.Popen[str]) -> None:
    """Give the child a few seconds to end its own children."""
    with suppress(subprocess.TimeoutExpired):
        child.send_signal(signal.SIGINT)
        child.wait(_ENDING_SECONDS)
