"""Compare the speed of two builds of this library: the same work, interleaved."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm import tqdm

from lenet_cpp.agreement import TOLERANCES, compare
from lenet_cpp.errors import BackendFailure, BadInput, FileNotFound, Unsupported
from tools.benchmark.contenders import CONTENDERS
from tools.benchmark.subject import failure, prepare, subjects
from tools.benchmark.turns import take_turn, task_of
from tools.survey import machine
from tools.survey.summary import median_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.benchmark.contenders import Contender
    from tools.benchmark.subject import Settings
    from tools.benchmark.turns import Task, Turn

    Result = dict[str, Any]

COMPARED = tuple(
    replace(one, name=one.name.partition("/")[2]) for one in CONTENDERS if one.group == "lenet_cpp"
)
"""The ways to run a model that this library has, by the names that ``--compare`` takes."""
_PROGRAM = "lenet_infer_test"

_LEAST_ROUNDS = 12
# The interval is looked at after as many rounds as have each build first equally often.
_ROUNDS_BETWEEN_LOOKS = 4
# Turns are short, and processes many: where a process's memory lies changes its speed by more
# than a longer turn would even out.
_TURN_SECONDS = 0.1


class Row(NamedTuple):
    """One piece of work. ``batch_size`` None is loading the model, on one thread."""

    network: str
    contender: Contender
    threads: int
    batch_size: int | None

    @property
    def name(self) -> str:
        """Return the name in the tables."""
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        work = "loading" if self.batch_size is None else f"batch {self.batch_size}{threads}"
        return f"{self.network} {self.contender.name}, {work}"


def compare_rows(network: str, settings: Settings, contenders: Sequence[Contender]) -> list[Row]:
    """Return the rows of one network: of each way to run it, loading first, then the batches."""
    sizes = (None, *sorted(settings.batch_sizes))
    rows = (Row(network, *one) for one in product(contenders, settings.threads, sizes))
    return [row for row in rows if row.batch_size or row.threads == settings.threads[0]]


@dataclass(frozen=True)
class Build:
    """One of the two builds: ``A`` or ``B``, the folder that was named, and what runs of it.

    ``program`` is the ``lenet_infer_test`` of a C++ build, or the Python of an environment.
    """

    label: str
    path: Path
    program: Path
    python: bool

    def runs(self, task: Task) -> Task:
        """Return a task for this build, with the name that errors have."""
        factory, name = task.factory if self.python else None, f"{self.label} ({self.path})"
        return replace(task, name=name, factory=factory, program=self.program)

    def describe(self, about: dict[str, Any]) -> dict[str, Any]:
        """Return where it is, its version, and the SHA-256 of what may make it fast or slow."""
        files = [self.program, *self.program.parent.glob("liblenet*.so")]
        if self.python:
            package = Path(about["package"])
            files = [*package.rglob("*.py"), *package.rglob("*.so*")]
        digest = hashlib.sha256()
        for file in sorted(files):
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return {
            "path": str(self.path),
            "kind": "Python" if self.python else "C++",
            "version": about["version"],
            "package": about.get("package"),
            "sha256": digest.hexdigest(),
        }


def find_build(label: str, path: Path) -> Build:
    """Find what to run: a CMake build folder, a checkout with ``build``, or a Python environment.

    Raises:
        FileNotFound: There is nothing of the kind.
    """
    names = _PROGRAM, f"build/{_PROGRAM}", "bin/python"
    if found := next((name for name in names if (path / name).is_file()), None):
        # Not resolved: the link is what makes a Python the environment's.
        return Build(label, path, (path / found).absolute(), python=found == names[-1])
    raise FileNotFound(
        f"{label} ({path}) is no build: there is no {' or '.join(names)} in it; build it with"
        " ./run.sh, or name a Python environment"
    )


def verdict(ratio: float, interval: tuple[float, float] | None, same_within: float) -> str:
    """Say what a ratio (time of B by time of A) and its interval show.

    ``same_within`` is the largest difference that counts as none, as a share.
    """
    low, high = interval or (0.0, np.inf)
    most = 1 + same_within
    if low >= 1 / most and high <= most:
        return f"same within {100 * same_within:g} %"
    # Both are asked for: of many rows some intervals leave out 1 by chance, by little.
    if low > 1 and ratio > most:
        return "slower"
    return "faster" if high < 1 and ratio < 1 / most else "unclear: more rounds needed"


def _times(turn: Turn) -> tuple[float, float]:
    """Return the milliseconds of the median run and of the p99, or those of loading twice."""
    block = turn.block
    return (block.median / 1e3, block.p99 / 1e3) if block else (turn.load_ms, turn.load_ms)


def row_result(row: Row, pairs: Sequence[tuple[Turn, Turn]], settings: Settings) -> dict[str, Any]:
    """Return what the rounds of a row come to."""
    ms, p99_ms = np.median([[_times(turn) for turn in pair] for pair in pairs], axis=0).T.tolist()
    ratios = [_times(b)[0] / _times(a)[0] for a, b in pairs]
    ratio, interval = float(np.median(ratios)), median_interval(ratios)
    same_within = settings.same_within or (0.10 if row.batch_size is None else 0.02)
    return {
        "status": "measured",
        "rounds": len(pairs),
        "ms": ms,
        "p99_ms": p99_ms,
        "peak_bytes": [max(pair[i].peak_bytes for pair in pairs) for i in (0, 1)],
        "ratio": ratio,
        "interval": interval,
        "ratios": ratios,
        "same_within": same_within,
        "verdict": verdict(ratio, interval, same_within),
    }


def is_done(row: Row, pairs: Sequence[tuple[Turn, Turn]], settings: Settings) -> bool:
    """Return whether the interval is narrow enough, wherever it lies: else it would be biased."""
    if len(pairs) < _LEAST_ROUNDS or len(pairs) % _ROUNDS_BETWEEN_LOOKS:
        return False
    found = row_result(row, pairs, settings)
    half = settings.half_width or found["same_within"] / 2
    low, high = found["interval"]
    return bool(max(high / found["ratio"], found["ratio"] / low) <= 1 + half)


def _measure(
    row: Row, builds: Sequence[Build], tasks: Sequence[Task], settings: Settings, found: Result
) -> Sequence[Turn]:
    """Measure a row, and put what came of it into ``found``, also when it is interrupted.

    Returns:
        The first turns, which do not count: they fill the page cache.
    """
    seconds = 0.0 if row.batch_size is None else _TURN_SECONDS
    size = row.batch_size or 1
    firsts = [take_turn(task, size, count=size, seconds=seconds) for task in tasks]
    _check_packages(builds, firsts)
    found |= _answers(row, firsts)
    pairs: list[tuple[Turn, Turn]] = []
    until = time.monotonic() + settings.seconds
    try:
        while not pairs or (time.monotonic() < until and not is_done(row, pairs, settings)):
            # The order is A B, then B A, so that neither build gains by its place.
            order = (0, 1) if len(pairs) % 2 == 0 else (1, 0)
            turns = {i: take_turn(tasks[i], size, seconds=seconds) for i in order}
            pairs.append((turns[0], turns[1]))
    finally:
        if pairs:
            found |= row_result(row, pairs, settings)
    return firsts


def _check_packages(builds: Sequence[Build], turns: Sequence[Turn]) -> None:
    """Check that two environments do not import the same package."""
    packages = {turn.about.get("package", i) for i, turn in enumerate(turns)}
    if len(packages) == 1 and builds[0].path != builds[1].path:
        a, b = (build.path for build in builds)
        raise BadInput(f"{a} and {b} import the same lenet_cpp, {packages.pop()}")


def _answers(row: Row, turns: Sequence[Turn]) -> Result:
    """Return the engines that were used, and whether their outputs agree."""
    a, b = (np.asarray(turn.outputs) for turn in turns)
    share = np.inf
    if a.shape == b.shape:
        share = compare(a, b, tolerance=TOLERANCES[row.contender.precision]).share
    return {
        "used": [turn.used for turn in turns],
        "answers_differ_by": share if np.isfinite(share) else None,
        "answers_agree": bool(share <= 1),
    }


def compare_builds(
    a: Path, b: Path, settings: Settings, contenders: Sequence[Contender]
) -> dict[str, Any]:
    """Measure two builds by turns, a process for each turn, and compare round by round.

    Returns:
        What the command writes as JSON; ratios are time of B by time of A. After Ctrl-C, what was
        measured until then.

    Raises:
        BadInput: The two are not of one kind, or not two, or a setting makes no sense.
        lenet_cpp.Error: A build or the model is missing or damaged.
    """
    builds = (find_build("A", a), find_build("B", b))
    if builds[0].python != builds[1].python:
        raise BadInput(f"{a} and {b}: one is a C++ build and one a Python environment")
    result = {"kind": "compare", **machine.describe(settings), "builds": {}, "interrupted": False}
    rows: list[dict[str, Any]] = []
    bar = tqdm(desc="comparing", unit="row", disable=None)
    try:
        for subject in subjects(settings):
            files, absent = prepare(contenders, subject, settings.program)
            for row in compare_rows(subject.name, settings, contenders):
                one, found = row.contender, {"name": row.name, "batch_size": row.batch_size}
                rows.append(found)
                bar.set_postfix_str(row.name)
                bar.update()
                if one.name in absent:
                    found |= absent[one.name]
                    continue
                task = task_of(one, files, subject, threads=row.threads, program=settings.program)
                tasks = [build.runs(task) for build in builds]
                try:
                    turns = _measure(row, builds, tasks, settings, found)
                    result["builds"] = result["builds"] or {
                        build.label: build.describe(turn.about)
                        for build, turn in zip(builds, turns, strict=True)
                    }
                except (BackendFailure, Unsupported) as error:
                    found |= failure(error, "failed")
    except KeyboardInterrupt:
        result["interrupted"] = True
    return {**result, "rows": [row for row in rows if "status" in row]}
