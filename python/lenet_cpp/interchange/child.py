"""Starts the child process in which foreign converters run, and reads what it answers.

x2paddle runs code that it writes, paddle2onnx and the C++ of onnx may crash on a damaged model,
and all of them print: in a process of their own none of that reaches the caller.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from lenet_cpp import errors
from lenet_cpp.errors import BackendFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Report = Callable[[str], None]

__all__ = ["call_child"]


def call_child(request: dict[str, Any], *, report: Report | None = None) -> dict[str, Any]:
    """Run :mod:`lenet_cpp.interchange.worker` in a child process.

    Args:
        request: See its ``main``.
        report: Takes what is being done.

    Returns:
        The result.

    Raises:
        lenet_cpp.Error: What the child answered.
        BackendFailure: It crashed or failed without an answer.
    """
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "PYTHONSAFEPATH": "1",
        "PYTHONWARNINGS": "ignore",
        "GLOG_minloglevel": "3",
        # what paddle2onnx uses would otherwise install packages while it runs
        "POLYGRAPHY_AUTOINSTALL_DEPS": "0",
    }
    found: dict[str, Any] = {}
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        with subprocess.Popen(  # noqa: S603 - our own interpreter and our own code
            [sys.executable, "-c", "from lenet_cpp.interchange.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
        ) as process:
            try:
                for message in _converse(process, request):
                    if "doing" not in message:
                        found = message
                    elif report is not None:
                        report(message["doing"])
            finally:
                process.kill()
        log.seek(0)
        printed = log.read()
    if "error" in found:
        raise getattr(errors, found["error"])(found["message"])
    if "result" not in found:
        raise BackendFailure(_end(process.returncode, printed))
    result: dict[str, Any] = found["result"]
    return result


def _converse(process: subprocess.Popen[str], request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send the request and yield the lines of the answer."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("the child has pipes")
    try:
        with process.stdin:
            json.dump(request, process.stdin)
    except BrokenPipeError:
        pass  # it failed before it read; what it printed says why
    for line in process.stdout:
        try:
            message = json.loads(line)
        except ValueError:
            continue  # somebody else's, from before the child took its output away
        if isinstance(message, dict):
            yield message
    process.wait()


def _end(code: int, printed: str) -> str:
    said = [line.strip() for line in printed.splitlines() if line.strip()] or ["it said nothing"]
    if code < 0:
        return f"the conversion was ended by {signal.Signals(-code).name}: {said[-1]}"
    return f"the conversion failed: {said[-1]}"
