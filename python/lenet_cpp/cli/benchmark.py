"""``lenet-cpp benchmark``: latency and throughput of one model in the engines that are here."""

import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from click import option
from numpy.typing import NDArray
from tabulate import tabulate
from tqdm import tqdm

from lenet_cpp._base.files import write_text
from lenet_cpp.agreement import TOLERANCES, Comparison, compare
from lenet_cpp.cli import _options as cli
from lenet_cpp.cli import versions
from lenet_cpp.data.arrays import random_input
from lenet_cpp.errors import BadInput, FileNotFound, Unsupported
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.inference.profile import Profile

_ENGINES = ("native", "paddle", "onnxruntime")
_PERCENTILES = (50, 90, 99)
_MIN_RUNS, _MAX_RUNS = 10, 1_000_000
_WARM_UP = 3


@cli.command("""
%prog resnet50.onnx --engines onnxruntime,native --threads 1,2,4 -b 1
    show how the time depends on the number of threads
%prog resnet50.onnx --profile
    show the cost of each layer in the native engine
""")
@cli.exported(flags=("-d", "--model-dir", "-m", "--model-file"))
@cli.params_file()
@cli.image_size(help="height and width of the images, for a model that takes any size")
@option(
    "-b",
    "--batch-sizes",
    "--batch-size",
    type=cli.Several(cli.COUNT),
    help="images per run (default: 1,8,64, or 1 with --profile)",
)
@option(
    "--seconds",
    type=cli.SECONDS,
    default=1.0,
    metavar="SECONDS",
    help=f"measuring time of each row, which has {_MIN_RUNS} to {_MAX_RUNS:,} runs",
)
@cli.option_group(
    "Engine",
    option(
        "--engines",
        "--engine",
        type=cli.Several(cli.choice(*_ENGINES)),
        metavar="NAME,...",
        help=f"engines to measure: {', '.join(_ENGINES)} (default: all of them)",
    ),
    cli.accelerator(),
    cli.precision(),
    cli.threads(type=cli.Several(cli.COUNT), default="1"),
)
@cli.option_group(
    "Profile",
    option(
        "--profile",
        is_flag=True,
        help="show kernel, multiply-adds, bytes and time of each layer, in the native engine",
    ),
    option(
        "--runs",
        type=cli.NATURAL,
        default=0,
        help="with --profile: number of measured runs; 0: as many as half a second allows",
    ),
    option(
        "--trace",
        type=cli.FILE,
        help="with --profile: also write a Chrome trace, for Perfetto or chrome://tracing",
    ),
)
@cli.option_group("Results", cli.as_json())
def main(
    model: Path | None,
    params_file: Path | None,
    image_size: int | None,
    batch_sizes: tuple[int, ...] | None,
    seconds: float,
    engines: tuple[str, ...] | None,
    accelerator: str | None,
    precision: str | None,
    threads: tuple[int, ...],
    profile: bool,
    runs: int,
    trace: Path | None,
    as_json: bool,
) -> int:
    """Measure the latency percentiles and the images per second of a model.

    The images are random numbers from 0 to 1, the same for every engine. The outputs of the
    engines are compared; the exit status is 1 if they differ. Do not run other programs meanwhile.
    In a clone, scripts/benchmark.py compares with other libraries, and measures memory and loading.
    """
    load = partial(cli.load_model, model, params_file, precision=precision, accelerator=accelerator)
    if profile:
        cli.refuse("engines", "image_size", "seconds", why="cannot be combined with --profile")
        layers = _profile_layers(load, threads, batch_sizes or (1,), runs)
        if trace is not None:
            write_text(trace, layers.trace)
        print(layers.json if as_json else layers.table.rstrip())
        return 0
    cli.refuse("runs", "trace", why="needs --profile")
    found = _measure_engines(
        load,
        engines or _ENGINES,
        threads=threads,
        batch_sizes=batch_sizes or (1, 8, 64),
        image_size=image_size,
        seconds=seconds,
        may_leave_out=model is None or model.exists(),
    )
    if not found.rows:
        raise Unsupported(_reasons(found.left_out))
    comparisons = _compare(found.answers, TOLERANCES[precision or "fp32"])
    if as_json:
        document = {
            "model": str(model or "bundled LeNet"),
            "versions": versions(),
            "rows": found.rows,
            "differences": {each.second: each.largest_difference for each in comparisons},
            "left_out": found.left_out,
        }
        print(json.dumps(document))
    else:
        print(_text(found.rows, comparisons, found.left_out))
    return 0 if all(each.agrees for each in comparisons) else 1


def _profile_layers(
    load: Callable[..., Predictor], threads: Sequence[int], batch_sizes: Sequence[int], runs: int
) -> Profile:
    """Measure what each layer costs in the native engine; a usage error of several settings."""
    if len(threads) > 1 or len(batch_sizes) > 1:
        raise click.UsageError("--profile takes one number of images and of threads")
    with load(engine="native", threads=threads[0]) as predictor:
        return predictor.profile(batch_sizes[0], runs=runs)


@dataclass
class _Measured:
    """What was measured of every engine."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """A row of the table for each engine, number of threads and batch size."""
    answers: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """The outputs of each engine for the same three images."""
    left_out: dict[str, str] = field(default_factory=dict)
    """The engines that do not run the model, and why."""


def _measure_engines(
    load: Callable[..., Predictor],
    engines: Sequence[str],
    *,
    threads: Sequence[int],
    batch_sizes: Sequence[int],
    image_size: int | None,
    seconds: float,
    may_leave_out: bool,
) -> _Measured:
    """Measure each engine with each number of threads and each batch size.

    Args:
        load: Loads the model in an engine, with a number of threads.
        engines: Their names.
        threads: Numbers of threads.
        batch_sizes: Images per run.
        image_size: Height and width in pixels, for a model of any size.
        seconds: How long each measurement takes, about.
        may_leave_out: Whether to go on where an engine does not run the model.

    Raises:
        Unsupported: An engine does not run the model, and none may be left out.
        FileNotFound: The library of an engine or the model is missing, and none may be left out.
    """
    found = _Measured()
    total = len(engines) * len(threads) * len(batch_sizes)
    with tqdm(total=total, desc="benchmark", unit="row", disable=None, leave=False) as bar:
        for engine, count in itertools.product(engines, threads):
            try:
                predictor = load(engine=engine, threads=count)
            except (Unsupported, FileNotFound) as error:
                if not may_leave_out:
                    raise
                found.left_out[engine] = str(error)
                continue
            with predictor:
                found.answers[engine] = predictor.run(_images(predictor, image_size, 3))
                for size in batch_sizes:
                    measured = _measure(predictor, _images(predictor, image_size, size), seconds)
                    found.rows.append({"engine": engine, "threads": count, **measured})
                    bar.update()
    return found


def _compare(answers: dict[str, NDArray[np.float32]], tolerance: float) -> list[Comparison]:
    """Compare the answers of every engine with those of the first."""
    first, *others = answers
    return [
        compare(answers[first], answers[other], names=(first, other), tolerance=tolerance)
        for other in others
    ]


def _reasons(left_out: dict[str, str]) -> str:
    """Return why no engine runs the model, each reason once."""
    engines_by_reason: dict[str, list[str]] = {}
    for engine, reason in left_out.items():
        engines_by_reason.setdefault(reason, []).append(engine)
    return "; ".join(
        f"{', '.join(engines)}: {reason}" for reason, engines in engines_by_reason.items()
    )


def _images(predictor: Predictor, size: int | None, count: int) -> NDArray[Any]:
    if size is None and -1 in predictor.input_spec.shape[1:]:
        raise BadInput(f"{predictor.model_file} takes images of any size: choose --image-size")
    spec = predictor.input_spec
    shape = ((size or 0) if each == -1 else each for each in spec.shape[1:])
    return random_input(np.random.default_rng(0), (count, *shape), spec.dtype)


def _measure(predictor: Predictor, images: NDArray[Any], seconds: float) -> dict[str, Any]:
    for _ in range(_WARM_UP):
        predictor.run(images)
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < _MIN_RUNS or (
        len(times) < _MAX_RUNS and time.perf_counter() - begin < seconds
    ):
        started = time.perf_counter()
        predictor.run(images)
        times.append(time.perf_counter() - started)
    latency = np.percentile(times, _PERCENTILES) * 1000
    return {
        "batch_size": len(images),
        "runs": len(times),
        **{f"p{p}_ms": float(value) for p, value in zip(_PERCENTILES, latency, strict=True)},
        "images_per_second": len(images) * len(times) / sum(times),
    }


def _text(
    rows: list[dict[str, Any]], comparisons: list[Comparison], left_out: dict[str, str]
) -> str:
    header = ["engine", "threads", "batch", "runs", *(f"p{p} ms" for p in _PERCENTILES), "images/s"]
    align = ("left", *("right",) * (len(header) - 1))
    formats = (*("",) * 4, *(".4f",) * len(_PERCENTILES), ",.0f")
    cells = [list(row.values()) for row in rows]
    lines = [tabulate(cells, header, colalign=align, floatfmt=formats), ""]
    for each in comparisons:
        verdict = "agree" if each.agrees else "DIFFER"
        lines.append(f"{each.first} and {each.second} {verdict}: {each.size} on 3 images")
    lines += [f"{engine}: left out: {reason}" for engine, reason in left_out.items()]
    return "\n".join(lines).rstrip()
