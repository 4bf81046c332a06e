"""Images, comparisons and child processes for the tests of predictors."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.agreement import compare

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


SHAPE = (-1, 1, 28, 28)
ACCELERATORS = ("plain", "onednn", "openvino")


def digits(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Random images whose values are exact in float16, so that every element type holds them."""
    pixels = np.random.default_rng(seed).integers(0, 2048, (count, 1, 28, 28))
    return pixels.astype(np.float32) / np.float32(2048)


def close(found: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    return compare(expected, found).agrees


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def in_child(code: str, *arguments: object, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
