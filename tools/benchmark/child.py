"""Run a contender that is a Python engine, in a process that ``turns.py`` starts.

Imports nothing of the package, which may be another one than that of the parent.
"""

from __future__ import annotations

import os
import sys
import time

_BEGUN = time.monotonic()
import numpy as np

_NUMPY_MS = 1e3 * (time.monotonic() - _BEGUN)

import gc
import importlib.util
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

_LEAST_RUNS = 3
_BUSY = 0.1  # of all the time that threads ran: a thread that computes, and not one that waits


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


def resident(field: str = "VmRSS", process: int | str = "self") -> int:
    """Return a process's resident memory in bytes: ``VmRSS``, now, or ``VmHWM``, at most."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return 1024 * int(status.partition(f"{field}:")[2].split()[0])


def thread_times() -> dict[str, int]:
    """Return how long each thread of this process has run, in nanoseconds; none where not known."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has ended meanwhile, or the kernel does not count
            found[task.name] = int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return found


def block(run: Callable[[Any], Any], batch: Any, seconds: float, warmup: float) -> list[int]:
    """Time single runs, in nanoseconds, with the garbage collector held off.

    There are three of them at least. Seconds of warm-up, two runs at least, come before.
    """
    clock = time.perf_counter_ns
    gc.collect()
    gc.disable()
    until = clock() + int(1e9 * warmup)
    run(batch)
    run(batch)
    while clock() < until:
        run(batch)
    times: list[int] = []
    end = clock()
    until = end + int(1e9 * seconds)
    while end < until or len(times) < _LEAST_RUNS:
        begin = clock()
        run(batch)
        end = clock()
        times.append(end - begin)
    gc.enable()
    return times


def turn(
    *,
    factory: str,
    model: dict[str, Any],
    images: str,
    batch_size: int,
    count: int,
    seconds: float,
    warmup: float,
    outputs: str,
    own_package: bool,
    **_: object,
) -> dict[str, Any]:
    """Load the model and run an image of zeros; then some images, and a batch for some time.

    The outputs of ``count`` images, run in batches, are written to a file; a batch is timed for so
    many seconds, if any, after some of warm-up. With ``own_package`` the package is that of this
    interpreter, and not the parent's.
    """
    if own_package:
        sys.path[:] = [entry for entry in sys.path if entry != os.environ["PYTHONPATH"]]
    make = load_factory(factory)
    begin = time.monotonic()
    run = make(model)
    loaded = time.monotonic()
    data = np.load(images, mmap_mode="r")
    zeros = np.zeros((1, *data.shape[1:]), np.float32)
    first = time.monotonic()
    run(zeros)
    done = time.monotonic()
    answer: dict[str, Any] = {"done": done, "numpy_ms": _NUMPY_MS, "about": {}, "ns": []}
    answer |= {"load_ms": 1e3 * (loaded - begin), "first_run_ms": 1e3 * (done - first)}
    if count:
        # Copies: some engines answer with the same memory every time.
        parts = [np.array(data[i : i + batch_size]) for i in range(0, count, batch_size)]
        run(parts[0])  # some prepare for the size of a batch on more threads than they run on
        before = thread_times()
        np.save(outputs, np.concatenate([np.array(run(part)) for part in parts]))
        spent = [ended - before.get(task, 0) for task, ended in thread_times().items()]
        busy = [one for one in spent if one > _BUSY * sum(spent)]
        answer["busy_threads"] = len(busy) or None
    if seconds:
        own_block = getattr(
            run, "block", None
        )  # of what runs in C++: it also takes the times there
        timed = own_block or partial(block, run)
        answer["ns"] = timed(np.array(data[:batch_size]), seconds, warmup)
    predictor: Any = getattr(run, "__self__", None)
    if hasattr(predictor, "accelerator"):
        package = sys.modules["lenet_cpp"]
        about = {"version": package.__version__, "package": str(Path(str(package.__file__)).parent)}
        used = {"accelerator": predictor.accelerator(batch_size)}
        answer["about"] = {**about, **used, "engine": predictor.options["engine"]}
    return answer | {"peak_bytes": resident("VmHWM")}


def photo(
    *, factory: str, model: dict[str, Any], path: str, seconds: float, warmup: float, **_: object
) -> dict[str, Any]:
    """Load the model and classify a photo; then do so again and again for some time."""
    run: Any = load_factory(factory)(model)
    answer = run(path)
    done = time.monotonic()
    times = block(run, path, seconds, warmup)
    return {"done": done, "answer": answer, "ns": times, "peak_bytes": resident("VmHWM")}


def memory(
    *,
    factory: str,
    model: dict[str, Any],
    images: str,
    kind: str,
    sizes: list[int],
    every: int,
    **_: object,
) -> list[tuple[int, int]]:
    """Sample the resident memory over ``runs`` of one predictor, or ``creations`` of many.

    ``sizes`` are those of the batches, and every so many runs there is a sample.

    Returns:
        Pairs of how much is done, and the resident bytes then.
    """
    data, make = np.load(images), load_factory(factory)
    run = make(model) if kind == "runs" else None
    samples = []
    for done, size in enumerate(sizes):
        (run or make(model))(data[:size])
        if done % every == 0 or done == len(sizes) - 1:
            gc.collect()
            samples.append((done, resident()))
    return samples
