"""Run models in the child process that :mod:`lenet_cpp.quantize.deployed` starts."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.errors import BackendFailure
from lenet_cpp.quantize.deployed import LEAST_RUNS, LENET_CPP, PADDLE, Deployed, batch_size
from lenet_cpp.quantize.task import as_input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from lenet_cpp._base.worker import Report

    Run = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


def write_outputs(
    models: list[dict[str, Any]], route: str, images: str, threads: int, folder: str, report: Report
) -> int:
    """Run models and write the outputs of each to a folder, as ``INDEX.npy``.

    Args:
        models: Each as :meth:`Deployed.to_json` gives it.
        route: ``paddle.inference`` or ``lenet_cpp``.
        images: A ``.npy`` of them.
        threads: CPU threads of a run.
        folder: Where to.
        report: Takes the progress.

    Returns:
        How many runs of each model that took.
    """
    loaded = np.load(images)
    total = len(models) * len(loaded)
    size = batch_size(loaded)
    begins = range(0, len(loaded), size)
    for index, model in enumerate(map(Deployed.from_json, models)):
        outputs = []
        with _RUNNERS[route](model, threads) as run:
            for begin in begins:
                outputs.append(run(as_input(loaded[begin : begin + size])))
                report("checking", index * len(loaded) + begin, total)
        np.save(Path(folder, f"{index}.npy"), np.concatenate(outputs))
    return len(begins)


def time_models(
    models: list[dict[str, Any]],
    route: str,
    images: str,
    threads: int,
    seconds: float,
    batch_sizes: list[int],
    report: Report,
) -> list[list[float]]:
    """Time models that take turns.

    Args:
        models: As for :func:`write_outputs`.
        route: As for :func:`write_outputs`.
        images: As for :func:`write_outputs`.
        threads: As for :func:`write_outputs`.
        seconds: About how long each is to be run, at each batch size.
        batch_sizes: Images a run; the images are repeated for a larger one.
        report: Takes the progress.

    Returns:
        For each batch size the median of each model's runs, in seconds.
    """
    loaded = np.load(images)
    with ExitStack() as stack:
        runs = [
            stack.enter_context(_RUNNERS[route](Deployed.from_json(model), threads))
            for model in models
        ]
        return [
            medians(runs, as_input(loaded[np.arange(size) % len(loaded)]), seconds, report)
            for size in batch_sizes
        ]


@contextmanager
def _lenet_cpp_runner(model: Deployed, threads: int) -> Iterator[Run]:
    """Yield a function from images to outputs, by :class:`lenet_cpp.Predictor`."""
    from lenet_cpp.inference.predictor import Predictor

    with Predictor(
        model.program,
        model.params,
        precision=model.precision,
        engine="paddle",
        accelerator="onednn",
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

    from lenet_cpp.models.paddle_run import inference_config, last_line

    def run(batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        source.reshape(batch.shape)
        source.copy_from_cpu(batch)
        predictor.run()
        output: npt.NDArray[np.float32] = target.copy_to_cpu()
        return output

    with tempfile.TemporaryDirectory(prefix="lenet-") as cache:
        try:
            config = inference_config(
                model.program,
                model.params,
                pir=False,
                accelerator="onednn",
                threads=threads,
                precision=model.precision,
                cache=cache,
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
    progress: Report,
) -> list[float]:
    """Time functions in turns; return the median of each, in seconds."""
    for run in runs:
        run(batch)  # the first run chooses and prepares what computes
    times: list[list[float]] = [[] for _ in runs]
    begun = time.perf_counter()
    wanted = seconds * len(runs)
    while len(times[0]) < LEAST_RUNS or time.perf_counter() - begun < wanted:
        for run, found in zip(runs, times, strict=True):
            start = time.perf_counter()
            run(batch)
            found.append(time.perf_counter() - start)
        if len(times[0]) % 20 == 1:
            passed = min(100, round(100 * (time.perf_counter() - begun) / wanted))
            progress(f"timing {len(batch)}", passed, 100)
    progress(f"timing {len(batch)}", 100, 100)
    return [float(np.median(found)) for found in times]


_RUNNERS = {PADDLE: _paddle_runner, LENET_CPP: _lenet_cpp_runner}
