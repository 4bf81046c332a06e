"""Runs models in the child process; :mod:`lenet_cpp.quantization.deployed` asks for it."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.errors import BackendFailure
from lenet_cpp.quantization.deployed import LEAST_RUNS, LENET_CPP, PADDLE, Deployed, batch_size
from lenet_cpp.quantization.task import as_input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from lenet_cpp.quantization.task import Progress

    Run = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

__all__ = ["medians", "serve"]


def serve(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Run models, or time them.

    Args:
        request: ``models``, of :class:`Deployed`; ``route``, ``paddle.inference`` or
            ``lenet_cpp``; ``images``, a ``.npy``; ``threads``. Then ``outputs``, a folder that
            gets an ``INDEX.npy`` of each model's outputs; or ``seconds`` and ``batch_sizes``,
            for times.
        progress: Takes the progress.

    Returns:
        ``runs`` of each model, or ``times``: for each batch size the median of each model.
    """
    images = np.load(request["images"])
    models = [
        Deployed(Path(one["program"]), Path(one["params"]), int8=one["int8"])
        for one in request["models"]
    ]
    threads = request["threads"]
    runner = {PADDLE: _paddle_runner, LENET_CPP: _lenet_cpp_runner}[request["route"]]
    if "seconds" in request:
        with ExitStack() as stack:
            runs = [stack.enter_context(runner(model, threads)) for model in models]
            times = [
                medians(runs, as_input(images[np.arange(size) % len(images)]), request["seconds"],
                        progress)
                for size in request["batch_sizes"]
            ]  # fmt: skip
            return {"times": times}
    total = len(models) * len(images)
    size = batch_size(images)
    begins = range(0, len(images), size)
    for index, model in enumerate(models):
        outputs = []
        with runner(model, threads) as run:
            for begin in begins:
                outputs.append(run(as_input(images[begin : begin + size])))
                progress("checking", index * len(images) + begin, total)
        np.save(Path(request["outputs"], f"{index}.npy"), np.concatenate(outputs))
    return {"runs": len(begins)}


@contextmanager
def _lenet_cpp_runner(model: Deployed, threads: int) -> Iterator[Run]:
    """Yield a function from images to outputs, by :class:`lenet_cpp.Predictor`."""
    from lenet_cpp.predictor import Predictor

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

    from lenet_cpp._paddle_run import last_line
    from lenet_cpp.engines.paddle_inference import inference_config

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
    progress: Progress,
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
