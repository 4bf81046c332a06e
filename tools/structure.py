#!/usr/bin/env python3
"""Print how much there is of everything, and the limit of what may not grow without a reason.

    python tools/structure.py        exit status 1 when a count is above its limit

``./test.sh`` prints this, and ``tests/project/test_structure.py`` holds the limits. Lower one when
the work gets below it; raise one only with the reason in the commit.
"""

from __future__ import annotations

import ast
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import grimp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "lenet_cpp"
_OTHER_CPP = ("cpp/apps", "cpp/bindings", "cpp/include", "cpp/serve")
# Not rooms: the package's own files, and what only lies there to be installed.
_NOT_ENTRIES = {"__init__.py", "__main__.py", "_core.pyi", "py.typed", "bundled", "__pycache__"}


class Count(NamedTuple):
    """Something that is counted, and how much of it there may be; None: any."""

    what: str
    limit: int | None
    now: Callable[[], int]


@contextmanager
def importable() -> Iterator[Path]:
    """Yield a folder with the package in it in which ``_core`` is a module that tools can read."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "lenet_cpp")
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "bundled"))
        (copy / "_core.pyi").rename(copy / "_core.py")
        yield Path(folder)


def room_of(module: str) -> str:
    """Return the first folder or file of a module; nothing for the package itself."""
    return module.split(".")[1] if "." in module else ""


def room_edges() -> set[tuple[str, str]]:
    """Return the pairs of rooms of which the first imports from the second, in any line."""
    with importable() as folder:
        sys.path.insert(0, str(folder))
        try:
            graph = grimp.build_graph("lenet_cpp", cache_dir=None)
        finally:
            sys.path.remove(str(folder))
    pairs = {
        (room_of(module), room_of(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    return {(a, b) for a, b in pairs if a and b and b not in {a, "_core"} and a != "__main__"}


def _entries() -> int:
    names = {path.name for path in PACKAGE.iterdir() if ".so" not in path.name}  # built in place
    return len(names - _NOT_ENTRIES)


def _trees(folder: Path) -> list[ast.Module]:
    return [ast.parse(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py")]


def _imports_in_functions() -> int:
    """Count the names of the package that are imported inside functions."""
    functions = (
        node
        for tree in _trees(PACKAGE)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )
    imports = {node for each in functions for node in ast.walk(each)}  # once, of nested functions
    return sum(
        len(node.names)
        for node in imports
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lenet_cpp")
    )


def _subprocess_modules() -> int:
    names = ("run", "Popen", "check_output", "check_call", "call")
    starts = {f"subprocess.{name}" for name in names}
    return sum(
        any(
            isinstance(node, ast.Attribute) and ast.unparse(node) in starts
            for node in ast.walk(tree)
        )
        for tree in _trees(PACKAGE)
    )


def _lines(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> Callable[[], int]:
    def count() -> int:
        files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
        return sum(
            len(path.read_bytes().splitlines())
            for path in files
            if path.suffix in suffixes and "__pycache__" not in path.parts
        )

    return count


COUNTS = (
    Count("entries of python/lenet_cpp", 17, _entries),
    Count("modules that start processes", 2, _subprocess_modules),
    Count("lines of python/lenet_cpp", 21_800, _lines("python/lenet_cpp")),
    Count("lines of cpp/src", 32_271, _lines("cpp/src", suffixes=(".cc", ".h"))),
    Count("lines of other C++", None, _lines(*_OTHER_CPP, suffixes=(".cc", ".h"))),
    Count("lines of web", None, _lines("web", suffixes=(".cc", ".js", ".css", ".html", ".txt"))),
    Count("lines of tools", None, _lines("tools")),
    Count("lines of tests", None, _lines("tests", "cpp/tests", suffixes=(".py", ".cc", ".h"))),
    Count("pairs of rooms that import", None, lambda: len(room_edges())),
    Count("names imported inside functions", None, _imports_in_functions),
)


def main() -> int:
    """Print the table; return 1 when a limit is exceeded."""
    exceeded = False
    for each in COUNTS:
        found = each.now()
        line = f"{each.what:36} {found:7,}"
        if each.limit is not None:
            line += f"  of at most {each.limit:7,}"
            line += "  EXCEEDED" if found > each.limit else ""
            exceeded |= found > each.limit
        print(line)
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
