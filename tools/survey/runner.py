"""Run cases in child processes, so that a crash is a result."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, TypeVar

from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    Outcome = tuple[str, str]
    """``right``, ``wrong``, ``crashed`` or the class of an error; and what was said."""

Case = TypeVar("Case")
_SECONDS = 300  # of one case


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


def run_all(
    groups: list[list[Case]], work: Callable[[Case], Outcome], parallel: int
) -> list[tuple[Case, Outcome]]:
    """Return what :func:`run` yields, with a progress bar in a terminal."""
    total = sum(map(len, groups))
    found = run(groups, work, parallel)
    return list(tqdm(found, total=total, unit="run", disable=None, leave=False))


def _run_group(group: list[Case], work: Callable[[Case], Outcome], sender: Connection) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)  # Paddle prints call stacks
    for case in group:
        signal.alarm(_SECONDS)  # ends the process
        sender.send(work(case))
    os._exit(0)  # Paddle may crash when it is unloaded
