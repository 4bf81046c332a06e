"""Paddle's versions: how they compare, which are supported, where Paddle states its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from paddle_library import ROOT
from paddle_library.failures import NOT_FOUND, USAGE, Failure

if TYPE_CHECKING:
    from pathlib import Path


def release(version: str) -> tuple[int, ...]:
    """Return the release numbers of a version: (3, 1, 0) for "3.1.0rc1"."""
    match = re.match(r"\d{1,9}(\.\d{1,9})*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def supported_range() -> tuple[str, str]:
    """Read the supported paddlepaddle range, lowest and first too high, from pyproject.toml."""
    path = ROOT / "pyproject.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Failure(NOT_FOUND, f"{path} not found: run the script from a whole clone") from error
    match = re.search(r'^  "paddlepaddle>=([\d.]+),<([\d.]+)"', text, re.MULTILINE)
    if not match:
        raise Failure(USAGE, f'{path}: no "paddlepaddle>=A,<B" in the extra paddle')
    return match[1], match[2]


def is_supported(version: str) -> bool:
    """Say whether this project works with that paddlepaddle."""
    low, high = supported_range()
    return release(low) <= release(version) < release(high)


def range_text() -> str:
    """Name the supported range in a message."""
    low, high = supported_range()
    return f"supported (>={low},<{high})"


def read_small(path: Path) -> str:
    """Read a text file of which no more than 64 KiB is believed."""
    with path.open("rb") as file:
        return file.read(64 << 10).decode("utf-8", "replace")


def package_facts(package: Path) -> dict[str, str]:
    """Read the assignments of paddle/version/__init__.py as text; {} when it is not there."""
    try:
        text = read_small(package / "version/__init__.py")
    except OSError:
        return {}
    return dict(re.findall(r"^(\w+)\s*=\s*'([^'\n]*)'", text, re.MULTILINE))


def folder_facts(folder: Path) -> dict[str, str]:
    """Read the "Key: value" lines of a library folder's version.txt."""
    lines = read_small(folder / "version.txt").splitlines()
    return {k.strip(): v.strip()[:100] for k, _, v in (line.partition(":") for line in lines)}
