"""The library folder: what it looks like, whether it is whole, how a new one takes its place."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddle_library import COMMAND
from paddle_library.failures import (
    BAD_ARCHIVE,
    NOT_FOUND,
    USAGE,
    VERSION_MISMATCH,
    Failure,
    printable,
)
from paddle_library.versions import (
    folder_facts,
    is_supported,
    package_facts,
    range_text,
    read_small,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = "paddle/include/paddle_inference_api.h"
LIBRARY = "paddle/lib/libpaddle_inference.so"
NEEDED = (HEADER, LIBRARY, "version.txt")
# What an archive or a wheel-made folder holds at its top: only such a folder is ever replaced.
KNOWN_ENTRIES = {"paddle", "third_party", "CMakeCache.txt", "version.txt", "source.json"}


@dataclass
class Installed:
    """What a finished folder holds."""

    kind: str
    version: str
    facts: dict[str, str]
    record: dict[str, Any]

    def __str__(self) -> str:
        """Say it in one line."""
        commit = self.facts.get("GIT COMMIT ID", "unknown")[:12]
        how = self.facts.get("Layout") or self.record.get("url") or "unpacked by hand"
        version = self.version or "of unknown version"
        return f"Paddle {version}, commit {commit}, {self.kind} ({how})"


def is_elf(path: Path) -> bool:
    """Say whether a file begins as a shared library does."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def inspect(folder: Path) -> Installed:
    """Return what ``folder`` holds; a Failure says what is wrong with it."""
    remedy = f"run {COMMAND} again with --force"
    if not folder.is_dir():
        why = "is not a folder" if folder.exists() else "does not exist"
        raise Failure(NOT_FOUND, f"{folder} {why}: run {COMMAND}")
    for name in NEEDED:
        if not (folder / name).is_file():
            why = "is a dangling link" if (folder / name).is_symlink() else "is missing"
            raise Failure(NOT_FOUND, f"{folder / name} {why}: {remedy}")
    if not is_elf(folder / LIBRARY):
        raise Failure(BAD_ARCHIVE, f"{folder / LIBRARY} is not an ELF library: {remedy}")
    facts = folder_facts(folder)
    version = facts.get("Paddle version", "")
    if facts.get("Source") == "wheel":
        _check_made_from_wheel(folder, version, remedy)
        return Installed("wheel", version, facts, {})
    record: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        loaded = json.loads(read_small(folder / "source.json"))
        record = loaded if isinstance(loaded, dict) else {}
    return Installed("official", version or str(record.get("version") or ""), facts, record)


def _check_made_from_wheel(folder: Path, version: str, remedy: str) -> None:
    """Check what only a folder made from the wheel has: libs, a supported and unmoved version."""
    if not (folder / "paddle/libs/libphi.so").is_file():
        raise Failure(NOT_FOUND, f"{folder / 'paddle/libs'} has no libphi.so: {remedy}")
    if not is_supported(version):
        raise Failure(VERSION_MISMATCH, f"{folder}: Paddle {version} is not {range_text()}")
    link = folder / "paddle/lib/libpaddle.so"
    if link.is_symlink():
        actual = package_facts((link.parent / link.readlink()).parent.parent)
        if actual.get("full_version", version) != version:
            raise Failure(
                VERSION_MISMATCH,
                f"{folder} was made for Paddle {version}, but the wheel it links to is now"
                f" {actual['full_version']}: {remedy}",
            )


def report(folder: Path, before: str = "", after: str = "") -> None:
    """Print in one line what ``folder`` holds; a Failure says what is wrong with it."""
    print(f"{folder}: {before}{printable(inspect(folder))}{after}")


def check_replaceable(output: Path) -> None:
    """Refuse to replace a folder that holds anything but a Paddle Inference library."""
    if output.is_symlink() or not output.exists():
        return
    entries = {entry.name for entry in output.iterdir()} if output.is_dir() else {output.name}
    ours = "source.json" in entries or not entries - KNOWN_ENTRIES
    if entries and not (ours and os.path.lexists(output / LIBRARY)):
        raise Failure(
            USAGE,
            f"{output} is there but is no Paddle Inference folder, so it stays as it is: move it"
            " away or choose another --output-dir",
        )


@contextlib.contextmanager
def staging(output: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``output``, gone afterwards unless it was renamed."""
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.new-", dir=output.parent))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def swap_in(tree: Path, output: Path) -> None:
    """Rename ``tree`` to ``output``; a valid folder that was there is back if anything fails."""
    check_replaceable(output)
    aside = Path(tempfile.mkdtemp(prefix=f".{output.name}.old-", dir=output.parent)) / "old"
    try:
        if os.path.lexists(output):
            output.rename(aside)
        tree.rename(output)
        inspect(output)
    except BaseException:
        if os.path.lexists(aside):
            shutil.rmtree(output, ignore_errors=True)
            aside.rename(output)
        elif not tree.exists():
            shutil.rmtree(output, ignore_errors=True)
        raise
    finally:
        if os.path.lexists(output) or not os.path.lexists(aside):
            shutil.rmtree(aside.parent, ignore_errors=True)
