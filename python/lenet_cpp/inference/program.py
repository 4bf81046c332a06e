"""Find and run the C++ programs."""

import os
import shutil
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NoReturn

from lenet_cpp import errors
from lenet_cpp._base.worker import run_program
from lenet_cpp.errors import BackendFailure, FileNotFound


def find_built(name: str, root: Path) -> Path | None:
    """Return a C++ program: that of a clone, else of this package, else the one in ``PATH``."""
    installed = str(files("lenet_cpp") / "bin")  # by the build, with what it could build
    for folder in (root / "build", Path(installed)):
        if (folder / name).is_file():
            return folder / name
    found = shutil.which(name)
    return Path(found) if found else None


def become_program(program: Path, arguments: Sequence[str]) -> NoReturn:
    """Run the program in place of this process, which gets its output, signals and exit code.

    Raises:
        FileNotFound: There is no such program, or it cannot be started.
    """
    sys.stdout.flush()
    try:
        # A child's signals and exit code would have to be passed on, and it would outlive this
        # process when that is killed. S606 warns that no shell reads the arguments: none should.
        os.execv(program, [str(program), *arguments])  # noqa: S606
    except OSError as error:
        raise _not_started(program, error) from error


def call_program(program: Path, *arguments: str) -> str:
    """Run the program and return its output.

    Raises:
        FileNotFound: There is no such program, or it cannot be started.
        lenet_cpp.Error: The program reported this error by its exit code.
        BackendFailure: A signal ended the program, or its exit code is unknown.
    """
    try:
        child = run_program([program.absolute(), *arguments])
    except OSError as error:
        raise _not_started(program, error) from error
    if child.returncode == 0:
        return child.stdout
    raise error_of(program, child.returncode, child.stderr)


def error_of(program: Path, code: int, printed: str) -> errors.Error:
    """Return the error that a program has reported.

    Args:
        program: The program.
        code: Its exit code, or the negative number of the signal that ended it.
        printed: What it printed to standard error.
    """
    said = printed.strip().splitlines() or ["it printed nothing"]
    if code < 0:
        return BackendFailure(f"{program} was ended by signal {-code}: {said[-1]}")
    kinds = (getattr(errors, name) for name in errors.__all__)
    by_exit_code = {kind.exit_code: kind for kind in kinds}
    kind: type[errors.Error] = by_exit_code.get(code, BackendFailure)
    return kind(said[-1])


def _not_started(program: Path, error: OSError) -> FileNotFound:
    return FileNotFound(f"cannot run {program} ({error.strerror}): build it with ./run.sh")
