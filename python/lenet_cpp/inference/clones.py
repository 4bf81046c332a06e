"""Predictors of one model for the threads of a process, and of those that it forks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import NoReturn
from weakref import WeakSet

from lenet_cpp.errors import BadInput
from lenet_cpp.inference.predictor import Predictor


class Clones:
    """A predictor for each thread, so that threads run in parallel; they share the weights.

    A forked child loads its own: it has none of the threads that its parent's predictors run in.

    Thread-safety: may be shared.
    """

    def __init__(self, load: Callable[[], Predictor]) -> None:
        """Remember what loads the model; the first :meth:`get` does."""
        self._load = load
        self._lock, self._own = threading.Lock(), threading.local()
        self._origin: Predictor | None = None
        _all.add(self)

    def begin_anew(self) -> None:
        """Forget the parent's predictors, and its thread that may have been loading one."""
        if self._origin is not None:
            _of_the_parent.append((self._own, self._origin))
            self._own, self._origin = threading.local(), None
        self._lock = threading.Lock()

    def get(self) -> Predictor:
        """Return the predictor of this thread.

        Raises:
            BadInput: They are closed.
            lenet_cpp.Error: The model cannot be loaded.
        """
        try:
            found: Predictor = self._own.predictor
        except AttributeError:
            with self._lock:
                if self._origin is None:
                    self._origin = found = self._load()
                else:
                    found = self._origin.clone()
                self._own.predictor = found
        return found

    def close(self) -> None:
        """Free the model after the runs that are going on. May be called again."""
        with self._lock:
            self._load, self._own, self._origin = _closed, threading.local(), None


def _closed() -> NoReturn:
    raise BadInput("the classifier is closed")


_all: WeakSet[Clones] = WeakSet()
# In a child: to free them could wait for threads that do not exist there.
_of_the_parent: list[object] = []


def _after_fork() -> None:
    for each in _all:
        each.begin_anew()


os.register_at_fork(after_in_child=_after_fork)
