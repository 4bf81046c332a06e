"""The child process of the memory measurement: prints a line of JSON for every sample.

Run as ``python -m tools.benchmark.memory_worker`` with one argument, the task as JSON:
``{"factory": "FILE.py:NAME", "model": {...}, "kind": "runs" or "creations", "count": N, "samples":
S, "seed": K}``. A sample is ``[how many are done, resident bytes]``.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import TYPE_CHECKING

import numpy as np

from tools.benchmark.worker import load_factory, memory, take_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

__all__ = ["LARGEST_BATCH", "batch_sizes"]

LARGEST_BATCH = 256


def batch_sizes(count: int, seed: int) -> NDArray[np.int64]:
    """Return ``count`` batch sizes from 1 to 256, as many from 1 to 16 as from 16 to 256."""
    exponents = np.random.default_rng(seed).random(count) * np.log(LARGEST_BATCH + 1)
    sizes: NDArray[np.int64] = np.exp(exponents).astype(np.int64)
    return sizes


def _main() -> None:
    samples = take_output()
    task = json.loads(sys.argv[1])
    images = np.random.default_rng(task["seed"]).random((LARGEST_BATCH, 1, 28, 28), np.float32)
    factory = load_factory(task["factory"])
    count = task["count"]
    every = max(1, count // task["samples"])

    def sample(done: int) -> None:
        samples.write(json.dumps([done, memory()["resident"]]) + "\n")
        samples.flush()

    if task["kind"] == "runs":
        run = factory(task["model"])
        run(images)  # what the largest batch needs is there from the start
        sample(0)
        for i, size in enumerate(batch_sizes(count, task["seed"]).tolist(), start=1):
            run(images[:size])
            if i % every == 0:
                sample(i)
    else:
        factory(task["model"])(images[:1])
        gc.collect()
        sample(0)
        for i in range(1, count + 1):
            factory(task["model"])(images[:1])
            if i % every == 0:
                gc.collect()
                sample(i)
    os._exit(0)


if __name__ == "__main__":
    _main()
