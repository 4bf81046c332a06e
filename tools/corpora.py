"""Functions that all makers of test files use: archives without traces of the machine, progress."""

from __future__ import annotations

import io
import lzma
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_cpp._base.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping


def report(what: str, done: int, total: int) -> None:
    """Print a line of progress over the last one, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{done}/{total} {what}", end="", file=sys.stderr, flush=True)


def write_archive(archive: Path, contents: Mapping[str, bytes | Path]) -> None:
    """Write an archive atomically. A path as the content is where a symbolic link points."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(archive) as temporary,
        lzma.open(temporary, "wb", preset=9 | lzma.PRESET_EXTREME) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, Path):
                member.type, member.linkname = tarfile.SYMTYPE, str(content)
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
