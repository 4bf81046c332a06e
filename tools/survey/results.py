"""The results of a survey: a JSON file in docs/results, and tables of it in the documents."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from importlib import metadata
from typing import TYPE_CHECKING, Any

import lenet_cpp
from lenet_cpp._base.files import write_text

if TYPE_CHECKING:
    from pathlib import Path


def about(*packages: str) -> dict[str, Any]:
    """Return what results begin with: the date, and the versions of lenet_cpp and of packages."""
    # What follows a "+" says how a package was built, such as "+cpu".
    versions = {name: metadata.version(name).partition("+")[0] for name in packages}
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {"lenet_cpp": lenet_cpp.__version__, **versions},
    }


def write(path: Path, result: dict[str, Any]) -> None:
    """Write results as JSON, atomically."""
    write_text(path, json.dumps(result, indent=1) + "\n")


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
