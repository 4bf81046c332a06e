"""Run a function in a fresh process or in another interpreter, or run a program.

Paddle reads some flags only when it is imported, static mode and intermediate representations are
states of a whole process, converters print and crash, and some packages live only in an
environment of their own. :func:`call` does such work in a child process; :func:`run_program` runs
other programs.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_cpp import _core
from lenet_cpp._base.child import Child, Garbled, error_of
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
    """A signal ended the process."""

    def __init__(self, doing: str, name: str, said: str) -> None:
        """Name the signal, such as SIGSEGV, and the last line that was printed."""
        self.signal = name
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
        python: Another environment's interpreter, which imports this package and those of its own.
        variables: Additional environment variables.
        seconds: The time limit, if any.

    Raises:
        lenet_cpp.Error: The function raised it.
        WorkerCrashed: A signal ended the process.
        BackendFailure: The process failed in another way, or exceeded the time limit.
    """
    with _environment(python, variables or {}) as environment:
        child = Child([python or sys.executable, _MAIN], environment)
        try:
            request = {"function": function, "arguments": dict(arguments)}
            deadline = time.monotonic() + (float("inf") if seconds is None else seconds)
            child.send(request, memoryview(b""), deadline)
            while True:
                answer, _ = child.receive(deadline)
                if "progress" not in answer:
                    break
                if report is not None:
                    report(*answer["progress"])
            left = None if seconds is None else max(0, deadline - time.monotonic())
            child.ended(left)  # what it still prints is part of the answer
            refused = error_of(answer)
            if refused is None:
                return Answer(answer["result"], child.printed())
        except TimeoutError:
            raise BackendFailure(f"{doing} took longer than {seconds:g} s and was ended") from None
        except Garbled as error:
            raise BackendFailure(f"{doing} sent an invalid answer: {error}") from None
        except ConnectionError:
            ended = child.ended(_ENDING_SECONDS)
            said = child.last_words() or "it printed nothing"
            if isinstance(ended, str):
                raise WorkerCrashed(doing, ended, said) from None
            raise BackendFailure(f"{doing} failed: {said}") from None
        except KeyboardInterrupt:
            child.interrupt(_ENDING_SECONDS)  # while it ends its own children
            raise
        finally:
            child.end()
    raise refused


def run_program(
    command: Sequence[str | Path],
    *,
    seconds: float | None = None,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program, and return its exit code and what it printed.

    ``variables`` are the whole environment; that of this process when None.

    Raises:
        OSError: The program cannot be started; a TimeoutError when it took longer than ``seconds``.
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
        package = Path(folder, "lenet_cpp")
        package.mkdir()
        # In an editable installation what is compiled lies in another folder than the sources.
        for part in (Path(__file__).resolve().parents[1], Path(_core.__file__).resolve().parent):
            for file in part.iterdir():
                if not (package / file.name).exists():
                    (package / file.name).symlink_to(file)
        yield environment | {"PYTHONPATH": folder}
