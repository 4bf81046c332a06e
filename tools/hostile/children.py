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
    numbered = list(enumerate(steps))
    while numbered:
        at = numbered[0][0]

        def report(said, number, _):
            nonlocal at
            if INTERRUPTED.is_set():
                raise KeyboardInterrupt
            at = number
            if said:
                heard(at, json.loads(said))

        request = {"function": function, "steps": numbered[:per_child], "seconds": seconds}
        try:
            call(
                "tools.hostile.children:serve", {**request, "arguments": arguments},
                doing="the child", report=report, variables={"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
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
