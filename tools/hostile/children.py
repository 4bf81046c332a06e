"""Run steps that may crash or hang in child processes, and report how each child ended."""

from __future__ import annotations

import importlib
import json
import signal
from typing import TYPE_CHECKING, Any

from lenet_cpp._base.worker import Report, WorkerCrashed, call
from lenet_cpp.errors import BackendFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LATE = "SIGALRM"
"""The outcome of a step that takes longer than it may."""


def do_steps(
    function: str,
    steps: Sequence[Any],
    heard: Callable[[int, dict[str, Any]], None],
    *,
    seconds: int,
    per_child: int = 200,
    **arguments: Any,
) -> None:
    """Call a function for each step, in its order, in child processes.

    Args:
        function: ``module:name``; it takes a step and the arguments, and returns a dictionary.
        steps: Values that JSON takes.
        heard: Takes the number of a step and what the function returned; or ``outcome``, the name
            of the signal or the exit that ended the child, and ``detail``, its last words.
        seconds: What a step may take before SIGALRM ends the child.
        per_child: Steps after which a new child begins: Paddle does not give back all the memory
            that a load takes.
        **arguments: The same for each step.
    """
    first = 0
    while first < len(steps):
        at = first

        def report(said: str, step: int, _steps: int, first: int = first) -> None:
            nonlocal at
            at = first + step
            if said:
                heard(at, json.loads(said))

        request = {
            "function": function,
            "steps": steps[first : first + per_child],
            "seconds": seconds,
            "arguments": arguments,
        }
        try:
            call(
                "tools.hostile.children:serve", request, doing="the child", report=report,
                variables={"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            at = first + per_child - 1
        except BackendFailure as error:
            outcome = error.signal if isinstance(error, WorkerCrashed) else "exit"
            heard(at, {"outcome": outcome, "detail": str(error)})
        first = at + 1


def serve(
    function: str, steps: list[Any], seconds: int, arguments: dict[str, Any], report: Report
) -> None:
    """Do the steps, in the child."""
    module, _, name = function.partition(":")
    step_function = getattr(importlib.import_module(module), name)
    for number, step in enumerate(steps):
        report("", number, len(steps))
        signal.alarm(seconds)
        found = step_function(step, **arguments)
        signal.alarm(0)
        report(json.dumps(found), number, len(steps))
