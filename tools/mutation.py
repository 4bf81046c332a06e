#!/usr/bin/env python3
"""How many small faults in the code do the tests notice?

    python tools/mutation.py cpp --count=200 --output=build/mutation-cpp.json
    python tools/mutation.py python --count=200 --output=build/mutation-python.json

Changes one place of the code at a time, drawn at random, builds, and runs the tests of
``./test.sh --quick`` but for the linters; what those do not notice, ``--full`` gives to all tests.
Run it in a clone of its own, after ``./test.sh --quick``: it edits the files there, and restores
each before the next. A run that was stopped goes on where it was.

In Python most of the time goes into tests that never run the statement. ``--coverage`` names the
data of ``nox -s coverage``, build/coverage/python.data, or of some tests, of the same code: only
the tests that ran the statement are then run, and a statement that none ran counts as unnoticed.

In C++, ``--ctest`` runs the C++ tests only. They take 75 seconds on one core at most; building a
changed file takes 5 with ``cmake -S . -B build -DLENET_BUILD_TESTS=ON -DCMAKE_BUILD_TYPE=Debug
-DCMAKE_CXX_FLAGS_DEBUG="-O1 -Wno-mismatched-new-delete"``.

A fault that the tests do not notice is printed as it is found. It needs a test, unless it changes
no behaviour, which only a reader can say. ``--again`` judges those in the output once more: with
more tests, or without ``--ctest``.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import random
import re
import signal
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from coverage import CoverageData
from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {
    "cpp": (
        "cpp/src/engines/native/**/*.h",
        "cpp/src/engines/native/**/*.cc",
        "cpp/src/model/**/*.cc",
        "cpp/serve/*.cc",
    ),
    "python": ("python/lenet_cpp/**/*.py",),
}
# What stands in the code, and what takes its place.
_EITHER = (
    *(("<", "<="), (">", ">="), ("==", "!="), ("+", "-"), ("+=", "-=")),
    *(("&&", "||"), ("and", "or"), ("true", "false"), ("True", "False")),
    *(("min", "max"), ("all_of", "any_of"), ("all", "any")),
)
CHANGES = dict(_EITHER) | {b: a for a, b in _EITHER} | {"not": "", "!": "", "continue": "break"}
_CPP_CHANGES = CHANGES | {"*": "/", "/": "*"}  # in Python most join paths and spread arguments
# Comments and texts, which stay, and then what may be changed. Spaces tell C++'s operators from
# its pointers, references and templates.
_CPP = re.compile(
    r'//[^\n]*|^ *#[^\n]*|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\''
    r"|(?<= )(?P<operator><=?|>=?|[!=]=|[-+*/]=?|&&|\|\|)(?= )|(?P<not>!)(?=[\w(])"
    r"|\b(?P<word>true|false|min|max|all_of|any_of|continue)\b|(?<![\w.])(?P<number>\d+)(?![\w.'])",
    re.MULTILINE,
)
# Of pytest and of ctest.
_FAILED = re.compile(r"^FAILED (\S+)|\d+ - (\w+) \((?:Failed|Timeout)", re.MULTILINE)
# The C++ tests that take longer than a second, the shortest first, and the files that they run.
# Those of networks that are written in C++ read no model.
_FLOAT = "engines/native/(?!int8/|native_engine|network_reader|read_)"
_LONG = {
    "predictor": "",
    "native_int8": "engines/native/(?!native_engine|network_reader|read_)",
    "native_winograd": _FLOAT,
    "native": _FLOAT,
    "native_bf16": "engines/native/(float_program|kernels/|ops/(bf16|convolution|ops|winograd3x3))",
}


class Change(NamedTuple):
    """A fault: what stands at a place of a file, and what takes its place."""

    file: str  # below ROOT
    line: int  # from 1
    at: int  # characters from the beginning of the file
    old: str
    new: str


def _tokens(file: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield the operators, words and numbers of a program that may be changed, and their places."""
    if not file.endswith(".py"):
        for found in _CPP.finditer(text):
            if found.lastgroup is not None:
                yield found.start(), found[0]
        return
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in {tokenize.OP, tokenize.NAME, tokenize.NUMBER}:
            yield starts[token.start[0] - 1] + token.start[1], token.string


def changes_of(file: str, text: str) -> list[Change]:
    """Return every change of a program that this can make."""
    found = []
    table = CHANGES if file.endswith(".py") else _CPP_CHANGES
    for at, old in _tokens(file, text):
        new = str(int(old) + 1) if re.fullmatch(r"\d+", old) else table.get(old)
        if new is not None:
            found.append(Change(file, text.count("\n", 0, at) + 1, at, old, new))
    return found


def _lines_of(change: Change, text: str) -> range:
    """Return the lines of the innermost statement of a change; of a compound one its head."""
    lines = range(change.line, change.line + 1)
    for node in ast.walk(ast.parse(text)):  # outer ones first
        if isinstance(node, ast.stmt) and node.end_lineno is not None:
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if isinstance(body, list) else node.end_lineno
            if node.lineno <= change.line <= end:
                lines = range(node.lineno, end + 1)
    return lines


def running_tests(change: Change, text: str, data: CoverageData) -> list[str]:
    """Return the tests that ran the place of a change; "" stands for what is outside of a test.

    That is while a module was imported, or in a process of its own.
    """
    lines = _lines_of(change, text)
    found = data.contexts_by_lineno(str(ROOT / change.file))
    names = {context.rpartition("|")[0] for line in lines for context in found.get(line, ())}
    return sorted(names)


def cpp_tests(file: str | None) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the command of each C++ test, the shortest first.

    Args:
        file: The file that was changed, whose code the tests left out do not run; None for all.
    """
    areas = re.search(r"set\(_areas (.*)\)", (ROOT / "cpp/tests/CMakeLists.txt").read_text())
    assert areas is not None
    short = [area for area in areas[1].split() if area not in _LONG]
    for area in (*short, *_LONG):
        if file is not None and not re.search(_LONG.get(area, ""), file):
            continue
        # Seconds of processor time, many times what the test takes: a changed loop may not end.
        limit = f"--cpu={120 if area in _LONG else 20}"
        test = ["build/lenet_tests", f"--source-file=*test_{area}.cc", "--abort-after=1"]
        yield area, ["prlimit", limit, *test]


def run_tests(
    language: str,
    *,
    full: bool,
    ctest: bool = False,
    only: list[str] | None = None,
    file: str | None = None,
) -> str:
    """Return who notices a fault: "compiler", the first test that fails, or nobody ("").

    Args:
        language: A key of SOURCES.
        full: All tests, for what those of --quick leave.
        ctest: The C++ tests only.
        only: These tests of Python's in place of all; "" stands for those of --quick.
        file: The file that was changed, relative to ROOT.
    """
    heart = re.search(r'^heart="(.*?)"', (ROOT / "test.sh").read_text(), re.MULTILINE | re.DOTALL)
    assert heart is not None
    if only == []:
        return ""
    pytest = [sys.executable, "-m", "pytest", "-q", "-x"]
    both = ["-n", "2", "--dist=loadfile"]  # takes longer to start than most tests of one statement
    commands = []
    if named := [name for name in only or () if name]:
        commands.append(("pytest", [*pytest, *(both if len(named) > 40 else []), *named]))
    if only is None or "" in only:
        commands.append(("pytest", [*pytest, *both, *heart[1].split()]))
    if language == "cpp":
        fuzz = ["ctest", "--test-dir", "build", "--stop-on-failure", "--tests-regex", "fuzz"]
        # The library's own tests notice most, long before every program is built.
        rest = [("compiler", ["./run.sh", "--build-only"]), ("ctest", fuzz), *commands]
        commands = [
            ("compiler", ["cmake", "--build", "build", "--target", "lenet_tests"]),
            *((f"ctest: {area}", command) for area, command in cpp_tests(file)),
            *([] if ctest else rest),
        ]
    if full and not only and not ctest:
        commands.append(("all tests", [*pytest, *both]))
    for name, command in commands:
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=None if name == "all tests" else 1200,
            )
        except subprocess.TimeoutExpired:
            return f"{name}: waits"
        if done.returncode != 0:
            said = _FAILED.search(done.stdout)
            return name if said is None else f"{name}: {said[1] or said[2]}"
    return ""


def judge(
    change: Change, language: str, *, full: bool, ctest: bool, data: CoverageData | None
) -> str:
    """Make a change, and return who noticed it. The file is as before when this returns."""
    path = ROOT / change.file
    before = path.read_text(encoding="utf-8")
    assert before.startswith(change.old, change.at), f"{path} has changed"
    after = before[: change.at] + change.new + before[change.at + len(change.old) :]
    only = None if data is None else running_tests(change, before, data)
    try:
        path.write_text(after, encoding="utf-8")
        return run_tests(language, full=full, ctest=ctest, only=only, file=change.file)
    finally:
        path.write_text(before, encoding="utf-8")


def main() -> int:
    """Draw changes, judge them and count who noticed them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("language", choices=SOURCES)
    parser.add_argument("--count", type=int, default=200, help="changes that compile (200)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (1)")
    parser.add_argument("--full", action="store_true", help="all tests for what --quick leaves")
    parser.add_argument("--ctest", action="store_true", help="for cpp: the C++ tests only")
    parser.add_argument("--again", action="store_true", help="judge those again that are unnoticed")
    parser.add_argument("--coverage", type=Path, help="which tests run which lines of Python")
    parser.add_argument("--output", type=Path, required=True, help="a .json, written as it goes on")
    options = parser.parse_args()
    files = sorted(path for glob in SOURCES[options.language] for path in ROOT.glob(glob))
    names = [str(path.relative_to(ROOT)) for path in files]
    drawn = [
        change
        for name, path in zip(names, files, strict=True)
        for change in changes_of(name, path.read_text(encoding="utf-8"))
    ]
    random.Random(options.seed).shuffle(drawn)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # restores the file that is changed
    data = None
    if options.coverage is not None:  # of tests that passed
        if options.language != "python" or not options.coverage.is_file():
            parser.error("--coverage takes the data of nox -s coverage, for python")
        data = CoverageData(str(options.coverage.resolve()))
        data.read()
    elif failed := run_tests(options.language, full=options.full, ctest=options.ctest):
        parser.error(f"the tests must pass before anything is changed: {failed}")
    done = json.loads(options.output.read_text()) if options.output.exists() else []
    places = list(range(len(done), len(drawn)))
    total, initial = options.count, sum(one["noticed"] != "compiler" for one in done)
    if options.again:
        places = [place for place, one in enumerate(done) if not one["noticed"]]
        total, initial = len(places), 0
    with tqdm(total=total, initial=initial, unit="change") as bar:
        for place in places:
            if bar.n >= total:
                break
            change = drawn[place]
            if options.again:
                change = Change(**{name: done[place][name] for name in Change._fields})
            noticed = judge(
                change, options.language, full=options.full, ctest=options.ctest, data=data
            )
            done[place : place + 1] = [change._asdict() | {"noticed": noticed}]
            options.output.write_text(json.dumps(done, indent=1) + "\n")
            bar.update(noticed != "compiler")
            if not noticed:
                bar.write(f"{change.file}:{change.line}: {change.old} -> {change.new}: unnoticed")
    counts = Counter(one["noticed"].partition(":")[0] or "nobody" for one in done)
    for name, count in counts.most_common():
        print(f"{name:10} {count:4}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
