"""Find a Python of another version, for environments of old packages."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from lenet_cpp._base.worker import clean_variables, run_program
from lenet_cpp.errors import BadInput, FileNotFound, Unsupported


def find_interpreter(
    wanted: tuple[int, int], purpose: str, python: str | Path | None = None
) -> Path:
    """Return a Python of a version: the given one, ``pythonX.Y`` on PATH, or pyenv's newest.

    pyenv is looked for in ``PYENV_ROOT``, or ``~/.pyenv``. Its shims on PATH may not run.

    Args:
        wanted: The version.
        purpose: What needs it, in messages.
        python: The one to take.

    Raises:
        Unsupported: There is none.
        FileNotFound: ``python`` does not exist.
        BadInput: ``python`` is another version, or does not run.
    """
    version = ".".join(map(str, wanted))
    if python is not None:
        named = shutil.which(python)
        if named is None:
            raise FileNotFound(f"cannot run {python}: there is no such program")
        found = _version(named)
        if found != wanted:
            said = ".".join(map(str, found)) if found else "no Python that runs"
            raise BadInput(f"{python} is {said}; {purpose} needs Python {version}")
        return Path(named)
    on_path = shutil.which(f"python{version}")
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    of_pyenv = list(root.glob(f"versions/{version}.*/bin/python"))
    of_pyenv.sort(key=lambda path: [int(part) for part in re.findall(r"\d+", path.parts[-3])])
    for candidate in [*([Path(on_path)] if on_path else []), *reversed(of_pyenv)]:
        if _version(candidate) == wanted:
            return candidate
    raise Unsupported(
        f"{purpose} needs Python {version}: there is no python{version} on PATH and none in"
        f" {root / 'versions'}; install one (pyenv install {version}), or name it with --python"
    )


def _version(python: str | Path) -> tuple[int, ...] | None:
    """Return an interpreter's version, of CPython for 64 bits; None if it does not run."""
    code = "import sys; print(*sys.version_info[:2]) if sys.maxsize > 2**32 else sys.exit(1)"
    try:
        done = run_program([python, "-I", "-c", code], seconds=60, variables=clean_variables())
        return tuple(int(part) for part in done.stdout.split()) or None
    except (OSError, ValueError):
        return None
