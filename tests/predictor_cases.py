"""Images, comparisons and child processes for the tests of predictors."""

import sys

import numpy as np

from lenet_cpp.agreement import compare
from snippets import run_command

SHAPE = (-1, 1, 28, 28)
ACCELERATORS = ("plain", "onednn", "openvino")
WAYS = [
    *(("lenet.pdmodel", accelerator) for accelerator in ACCELERATORS),
    *(("lenet.json", accelerator) for accelerator in ("plain", "onednn")),
]
"""The programs and the accelerators of Paddle that run them."""


def digits(count, seed=0):
    """Random images whose values are exact in float16, so that every element type holds them."""
    pixels = np.random.default_rng(seed).integers(0, 2048, (count, 1, 28, 28))
    return pixels.astype(np.float32) / np.float32(2048)


def close(found, expected):
    return compare(expected, found).agrees


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def in_child(code, *arguments, cwd):
    """Return what a program prints; it ends by itself, without a word on standard error."""
    # Python 3.12 warns of any fork in a process with threads; what comes of it is tested.
    command = (sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, *arguments)
    done = run_command(*command, cwd=cwd, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), (done.returncode, done.stderr)
    return done.stdout
