"""Two builds of this library, and the work that each does in a process of its own."""

from __future__ import annotations

import hashlib
import json
import resource
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp.errors import BackendFailure, Error, FileNotFound, Unsupported
from tools.benchmark.child import child_environment, on_processors, start_child

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Build",
    "Row",
    "Turn",
    "Work",
    "check_build",
    "describe_build",
    "find_build",
    "take_turn",
]

_PROGRAM = "lenet_infer_test"
_WORKER = Path(__file__).with_name("compare_worker.py")


@dataclass(frozen=True)
class Row:
    """One piece of work. ``batch_size`` None is loading the model."""

    network: str
    format: str
    engine: str
    precision: str
    threads: int
    batch_size: int | None

    @property
    def name(self) -> str:
        """As the tables have it."""
        precision = "" if self.precision == "fp32" else f"/{self.precision}"
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        work = "loading" if self.batch_size is None else f"batch {self.batch_size}{threads}"
        return f"{self.network} {self.format} {self.engine}{precision}, {work}"

    @property
    def options(self) -> dict[str, Any]:
        """Named as on the command line and in Python."""
        engine, _, accelerator = self.engine.partition("/")
        return {
            "engine": engine,
            "accelerator": accelerator or "auto",
            "precision": self.precision,
            "threads": self.threads,
        }


@dataclass(frozen=True)
class Build:
    """One of the two.

    Attributes:
        label: ``A`` or ``B``.
        path: The folder that was named.
        program: Its ``lenet_infer_test``, or its Python.
        python: Whether it is a Python environment.
    """

    label: str
    path: Path
    program: Path
    python: bool

    def failed(self, how: str, kind: type[Error] = BackendFailure) -> Error:
        """Make the error that names this build."""
        return kind(f"{self.label} ({self.path}): {how}")


def find_build(label: str, path: Path) -> Build:
    """Find what to run in a folder.

    Args:
        label: ``A`` or ``B``.
        path: A CMake build folder, a checkout that holds ``build``, or a Python environment.

    Raises:
        FileNotFound: There is nothing of the kind.
    """
    for candidate in (path / _PROGRAM, path / "build" / _PROGRAM):
        if candidate.is_file():
            return Build(label, path, candidate.resolve(), python=False)
    python = path / "bin" / "python"
    if python.is_file():
        # Not resolved: the link is what makes it the environment's.
        return Build(label, path, python.absolute(), python=True)
    raise FileNotFound(
        f"{label} ({path}) is no build: there is no {_PROGRAM}, build/{_PROGRAM} or bin/python in"
        " it; build it with ./run.sh, or name a Python environment"
    )


def _environment(threads: int) -> dict[str, str]:
    environment = child_environment(threads)
    # It would give both environments the same package.
    environment.pop("PYTHONPATH", None)
    return environment


def check_build(build: Build) -> None:
    """Check that a build starts at all.

    Raises:
        BackendFailure: It does not, or it is an environment without ``lenet_cpp``.
    """
    arguments = ["-c", "import lenet_cpp"] if build.python else ["--help"]
    try:
        with start_child([str(build.program), *arguments], "/", _environment(1)) as child:
            for _ in child.lines():
                pass
            how = child.failure()
    except OSError as error:
        how = f"{build.program}: {error.strerror}"
    if how is not None:
        raise build.failed(how)


def describe_build(build: Build, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a build is, its version, and the SHA-256 of what may make it fast or slow."""
    if build.python:
        package = Path(answer["package"])
        files = [*package.rglob("*.py"), *package.rglob("*.so")]
    else:
        files = [build.program, *build.program.parent.glob("liblenet*.so")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return {
        "path": str(build.path),
        "kind": "Python" if build.python else "C++",
        "version": answer["version"],
        "package": answer.get("package"),
        "sha256": digest.hexdigest(),
    }


@dataclass(frozen=True)
class Work:
    """A row, and the files that both builds read."""

    row: Row
    model_file: Path
    params_file: Path | None
    images: Path
    processors: Sequence[int]
    folder: Path


@dataclass(frozen=True)
class Turn:
    """One process. Times in milliseconds, of one run or of loading."""

    wall: float
    cpu: float
    p99: float | None
    peak_bytes: int
    share: float
    """Of the processor that it got, while it ran."""


def _child_cpu_ms() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1e3 * (used.ru_utime + used.ru_stime)


def _start(
    build: Build, command: list[str], work: Work, *, json_answer: bool = True
) -> tuple[dict[str, Any], float, float]:
    """Run a process; return its answer, its processor time and its elapsed time."""
    before = _child_cpu_ms()
    with ExitStack() as stack:
        with on_processors(work.processors):
            child = stack.enter_context(
                start_child(command, work.folder, _environment(work.row.threads))
            )
        text = b"".join(child.lines())
        how = child.failure()
        elapsed = 1e3 * (time.monotonic() - child.started)
    if how is not None:
        code = child.process.returncode
        raise build.failed(how, Unsupported if code == Unsupported.exit_code else BackendFailure)
    try:
        answer: dict[str, Any] = json.loads(text) if json_answer else {}
    except ValueError:
        raise build.failed("its answer is no JSON") from None
    return answer, _child_cpu_ms() - before, elapsed


def take_turn(build: Build, work: Work, repeats: int, warmup: int) -> tuple[Turn, dict[str, Any]]:
    """Have a build do the work of a row in a process of its own; return its answer too."""
    loading = work.row.batch_size is None
    runs = {} if loading else {"repeats": repeats, "warmup": warmup}
    files = {"model_file": str(work.model_file)}
    if work.params_file is not None:
        files["params_file"] = str(work.params_file)
    if build.python:
        task = {**files, **runs, "images": str(work.images), "options": work.row.options}
        command = [str(build.program), "-W", "ignore", str(_WORKER), json.dumps(task)]
        answer, total, elapsed = _start(build, command, work)
        cpu = answer["load_cpu_ms"] if loading else answer["latency"]["cpu_ms"]
    else:
        size = {"input": str(work.images), "batch_size": work.row.batch_size or 1}
        options = {"format": "json", **files, **work.row.options, **size}
        command = [str(build.program), *(f"--{name}={value}" for name, value in options.items())]
        # What it takes to get as far as the work is subtracted.
        before = [command[0], "--help"] if loading else [*command, "--repeats=1", "--warmup=1"]
        _, cpu, _ = _start(build, before, work, json_answer=not loading)
        command += [f"--{name}={value}" for name, value in runs.items()]
        answer, total, elapsed = _start(build, command, work)
        cpu = max(total - cpu, 0.0) / (1 if loading else max(repeats + warmup - 2, 1))
    wall, p99 = answer["load_ms"], None
    if not loading:
        wall, p99 = answer["latency"]["median_ms"], answer["latency"]["p99_ms"]
    return Turn(wall, cpu, p99, answer["peak_bytes"], min(total / elapsed, 1.0)), answer
