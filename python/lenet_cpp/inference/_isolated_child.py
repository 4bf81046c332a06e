"""The child process of :class:`lenet_cpp.IsolatedPredictor`."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lenet_cpp.errors import BackendFailure, Error
from lenet_cpp.inference.isolated import HEADER, MAX_MESSAGE
from lenet_cpp.inference.predictor import Predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_FILES = 256
_WATCH_MILLISECONDS = 500
_PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    """Load the model that the first message names, then run it for each further message."""
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    _end_with_parent(int(sys.argv[1]), requests)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)  # so that Paddle's output does not mix with the answers
    request, _ = _receive(requests)
    _limit(resource.RLIMIT_AS, request["memory_limit"])
    _limit(resource.RLIMIT_NOFILE, _MAX_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    try:
        predictor = Predictor(**request["paths"], **request["options"])
    except Error as error:
        _send(answers, _described(error))
        return
    except MemoryError:
        _send(answers, _described(BackendFailure("out of memory while loading the model")))
        return
    specs = {"input": predictor.input_spec, "output": predictor.output_spec}
    described = {key: [spec.name, spec.shape, spec.dtype] for key, spec in specs.items()}
    _send(answers, {**described, "quantized": predictor.quantized})
    while True:
        request, data = _receive(requests)
        images = np.frombuffer(data, dtype=np.float32).reshape(request["shape"])
        _send(answers, *_run(predictor, images))


def _run(
    predictor: Predictor, images: NDArray[np.float32]
) -> tuple[dict[str, Any], NDArray[np.float32] | None]:
    try:
        output = predictor.run(images)
    except Error as error:
        return _described(error), None
    except MemoryError:
        return _described(BackendFailure("out of memory while running the model")), None
    return {"shape": output.shape}, output


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _described(error: Error) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": str(error)[:4096]}


def _end_with_parent(parent: int, requests: BinaryIO) -> None:
    """End this process when the parent ends, also in the middle of a run.

    PR_SET_PDEATHSIG is not enough: it is about the thread that started the child.
    """
    poll = select.poll()
    poll.register(requests, 0)  # a closed pipe only

    def watch() -> None:
        while not poll.poll(_WATCH_MILLISECONDS) and os.getppid() == parent:
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _receive(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        sys.exit(0)  # the parent closed its end
    text_size, array_size = HEADER.unpack(header)
    return json.loads(stream.read(text_size)), stream.read(array_size)


def _send(
    stream: BinaryIO, message: dict[str, Any], array: NDArray[np.float32] | None = None
) -> None:
    text = json.dumps(message).encode()[:MAX_MESSAGE]
    values = b"" if array is None else array.tobytes()
    stream.write(HEADER.pack(len(text), len(values)) + text)
    stream.write(values)
    stream.flush()


if __name__ == "__main__":
    main()
