"""Run cases in child processes, so that a crash is a result."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

import lenet_cpp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from numpy.typing import NDArray

    Outcome = tuple[str, str]

Case = TypeVar("Case")
TOLERANCE = 1e-4
"""The largest difference of a right answer, as a share of the largest output."""
ENGINES: dict[str, dict[str, Any]] = {
    "native": {"engine": "native"},
    "paddle": {"engine": "paddle", "accelerator": "plain"},
    "paddle, oneDNN": {"engine": "paddle", "accelerator": "onednn"},
    "auto": {},
    "unchecked": {"check_program": False},
}
FAILURES = ("wrong", "crashed", "BadModel")
_SECONDS = 300  # of one case


def predict(files: dict[str, Any], engine: str, x: Any, expected: NDArray[Any]) -> Outcome:
    """Compare an engine's answer with the expected one; return the outcome and what was said."""
    try:
        with lenet_cpp.Predictor(**files, **ENGINES.get(engine, {"engine": engine})) as predictor:
            answer = predictor.run(x)
    except lenet_cpp.Error as error:
        return type(error).__name__, str(error)
    if answer.size != expected.size:
        return "wrong", f"the shape is {answer.shape} in place of {expected.shape}"
    difference = np.abs(answer.reshape(expected.shape) - expected.astype("float32")).max()
    share = float(difference / max(np.abs(expected).max(), 1e-30))
    return ("right" if share <= TOLERANCE else "wrong"), f"the difference is {share:.1e}"


def run(
    groups: list[list[Case]], work: Callable[[Case], Outcome], parallel: int
) -> Iterator[tuple[Case, Outcome]]:
    """Yield each case with its outcome, ``crashed`` where it ended its process.

    The cases of a group share a process; what follows a crash gets a new one.
    """
    # Not "fork": a child of a process whose Paddle keeps threads may not use it.
    context = multiprocessing.get_context("spawn")
    waiting = groups[::-1]
    running: dict[Connection, tuple[SpawnProcess, list[Case]]] = {}
    while waiting or running:
        while waiting and len(running) < parallel:
            group = waiting.pop()
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_run_group, args=(group, work, sender))
            process.start()
            sender.close()
            running[receiver] = process, list(group)
        ready = set(wait(list(running)))
        for receiver in [each for each in running if each in ready]:
            process, left = running[receiver]
            try:
                outcome = receiver.recv()
                yield left.pop(0), outcome
            except EOFError:
                process.join()
                del running[receiver]
                if left:
                    yield left.pop(0), ("crashed", f"exit status {process.exitcode}")
                    waiting += [left] if left else []


def _run_group(group: list[Case], work: Callable[[Case], Outcome], sender: Connection) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)  # Paddle prints call stacks
    for case in group:
        signal.alarm(_SECONDS)  # ends the process
        sender.send(work(case))
    os._exit(0)  # Paddle may crash when it is unloaded
