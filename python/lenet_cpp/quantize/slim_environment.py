"""PaddleSlim in an environment of its own.

PaddleSlim 2.6.0 wants NumPy 1 and does not declare all that it imports. It is kept out of the
user's environment: made once, when it is asked for, in the user's cache folder.
"""

from __future__ import annotations

import sys
from importlib import metadata
from typing import TYPE_CHECKING

from lenet_cpp._base.environments import Environment
from lenet_cpp.errors import Unsupported

if TYPE_CHECKING:
    from pathlib import Path

    from lenet_cpp._base.worker import Report

PADDLESLIM = "2.6.0"


def requirements() -> tuple[str, ...]:
    """What goes into the environment: PaddleSlim, what it does not declare, and our Paddle."""
    try:
        paddle = metadata.version("paddlepaddle")
    except metadata.PackageNotFoundError as error:
        raise Unsupported(
            "PaddleSlim needs the same paddlepaddle as ours, which is not installed by pip:"
            " use --via paddle"
        ) from error
    return (
        f"paddlepaddle=={paddle}",
        f"paddleslim=={PADDLESLIM}",
        "numpy>=1.24,<2",
        "six",
        "requests",
        "decorator",
        "setuptools",
    )


def _environment() -> Environment:
    return Environment(
        name=f"paddleslim-{PADDLESLIM}",
        title="PaddleSlim",
        requirements=requirements(),
        trial="import paddleslim",
        remedy="it needs the network and 1.5 GB of space, or use --via paddle",
        key=(sys.version, sys.prefix),
    )


def is_made() -> bool:
    """Whether there is an environment already.

    Raises:
        Unsupported: As :func:`requirements`.
    """
    return _environment().find() is not None


def environment_python(*, report: Report | None = None, python: str | None = None) -> Path:
    """Return the interpreter of the environment; make the environment if there is none.

    Args:
        report: Takes the progress.
        python: The interpreter to make it with; ours when None.

    Raises:
        BackendFailure: It cannot be made: no network, no space; says what pip said last.
        Unsupported: Paddle was not installed by pip.
    """
    return _environment().make(python or sys.executable, report=report)
