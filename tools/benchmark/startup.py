"""From a process that is asked for to its first answer: how long, and how much memory?"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tabulate import tabulate
from tqdm import tqdm

from lenet_cpp.errors import BackendFailure, FileNotFound, Unsupported
from lenet_cpp.verify.files import find_models
from tools.benchmark.child import child_environment, start_child
from tools.benchmark.machine import describe_machine, versions
from tools.benchmark.summary import percentile

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["StartupSettings", "run_startup", "startup_text"]

# What a user's program would do first. It prints the milliseconds of each part.
_PYTHON = """
import time
marks = [time.perf_counter()]
import numpy
marks.append(time.perf_counter())
import lenet_cpp
marks.append(time.perf_counter())
predictor = lenet_cpp.Predictor({program!r}, {params!r}, engine={engine!r})
predictor.run(numpy.zeros((28, 28), "float32"))
marks.append(time.perf_counter())
import json
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
names = ("numpy_ms", "import_ms", "load_and_run_ms")
parts = {{name: 1e3 * (b - a) for name, a, b in zip(names, marks, marks[1:])}}
print(json.dumps({{"parts": parts, "peak_bytes": 1024 * int(peak)}}))
"""
# Exit codes of what is not there: FileNotFound, Unsupported.
_ABSENT = (FileNotFound.exit_code, Unsupported.exit_code)


@dataclass(frozen=True)
class StartupSettings:
    """What to measure.

    Attributes:
        model_dir: Folder of the exported model, which has a ``.pdmodel``.
        program: ``lenet_infer_test``; ``lenet_infer_native`` is looked for beside it.
        starts: Processes of each kind.
        seed: Of the order in which they take turns.
    """

    model_dir: Path
    program: Path
    starts: int = 100
    seed: int = 1


@dataclass
class _Kind:
    name: str
    command: list[str]
    milliseconds: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    peaks: list[int] = field(default_factory=list)
    absent: str | None = None


def _kinds(settings: StartupSettings) -> list[_Kind]:
    model = find_models(settings.model_dir, ["pdmodel"])[0]
    program, params = str(model.program.resolve()), str(model.combined_params.resolve())
    found = settings.program.absolute()
    if not found.is_file():
        raise FileNotFound(f"{found} is missing: build it with ./run.sh, or name it: --program")
    files = [f"--model_file={program}", f"--params_file={params}", "--format=json"]
    kinds = []
    if nothing := shutil.which("true"):
        kinds.append(_Kind("a program that does nothing", [nothing]))
    kinds += [
        _Kind(f"{path.name}, {engine}", [str(path), *files, f"--engine={engine}"])
        for path, engine in (
            (found.with_name("lenet_infer_native"), "native"),
            (found, "native"),
            (found, "paddle"),
        )
        if path.is_file()
    ]
    for engine in ("native", "paddle"):
        code = _PYTHON.format(program=program, params=params, engine=engine)
        kinds.append(_Kind(f"Python, {engine}", [sys.executable, "-W", "ignore", "-c", code]))
    return kinds


def _start(kind: _Kind, folder: str, environment: dict[str, str]) -> None:
    """Start one process, wait for all that it prints, and take down what it took."""
    with start_child(kind.command, folder, environment) as child:
        text = child.line()
        took = 1e3 * (time.monotonic() - child.started)
        if (how := child.failure()) is not None:
            # Python ends with 1 and the class of the error in its last line.
            absent = child.process.returncode in _ABSENT or any(
                f".{one.__name__}:" in how for one in (FileNotFound, Unsupported)
            )
            if not absent or kind.milliseconds:
                raise BackendFailure(f"{kind.name}: {how}")
            kind.absent = how
            return
    kind.milliseconds.append(took)
    if text:
        said = json.loads(text)
        names = ("load_ms", "first_run_ms")
        parts = said.get("parts") or {name: said[name] for name in names}
        for name, value in parts.items():
            kind.parts.setdefault(name, []).append(value)
        kind.peaks.append(said["peak_bytes"])


def run_startup(settings: StartupSettings, *, progress: bool = False) -> dict[str, Any]:
    """Start processes that load the model and run one image of zeros, in an order of chance.

    The first start of each, which may read from the disk, does not count. The time is from the
    call that starts the process until its answer is there, in this process.

    Args:
        settings: What to measure.
        progress: Whether to show a progress bar on a terminal.

    Returns:
        ``startup``: of each kind of process ``first_result_ms`` with ``median``, ``p99`` and
        ``least``; the medians of its parts; ``peak_bytes``, the most resident memory (VmHWM); or
        ``absent``, why it cannot run here.

    Raises:
        FileNotFound: The model or the program is missing.
        BackendFailure: A process failed.
    """
    kinds = _kinds(settings)
    # The turns of the processes: a seed has to repeat them, and nobody gains by foreseeing them.
    order = random.Random(settings.seed)
    environment = child_environment(1)
    with (
        tempfile.TemporaryDirectory(prefix="lenet-benchmark-") as folder,
        tqdm(total=settings.starts, desc="startup", disable=None if progress else True) as bar,
    ):
        for _ in range(settings.starts + 1):
            for kind in order.sample(kinds, len(kinds)):
                if kind.absent is None:
                    _start(kind, folder, environment)
            bar.update()
    rows = []
    for kind in kinds:
        row: dict[str, Any] = {"name": kind.name, "absent": kind.absent}
        if kind.absent is None:
            times = kind.milliseconds[1:]
            row["first_result_ms"] = {
                "median": statistics.median(times),
                "p99": percentile(times, 99),
                "least": min(times),
            }
            row["parts"] = {n: statistics.median(found[1:]) for n, found in kind.parts.items()}
            row["peak_bytes"] = max(kind.peaks, default=None)
        rows.append(row)
    return {
        "machine": describe_machine(),
        "versions": versions(),
        "settings": {"starts": settings.starts, "seed": settings.seed},
        "startup": rows,
    }


def startup_text(result: dict[str, Any], *, markdown: bool = False) -> str:
    """Format what :func:`run_startup` returned; ``markdown`` sets it as a block of text."""
    rows = []
    for one in result["startup"]:
        if one["absent"] is not None:
            continue
        times, parts = one["first_result_ms"], one["parts"]
        loading = parts.get("load_and_run_ms", parts.get("load_ms"))
        peak = one["peak_bytes"]
        rows.append(
            [
                one["name"],
                *(f"{times[name]:,.1f}" for name in ("median", "p99", "least")),
                *(
                    "-" if value is None else f"{value:,.1f}"
                    for value in (parts.get("numpy_ms"), parts.get("import_ms"), loading)
                ),
                "-" if peak is None else f"{peak / 1e6:,.1f}",
            ]
        )
    header = [
        "process",
        "first result\nmedian, ms",
        "p99",
        "least",
        "of these\nimport numpy",
        "import\nlenet_cpp",
        "load\nand run",
        "memory\nMB",
    ]
    table = tabulate(rows, header, colalign=["left"] + ["right"] * 7, disable_numparse=True)
    machine = result["machine"]
    title = (
        "From process start to the first result, one image of zeros,"
        f" {result['settings']['starts']} starts each"
    )
    where = (
        f"{machine['cpu']}, family {machine['family_model_stepping'][0]},"
        f" {machine['usable_processors']} usable processors; Python {machine['python']}"
    )
    text = f"{title}\n{where}\n\n{table}"
    text = f"```text\n{text}\n```" if markdown else text
    absent = [f"{one['name']}: {one['absent']}" for one in result["startup"] if one["absent"]]
    return "\n".join([text, *absent])
