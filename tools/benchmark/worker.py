"""The child process of the benchmark: one contender, one line of JSON in, one line out.

Run by its path, with one argument: the contender as JSON, ``{"factory": "FILE.py:NAME", "model":
{...}, "images": "FILE.npy", "image_shape": [C, H, W]}``. It imports the factory, makes the
contender, runs one image of zeros, and says when that was done; then it obeys the lines of standard
input:

* ``{"do": "outputs", "batch": N, "images": M, "file": F}`` runs M images, N at a time, and writes
  the outputs to F (.npy);
* ``{"do": "warm", "batch": N, "seconds": S}`` runs until the time of a run is stable;
* ``{"do": "block", "batch": N, "seconds": S, "least": R, "warmup": S}`` times single runs;
* ``{"do": "engine", "batch": N}`` says what lenet_cpp runs such batches with;
* ``{"do": "memory"}`` says what the process holds.

It ends with standard input.
"""

from __future__ import annotations

import sys
import time

_STARTED = time.monotonic()

# Run by its path, Python would look for modules beside this file first.
if __name__ == "__main__":
    del sys.path[0]

import gc
import importlib.util
import json
import os
import signal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

__all__ = [
    "block",
    "die_with_parent",
    "engine_of",
    "load_factory",
    "memory",
    "take_output",
    "warm",
]

# A window of runs, and how close the medians of two in a row have to be.
_WINDOW_RUNS = 5
_WINDOW_SECONDS = 0.02
_STABLE = 0.05


def load_factory(name: str) -> Callable[[Any], Run]:
    """Return the function that ``FILE.py:NAME`` names."""
    path, _, function = name.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem + "_of_benchmark", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    factory: Callable[[Any], Run] = getattr(module, function)
    return factory


def _window(run: Run, batch: NDArray[np.float32]) -> list[int]:
    times: list[int] = []
    while len(times) < _WINDOW_RUNS or sum(times) < 1e9 * _WINDOW_SECONDS:
        begin = time.perf_counter_ns()
        run(batch)
        times.append(time.perf_counter_ns() - begin)
    return times


def warm(run: Run, batch: NDArray[np.float32], seconds: float) -> dict[str, object]:
    """Run windows of at least 5 runs and 20 ms until the medians of two are within 5 %.

    Args:
        run: The contender.
        batch: What to run.
        seconds: When to give up.
    """
    start = time.perf_counter()
    times = _window(run, batch)
    runs = len(times)
    before, stable = float(np.median(times)), False
    while not stable and time.perf_counter() - start < seconds:
        times = _window(run, batch)
        runs += len(times)
        now = float(np.median(times))
        stable = abs(now - before) <= _STABLE * before
        before = now
    return {"runs": runs, "stable": stable, "median_ns": before}


def block(
    run: Run, batch: NDArray[np.float32], *, seconds: float, least: int, warmup: float
) -> list[int]:
    """Time single runs, in nanoseconds, with the garbage collector held off.

    Args:
        run: The contender.
        batch: What to run.
        seconds: How long.
        least: The fewest runs, should they take longer than that.
        warmup: Seconds of runs before, at least one, to fill the caches anew.
    """
    clock = time.perf_counter_ns
    gc.collect()
    gc.disable()
    try:
        until = clock() + int(1e9 * warmup)
        run(batch)
        while clock() < until:
            run(batch)
        times: list[int] = []
        end = clock()
        until = end + int(1e9 * seconds)
        while end < until or len(times) < least:
            begin = clock()
            run(batch)
            end = clock()
            times.append(end - begin)
    finally:
        gc.enable()
    return times


def memory() -> dict[str, int]:
    """Return the process's resident memory and the most it ever was, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {
        name: 1024 * int(fields[key].split()[0])
        for name, key in (("resident", "VmRSS"), ("peak", "VmHWM"))
    }


def engine_of(run: Run, images: int) -> str | None:
    """Return the engine, and of several its accelerator, of a method of lenet_cpp's predictor.

    Args:
        run: The contender.
        images: At once.

    Returns:
        Such as ``"native"`` or ``"paddle, openvino"``; None of what is no such method.
    """
    predictor = getattr(run, "__self__", None)
    if predictor is None or not hasattr(predictor, "accelerator"):
        return None
    engine: str = predictor.options["engine"]
    return f"{engine}, {predictor.accelerator(images)}" if engine == "paddle" else engine


def _answer(run: Run, images: NDArray[np.float32], order: dict[str, Any]) -> object:
    action = order["do"]
    if action == "memory":
        return memory()
    if action == "engine":
        return {"engine": engine_of(run, order["batch"])}
    batch = images[: order["batch"]]
    if action == "outputs":
        begin = time.perf_counter()
        results = [run(batch)]
        elapsed = time.perf_counter() - begin
        for start in range(len(batch), order["images"], len(batch)):
            # Some engines answer with the same memory every time.
            results[-1] = np.array(results[-1])
            results.append(run(images[start : start + len(batch)]))
        np.save(order["file"], np.concatenate(results))
        return {"first_run_ms": 1e3 * elapsed}
    if action == "warm":
        return warm(run, batch, order["seconds"])
    return block(run, batch, seconds=order["seconds"], least=order["least"], warmup=order["warmup"])


def take_output() -> IO[str]:
    """Return standard output, which from then on is standard error to everybody else.

    Paddle and others print on it.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def die_with_parent() -> None:
    """Have the kernel end this process with its parent: stopped, it would not see the end."""
    import ctypes

    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _main() -> None:
    answers = take_output()
    contender = json.loads(sys.argv[1])

    def answer(value: object) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    factory = load_factory(contender["factory"])
    zeros = np.zeros((1, *contender["image_shape"]), np.float32)
    imported = time.monotonic()
    run = factory(contender["model"])
    created = time.monotonic()
    run(zeros)
    done = time.monotonic()
    die_with_parent()  # before the answer, upon which the parent stops this process
    answer(
        {
            "done": done,
            "import_ms": 1e3 * (imported - _STARTED),
            "create_ms": 1e3 * (created - imported),
            "first_run_ms": 1e3 * (done - created),
        }
    )
    images = np.load(contender["images"])
    for line in sys.stdin:
        answer(_answer(run, images, json.loads(line)))
    # The engines' own way down takes long and is not what is measured.
    os._exit(0)


if __name__ == "__main__":
    _main()
