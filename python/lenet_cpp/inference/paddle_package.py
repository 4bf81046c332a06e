"""The versions of the installed paddlepaddle, read without importing it."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple


class PaddlePackage(NamedTuple):
    """The installed paddlepaddle."""

    version: str
    commit: str | None
    cuda: str | None
    """The version of CUDA that it was built with; None for a build without CUDA."""
    cudnn: str | None


@cache
def installed_paddle() -> PaddlePackage | None:
    """Read the version file of the installed paddlepaddle; return None without one."""
    spec = find_spec("paddle")
    if spec is None or spec.origin is None:
        return None
    try:
        source = (Path(spec.origin).parent / "version" / "__init__.py").read_text(encoding="utf-8")
    except OSError:
        return None
    values: dict[str, str] = {}
    for node in ast.parse(source).body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        ):
            values[node.targets[0].id] = str(node.value.value)

    def known(name: str) -> str | None:
        # A build without CUDA has the string 'False' for its version.
        value = values.get(name, "")
        return None if value in {"", "False", "None", "OFF"} else value

    version = known("full_version")
    if version is None:
        return None
    return PaddlePackage(version, known("commit"), known("cuda_version"), known("cudnn_version"))


def library_facts(version: str) -> dict[str, Any]:
    """Return the facts about a Paddle library that a report of run settings has.

    Args:
        version: The library's version; the installed package tells the rest if it has the same.
    """
    package = installed_paddle()
    same = package if package is not None and package.version == version else None
    return {
        "paddle_version": version,
        "paddle_commit": same and same.commit,
        "cuda_version": same and same.cuda,
        "cudnn_version": same and same.cudnn,
    }
