"""The child process of :class:`tools.hostile.Workshop`."""

from __future__ import annotations

import json
import os
import resource
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lenet_cpp.errors import Error
from lenet_cpp.inference.predictor import Predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lenet_cpp.inference.predictor import Options

__all__ = ["main"]

_MOST_VALUES = 1 << 22


def main() -> None:
    """Try out one model a line of standard input; answer each with a line of JSON."""
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Paddle prints is no answer
    for line in sys.stdin:
        request = json.loads(line)
        kind, detail, message = _try_out(**request)
        print(json.dumps({"kind": kind, "detail": detail, "message": message[:500]}), file=answers)
        answers.flush()


def _try_out(original: str, model: str, **how: str) -> tuple[str, str, str]:
    reference = _run if original == model else _expected
    expected = reference(original, **how)
    try:
        found = _run(model, **how)
    except Error as error:
        return "refused", type(error).__name__, str(error)
    if found.shape == expected.shape and found.tobytes() == expected.tobytes():
        return "equal", "", ""
    return "different", "finite" if np.isfinite(found).all() else "non-finite", ""


@cache
def _expected(original: str, **how: str) -> NDArray[np.float32]:
    return _run(original, **how)


def _run(model: str, engine: str, accelerator: str, precision: str) -> NDArray[np.float32]:
    """Run a model on the same numbers whatever input it asks for, and clone it."""
    params = None if Path(model).name == "__model__" else Path(model).with_suffix(".pdiparams")
    options: Options = {
        "engine": engine,
        "accelerator": accelerator,
        "precision": precision,
        "check_hashes": False,
    }
    with Predictor(model, params, **options) as predictor:
        shape = [3 if size < 0 else size for size in predictor.input_spec.shape]
        if np.prod(shape, dtype=float) > _MOST_VALUES:
            shape = [3, 1, 28, 28]
        values = np.random.default_rng(7).random(2352, dtype=np.float32)
        images = np.resize(values, shape)
        predictor.run(images[:1])
        return predictor.run(images)


if __name__ == "__main__":
    main()
