"""The versions of the installed paddlepaddle, read without importing it."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@cache
def installed_paddle() -> dict[str, str]:
    """Return what the version file of the installed paddlepaddle sets; nothing without one."""
    spec = find_spec("paddle")
    if spec is None or spec.origin is None:
        return {}
    try:
        source = (Path(spec.origin).parent / "version" / "__init__.py").read_text(encoding="utf-8")
    except OSError:
        return {}
    found = re.findall(r"^(\w+) *= *'(.*)'", source, re.MULTILINE)
    # A build without CUDA has the string 'False' for its version.
    return {name: value for name, value in found if value not in {"", "False", "None", "OFF"}}


def library_facts(version: str) -> dict[str, Any]:
    """Return the facts about a Paddle library that a report of run settings has.

    Args:
        version: The library's version; the installed package tells the rest if it has the same.
    """
    package = installed_paddle()
    same = package if package.get("full_version") == version else {}
    return {
        "paddle_version": version,
        "paddle_commit": same.get("commit"),
        "cuda_version": same.get("cuda_version"),
        "cudnn_version": same.get("cudnn_version"),
    }
