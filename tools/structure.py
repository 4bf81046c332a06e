#!/usr/bin/env python3
"""Print what the structure of the Python package costs a reader, beside the limit of each count.

    python tools/structure.py        exit status 1 when a count is above its limit

``tests/project/test_structure.py`` runs this. Lower a limit when the work gets below it; raise one
only with the reason in the commit.
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
_CPP = ("cpp/src", "cpp/apps", "cpp/bindings", "cpp/include")
# Not rooms: the package's own files, and what only lies there to be installed.
_NOT_ENTRIES = {"__init__.py", "__main__.py", "_core.pyi", "py.typed", "bundled", "__pycache__"}


class Count(NamedTuple):
    """Something that is counted, and how much of it there may be."""

    what: str
    limit: int
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
    Count("entries of python/lenet_cpp", 14, _entries),
    Count("pairs of rooms that import", 65, lambda: len(room_edges())),
    Count("names imported inside functions", 5, _imports_in_functions),
    Count("modules that start processes", 2, _subprocess_modules),
    Count("lines of python/lenet_cpp", 22_560, _lines("python/lenet_cpp")),
    Count("lines of interchange", 3_505, _lines("python/lenet_cpp/interchange")),
    Count("lines of cli", 2_495, _lines("python/lenet_cpp/cli")),
    Count("lines of quantize", 2_190, _lines("python/lenet_cpp/quantize")),
    Count("files of quantize", 10, lambda: len([*PACKAGE.glob("quantize/*.py")])),
    Count("lines of tools", 10_820, _lines("tools")),
    Count("lines of tools/hostile", 2_902, _lines("tools/hostile")),
    Count("lines of tools/benchmark", 3_591, _lines("tools/benchmark")),
    Count("lines of C++", 30_360, _lines(*_CPP, suffixes=(".cc", ".h"))),
    Count("lines of cpp/serve", 5_850, _lines("cpp/serve", suffixes=(".cc", ".h"))),
    Count("lines of web", 1_200, _lines("web", suffixes=(".cc", ".js", ".css", ".html", ".txt"))),
    Count("lines of tests", 37_234, _lines("tests", "cpp/tests", suffixes=(".py", ".cc", ".h"))),
)


def main() -> int:
    """Print the table; return 1 when a limit is exceeded."""
    exceeded = False
    for each in COUNTS:
        found = each.now()
        exceeded |= found > each.limit
        mark = "  EXCEEDED" if found > each.limit else ""
        print(f"{each.what:36} {found:7,}  of at most {each.limit:7,}{mark}")
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
