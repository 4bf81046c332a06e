"""The processes that the contenders run in, and the turns they take."""

from __future__ import annotations

import json
import math
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lenet_cpp.errors import BackendFailure
from tools.benchmark.child import child_environment, on_processors, start_child
from tools.benchmark.contenders import PROGRAM
from tools.benchmark.summary import Block, block_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tools.benchmark.contenders import Contender
    from tools.benchmark.engines import Model

__all__ = [
    "Files",
    "Session",
    "Start",
    "Warmup",
    "open_session",
]

_WORKER = Path(__file__).with_name("worker.py")
# Before each turn, to fill the caches that the others have used meanwhile.
_WARM_AGAIN_SECONDS = 0.01
_LEAST_RUNS = 3


@dataclass(frozen=True)
class Files:
    """Where the inputs of the contenders are."""

    exported: dict[str, tuple[Path, Path]]
    """Format, or ``quantized``, to program and parameters."""
    others: dict[str, Path]
    """By the names that :attr:`Contender.files` has."""
    images: Path
    """``.npy``, float32 [N, C, H, W]."""
    image_shape: tuple[int, ...]
    """Of one image."""
    network: str
    """What builds it."""
    classes: int
    folder: Path
    """For whatever the contenders write."""
    program: Path
    """The C++ program."""


@dataclass(frozen=True)
class Start:
    """From nothing to the first logits, of one image of zeros. Milliseconds."""

    first_result_ms: float
    """Since the process was asked for, until the logits were there."""
    create_ms: float
    """Of these: loading the model."""
    first_run_ms: float
    """Of these: the first run."""


@dataclass(frozen=True)
class Warmup:
    """The runs before the first that counts."""

    runs: int
    stable: bool | None
    """Whether the times had settled; None where single times are not known."""


class Session(Protocol):
    """A contender that is ready to run."""

    start: Start

    def outputs(self, batch_size: int, count: int) -> tuple[NDArray[np.float32], float]:
        """Run the first images, a multiple of ``batch_size``.

        Returns:
            The outputs, and the milliseconds of the first run.
        """

    def warm(self, batch_size: int, seconds: float) -> Warmup:
        """Run until the times are stable."""

    def block(self, batch_size: int, seconds: float) -> Block:
        """Take a turn of about this many seconds."""

    def engine(self, batch_size: int) -> str | None:
        """What lenet_cpp's predictor runs such batches with; None of other contenders."""

    def peak_bytes(self) -> int | None:
        """The most resident memory so far; None when not known."""

    def close(self) -> None:
        """End the process."""


def open_session(
    contender: Contender, files: Files, threads: int, processors: Sequence[int]
) -> Session:
    """Start a contender's process and wait for its first result.

    Raises:
        BackendFailure: It did not get that far.
    """
    kind = _ProgramSession if contender.factory == PROGRAM else _PythonSession
    return kind(contender, files, threads, processors)


class _PythonSession:
    """A contender in a Python process of its own, which is stopped while others have their turn.

    Stopped by a signal: the idle threads of some engines would otherwise look for work in a loop
    for a while, at the cost of whoever is next.
    """

    def __init__(
        self, contender: Contender, files: Files, threads: int, processors: Sequence[int]
    ) -> None:
        self._name = contender.name
        self._folder = files.folder
        model: Model = {
            "accelerator": contender.accelerator,
            "engine": contender.engine,
            "precision": contender.precision,
            "threads": threads,
            "cache": tempfile.mkdtemp(dir=files.folder),
            "network": files.network,
            "classes": files.classes,
        }
        if contender.exported is not None:
            program, params = files.exported[contender.exported]
            model |= {"program": str(program), "params": str(params)}
        others = {kind.partition("_")[0]: str(files.others[kind]) for kind in contender.files}
        task = {
            "factory": contender.factory,
            "model": {**model, **others},
            "images": str(files.images),
            "image_shape": files.image_shape,
        }
        command = [sys.executable, "-W", "ignore", str(_WORKER), json.dumps(task)]
        self._open = ExitStack()
        with on_processors(processors):
            self._child = self._open.enter_context(
                start_child(command, files.folder, child_environment(threads), commanded=True)
            )
        try:
            first = self._answer()
        except BaseException:
            self.close()
            raise
        self.start = Start(
            1e3 * (first["done"] - self._child.started), first["create_ms"], first["first_run_ms"]
        )
        self._child.process.send_signal(signal.SIGSTOP)

    def _answer(self) -> Any:
        line = self._child.line()
        if not line:
            how = self._child.failure() or "ended without an answer"
            raise BackendFailure(f"{self._name}: {how}")
        return json.loads(line)

    def _do(self, action: str, **order: object) -> Any:
        self._child.process.send_signal(signal.SIGCONT)
        stdin = self._child.process.stdin
        if stdin is not None:
            with suppress(BrokenPipeError):  # then there is no answer, which says why
                stdin.write(json.dumps({"do": action, **order}).encode() + b"\n")
                stdin.flush()
        answer = self._answer()
        self._child.process.send_signal(signal.SIGSTOP)
        return answer

    def outputs(self, batch_size: int, count: int) -> tuple[NDArray[np.float32], float]:
        file = self._folder / f"{self._child.process.pid}.npy"
        answer = self._do("outputs", batch=batch_size, images=count, file=str(file))
        return np.load(file), float(answer["first_run_ms"])

    def warm(self, batch_size: int, seconds: float) -> Warmup:
        answer = self._do("warm", batch=batch_size, seconds=seconds)
        return Warmup(answer["runs"], answer["stable"])

    def block(self, batch_size: int, seconds: float) -> Block:
        times = self._do(
            "block",
            batch=batch_size,
            seconds=seconds,
            least=_LEAST_RUNS,
            warmup=min(_WARM_AGAIN_SECONDS, seconds),
        )
        return block_of(times)

    def engine(self, batch_size: int) -> str | None:
        found = self._do("engine", batch=batch_size)["engine"]
        return None if found is None else str(found)

    def peak_bytes(self) -> int | None:
        return int(self._do("memory")["peak"])

    def close(self) -> None:
        self._open.close()


class _ProgramSession:
    """The C++ program, run anew for each turn, with its own clock and percentiles."""

    def __init__(
        self, contender: Contender, files: Files, threads: int, processors: Sequence[int]
    ) -> None:
        self._name = contender.name
        self._folder = files.folder
        self._images = files.images
        self._processors = processors
        self._environment = child_environment(threads)
        program, params = files.exported[contender.exported or contender.format]
        self._command = [
            str(files.program),
            f"--model_file={program}",
            f"--params_file={params}",
            f"--engine={contender.engine}",
            f"--accelerator={contender.accelerator}",
            f"--precision={contender.precision}",
            f"--threads={threads}",
            "--format=json",
        ]
        self._inputs: dict[int, Path] = {}
        self._run_us: dict[int, float] = {}
        self._peak = 0
        report, seconds = self._run()
        self.start = Start(1e3 * seconds, report["load_ms"], report["first_run_ms"])

    def _run(self, *arguments: str) -> tuple[dict[str, Any], float]:
        command = [*self._command, *arguments]
        with ExitStack() as stack:
            with on_processors(self._processors):
                child = stack.enter_context(start_child(command, self._folder, self._environment))
            text = child.line()
            seconds = time.monotonic() - child.started
            if (how := child.failure()) is not None:
                raise BackendFailure(f"{self._name}: {how}")
        report: dict[str, Any] = json.loads(text)
        self._peak = max(self._peak, report["peak_bytes"])
        return report, seconds

    def _input(self, batch_size: int, count: int) -> list[str]:
        file = self._inputs.get(count)
        if file is None:
            file = self._folder / f"images-{count}.npy"
            np.save(file, np.load(self._images, mmap_mode="r")[:count])
            self._inputs[count] = file
        return [f"--input={file}", f"--batch_size={batch_size}"]

    def outputs(self, batch_size: int, count: int) -> tuple[NDArray[np.float32], float]:
        report, _ = self._run(*self._input(batch_size, count))
        outputs = np.array(report["outputs"], np.float32).reshape(report["output_shape"])
        return outputs, float(report["first_run_ms"])

    def _measure(self, batch_size: int, warmup: int, repeats: int) -> Block:
        report, _ = self._run(
            *self._input(batch_size, batch_size), f"--warmup={warmup}", f"--repeats={repeats}"
        )
        latency = report["latency"]
        values = (1e3 * latency[name] for name in ("median_ms", "p90_ms", "p99_ms"))
        return Block(repeats, *values)

    def warm(self, batch_size: int, seconds: float) -> Warmup:
        # It warms itself up in each turn; here it says how long a run takes.
        self._run_us[batch_size] = self._measure(batch_size, 2, 5).median
        return Warmup(self._counts(batch_size, seconds)[0], None)

    def _counts(self, batch_size: int, seconds: float) -> tuple[int, int]:
        """Runs to warm up (10, or the time of two windows of the others) and runs that count."""
        microseconds = self._run_us[batch_size]
        warmup = max(
            10 if microseconds < 1e4 else 2, math.ceil(min(4e4, 1e6 * seconds) / microseconds)
        )
        return warmup, max(_LEAST_RUNS, math.ceil(1e6 * seconds / microseconds))

    def block(self, batch_size: int, seconds: float) -> Block:
        block = self._measure(batch_size, *self._counts(batch_size, seconds))
        self._run_us[batch_size] = block.median
        return block

    def engine(self, batch_size: int) -> str | None:  # noqa: ARG002 - it is asked for by name
        return None

    def peak_bytes(self) -> int | None:
        return self._peak or None

    def close(self) -> None:
        pass
