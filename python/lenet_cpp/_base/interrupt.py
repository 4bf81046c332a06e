"""Ctrl-C while C++ computes: Python itself looks at it only once the call has returned."""

import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar
from weakref import WeakSet

from lenet_cpp.errors import Error

_ENDED = 0  # the number of no signal
_MILLISECONDS_BETWEEN = 50

_T = TypeVar("_T")


class Cancellable(Protocol):
    """What may be in a long call of C++."""

    def cancel(self) -> None:
        """End the call that another thread is in."""


_cancellable: WeakSet[Cancellable] = WeakSet()


def cancel_on_interrupt(each: Cancellable) -> None:
    """Have :func:`call_interruptibly` cancel what this object does."""
    _cancellable.add(each)


def call_interruptibly(call: Callable[[], _T], runs: Cancellable | None = None) -> _T:
    """Call a function; on Ctrl-C also cancel what runs in C++, so that KeyboardInterrupt comes.

    It does nothing more than the call outside the main thread, which alone gets that exception,
    nor where another handler was set for Ctrl-C.

    Args:
        call: What may take long.
        runs: What it runs, alone to be cancelled; by default all of the process.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # which set_wakeup_fd requires
    thread = threading.Thread(target=_watch, args=(reader, runs), daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        return call()
    finally:
        try:
            signal.set_wakeup_fd(before)  # after which KeyboardInterrupt may come
        finally:
            os.write(writer, bytes([_ENDED]))
            thread.join()
            os.close(reader)
            os.close(writer)


def _watch(reader: int, runs: Cancellable | None) -> None:
    """Read the numbers of signals until the end."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    interrupted = False
    while True:
        # Again and again: a cancelled call may have been about to begin, and runs nevertheless.
        ready = poll.poll(_MILLISECONDS_BETWEEN if interrupted else None)
        numbers = os.read(reader, 1) if ready else b""
        if _ENDED in numbers:
            return
        default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        interrupted = interrupted or (default and signal.SIGINT in numbers)
        running = tuple(_cancellable) if runs is None else (runs,)
        for each in running if interrupted else ():
            with suppress(Error):  # Paddle cannot be cancelled
                each.cancel()
