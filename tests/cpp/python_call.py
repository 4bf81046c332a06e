"""The Python route of the table of bad input: one call in a process that may die.

Run as a program it makes one call within limits that hold from after the imports on.
"""

import pickle
import resource
import sys
from pathlib import Path
from typing import NamedTuple

import bad_input_cases
import numpy as np
import python_call
from numpy.typing import NDArray

import lenet_cpp
from lenet_cpp.data.mnist import read_idx


class Result(NamedTuple):
    """What came of a call, through any route."""

    kind: str  # the name of an error, or "ok"
    message: str
    output: NDArray[np.float32] | None = None
    peak_mib: float = 0


def options_of(case, request):
    switches = {"true": True, "false": False}
    return {
        name: switches.get(value, value) if isinstance(value, str) else value
        for name, value in request.options.items()
    }


def images_of(case, request):
    if case.array is not None:
        return case.array()
    if request.input is not None:
        return read_idx(request.input)
    return np.zeros((1, 28, 28), np.float32)


def call(name, request):
    """Make the call; an error that is not ours leaves as it is."""
    case = next(case for case in bad_input_cases.CASES if case.name == name)
    arguments = {**request.model, **options_of(case, request)}
    try:
        if request.pool is not None:
            arguments["size"] = request.pool
            output = lenet_cpp.PredictorPool(**arguments).run(images_of(case, request))
        else:
            with lenet_cpp.Predictor(**arguments) as predictor:
                output = predictor.run(images_of(case, request))
    except lenet_cpp.Error as error:
        return Result(type(error).__name__, str(error))
    return Result("ok", "", output, peak_mib())


def peak_mib():
    status = Path("/proc/self/status").read_text()
    kib = next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]
    return int(kib) / 1024


def main():
    name, request, address_space = pickle.loads(Path(sys.argv[1]).read_bytes())
    if address_space is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + address_space
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    Path(sys.argv[2]).write_bytes(pickle.dumps(call(name, request)))


if __name__ == "__main__":
    python_call.main()  # under its own name, by which the result can be read
