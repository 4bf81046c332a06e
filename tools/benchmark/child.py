"""How the benchmark starts processes, and what it makes of their end."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Child", "child_environment", "how_it_ended", "on_processors", "start_child"]

_ENDING_SECONDS = 5


def child_environment(threads: int) -> dict[str, str]:
    """Return the environment of a child: no settings of OpenMP or Paddle but the threads."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OMP_", "KMP_", "MKL_", "GOMP_", "FLAGS_"))
    }
    # They run in another folder, and would find another lenet_cpp, or none.
    if entries := environment.get("PYTHONPATH"):
        absolute = (str(Path(entry).absolute()) for entry in entries.split(os.pathsep))
        environment["PYTHONPATH"] = os.pathsep.join(absolute)
    return environment | {"OMP_NUM_THREADS": str(threads), "GLOG_minloglevel": "2"}


def module_environment(threads: int) -> dict[str, str]:
    """Return the environment of a child that is a module of this folder, run by ``-m``."""
    environment = child_environment(threads)
    path = [str(Path(__file__).parents[2]), *filter(None, [environment.get("PYTHONPATH")])]
    return environment | {"PYTHONPATH": os.pathsep.join(path)}


@contextmanager
def on_processors(processors: Sequence[int]) -> Iterator[None]:
    """Have the processes that are started meanwhile run on these processors only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def how_it_ended(code: int, said: bytes) -> str:
    """Say in one line how a child ended that should not have."""
    lines = said.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    return (f"ended by signal {-code}: " if code < 0 else f"exit code {code}: ") + lines[-1]


@dataclass(frozen=True)
class Child:
    """A process that answers in lines of standard output."""

    process: subprocess.Popen[bytes]
    log: IO[bytes]
    """Its standard error."""
    started: float
    """When it was asked for, by ``time.monotonic``."""

    def line(self) -> bytes:
        """Wait for the next line; nothing when there is none to come."""
        return self.process.stdout.readline() if self.process.stdout else b""

    def lines(self) -> Iterator[bytes]:
        """Yield the lines until the process closes its output."""
        yield from self.process.stdout or ()

    def failure(self) -> str | None:
        """Wait for the end, and say how it was; None when all went well."""
        code = self.process.wait()
        if code == 0:
            return None
        self.log.seek(0)
        return how_it_ended(code, self.log.read())


@contextmanager
def start_child(
    command: Sequence[str],
    folder: Path | str,
    environment: Mapping[str, str],
    *,
    commanded: bool = False,
    interrupt: bool = False,
) -> Iterator[Child]:
    """Start a process, and end it when the block ends, whatever becomes of that.

    Args:
        command: A program of ours and its arguments.
        folder: Where it works.
        environment: All of it.
        commanded: Whether it reads commands from its standard input.
        interrupt: Whether it gets a few seconds to end its own children.
    """
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if commanded else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            cwd=folder,
        )
        try:
            yield Child(process, log, started)
        finally:
            if interrupt:
                _interrupt(process)
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(BrokenPipeError):
                        stream.close()


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(_ENDING_SECONDS)
