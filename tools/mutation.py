#!/usr/bin/env python3
"""Count how many small faults in the code the tests notice.

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
from typing import TYPE_CHECKING, Any, NamedTuple

from coverage import CoverageData
from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterator

    Row = dict[str, Any]
    """A change in the output file, with who noticed it."""

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
# Each of a pair is replaced by the other.
_PAIRS = (
    ("<", "<="),
    (">", ">="),
    ("==", "!="),
    ("+", "-"),
    ("+=", "-="),
    ("&&", "||"),
    ("and", "or"),
    ("true", "false"),
    ("True", "False"),
    ("min", "max"),
    ("all_of", "any_of"),
    ("all", "any"),
)
CHANGES = {
    **dict(_PAIRS),
    **{second: first for first, second in _PAIRS},
    "not": "",
    "!": "",
    "continue": "break",
}
# Python is left out, because most of its "*" and "/" spread arguments and join paths.
_CPP_CHANGES = {**CHANGES, "*": "/", "/": "*"}
# The first line matches comments and strings, which stay. The named groups match what may be
# changed. Spaces tell the operators of C++ from its pointers, references and templates.
_CPP = re.compile(
    r'//[^\n]*|^ *#[^\n]*|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\''
    r"|(?<= )(?P<operator><=?|>=?|[!=]=|[-+*/]=?|&&|\|\|)(?= )|(?P<not>!)(?=[\w(])"
    r"|\b(?P<word>true|false|min|max|all_of|any_of|continue)\b|(?<![\w.])(?P<number>\d+)(?![\w.'])",
    re.MULTILINE,
)
# The line by which pytest names a failed test, or that by which ctest does.
_FAILED = re.compile(r"^FAILED (\S+)|\d+ - (\w+) \((?:Failed|Timeout)", re.MULTILINE)
# Starting two workers takes longer than most tests of one statement.
_TWO_WORKERS = ("-n", "2", "--dist=loadfile")
_TESTS_FOR_TWO_WORKERS = 40
_SECONDS = 1200
# The C++ tests that take longer than a second, the shortest first, and patterns of the source
# files that they run. The tests that build their networks in C++ read no model.
_FLOAT = "engines/native/(?!ops/int8/|native_engine|network_reader|read_)"
_LONG = {
    "predictor": "",
    "native_int8": "engines/native/(?!native_engine|network_reader|read_)",
    "native_winograd": _FLOAT,
    "native": _FLOAT,
    "native_bf16": "engines/native/(compile/|kernels/|ops/(bf16|convolution|ops|winograd3x3))",
}


class Change(NamedTuple):
    """A fault: the text at a place of a file, and the text that replaces it."""

    file: str  # relative to ROOT
    line: int  # counted from 1
    at: int  # characters from the beginning of the file
    old: str
    new: str


class Judgement(NamedTuple):
    """How changes are judged: the options of the command that matter for this."""

    language: str  # a key of SOURCES
    full: bool  # whether all tests run after those of --quick have passed
    ctest: bool  # whether the C++ tests are the only ones
    data: CoverageData | None  # which tests run which lines, where only those tests run


def _tokens(file: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield the place and the text of each operator, word and number that may be changed."""
    return _python_tokens(text) if file.endswith(".py") else _cpp_tokens(text)


def _python_tokens(text: str) -> Iterator[tuple[int, str]]:
    line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in {tokenize.OP, tokenize.NAME, tokenize.NUMBER}:
            line, column = token.start
            yield line_starts[line - 1] + column, token.string


def _cpp_tokens(text: str) -> Iterator[tuple[int, str]]:
    for match in _CPP.finditer(text):
        if match.lastgroup is not None:
            yield match.start(), match[0]


def changes_of(file: str, text: str) -> list[Change]:
    """Return every change of a program that this can make."""
    changes = []
    table = CHANGES if file.endswith(".py") else _CPP_CHANGES
    for at, old in _tokens(file, text):
        new = str(int(old) + 1) if re.fullmatch(r"\d+", old) else table.get(old)
        if new is not None:
            line = text.count("\n", 0, at) + 1
            changes.append(Change(file, line, at, old, new))
    return changes


def _lines_of(change: Change, text: str) -> range:
    """Return the lines of the innermost statement of a change; of a compound one its head."""
    lines = range(change.line, change.line + 1)
    for node in ast.walk(ast.parse(text)):  # comes to outer statements first
        if isinstance(node, ast.stmt) and node.end_lineno is not None:
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if isinstance(body, list) else node.end_lineno
            if node.lineno <= change.line <= end:
                lines = range(node.lineno, end + 1)
    return lines


def running_tests(change: Change, text: str, data: CoverageData) -> list[str]:
    """Return the tests that ran the place of a change.

    "" among them says that it ran outside of a test: while a module was imported, or in another
    process.
    """
    contexts = data.contexts_by_lineno(str(ROOT / change.file))
    names = set()
    for line in _lines_of(change, text):
        for context in contexts.get(line, ()):
            test, _, _phase = context.rpartition("|")
            names.add(test)
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
        # ctest sets this variable for all of them (cpp/tests/CMakeLists.txt).
        yield area, ["env", "LENET_NATIVE_FORGET=1", "prlimit", limit, *test]


def _quick_tests() -> list[str]:
    """Return the arguments of pytest for the tests of ``./test.sh --quick``."""
    script = (ROOT / "test.sh").read_text()
    quick = re.search(r'^heart="(.*?)"', script, re.MULTILINE | re.DOTALL)
    assert quick is not None
    return quick[1].split()


def _pytest_commands(only: list[str] | None) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands that run the named tests, or those of ``--quick``, with their name."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-x"]
    named = [name for name in only or () if name]
    if named:
        workers = _TWO_WORKERS if len(named) > _TESTS_FOR_TWO_WORKERS else ()
        yield "pytest", [*pytest, *workers, *named]
    if only is None or "" in only:
        yield "pytest", [*pytest, *_TWO_WORKERS, *_quick_tests()]


def _commands(
    language: str, *, full: bool, ctest: bool, only: list[str] | None, file: str | None
) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the command of each step that may notice a fault, in their order."""
    if language == "cpp":
        # The tests of the library notice most faults, long before every program is built.
        yield "compiler", ["cmake", "--build", "build", "--target", "lenet_tests"]
        for area, command in cpp_tests(file):
            yield f"ctest: {area}", command
        if ctest:
            return
        yield "compiler", ["./run.sh", "--build-only"]
        fuzz = ["ctest", "--test-dir", "build", "--stop-on-failure", "--tests-regex", "fuzz"]
        yield "ctest", fuzz
    yield from _pytest_commands(only)
    if full and not only and not ctest:
        yield "all tests", [sys.executable, "-m", "pytest", "-q", "-x", *_TWO_WORKERS]


def _failure(name: str, command: list[str]) -> str:
    """Run one command; return its name and the test that failed, or "" if it succeeded."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=None if name == "all tests" else _SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"{name}: waits"
    if done.returncode == 0:
        return ""
    failed = _FAILED.search(done.stdout)
    return name if failed is None else f"{name}: {failed[1] or failed[2]}"


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
        full: Run all tests after those of --quick have passed.
        ctest: Run the C++ tests only.
        only: The Python tests to run instead of all; "" stands for those of --quick.
        file: The file that was changed, relative to ROOT.
    """
    if only == []:
        return ""
    for name, command in _commands(language, full=full, ctest=ctest, only=only, file=file):
        if failure := _failure(name, command):
            return failure
    return ""


def judge(change: Change, how: Judgement) -> str:
    """Make a change, and return who noticed it. The file is as before when this returns."""
    path = ROOT / change.file
    before = path.read_text(encoding="utf-8")
    assert before.startswith(change.old, change.at), f"{path} has changed"
    after = before[: change.at] + change.new + before[change.at + len(change.old) :]
    only = None if how.data is None else running_tests(change, before, how.data)
    try:
        path.write_text(after, encoding="utf-8")
        return run_tests(how.language, full=how.full, ctest=how.ctest, only=only, file=change.file)
    finally:
        path.write_text(before, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
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
    return parser


def draw_changes(language: str, seed: int) -> list[Change]:
    """Return every change of the code in a language, in an order that the seed decides."""
    drawn = []
    for path in sorted(path for glob in SOURCES[language] for path in ROOT.glob(glob)):
        name = str(path.relative_to(ROOT))
        drawn += changes_of(name, path.read_text(encoding="utf-8"))
    random.Random(seed).shuffle(drawn)
    return drawn


def _read_coverage(file: Path) -> CoverageData:
    data = CoverageData(str(file.resolve()))
    data.read()
    return data


def judge_drawn(drawn: list[Change], how: Judgement, *, count: int, output: Path) -> list[Row]:
    """Judge changes until ``count`` of them compiled; go on after those in the output file."""
    rows = _read_rows(output)
    compiled = sum(row["noticed"] != "compiler" for row in rows)
    with tqdm(total=count, initial=compiled, unit="change") as bar:
        for change in drawn[len(rows) :]:
            if bar.n >= count:
                break
            rows.append(_judged_row(change, how, bar))
            _write_rows(output, rows)
    return rows


def judge_again(how: Judgement, *, output: Path) -> list[Row]:
    """Judge the changes in the output file again that nobody noticed."""
    rows = _read_rows(output)
    places = [place for place, row in enumerate(rows) if not row["noticed"]]
    with tqdm(total=len(places), unit="change") as bar:
        for place in places:
            change = Change(**{name: rows[place][name] for name in Change._fields})
            rows[place] = _judged_row(change, how, bar)
            _write_rows(output, rows)
    return rows


def _read_rows(output: Path) -> list[Row]:
    if not output.exists():
        return []
    rows: list[Row] = json.loads(output.read_text())
    return rows


def _write_rows(output: Path, rows: list[Row]) -> None:
    output.write_text(json.dumps(rows, indent=1) + "\n")


def _judged_row(change: Change, how: Judgement, bar: tqdm[Any]) -> Row:
    """Judge a change, show what came of it, and return its row of the output file."""
    noticed = judge(change, how)
    bar.update(noticed != "compiler")
    if not noticed:
        bar.write(f"{change.file}:{change.line}: {change.old} -> {change.new}: unnoticed")
    return {**change._asdict(), "noticed": noticed}


def main() -> int:
    """Draw changes, judge them and count who noticed them."""
    parser = _parser()
    options = parser.parse_args()
    # An exception, unlike the signal itself, lets judge() restore the file that is changed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    data = None
    if options.coverage is not None:
        if options.language != "python" or not options.coverage.is_file():
            parser.error("--coverage takes the data of nox -s coverage, for python")
        data = _read_coverage(options.coverage)  # the tests passed while it was recorded
    elif failed := run_tests(options.language, full=options.full, ctest=options.ctest):
        parser.error(f"the tests must pass before anything is changed: {failed}")
    how = Judgement(options.language, full=options.full, ctest=options.ctest, data=data)
    if options.again:
        rows = judge_again(how, output=options.output)
    else:
        drawn = draw_changes(options.language, options.seed)
        rows = judge_drawn(drawn, how, count=options.count, output=options.output)
    counts = Counter(row["noticed"].partition(":")[0] or "nobody" for row in rows)
    for name, count in counts.most_common():
        print(f"{name:10} {count:4}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
