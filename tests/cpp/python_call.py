"""The Python route of the table of bad input: one call in a process that may die.

Run as a program it makes one call within limits that hold from after the imports on.
"""

import pickle
import resource
import sys
from pathlib import Path
from typing import Any, NamedTuple

import bad_input_cases
import numpy as np
import python_call

import lenet_cpp
from lenet_cpp.data.mnist import read_idx


class Result(NamedTuple):
    """What came of a call, through any route."""

    kind: str  # the name of an error, or "ok"
    message: str
    output: Any = None
    peak_mib: float = 0


def call(name, request):
    """Make the call; an error that is not ours leaves as it is."""
    case = next(case for case in bad_input_cases.CASES if case.name == name)
    switches = {"true": True, "false": False}
    arguments = {**request.model, **request.options}
    arguments = {key: switches.get(str(value), value) for key, value in arguments.items()}
    try:
        images = np.zeros((1, 28, 28), np.float32)
        if case.array is not None:
            images = case.array()
        elif request.input is not None:
            images = read_idx(request.input)
        if request.pool is not None:
            output = lenet_cpp.PredictorPool(**arguments, size=request.pool).run(images)
        else:
            with lenet_cpp.Predictor(**arguments) as predictor:
                output = predictor.run(images)
    except lenet_cpp.Error as error:
        return Result(type(error).__name__, str(error))
    status = Path("/proc/self/status").read_text()
    kib = next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]
    return Result("ok", "", output, int(kib) / 1024)


def main():
    name, request, address_space = pickle.loads(Path(sys.argv[1]).read_bytes())
    if address_space is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + address_space
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    Path(sys.argv[2]).write_bytes(pickle.dumps(call(name, request)))


if __name__ == "__main__":
    python_call.main()  # under its own name, by which the result can be read
