"""Starts the child processes of this package and reads what they answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lenet_cpp import errors
from lenet_cpp.errors import BackendFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Answer", "Report", "call_child"]

Report = Callable[[str, int, int], None]
"""Takes what is being done, how far it is, and how far it goes."""


@dataclass(frozen=True)
class Answer:
    """What a child answered, and what it and Paddle printed meanwhile."""

    result: dict[str, Any]
    printed: str


def call_child(
    request: dict[str, Any],
    *,
    report: Report | None = None,
    python: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> Answer:
    """Run :mod:`lenet_cpp.quantization.worker` in a child process.

    Args:
        request: See its ``main``.
        report: Takes its progress.
        python: Another environment's interpreter, which is to see this package but nothing else
            of the caller's environment.
        variables: Added to the environment.

    Raises:
        lenet_cpp.Error: What the child answered.
        BackendFailure: The child crashed or failed without an answer.
    """
    with _import_path(python) as path, tempfile.TemporaryFile("w+", errors="replace") as log:
        environment = os.environ | {
            "FLAGS_enable_pir_api": "0",
            "PYTHONPATH": path,
            "PYTHONSAFEPATH": "1",
            "PYTHONWARNINGS": "ignore",
            "GLOG_minloglevel": "3",
            **(variables or {}),
        }
        with subprocess.Popen(  # noqa: S603 - our own interpreter and our own code
            [
                python or sys.executable,
                "-c",
                "from lenet_cpp.quantization.worker import main; main()",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
        ) as child:
            try:
                found = _converse(child, request, report)
            finally:
                child.kill()
                child.wait()  # after Ctrl-C it would be left, with folders open that are deleted
        log.seek(0)
        printed = log.read()
    if "error" in found:
        raise getattr(errors, found["error"])(found["message"])
    if "result" not in found:
        code = child.returncode
        said = [line for line in printed.strip().splitlines() if line.strip()]
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        raise BackendFailure(f"quantizing {how}: {said[-1].strip() if said else 'it said nothing'}")
    return Answer(found["result"], printed)


@contextmanager
def _import_path(python: Path | None) -> Iterator[str]:
    """Yield the import path of the child."""
    if python is None:
        yield os.pathsep.join(entry for entry in sys.path if entry)
        return
    with tempfile.TemporaryDirectory(prefix="lenet-") as folder:
        package = Path(__file__).resolve().parents[1]
        Path(folder, package.name).symlink_to(package)
        yield folder


def _converse(
    child: subprocess.Popen[str], request: dict[str, Any], report: Report | None
) -> dict[str, Any]:
    """Send the request; return the last line of the answer."""
    sending: IO[str] | None = child.stdin
    receiving: IO[str] | None = child.stdout
    if sending is None or receiving is None:
        raise AssertionError("the child has pipes")
    try:
        with sending:
            json.dump(request, sending)
    except BrokenPipeError:
        pass  # it failed before it read; what it printed says why
    found: dict[str, Any] = {}
    for line in receiving:
        try:
            message = json.loads(line)
        except ValueError:
            continue  # Paddle's, from before the child took its output away
        if not isinstance(message, dict):
            continue
        if "progress" in message:
            if report is not None:
                report(*message["progress"])
        else:
            found = message
    child.wait()
    return found
