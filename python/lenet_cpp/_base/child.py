"""A child process, and the messages that are exchanged with it: JSON, with bytes behind it.

The parent trusts neither what the child sends nor how long it takes. ``worker_main.py`` has the
child's side.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

from lenet_cpp import errors
from lenet_cpp._base.text import printable
from lenet_cpp._base.worker_main import HEADER
from lenet_cpp.errors import BackendFailure, Error

MAX_MESSAGE = 1 << 30
"""The largest JSON of a child that runs our own code, in bytes."""
_LONGEST_WAIT = 2e6  # seconds; in milliseconds a socket's timeout is an int of C
_TYPED_ERRORS: dict[str, type[Error]] = {name: getattr(errors, name) for name in errors.__all__}


class Garbled(Exception):  # noqa: N818 - is always caught, and becomes a BackendFailure
    """The child sent what the protocol does not allow."""


class Child:
    """A process whose standard input is a socket, through which messages go both ways.

    It ends with :meth:`end`, when the object is dropped, and at exit. One thread at a time may use
    it. A deadline is a time of :func:`time.monotonic`, or infinity; beyond it is TimeoutError.
    """

    def __init__(
        self, command: Sequence[str | Path], environment: Mapping[str, str], *, apart: bool = False
    ) -> None:
        """Start a program with these variables alone. What it prints goes to a temporary file.

        ``apart`` begins it in the folder / and in a session of its own, which Ctrl-C does not reach
        and which ends as a whole.
        """
        try:
            with ExitStack() as opened:
                self._log = opened.enter_context(tempfile.TemporaryFile())
                self._channel, theirs = map(opened.enter_context, socket.socketpair())
                self._process = subprocess.Popen(  # noqa: S603 - no shell reads it
                    list(command),
                    stdin=theirs.fileno(),
                    stdout=self._log,
                    stderr=self._log,
                    env=environment,
                    cwd="/" if apart else None,
                    start_new_session=apart,
                )
                opened.pop_all()
                theirs.close()
        except OSError as error:
            raise BackendFailure(f"cannot start a child process: {error}") from error
        self.pid = self._process.pid
        held = (self._process, self._channel, self._log, os.getpid())
        self._finalizer = weakref.finalize(self, _end, *held, apart=apart)

    def send(self, message: dict[str, Any], payload: memoryview, deadline: float) -> None:
        """Send a message and the bytes behind it; ConnectionError when the child reads no more."""
        text = json.dumps(message).encode()
        for part in (HEADER.pack(len(text), len(payload)) + text, payload):
            self._until(deadline)
            self._channel.sendall(part)

    def receive(
        self, deadline: float, *, longest: int = MAX_MESSAGE, most_bytes: int = 0
    ) -> tuple[dict[str, Any], memoryview]:
        """Return a message, of JSON no longer than ``longest``, and the bytes behind it.

        Raises:
            ConnectionError: The child closed its end.
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
            self._until(deadline)
            got = self._channel.recv_into(view[done:])
            if got == 0:
                raise ConnectionResetError
            done += got
        return view

    def _until(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._channel.settimeout(None if left > _LONGEST_WAIT else left)

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


def _end(
    process: subprocess.Popen[bytes],
    channel: socket.socket,
    log: IO[bytes],
    owner: int,
    *,
    apart: bool,
) -> None:
    if owner == os.getpid():  # and not of a fork, whose parent goes on
        with suppress(ProcessLookupError, PermissionError):
            if apart:
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
    channel.close()
    log.close()
