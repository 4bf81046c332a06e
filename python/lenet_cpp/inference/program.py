"""Run the C++ program, ``lenet_infer_test``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lenet_cpp import errors
from lenet_cpp._base.worker import run_program
from lenet_cpp.errors import BackendFailure, FileNotFound

if TYPE_CHECKING:
    from pathlib import Path


def call_program(program: Path, *arguments: str) -> str:
    """Run the program and return its output.

    Args:
        program: The path of the program.
        arguments: Its flags.

    Raises:
        FileNotFound: There is no such program, or it cannot be started.
        lenet_cpp.Error: The program reported this error by its exit code.
        BackendFailure: A signal ended the program, or its exit code is unknown.
    """
    try:
        child = run_program([program.absolute(), *arguments])
    except OSError as error:
        raise FileNotFound(
            f"cannot run {program} ({error.strerror}): build it with ./run.sh"
        ) from error
    if child.returncode == 0:
        return child.stdout
    said = child.stderr.strip().splitlines() or ["it printed nothing"]
    if child.returncode < 0:
        raise BackendFailure(f"{program} was ended by signal {-child.returncode}: {said[-1]}")
    kinds = (getattr(errors, name) for name in errors.__all__)
    by_exit_code = {kind.exit_code: kind for kind in kinds}
    raise by_exit_code.get(child.returncode, BackendFailure)(said[-1])
