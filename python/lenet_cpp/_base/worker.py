"""Run a function in a fresh process or in another interpreter, or run a program.

Paddle reads some flags only when it is imported, static mode and intermediate representations are
states of a whole process, converters print and crash, and some packages live only in an
environment of their own. :func:`call` does such work in a child process; :func:`run_program` runs
other programs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_cpp import errors
from lenet_cpp.errors import BackendFailure

Report = Callable[[str, int, int], None]
"""Receives the name of the step, how much is done, and how much there is in total."""

PROGRAM_DESC = {"FLAGS_enable_pir_api": "0"}
"""Variables with which Paddle makes programs in the older format, ProgramDesc."""

_MAIN = Path(__file__).with_name("worker_main.py")
_ENDING_SECONDS = 5


@dataclass(frozen=True)
class Answer:
    """The result of a function, and everything that it printed."""

    result: Any
    printed: str


class WorkerCrashed(BackendFailure):
    """A signal ended the process.

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

    The child receives Ctrl-C too. It never outlives the call or this process.

    Args:
        function: ``package.module:name``, or ``FILE.py:name`` for an interpreter that cannot
            import this package. It gets ``report``, a :data:`Report`, beside the arguments. Its
            result must be representable in JSON.
        arguments: Its keyword arguments, representable in JSON.
        doing: The beginning of an error message: ``quantizing``.
        report: Receives the function's progress.
        python: Another environment's interpreter. It can import this package, but no other
            package of the caller's environment.
        variables: Additional environment variables.
        seconds: The time limit; none when None.

    Raises:
        lenet_cpp.Error: The function raised it.
        WorkerCrashed: A signal ended the process.
        BackendFailure: The process failed in another way, or exceeded the time limit.
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
            with suppress(subprocess.TimeoutExpired):  # while it ends its own children
                child.send_signal(signal.SIGINT)
                child.wait(_ENDING_SECONDS)
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


def run_program(
    command: Sequence[str | Path],
    *,
    seconds: float | None = None,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program, and return its exit code and what it printed.

    Args:
        command: The program and its arguments.
        seconds: The time limit; none when None.
        variables: The whole environment; that of this process when None.

    Raises:
        OSError: The program cannot be started; a TimeoutError when it took too long.
    """
    try:
        return subprocess.run(  # noqa: S603 - the caller names the program, no shell reads it
            command, capture_output=True, check=False, env=variables, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{command[0]} took longer than {seconds:g} s") from error


def clean_variables() -> dict[str, str]:
    """Return this process's variables, less those that lead an interpreter to its packages."""
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in hidden}


@contextmanager
def _environment(python: Path | None, variables: Mapping[str, str]) -> Iterator[dict[str, str]]:
    environment = {
        **(os.environ if python is None else clean_variables()),
        "PYTHONSAFEPATH": "1",
        "PYTHONWARNINGS": "ignore",
        "GLOG_minloglevel": "3",
        **variables,
    }
    if python is None:
        environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
        yield environment
        return
    with tempfile.TemporaryDirectory(prefix="lenet-") as folder:
        package = Path(__file__).resolve().parents[1]
        Path(folder, package.name).symlink_to(package)
        yield environment | {"PYTHONPATH": folder}


def _converse(
    child: subprocess.Popen[str], request: dict[str, Any], report: Report | None
) -> dict[str, Any]:
    """Send the request; return the last line of the answer, or an empty dictionary."""
    if child.stdin is None or child.stdout is None:
        raise AssertionError("the child has pipes")
    with suppress(BrokenPipeError), child.stdin:  # it failed early, and its output says why
        json.dump(request, child.stdin)
    found: dict[str, Any] = {}
    for line in child.stdout:
        try:
            message = json.loads(line)
        except ValueError:
            continue  # printed by a sitecustomize, before the child redirects its output
        if "progress" not in message:
            found = message
        elif report is not None:
            report(*message["progress"])
    child.wait()
    return found
