"""Run steps that may crash or hang in child processes, and report how each child ended."""

import json
import pkgutil
import signal
import threading

from lenet_cpp._base.worker import WorkerCrashed, call
from lenet_cpp.errors import BackendFailure

LATE = "SIGALRM"  # the outcome of a step that takes longer than it may
INTERRUPTED = threading.Event()
"""Set when the user ends the command, while threads that it does not reach do steps."""


def do_steps(function, steps, heard, *, seconds, per_child=200, **arguments):
    """Call a function for each step, in its order, in child processes.

    ``function`` is ``module:name``; it takes a step, a value that JSON takes, and the arguments,
    and returns a dictionary. ``heard`` takes the number of a step and that dictionary; or
    ``outcome``, the name of the signal or the exit that ended the child, and ``detail``, its last
    words. After ``seconds`` SIGALRM ends the child. After ``per_child`` steps a new one begins:
    Paddle does not give back all the memory that a load takes.
    """
    numbered = list(enumerate(steps))
    while numbered:
        at = numbered[0][0]

        def report(answer, number, _):
            nonlocal at
            if INTERRUPTED.is_set():
                raise KeyboardInterrupt
            at = number
            if answer:
                heard(at, json.loads(answer))

        request = {"function": function, "steps": numbered[:per_child], "seconds": seconds}
        request["arguments"] = arguments
        variables = {"OMP_NUM_THREADS": "1", "LENET_NATIVE_FORGET": "1"}  # docs/hacking.md
        how = {"doing": "the child", "variables": variables}
        try:
            call("tools.hostile.children:serve", request, report=report, **how)
        except BackendFailure as error:
            outcome = error.signal if isinstance(error, WorkerCrashed) else "exit"
            heard(at, {"outcome": outcome, "detail": str(error)})
        numbered = [step for step in numbered if step[0] > at]


def serve(function, steps, seconds, arguments, report):
    """Do the steps, in the child."""
    step_function = pkgutil.resolve_name(function)
    for number, step in steps:
        report("", number, 0)
        signal.alarm(seconds)
        found = step_function(step, **arguments)
        signal.alarm(0)
        report(json.dumps(found), number, 0)
