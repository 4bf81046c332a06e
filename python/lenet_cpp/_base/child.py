"""A child process, and the messages that are exchanged with it: JSON, with bytes behind it.

The parent trusts neither what the child sends nor how long it takes. ``worker_main.py`` has the
child's side.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from lenet_cpp import errors
from lenet_cpp._base.worker_main import HEADER
from lenet_cpp.errors import BackendFailure, Error

MAX_MESSAGE = 1 << 30
"""The largest JSON of a child that runs our own code, in bytes."""
_TYPED_ERRORS: dict[str, type[Error]] = {name: getattr(errors, name) for name in errors.__all__}


class Garbled(Exception):  # noqa: N818 - is always caught, and becomes a BackendFailure
    """The child sent what the protocol does not allow."""


class Child:
    """A process that reads messages from its standard input, and answers through another pipe.

    It ends with :meth:`end`, when the object is dropped, and at exit. One thread at a time may use
    it. A deadline is a time of :func:`time.monotonic`, or infinity; beyond it is TimeoutError.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        *,
        cwd: str | None = None,
        session: bool = False,
    ) -> None:
        """Start it, with the descriptor for its answers as one more argument.

        Args:
            command: The program and its arguments. What it prints goes to a temporary file.
            environment: All of its variables.
            cwd: Its folder; this process's when None.
            session: Whether it has a session of its own, which Ctrl-C does not reach and which ends
                as a whole.
        """
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        pipes: list[int] = []
        try:
            pipes += os.pipe()
            # Above 2, which become the child's own streams: all of them may be closed here.
            pipes.append(fcntl.fcntl(pipes[1], fcntl.F_DUPFD_CLOEXEC, 3))
            self._process = subprocess.Popen(  # noqa: S603 - the caller names it, no shell reads it
                [*command, str(pipes[2])],
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                env=environment,
                cwd=cwd,
                bufsize=0,
                start_new_session=session,
                pass_fds=(pipes[2],),
            )
        except OSError as error:
            for pipe in pipes[:1]:
                os.close(pipe)
            self._log.close()
            raise BackendFailure(f"cannot start a child process: {error}") from error
        finally:
            for pipe in pipes[1:]:
                os.close(pipe)
        self._answers = pipes[0]
        self.pid = self._process.pid
        self.requests = cast("IO[bytes]", self._process.stdin)
        for pipe in (self.requests.fileno(), self._answers):
            os.set_blocking(pipe, False)
        opened = (self._process, self._answers, self._log, os.getpid())
        self._finalizer = weakref.finalize(self, _end, *opened, session=session)

    def send(self, message: dict[str, Any], payload: memoryview, deadline: float) -> None:
        """Send a message and the bytes behind it; BrokenPipeError when the child reads no more."""
        text = json.dumps(message).encode()
        for part in (memoryview(HEADER.pack(len(text), len(payload)) + text), payload):
            left = part
            while len(left) > 0:
                _wait(self.requests.fileno(), select.POLLOUT, deadline)
                try:
                    left = left[os.write(self.requests.fileno(), left[: 1 << 20]) :]
                except BlockingIOError:
                    continue

    def receive(
        self, deadline: float, *, longest: int = MAX_MESSAGE, most_bytes: int = 0
    ) -> tuple[dict[str, Any], memoryview]:
        """Return a message, of JSON no longer than ``longest``, and the bytes behind it.

        Raises:
            EOFError: The child closed its pipe.
            Garbled: It is no message, or a longer one.
        """
        text_size, size = HEADER.unpack(self._read(HEADER.size, deadline))
        if text_size > longest or size > most_bytes:
            raise Garbled("a message longer than it may be")
        try:
            answer = json.loads(bytes(self._read(text_size, deadline)))
        except (ValueError, RecursionError):
            raise Garbled("no message") from None
        if not isinstance(answer, dict):
            raise Garbled("no message")
        return answer, self._read(size, deadline)

    def _read(self, count: int, deadline: float) -> memoryview:
        view = memoryview(bytearray(count))
        done = 0
        while done < count:
            _wait(self._answers, select.POLLIN, deadline)
            try:
                got = os.readv(self._answers, [view[done:]])
            except BlockingIOError:
                continue
            if got == 0:
                raise EOFError
            done += got
        return view

    def interrupt(self, seconds: float) -> None:
        """Pass Ctrl-C on, and wait so long for the end of the process."""
        self._process.send_signal(signal.SIGINT)
        self.ended(seconds)

    def ended(self, seconds: float | None) -> int | str | None:
        """Return the exit code or the name of the signal; None if it still runs after the wait."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=seconds)
        code = self._process.returncode
        if code is None or code >= 0:
            return code
        named = -code in set(signal.Signals)
        return signal.Signals(-code).name if named else f"signal {-code}"

    def printed(self, most: int = 1 << 30) -> str:
        """Return what it printed, at most its last bytes."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - most))
        return self._log.read().decode("utf-8", "replace")

    def last_words(self) -> str:
        """Return the last line that it printed, or nothing."""
        lines = self.printed(1 << 12).strip().splitlines()
        return printable(lines[-1].strip()[:300]) if lines else ""

    def end(self) -> None:
        """End the process, and free what belongs to it. May be called again."""
        self._finalizer()


def error_of(answer: dict[str, Any]) -> Error | None:
    """Return the error that an answer tells of, if any; Garbled when it is none of ours."""
    kind = answer.get("error")
    if kind is None:
        return None
    if not isinstance(kind, str) or kind not in _TYPED_ERRORS:
        raise Garbled("an error")
    return _TYPED_ERRORS[kind](str(answer.get("message")))


def printable(text: str) -> str:
    """Replace what a terminal would act upon."""
    return "".join(c if c.isprintable() else "?" for c in text)


_LONGEST_POLL = 2e6  # seconds; in milliseconds poll takes an int of C


def _wait(pipe: int, event: int, deadline: float) -> None:
    left = deadline - time.monotonic()
    poll = select.poll()  # select cannot wait on descriptors above 1023
    poll.register(pipe, event)
    if left <= 0 or not poll.poll(None if left > _LONGEST_POLL else left * 1000):
        raise TimeoutError


def _end(
    process: subprocess.Popen[bytes], answers: int, log: IO[bytes], owner: int, *, session: bool
) -> None:
    if owner == os.getpid():  # and not of a fork, whose parent goes on
        with suppress(ProcessLookupError, PermissionError):
            if session:
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
    cast("IO[bytes]", process.stdin).close()
    os.close(answers)
    log.close()
