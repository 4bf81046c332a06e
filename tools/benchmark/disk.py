"""The bytes on disk of what a user needs: packages with their dependencies, or a program."""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

from lenet_cpp._base.worker import run_program


@cache
def package_bytes(
    requirements: tuple[str, ...], site: Path | None = None, sources: Path | None = None
) -> int | None:
    """Return the bytes of installed packages and of all that they require; None if one is missing.

    They are those of the files that the packages' metadata lists. Python itself does not count.

    Args:
        requirements: As pip takes them; their versions are not compared.
        site: The folder ``site-packages`` of another environment.
        sources: A folder whose files count too. The metadata of an editable installation does not
            list the sources.
    """
    from packaging.requirements import Requirement

    path = sys.path if site is None else [str(site)]
    files = {file.resolve() for file in sources.rglob("*")} if sources else set()
    left = [Requirement(one) for one in requirements]
    seen: set[tuple[str, str]] = set()
    while left:
        one = left.pop()
        package = next(iter(metadata.distributions(name=one.name, path=path)), None)
        if package is None:
            return None
        for extra in ("", *one.extras):
            if (package.name, extra) not in seen:
                seen.add((package.name, extra))
                needed = map(Requirement, package.requires or ())
                left += [r for r in needed if not r.marker or r.marker.evaluate({"extra": extra})]
                listed = package.files or ()
                files.update(Path(str(file.locate())).resolve() for file in listed)
    return sum(file.stat().st_size for file in files if file.is_file())


def program_bytes(program: Path) -> int:
    """Return the bytes of a program and of the libraries of this project that it loads."""
    printed = run_program(["ldd", program]).stdout
    libraries = re.findall(r"^\s*liblenet\S* => (\S+)", printed, re.MULTILINE)
    return sum(file.stat().st_size for file in (program, *map(Path, libraries)))
