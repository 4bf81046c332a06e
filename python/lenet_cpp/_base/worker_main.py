"""The child's side of :mod:`lenet_cpp._base.worker`.

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
import sys
from pathlib import Path
from typing import Any


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
    """Read a request from standard input, execute it, and answer in lines of JSON.

    The request holds ``function`` and ``arguments``. A line of the answer holds ``progress`` (what,
    done, total). The last line holds ``result``, or ``error``, the name of a class in
    :mod:`lenet_cpp.errors`, and ``message``. Any other exception ends the process with a traceback
    on standard error, which also receives everything that libraries print.
    """
    if sys.platform == "linux":
        prctl_set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(prctl_set_parent_death_signal, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    request = json.load(sys.stdin)

    def send(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    def report(what: str, done: int, total: int) -> None:
        send({"progress": [what, done, total]})

    try:
        function = load_function(request["function"])
        send({"result": function(**request["arguments"], report=report)})
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        # By the module: shutil and others have an Error too.
        ours = [kind for kind in type(error).__mro__ if kind.__module__ == "lenet_cpp.errors"]
        if not ours:
            raise
        send({"error": ours[0].__name__, "message": str(error)})


if __name__ == "__main__":
    # Run by its path, Python would look for modules beside this file first.
    ours = str(Path(__file__).resolve().parent)
    sys.path[:] = [entry for entry in sys.path if entry != ours]
    main()
