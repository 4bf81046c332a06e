"""Recognise tables of images by their names.

This module is apart from :mod:`lenet_cpp.bulk.tables`, because ``lenet-cpp predict`` imports it.
"""

import glob
import re
from collections.abc import Iterable
from pathlib import Path

_IDX = re.compile(r"(-ubyte|\.idx\d*)(\.gz)?$")


def is_table(name: Path) -> bool:
    """Return whether a name is that of a file of many images, or of a folder or glob of those."""
    return bool(tables_of(name))


def tables_of(name: Path) -> list[Path]:
    """Return the tables that the name of a file, a folder or a glob stands for, sorted."""
    found: Iterable[Path] = (name,)
    if name.is_dir():
        found = name.iterdir()
    elif not name.exists() and glob.has_magic(str(name)):
        found = map(Path, glob.glob(str(name), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    return sorted(path for path in found if is_table_file(path))


def is_table_file(path: Path) -> bool:
    """Return whether a file holds a table, by its suffix."""
    return path.suffix in {".npy", ".parquet"} or bool(_IDX.search(path.name))
