"""``lenet-cpp benchmark``: latency and throughput of one model in the engines that are here."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from lenet_cpp.cli._options import EXPORTED_MODEL, Options, command, open_predictor
from lenet_cpp.cli._versions import versions
from lenet_cpp.errors import BadInput, FileNotFound, Unsupported
from lenet_cpp.verify import TOLERANCES, Comparison, compare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lenet_cpp.inference.predictor import Predictor
    from lenet_cpp.inference.profile import Profile

_ENGINES = ("native", "paddle", "onnxruntime")
_PERCENTILES = (50, 90, 99)
_MIN_RUNS, _MAX_RUNS = 10, 1_000_000
_WARM_UP = 3


@command(
    f"""{EXPORTED_MODEL}
  --image-size  height and width of the images, in pixels, for a model that takes any
Engine:
  --engines {"|".join(_ENGINES)},...  which (default: all) [also: --engine]
  --accelerator
  --precision
  --threads N,...  CPU threads of a run [default: 1] [also: --cpu_threads]
Images:
  -b, --batch-sizes N,...  images a run [default: 1,8,64] [also: --batch-size]
Results:
  --seconds SECONDS
      how long each row is measured, in {_MIN_RUNS} to {_MAX_RUNS:,} runs [default: 1.0]
  --profile  also profile each layer, in the native engine
  --json
Examples:
  %prog inference_model/lenet  every engine that can run it, batches of 1, 8 and 64
  %prog resnet50.onnx --engines onnxruntime,native --threads 1,2,4 --batch-sizes 1
      how it scales with threads
  %prog --json > bundled.json  the bundled LeNet, for a program to read
""",
    one="the answers of two engines differ",
)
def main(options: Options) -> int:
    """Measure a model: percentiles of the latency of a run, and images a second.

    The images are random numbers from 0 to 1, the same for every engine, and the answers of the
    engines are compared. Run nothing else meanwhile. scripts/benchmark.py of a clone compares with
    other programs, and measures memory and loading too.
    """
    rows: list[dict[str, Any]] = []
    profiles: list[Profile] = []
    left_out: dict[str, str] = {}
    answers: dict[str, NDArray[np.float32]] = {}
    engines = options.engines or _ENGINES
    total = len(engines) * len(options.threads) * len(options.batch_sizes)
    with tqdm(total=total, desc="benchmark", unit="row", disable=None, leave=False) as bar:
        for engine, threads in itertools.product(engines, options.threads):
            try:
                predictor = open_predictor(
                    options, engine, threads=threads, accelerator=options.accelerator
                )
            except (Unsupported, FileNotFound) as error:
                if options.model_file is not None and not options.model_file.exists():
                    raise
                left_out[engine] = str(error)
                continue
            with predictor:
                answers[engine] = predictor.run(_images(predictor, options, 3))
                for size in options.batch_sizes:
                    images = _images(predictor, options, size)
                    measured = _measure(predictor, images, options.seconds)
                    rows.append({"engine": engine, "threads": threads, **measured})
                    if options.profile:
                        try:
                            profiles.append(predictor.profile(size))
                        except Unsupported as error:
                            left_out[f"profile of {engine}"] = str(error)
                    bar.update()
    if not rows:
        reasons: dict[str, list[str]] = {}
        for name, reason in left_out.items():
            reasons.setdefault(reason, []).append(name)
        raise Unsupported("; ".join(f"{', '.join(who)}: {why}" for why, who in reasons.items()))
    first, *others = answers
    tolerance = TOLERANCES[options.precision or "fp32"]
    comparisons = [
        compare(answers[first], answers[other], names=(first, other), tolerance=tolerance)
        for other in others
    ]
    if options.json:
        document = {
            "model": str(options.model_file or "bundled LeNet"),
            "versions": versions(),
            "rows": rows,
            "differences": {each.second: each.largest_difference for each in comparisons},
            "left_out": left_out,
            "profiles": [json.loads(profile.json) for profile in profiles],
        }
        print(json.dumps(document))
    else:
        print(_text(rows, comparisons, left_out))
        for profile in profiles:
            print(f"\n{profile.table.rstrip()}")
    return 0 if all(each.agrees for each in comparisons) else 1


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
