"""The child process of :class:`lenet_cpp.IsolatedPredictor`."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO, TypeVar

import numpy as np

from lenet_cpp._base.worker_main import channel, receive, send
from lenet_cpp.errors import Error
from lenet_cpp.inference.predictor import Predictor

_Result = TypeVar("_Result")
_MAX_FILES = 256
_WATCH_MILLISECONDS = 500
_PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    """Load the model that the first message names, then run it for each further message."""
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    requests, answers = channel()
    _end_with_parent(int(sys.argv[1]), requests)
    request, _ = receive(requests)
    _limit(resource.RLIMIT_AS, request["memory_limit"])
    _limit(resource.RLIMIT_NOFILE, _MAX_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    predictor = _attempt("loading", lambda: Predictor(**request["paths"], **request["options"]))
    if not isinstance(predictor, Predictor):
        send(answers, predictor)
        return
    specs = {"input": predictor.input_spec, "output": predictor.output_spec}
    described = {key: [spec.name, spec.shape, spec.dtype] for key, spec in specs.items()}
    send(answers, {**described, "quantized": predictor.quantized})
    while True:
        request, data = receive(requests)
        images = np.frombuffer(data, dtype=np.float32).reshape(request["shape"])
        output = _attempt("running", partial(predictor.run, images))
        if isinstance(output, np.ndarray):
            outputs = output.astype(np.float32, copy=False).tobytes()
            send(answers, {"shape": output.shape}, outputs)
        else:
            send(answers, output)


def _attempt(doing: str, action: Callable[[], _Result]) -> _Result | dict[str, Any]:
    """Return the result, or the message that describes the error."""
    try:
        return action()
    except Error as error:
        return {"error": type(error).__name__, "message": str(error)[:4096]}
    except MemoryError:
        return {"error": "BackendFailure", "message": f"out of memory while {doing} the model"}


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _end_with_parent(parent: int, requests: BinaryIO) -> None:
    """End this process when the parent ends, also in the middle of a run.

    PR_SET_PDEATHSIG is not enough: it is about the thread that started the child.
    """
    poll = select.poll()
    poll.register(requests, 0)  # its other end closed only

    def watch() -> None:
        while not poll.poll(_WATCH_MILLISECONDS) and os.getppid() == parent:
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
