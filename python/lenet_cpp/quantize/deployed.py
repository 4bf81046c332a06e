"""Quantized and float models as they are deployed: what they answer, how fast, and with what.

By three routes: ``paddle.inference``, configured as ``paddle_engine.cc`` does, and
:class:`lenet_cpp.Predictor`, both in a child process, which :mod:`.serving` is about; and the C++
program.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.worker import PROGRAM_DESC, call
from lenet_cpp.inference.program import call_program
from lenet_cpp.quantize.task import as_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from lenet_cpp._base.worker import Answer, Report

PADDLE = "paddle.inference"
LENET_CPP = "lenet_cpp"
LEAST_RUNS = 3
# Values of the input of a run, by the memory that a deep network then takes.
_RUN_VALUES = 8 * 3 * 224 * 224
_PRIMITIVE = re.compile(r"onednn_verbose,(?:v1,)?(?:primitive,)?exec,cpu,(\w+),[^,]*,[^,]*,([^,]*)")
_HEAVY = ("convolution", "inner_product", "matmul")


@dataclass(frozen=True)
class Deployed:
    """A model and the precision that it is run with."""

    program: Path
    params: Path
    int8: bool

    @property
    def precision(self) -> str:
        """As the C++ program takes it."""
        return "int8" if self.int8 else "fp32"

    def to_json(self) -> dict[str, Any]:
        """Describe it for a child."""
        return {"program": str(self.program), "params": str(self.params), "int8": self.int8}

    @classmethod
    def from_json(cls, described: dict[str, Any]) -> Deployed:
        """Return what :meth:`to_json` described."""
        return cls(Path(described["program"]), Path(described["params"]), int8=described["int8"])


def batch_size(images: npt.NDArray[Any]) -> int:
    """How many of these images are run at a time: up to 64, as memory allows."""
    return min(64, max(1, _RUN_VALUES // int(images[0].size)))


def outputs(
    models: Sequence[Deployed],
    images: npt.NDArray[Any],
    *,
    route: str = PADDLE,
    report: Report | None = None,
) -> list[npt.NDArray[np.float32]]:
    """Run models, one after the other, in a child process.

    Args:
        models: What to run.
        images: As :func:`lenet_cpp.quantize.task.as_input` takes them.
        route: :data:`PADDLE` or :data:`LENET_CPP`.
        report: Takes the progress.

    Returns:
        float32 [N, classes] of each model.

    Raises:
        BackendFailure: Paddle could not load or run a model.
        lenet_cpp.Error: As the predictor raises, by :data:`LENET_CPP`.
    """
    return _run(models, images, route, report, record=False)[0]


def outputs_and_primitives(
    model: Deployed, images: npt.NDArray[Any], *, report: Report | None = None
) -> tuple[npt.NDArray[np.float32], dict[str, tuple[int, int]]]:
    """Run a model by ``paddle.inference``, and see in oneDNN's own record what that ran.

    Args:
        model: What to run.
        images: As for :func:`outputs`.
        report: Takes the progress.

    Returns:
        float32 [N, classes]; and, of the primitives with weights in one run, kind (convolution,
        inner_product, matmul) to how many of them took int8 (s8 or u8) values and int8 weights,
        and how many there were.

    Raises:
        BackendFailure: Paddle could not load or run the model.
    """
    (found,), answer = _run([model], images, PADDLE, report, record=True)
    runs = answer.result
    primitives = parse_primitives(answer.printed)
    return found, {kind: (a // runs, b // runs) for kind, (a, b) in primitives.items()}


def _run(
    models: Sequence[Deployed],
    images: npt.NDArray[Any],
    route: str,
    report: Report | None,
    *,
    record: bool,
) -> tuple[list[npt.NDArray[np.float32]], Answer]:
    variables = dict.fromkeys(("ONEDNN_VERBOSE", "DNNL_VERBOSE"), "1" if record else "0")
    with tempfile.TemporaryDirectory(prefix="lenet-") as name:
        answer = call(
            "lenet_cpp.quantize.serving:write_outputs",
            _arguments(route, models, images, name, threads=1) | {"folder": name},
            doing="running the model",
            report=report,
            variables=PROGRAM_DESC | variables,
        )
        return [np.load(Path(name, f"{index}.npy")) for index in range(len(models))], answer


def _arguments(
    route: str, models: Sequence[Deployed], images: npt.NDArray[Any], folder: str, threads: int
) -> dict[str, Any]:
    """Return what a child is given to run; the images are written to the folder."""
    source = Path(folder, "images.npy")
    np.save(source, images)
    return {
        "route": route,
        "models": [model.to_json() for model in models],
        "images": str(source),
        "threads": threads,
    }


def times(
    models: Sequence[Deployed],
    images: npt.NDArray[Any],
    batch_sizes: Sequence[int],
    *,
    route: str,
    seconds: float,
    threads: int = 1,
    report: Report | None = None,
) -> list[list[float]]:
    """Time models that take turns, in a child process.

    Args:
        models: What to run.
        images: As for :func:`outputs`; repeated for a larger batch.
        batch_sizes: Images a run.
        route: :data:`PADDLE` or :data:`LENET_CPP`.
        seconds: About how long each is to be run, at each batch size.
        threads: CPU threads of a run.
        report: Takes the progress.

    Returns:
        For each batch size, the median of each model's runs, in seconds.

    Raises:
        lenet_cpp.Error: As :func:`outputs`.
    """
    with tempfile.TemporaryDirectory(prefix="lenet-") as name:
        timed = {"seconds": seconds, "batch_sizes": list(batch_sizes)}
        found: list[list[float]] = call(
            "lenet_cpp.quantize.serving:time_models",
            _arguments(route, models, images, name, threads) | timed,
            doing="timing the models",
            report=report,
            variables=PROGRAM_DESC,
        ).result
        return found


def parse_primitives(printed: str) -> dict[str, tuple[int, int]]:
    """Read oneDNN's record of what it ran; see :func:`outputs_and_primitives`."""
    whole: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for match in _PRIMITIVE.finditer(printed):
        kind, memory = match.groups()
        if kind not in _HEAVY:
            continue
        total[kind] += 1
        if re.search(r"src[_:][us]8", memory) and re.search(r"wei[_:]s8", memory):
            whole[kind] += 1
    return {kind: (whole[kind], total[kind]) for kind in sorted(total)}


def program_outputs(
    program: Path, model: Deployed, images: npt.NDArray[Any]
) -> npt.NDArray[np.float32]:
    """Run a model by the C++ program.

    Raises:
        FileNotFound: There is no such program.
        lenet_cpp.Error: What the program reported, or BackendFailure when it crashed.
    """
    with tempfile.TemporaryDirectory(prefix="lenet-") as name:
        source, target = Path(name, "images.npy"), Path(name, "outputs.npy")
        np.save(source, as_input(images))
        _call(
            program,
            model,
            f"--input={source}",
            f"--output={target}",
            f"--batch_size={batch_size(images)}",
        )
        found: npt.NDArray[np.float32] = np.load(target)
        return found


def program_time(
    program: Path, model: Deployed, images: npt.NDArray[Any], *, runs: int, threads: int = 1
) -> float:
    """Time a model by the C++ program.

    Args:
        program: The C++ program.
        model: What to run.
        images: One batch, as for :func:`outputs`.
        runs: How many are measured.
        threads: CPU threads of a run.

    Returns:
        The median, in seconds.

    Raises:
        lenet_cpp.Error: As :func:`program_outputs`.
    """
    with tempfile.TemporaryDirectory(prefix="lenet-") as name:
        source = Path(name, "images.npy")
        np.save(source, as_input(images))
        found = _call(
            program,
            model,
            f"--input={source}",
            f"--batch_size={len(images)}",
            f"--max_batch_size={len(images)}",
            f"--repeats={runs}",
            "--warmup=1",
            f"--threads={threads}",
        )
        return float(found["latency"]["median_ms"]) / 1000


def _call(program: Path, model: Deployed, *arguments: str) -> dict[str, Any]:
    printed = call_program(
        program,
        f"--model_file={model.program}",
        f"--params_file={model.params}",
        f"--precision={model.precision}",
        "--engine=paddle",
        "--accelerator=onednn",
        "--format=json",
        *arguments,
    )
    result: dict[str, Any] = json.loads(printed)
    return result
