"""``lenet-cpp explain``: how the native engine computes a model, layer by layer."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from tabulate import tabulate

from lenet_cpp.cli._options import EXPORTED_MODEL, Options, command, open_predictor

if TYPE_CHECKING:
    from lenet_cpp.inference.plan import Plan, PlanPart


@command(
    f"""{EXPORTED_MODEL}
Options:
  --batch-size  [default: 1]
  --runs RUNS  how many are measured; 0: as many as half a second allows [default: 0]
Engine:
  --threads
  --precision
Results:
  --json
Examples:
  %prog inference_model/lenet  one image, in float32
  %prog inference_model/lenet_static-ptq --precision int8 --batch-size 64 --json
      a quantized model, and what a program can read
"""
)
def main(options: Options) -> int:
    """Show how the native engine computes a model: kernels, multiply-adds and times of each layer.

    Multiply-adds are those of one image, by the definition: Winograd's method, which needs fewer,
    may be over 100 % of the limit. Times are medians; of a batch over 64 the layers are timed for
    64 images. The limit is what one core of this processor could do.
    """
    with open_predictor(options, "native", threads=options.threads) as predictor:
        plan = predictor.explain(options.batch_size, runs=options.runs)
        name = str(predictor.model_file)
    if options.json:
        print(json.dumps({"model_file": name, **dataclasses.asdict(plan)}))
    else:
        print(f"model {name}\n{_head(plan)}")
        for part in plan.parts:
            print(f"\n{part.images} images, {part.layout}\n{_table(plan, part)}")
    return 0


def _head(plan: Plan) -> str:
    return (
        f"engine {plan.engine}, {plan.instructions}, limit {plan.limit / 1e9:.1f} billion"
        f" multiply-adds a second\n"
        f"batch of {plan.images}: {plan.microseconds:.2f} us,"
        f" {plan.microseconds / plan.images:.2f} us an image (median of {plan.runs})"
    )


def _table(plan: Plan, part: PlanPart) -> str:
    total = sum(step.microseconds for step in part.steps)
    rows = []
    for step in part.steps:
        work = step.multiply_adds * part.at_once / plan.limit / (step.microseconds * 1e-6 or 1)
        rows.append(
            [
                step.name,
                step.kernel,
                "x".join(map(str, step.output)),
                f"{step.multiply_adds:,}" if step.multiply_adds else "",
                f"{step.microseconds:.2f}",
                f"{step.microseconds / total:.1%}",
                f"{work:.1%}" if work else "",
            ]
        )
    header = ["layer", "kernel", "output", "multiply-adds", "us", "of the time", "of the limit"]
    align = ("left", "left", *("right",) * 5)
    return tabulate(rows, header, colalign=align, disable_numparse=True)
