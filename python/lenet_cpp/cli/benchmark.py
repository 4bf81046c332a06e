"""``lenet-cpp benchmark``: latency and throughput of one model in the engines that are here."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from lenet_cpp.cli import _shared as shared
from lenet_cpp.cli._command import CommaList, Options, command, option
from lenet_cpp.cli._versions import versions
from lenet_cpp.errors import BadInput, FileNotFound, Unsupported
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.verify import TOLERANCES, Comparison, compare

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ENGINES = ("native", "paddle", "onnxruntime")
_PERCENTILES = (50, 90, 99)
_MIN_RUNS, _MAX_RUNS = 10, 1_000_000
_WARM_UP = 3


@command(
    one="the answers of two engines differ",
    examples="""\
  {prog} inference_model/lenet
      every engine that can run it, batches of 1, 8 and 64
  {prog} resnet50.onnx --engines onnxruntime,native --threads 1,2,4 --batch-sizes 1
      how it scales with threads
  {prog} --json > bundled.json
      the bundled LeNet, for a program to read
""",
)
@shared.exported_model
@option(
    "--engines NAME,...",
    f"some of {','.join(_ENGINES)} (default: all)",
    also="--engine",
    group=shared.ENGINE,
    type=CommaList(click.Choice(_ENGINES)),
    default=_ENGINES,
)
@shared.accelerator
@shared.precision
@shared.threads("CPU threads of a run (default: 1)", spec="--threads N,...", default=(1,))
@option(
    "-b, --batch-sizes N,...",
    "images a run (default: 1,8,64)",
    also="--batch-size",
    group=shared.IMAGES,
    default=(1, 8, 64),
)
@shared.image_size("for a model that takes any")
@option(
    "--seconds X",
    f"how long each row is measured, in {_MIN_RUNS} to {_MAX_RUNS:,} runs",
    type=click.FloatRange(min=0, max=3600),
    default=1.0,
)
@shared.as_json
def main(options: Options) -> int:
    """Measure a model: percentiles of the latency of a run, and images a second.

    The images are random numbers from 0 to 1, the same for every engine, and the answers of the
    engines are compared. Run nothing else meanwhile. scripts/benchmark.py of a clone compares with
    other programs, and measures memory and loading too.
    """
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    answers: dict[str, NDArray[np.float32]] = {}
    total = len(options.engines) * len(options.threads) * len(options.batch_sizes)
    with tqdm(total=total, desc="benchmark", unit="row", disable=None, leave=False) as bar:
        for engine in options.engines:
            reason = _why_not(options, engine)
            if reason:
                left_out[engine] = reason
                continue
            for threads in options.threads:
                with _load(options, engine, threads) as predictor:
                    answers[engine] = predictor.run(_images(predictor, options, 3))
                    for size in options.batch_sizes:
                        images = _images(predictor, options, size)
                        measured = _measure(predictor, images, options.seconds)
                        rows.append({"engine": engine, "threads": threads, **measured})
                        bar.update()
    if not rows:
        raise Unsupported("; ".join(f"{name}: {reason}" for name, reason in left_out.items()))
    comparisons = _compare(answers, options.precision or "fp32")
    if options.json:
        document = {
            "model": str(options.model or "bundled LeNet"),
            "versions": versions(),
            "rows": rows,
            "differences": {each.second: each.largest_difference for each in comparisons},
            "left_out": left_out,
        }
        print(json.dumps(document))
    else:
        print(_text(rows, comparisons, left_out))
    return 0 if all(each.agrees for each in comparisons) else 1


def _why_not(options: Options, engine: str) -> str:
    """Say why an engine cannot run the model; nothing when it can."""
    try:
        _load(options, engine, 1).close()
    except (Unsupported, FileNotFound) as error:
        if options.model is not None and not options.model.exists():
            raise
        return str(error)
    return ""


def _load(options: Options, engine: str, threads: int) -> Predictor:
    chosen = {"accelerator": options.accelerator, "precision": options.precision}
    given: Any = {name: value for name, value in chosen.items() if value is not None}
    return Predictor(**shared.predictor_files(options), engine=engine, threads=threads, **given)


def _images(predictor: Predictor, options: Options, count: int) -> NDArray[np.float32]:
    size = options.image_size
    if size is None and -1 in predictor.input_spec.shape[1:]:
        raise BadInput(f"{predictor.model_file} takes images of any size: choose --image-size")
    shape = (size if each == -1 else each for each in predictor.input_spec.shape[1:])
    return np.random.default_rng(0).random((count, *shape), np.float32)


def _measure(predictor: Predictor, images: NDArray[np.float32], seconds: float) -> dict[str, Any]:
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


def _compare(answers: dict[str, NDArray[np.float32]], precision: str) -> list[Comparison]:
    """Compare every engine with the first one."""
    first = next(iter(answers))
    return [
        compare(
            answers[first], answers[other], names=(first, other), tolerance=TOLERANCES[precision]
        )
        for other in list(answers)[1:]
    ]


def _text(
    rows: list[dict[str, Any]], comparisons: list[Comparison], left_out: dict[str, str]
) -> str:
    header = ["engine", "threads", "batch", "runs", *(f"p{p} ms" for p in _PERCENTILES), "images/s"]
    cells = [
        [
            *(row[name] for name in ("engine", "threads", "batch_size", "runs")),
            *(f"{row[f'p{p}_ms']:.4f}" for p in _PERCENTILES),
            f"{row['images_per_second']:,.0f}",
        ]
        for row in rows
    ]
    align = ("left", *("right",) * (len(header) - 1))
    lines = [tabulate(cells, header, colalign=align, disable_numparse=True), ""]
    for each in comparisons:
        verdict = "agree" if each.agrees else "DIFFER"
        lines.append(f"{each.first} and {each.second} {verdict}: {each.size} on 3 images")
    lines += [f"{engine}: left out: {reason}" for engine, reason in left_out.items()]
    return "\n".join(lines).rstrip()
