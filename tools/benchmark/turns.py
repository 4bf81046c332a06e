"""The turns that contenders take: each is a process of its own, pinned to its processors."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.worker import call
from lenet_cpp.errors import BackendFailure, Error, Unsupported
from lenet_cpp.inference.program import call_program
from tools.benchmark.subject import reads_of
from tools.survey.summary import Block, block_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tools.benchmark.contenders import Contender
    from tools.benchmark.subject import Files, Subject

CHILD = Path(__file__).with_name("child.py")
_SETTINGS = ("OMP_", "KMP_", "MKL_", "GOMP_", "FLAGS_")
_LEAST_RUNS = 3
# Before the runs that count; a first run that takes long is followed by two at least.
_WARM_SECONDS = 0.04


@dataclass(frozen=True)
class Task:
    """A contender, and what it gets.

    Attributes:
        name: Whom an error names.
        factory: What makes it, ``FILE.py:NAME``; None of the C++ program.
        program: The C++ program, or the Python of another environment; None for this one.
        model: The files and options; see :func:`task_of`.
        images: ``.npy``, float32 [N, C, H, W]; what is written lies beside it.
        run_ms: Of a run, by batch size, from the turns so far: the C++ program takes a number of
            runs instead of a time.
    """

    name: str
    factory: str | None
    program: Path | None
    model: dict[str, Any]
    images: Path
    run_ms: dict[int, float] = field(default_factory=dict)


def task_of(
    contender: Contender, files: Files, subject: Subject, threads: int, program: Path
) -> Task:
    """Return what a contender gets.

    Its model has ``engine``, ``accelerator``, ``precision`` and ``threads``; ``network`` and
    ``classes``; ``cache``, an empty folder; ``library``, the folder of its C++ library; and of what
    it reads ``program`` and ``params``, ``onnx``, ``tflite`` or ``weights``.
    """
    model: dict[str, Any] = {
        "engine": contender.engine,
        "accelerator": contender.accelerator,
        "precision": contender.precision,
        "threads": threads,
        "cache": tempfile.mkdtemp(dir=subject.folder),
        "network": subject.network,
        "classes": subject.expected.shape[1],
        "library": str((contender.libraries / contender.group).absolute()),
        **files.get(reads_of(contender, files), {}),
    }
    if contender.name == "lenet_infer_native":
        program = program.with_name(contender.name)
    environment = contender.environment
    python = None if environment is None else environment.find()
    return Task(
        name=contender.name,
        factory=contender.factory,
        program=python if contender.factory else program.absolute(),
        model=model,
        images=subject.folder / "images.npy",
    )


@dataclass(frozen=True)
class Turn:
    """What a process did and said. Milliseconds.

    Attributes:
        first_result_ms: Since the process was asked for, until the logits of one image were there;
            of the C++ program, until it had ended.
        load_ms: Loading the model; in Python with importing the engine, but not NumPy.
        about: ``engine``, ``accelerator``, ``version`` of our own; ``package`` in Python.
        block: The times, if any were asked for.
        outputs: Of the images that were asked for.
        busy_threads: How many threads computed these; None when nothing says so.
    """

    first_result_ms: float
    numpy_ms: float | None
    load_ms: float
    first_run_ms: float
    peak_bytes: int
    about: dict[str, Any]
    block: Block | None = None
    outputs: NDArray[np.float32] | None = None
    busy_threads: int | None = None

    @property
    def used(self) -> str | None:
        """Return the engine, and the accelerator of Paddle; None of other libraries."""
        engine: str | None = self.about.get("engine")
        return f"{engine}, {self.about['accelerator']}" if engine == "paddle" else engine


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Have what is started meanwhile run on as many processors only.

    Settings of OpenMP, MKL and Paddle in the environment are taken away, but the threads.
    """
    processors, environment = os.sched_getaffinity(0), dict(os.environ)
    os.sched_setaffinity(0, sorted(processors)[-threads:])  # the kernel's own work is on the first
    for name in environment:
        if name.startswith(_SETTINGS):
            del os.environ[name]
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        os.sched_setaffinity(0, processors)


def take_turn(task: Task, batch_size: int = 1, *, count: int = 0, seconds: float = 0.0) -> Turn:
    """Start a contender, which loads the model and runs one image.

    Then it runs ``count`` images, whole batches, and a batch for so many seconds, if any.

    Raises:
        Unsupported: The engine does not support the model.
        BackendFailure: It failed otherwise.
    """
    run = _program_turn if task.factory is None else _python_turn
    try:
        with pinned(task.model["threads"]):
            return run(task, batch_size, count, seconds)
    except Error as error:
        kind = Unsupported if isinstance(error, Unsupported) else BackendFailure
        raise kind(f"{task.name}: {error}") from error


def _python_turn(task: Task, batch_size: int, count: int, seconds: float) -> Turn:
    outputs = task.images.with_name("outputs.npy")
    arguments: dict[str, Any] = {
        "factory": task.factory,
        "model": task.model,
        "count": count,
        "images": str(task.images),
        "outputs": str(outputs),
        "batch_size": batch_size,
        "seconds": seconds,
        "warmup": min(_WARM_SECONDS, seconds),
        "own_package": task.program is not None,
    }
    # What an ended process leaves is removed with this folder.
    variables = {"TMPDIR": str(task.images.parent)}
    started = time.monotonic()
    found = call(
        f"{CHILD}:turn",
        arguments,
        doing="its process",
        python=task.program,
        variables=variables,
    ).result
    first, times = 1e3 * (found.pop("done") - started), found.pop("ns")
    answers = np.load(outputs) if count else None
    return Turn(first, block=block_of(times) if times else None, outputs=answers, **found)


def _program_turn(task: Task, batch_size: int, count: int, seconds: float) -> Turn:
    model, known = task.model, task.run_ms
    options = {"format": "json", "model_file": model.get("program") or model["onnx"]}
    options |= {"params_file": model["params"]} if "params" in model else {}
    options |= {k: model[k] for k in ("engine", "accelerator", "precision", "threads")}
    file = task.images.with_name(f"images-{count or batch_size}.npy")
    if not file.exists():
        np.save(file, np.load(task.images, mmap_mode="r")[: count or batch_size])
    options |= {"input": file, "batch_size": batch_size}
    if seconds and batch_size not in known:
        first = _call_program(task, options | {"warmup": 2, "repeats": _LEAST_RUNS})
        known[batch_size] = first["latency"]["median_ms"]
    if seconds:
        each = known[batch_size] / 1e3
        options["warmup"] = max(2, math.ceil(min(_WARM_SECONDS, seconds) / each))
        options["repeats"] = max(_LEAST_RUNS, math.ceil(seconds / each))
    started = time.monotonic()
    found = _call_program(task, options)
    elapsed = 1e3 * (time.monotonic() - started)
    block = None
    if seconds:
        times = [1e3 * found["latency"][f"{key}_ms"] for key in ("median", "p90", "p99")]
        block = Block(options["repeats"], *times)
        known[batch_size] = times[0] / 1e3
    outputs = np.array(found["outputs"], np.float32).reshape(found["output_shape"])
    of = {key: found[key] for key in ("load_ms", "first_run_ms", "peak_bytes")}
    about = {key: found[key] for key in ("engine", "accelerator", "version")}
    return Turn(elapsed, None, **of, about=about, block=block, outputs=outputs if count else None)


def _call_program(task: Task, options: dict[str, Any]) -> dict[str, Any]:
    if task.program is None:
        raise AssertionError("the C++ program has a file")
    printed = call_program(task.program, *(f"--{key}={value}" for key, value in options.items()))
    try:
        found: dict[str, Any] = json.loads(printed)
    except ValueError as error:
        raise BackendFailure("its answer is no JSON") from error
    return found
