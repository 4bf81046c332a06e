"""The child's side of :mod:`lenet_cpp._base.child` and :mod:`lenet_cpp._base.worker`.

The parent starts it by its path. It imports only the standard library, so that any interpreter
from 3.7 on can run it.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import os
import signal
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

HEADER = struct.Struct("<QQ")
"""The header of a message: the sizes in bytes of its JSON and of what follows."""


def channel() -> tuple[BinaryIO, BinaryIO]:
    """Return what requests are read from, and answers written to, by this process alone."""
    streams = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(0), "wb")
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    return streams


def receive(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Read a message, and the bytes behind it; end this process where there are no more."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        sys.exit(0)  # the parent closed its end
    text_size, size = HEADER.unpack(header)
    return json.loads(stream.read(text_size)), stream.read(size)


def send(stream: BinaryIO, message: dict[str, Any], payload: bytes = b"") -> None:
    """Write a message, and the bytes behind it."""
    text = json.dumps(message).encode()
    stream.write(HEADER.pack(len(text), len(payload)) + text)
    stream.write(payload)
    stream.flush()


def load_function(name: str) -> Any:
    """Return the function that ``package.module:name`` or ``FILE.py:name`` names."""
    place, _, function = name.rpartition(":")
    if not place.endswith(".py"):
        return getattr(importlib.import_module(place), function)
    spec = importlib.util.spec_from_file_location("worker_function", place)
    if spec is None or spec.loader is None:
        raise ImportError(place + " is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, function)


def main() -> None:
    """Read a request, execute it, and answer in messages.

    The request holds ``function`` and ``arguments``, an answer ``progress`` (what, done, total).
    The last one holds ``result``, or ``error``, the name of a class in :mod:`lenet_cpp.errors`, and
    ``message``. Any other exception ends the process with a traceback on standard error.
    """
    if sys.platform == "linux":
        prctl_set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(prctl_set_parent_death_signal, signal.SIGKILL)
    requests, answers = channel()
    request, _ = receive(requests)

    def report(what: str, done: int, total: int) -> None:
        send(answers, {"progress": [what, done, total]})

    try:
        function = load_function(request["function"])
        send(answers, {"result": function(**request["arguments"], report=report)})
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        # By the module: shutil and others have an Error too.
        ours = [kind for kind in type(error).__mro__ if kind.__module__ == "lenet_cpp.errors"]
        if not ours:
            raise
        send(answers, {"error": ours[0].__name__, "message": str(error)})


if __name__ == "__main__":
    # Run by its path, Python would look for modules beside this file first.
    ours = str(Path(__file__).resolve().parent)
    sys.path[:] = [entry for entry in sys.path if entry != ours]
    main()
