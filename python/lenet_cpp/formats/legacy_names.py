"""The name of the program in the legacy separate layout."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LEGACY_PROGRAM = "__model__"


@contextmanager
def linked_as_legacy(program: Path) -> Iterator[Path]:
    """Yield a folder in which a program of any name is called ``__model__``, as Paddle expects.

    Args:
        program: The program; the files of its variables are beside it.
    """
    if program.name == LEGACY_PROGRAM:
        yield program.parent
        return
    with tempfile.TemporaryDirectory(prefix="lenet_cpp-") as folder:
        yield link_as_legacy(program, Path(folder))


def link_as_legacy(program: Path, folder: Path) -> Path:
    """Link a program, as ``__model__``, and the files beside it into an empty folder; return it."""
    folder.mkdir(exist_ok=True)
    for path in program.parent.iterdir():
        if path.is_file():
            name = LEGACY_PROGRAM if path.name == program.name else path.name
            (folder / name).symlink_to(path.resolve())
    return folder
