"""Quantized and float models as they are deployed: what they answer, how fast, and with what.

Here ``paddle.inference`` is configured as ``paddle_engine.cc`` does for ``precision=int8``.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.errors import BackendFailure, FileNotFound
from lenet_cpp.quantization.child import call_child
from lenet_cpp.quantization.task import as_input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt
    import paddle

    from lenet_cpp.quantization.child import Report
    from lenet_cpp.quantization.task import Progress

    Run = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

__all__ = [
    "Deployed",
    "all_paddle_outputs",
    "count_primitives",
    "int8_config",
    "lenet_cpp_outputs",
    "lenet_cpp_times",
    "medians",
    "paddle_outputs",
    "paddle_times",
    "program_outputs",
    "serve",
]

BATCH_SIZE = 64
_LEAST_RUNS = 3
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


def int8_config(
    program: Path, params: Path, *, int8: bool, cache: str, threads: int = 1
) -> paddle.inference.Config:
    """Configure ``paddle.inference`` with oneDNN for float or int8 arithmetic."""
    from lenet_cpp.engines.paddle_inference import inference_config

    return inference_config(
        program,
        params,
        pir=False,
        accelerator="onednn",
        threads=threads,
        precision="int8" if int8 else "fp32",
        cache=cache,
    )


def paddle_outputs(
    model: Deployed, images: npt.NDArray[Any], *, report: Report | None = None
) -> npt.NDArray[np.float32]:
    """Run a model by ``paddle.inference``, in a child process.

    Args:
        model: What to run.
        images: As :func:`lenet_cpp.quantization.task.as_input` takes them.
        report: Takes the progress.

    Raises:
        BackendFailure: Paddle could not load or run the model.
    """
    return _outputs("paddle.inference", [model], images, report)[0]


def all_paddle_outputs(
    models: Sequence[Deployed], images: npt.NDArray[Any]
) -> list[npt.NDArray[np.float32]]:
    """Run several models in one child process; see :func:`paddle_outputs`."""
    return _outputs("paddle.inference", models, images, None)


def lenet_cpp_outputs(
    model: Deployed, images: npt.NDArray[Any], *, report: Report | None = None
) -> npt.NDArray[np.float32]:
    """Run a model by :class:`lenet_cpp.Predictor`; see :func:`paddle_outputs`.

    Raises:
        lenet_cpp.Error: As the predictor does.
    """
    return _outputs("lenet_cpp", [model], images, report)[0]


def _outputs(
    route: str, models: Sequence[Deployed], images: npt.NDArray[Any], report: Report | None
) -> list[npt.NDArray[np.float32]]:
    with tempfile.TemporaryDirectory(prefix="lenet-") as name:
        call_child(_request(route, models, images, name) | {"outputs": name}, report=report)
        return [np.load(Path(name, f"{index}.npy")) for index in range(len(models))]


def _request(
    route: str, models: Sequence[Deployed], images: npt.NDArray[Any], folder: str
) -> dict[str, Any]:
    """What a child is asked to run; the images are written to the folder."""
    source = Path(folder, "images.npy")
    np.save(source, images)
    return {
        "do": "run",
        "route": route,
        "models": [model.to_json() for model in models],
        "images": str(source),
    }


def paddle_times(
    models: Sequence[Deployed],
    images: npt.NDArray[Any],
    *,
    seconds: float,
    threads: int = 1,
    report: Report | None = None,
) -> list[float]:
    """Time models by ``paddle.inference``, taking turns.

    Args:
        models: What to run.
        images: One batch.
        seconds: About how long each is to be run.
        threads: CPU threads of a run.
        report: Takes the progress.

    Returns:
        The median of each model's runs, in seconds.
    """
    return _times("paddle.inference", models, images, seconds, threads, report)


def lenet_cpp_times(
    models: Sequence[Deployed],
    images: npt.NDArray[Any],
    *,
    seconds: float,
    threads: int = 1,
    report: Report | None = None,
) -> list[float]:
    """Time models by :class:`lenet_cpp.Predictor`; see :func:`paddle_times`."""
    return _times("lenet_cpp", models, images, seconds, threads, report)


def _times(
    route: str,
    models: Sequence[Deployed],
    images: npt.NDArray[Any],
    seconds: float,
    threads: int,
    report: Report | None,
) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="lenet-") as name:
        request = _request(route, models, images, name) | {"seconds": seconds, "threads": threads}
        times: list[float] = call_child(request, report=report).result["times"]
        return times


def count_primitives(model: Deployed, images: npt.NDArray[Any]) -> dict[str, tuple[int, int]]:
    """Count which of oneDNN's primitives with weights ran in a batch, from its own record.

    Args:
        model: What to run.
        images: A few.

    Returns:
        Kind of primitive (convolution, inner_product, matmul) to how many of them took int8
        (s8 or u8) values and int8 weights, and how many there were.
    """
    with tempfile.TemporaryDirectory(prefix="lenet-") as name:
        source = Path(name, "images.npy")
        np.save(source, images)
        request = {"do": "run", "models": [model.to_json()], "images": str(source)}
        names = ("ONEDNN_VERBOSE", "DNNL_VERBOSE")
        printed = call_child(request, variables=dict.fromkeys(names, "1")).printed
    return parse_primitives(printed)


def parse_primitives(printed: str) -> dict[str, tuple[int, int]]:
    """Read oneDNN's record of what it ran; see :func:`count_primitives`."""
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


def serve(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Do in the child what the functions above ask for."""
    images = np.load(request["images"])
    models = [
        Deployed(Path(one["program"]), Path(one["params"]), int8=one["int8"])
        for one in request["models"]
    ]
    threads = request.get("threads", 1)
    runner = _lenet_cpp_runner if request.get("route") == "lenet_cpp" else _paddle_runner
    if "seconds" in request:
        with ExitStack() as stack:
            runs = [stack.enter_context(runner(model, threads)) for model in models]
            return {"times": medians(runs, as_input(images), request["seconds"], progress)}
    total = len(models) * len(images)
    for index, model in enumerate(models):
        outputs = []
        with runner(model, threads) as run:
            for begin in range(0, len(images), BATCH_SIZE):
                outputs.append(run(as_input(images[begin : begin + BATCH_SIZE])))
                progress("checking", index * len(images) + begin, total)
        if "outputs" in request:
            np.save(Path(request["outputs"], f"{index}.npy"), np.concatenate(outputs))
    return {}


@contextmanager
def _lenet_cpp_runner(model: Deployed, threads: int) -> Iterator[Run]:
    """Yield a function from images to outputs, by :class:`lenet_cpp.Predictor`."""
    from lenet_cpp.predictor import Predictor

    with Predictor(
        model.program,
        model.params,
        precision=model.precision,
        accelerator="auto" if model.int8 else "onednn",
        threads=threads,
    ) as predictor:
        yield predictor.run


@contextmanager
def _paddle_runner(model: Deployed, threads: int) -> Iterator[Run]:
    """Yield a function from images to outputs, by ``paddle.inference``.

    Raises:
        BackendFailure: Paddle could not load or run the model.
    """
    from paddle.inference import create_predictor

    from lenet_cpp._paddle_run import last_line

    def run(batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        source.reshape(batch.shape)
        source.copy_from_cpu(batch)
        predictor.run()
        output: npt.NDArray[np.float32] = target.copy_to_cpu()
        return output

    with tempfile.TemporaryDirectory(prefix="lenet-") as cache:
        try:
            config = int8_config(
                model.program, model.params, int8=model.int8, cache=cache, threads=threads
            )
            predictor = create_predictor(config)
            source = predictor.get_input_handle(predictor.get_input_names()[0])
            target = predictor.get_output_handle(predictor.get_output_names()[0])
            yield run
        except RuntimeError as error:
            raise BackendFailure(f"{model.program} cannot be run: {last_line(error)}") from error


def medians(
    runs: Sequence[Callable[[npt.NDArray[np.float32]], Any]],
    batch: npt.NDArray[np.float32],
    seconds: float,
    progress: Progress,
) -> list[float]:
    """Time functions in turns; return the median of each, in seconds."""
    for run in runs:
        run(batch)
        run(batch)
    times: list[list[float]] = [[] for _ in runs]
    begun = time.perf_counter()
    wanted = seconds * len(runs)
    while len(times[0]) < _LEAST_RUNS or time.perf_counter() - begun < wanted:
        for run, found in zip(runs, times, strict=True):
            start = time.perf_counter()
            run(batch)
            found.append(time.perf_counter() - start)
        if len(times[0]) % 20 == 1:
            passed = min(100, round(100 * (time.perf_counter() - begun) / wanted))
            progress(f"timing {len(batch)}", passed, 100)
    progress(f"timing {len(batch)}", 100, 100)
    return [float(np.median(found)) for found in times]


def program_outputs(
    program: Path, model: Deployed, images: npt.NDArray[Any]
) -> npt.NDArray[np.float32]:
    """Run a model by the C++ program.

    Raises:
        FileNotFound: There is no such program.
        BackendFailure: The program refused or failed; with what it said.
    """
    with tempfile.TemporaryDirectory(prefix="lenet-") as name:
        source, target = Path(name, "images.npy"), Path(name, "outputs.npy")
        np.save(source, as_input(images))
        _call(
            program,
            f"--model_file={model.program}",
            f"--params_file={model.params}",
            f"--input={source}",
            f"--output={target}",
            f"--precision={model.precision}",
            f"--accelerator={'auto' if model.int8 else 'onednn'}",
            f"--batch_size={BATCH_SIZE}",
        )
        found: npt.NDArray[np.float32] = np.load(target)
        return found


def _call(program: Path, *arguments: str) -> dict[str, Any]:
    try:
        child = subprocess.run(  # noqa: S603 - the program that the user built
            [program.absolute(), *arguments, "--format=json"],
            capture_output=True,
            check=False,
            text=True,
        )
    except OSError as error:
        raise FileNotFound(
            f"cannot run {program} ({error.strerror}): build it with ./run.sh"
        ) from error
    if child.returncode != 0:
        said = child.stderr.strip().splitlines() or ["it said nothing"]
        raise BackendFailure(said[-1])
    result: dict[str, Any] = json.loads(child.stdout)
    return result
