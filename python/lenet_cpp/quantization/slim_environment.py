"""PaddleSlim in an environment of its own.

PaddleSlim 2.6.0 wants NumPy 1 and does not declare all that it imports. It is kept out of the
user's environment: made once, when it is asked for, in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from lenet_cpp.errors import BackendFailure, Unsupported

if TYPE_CHECKING:
    from pathlib import Path

    from lenet_cpp.quantization.child import Report

__all__ = ["PADDLESLIM", "environment_python", "is_made", "requirements"]

PADDLESLIM = "2.6.0"
_TIMEOUT_SECONDS = 1800


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


def is_made() -> bool:
    """Whether there is an environment already.

    Raises:
        Unsupported: As :func:`requirements`.
    """
    folder = _folder(requirements())
    return (folder / "ready").is_file() and (folder / "bin" / "python").exists()


def _folder(wanted: tuple[str, ...]) -> Path:
    from lenet_cpp.models.weights import cache_folder

    key = hashlib.sha256("\n".join([*wanted, sys.version, sys.prefix]).encode()).hexdigest()[:12]
    return cache_folder().parent / f"paddleslim-{PADDLESLIM}-{key}"


def environment_python(*, report: Report | None = None, python: str | None = None) -> Path:
    """Return the interpreter of the environment; make the environment if there is none.

    Args:
        report: Takes the progress.
        python: The interpreter to make it with; ours when None.

    Raises:
        BackendFailure: It cannot be made: no network, no space; says what pip said last.
        Unsupported: Paddle was not installed by pip.
    """
    wanted = requirements()
    folder = _folder(wanted)
    found = folder / "bin" / "python"
    if is_made():
        return found
    # An environment cannot be moved, so that it is made in place; "ready" says that it is whole.
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    steps = (
        ("making an environment", [python or sys.executable, "-m", "venv", str(folder)]),
        (
            "installing PaddleSlim",
            [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted],
        ),
        ("trying PaddleSlim", [str(found), "-c", "import paddleslim"]),
    )
    try:
        for number, (what, command) in enumerate(steps):
            if report is not None:
                report(what, number, len(steps))
            _run(what, command)
        (folder / "ready").write_text("\n".join(wanted) + "\n", encoding="utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if report is not None:
        report("PaddleSlim", len(steps), len(steps))
    return found


def _run(what: str, command: list[str]) -> None:
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    try:
        done = subprocess.run(  # noqa: S603 - pip and the interpreter of the environment
            command,
            capture_output=True,
            check=False,
            env=environment,
            text=True,
            timeout=_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendFailure(f"{what} failed: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith("ERROR")), lines[-1:] or "nothing")
        reason = said if isinstance(said, str) else said[0]
        raise BackendFailure(
            f"{what} failed: {reason.strip()}; it needs the network and 1.5 GB of space, or use"
            " --via paddle"
        )
