"""What the workers that export operators share, in the environment of any framework.

It imports nothing of the project, because some workers run in environments that do not have it.
"""

from __future__ import annotations

import json
import shutil
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

SIZES = (3, 8, 8)
"""The shape of an image."""
BATCHES = (1, 2, 3)
"""The numbers of images that a file is run on."""


def make_input(name: str, images: int) -> Any:
    """Return an operator's input, float32 of [images, *SIZES]: the same in every run."""
    random = np.random.RandomState(zlib.crc32(name.encode()) % 10000 + images)
    return random.uniform(-1, 1, (images, *SIZES)).astype("float32")


def last_line(error: BaseException) -> str:
    """Return the end of what an exception says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ((lines or [""])[-1].split(" (at /")[0])[:300] or type(error).__name__


def write_entries(
    root: Path, names: Iterable[str], write: Callable[[str, Path], dict[str, Any]]
) -> None:
    """Export each operator into a folder of its own, with an entry.json of how it went.

    Operators that have an entry are left out. One whose folder was begun without an entry ended
    the process before, and is not tried again: so a crash costs one operator.

    Args:
        root: Holds the folders.
        names: The operators.
        write: Exports one into a folder that is empty, and returns its entry.
    """
    for name in names:
        folder = root / name
        if (folder / "entry.json").exists():
            continue
        if (folder / "begun").exists():
            entry = {"outcome": "not exported", "said": "it ends the process"}
        else:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (folder / "begun").touch()
            try:
                entry = write(name, folder)
            except Exception as error:  # noqa: BLE001 - a part of the result
                said = f"{type(error).__name__}: {last_line(error)}"
                entry = {"outcome": "not run", "said": said}
        (folder / "entry.json").write_text(json.dumps({"name": name, **entry}))
