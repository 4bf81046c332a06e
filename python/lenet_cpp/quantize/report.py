"""Quantized models beside the float model: by every route, with sizes and times."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tabulate import tabulate

from lenet_cpp._base.worker import Report
from lenet_cpp._core import version
from lenet_cpp.inference.options import paddle_version
from lenet_cpp.quantize import FloatModel, Images, QuantizationSettings, Quantized
from lenet_cpp.quantize.deployed import (
    ENGINES,
    PADDLE,
    PROGRAM,
    Deployed,
    Served,
    batch_size,
    measure_quality,
    serve,
    serve_by_program,
)
from lenet_cpp.quantize.sensitivity import Sensitivity

_Latency = dict[str, dict[str, float]]  # milliseconds by route and batch size


def make_report(
    source: FloatModel,
    images: Images,
    settings: QuantizationSettings,
    quantized: Sequence[Quantized],
    *,
    reference: npt.NDArray[np.float32],
    refused: Mapping[str, str] | None = None,
    program: Path | None = None,
    seconds: float = 0.5,
    threads: int = 1,
    report: Report | None = None,
) -> dict[str, Any]:
    """Run the float model and the quantized ones by every route, on the images to test with.

    Args:
        source: The float model.
        images: The images, of which those to test with are run.
        settings: How the models were quantized.
        quantized: The quantized models.
        reference: The float model's outputs [N, classes], with which all are compared.
        refused: The methods without a model, and why.
        program: The C++ program; without one its route is left out.
        seconds: About how many seconds each model is timed in Python by each route, for one image
            and for a batch.
        threads: CPU threads of a timed run.
        report: What shows progress.

    Returns:
        What can be written as JSON; a route that failed has ``error``.
    """
    models = [source.deployed, *(one.deployed for one in quantized)]
    serve_in_python = partial(
        serve,
        batch_sizes=(1, batch_size(images.test)),
        seconds=seconds,
        threads=threads,
        report=report,
    )
    answers = {
        route: serve_in_python(models, images.test, route)[0] for route in (PADDLE, *ENGINES)
    }
    if program is not None:
        answers[PROGRAM] = [serve_by_program(program, model, images.test) for model in models]
    by_model = [dict(zip(answers, row, strict=True)) for row in zip(*answers.values(), strict=True)]
    before = _latency_ms(by_model[0])
    entries = []
    for model, served in zip(models, by_model, strict=True):
        routes = {route: _answer(each, reference, images) for route, each in served.items()}
        entries.append(_describe(model, served, routes, before))
    float_entry, *others = entries
    methods = {
        one.method: entry | _describe_quantization(one)
        for one, entry in zip(quantized, others, strict=True)
    }
    return {
        "model": source.name,
        "images": images.kind,
        "test_images": len(images.test),
        "calibration_images": len(images.calibration),
        "settings": asdict(settings),
        "threads": threads,
        "versions": {"lenet_cpp": version(), "paddle": paddle_version()},
        "float": float_entry,
        "methods": methods,
        "refused": dict(refused or {}),
    }


def _answer(served: Served, reference: npt.NDArray[np.float32], images: Images) -> dict[str, Any]:
    """Return how well a model answers by one route, or why it does not."""
    if served.error is not None:
        return {"error": f"{type(served.error).__name__}: {served.error}"}
    return asdict(measure_quality(reference, served.outputs, images.labels))


def _latency_ms(served: Mapping[str, Served]) -> _Latency:
    """Return the times of the routes that were timed."""
    return {route: _milliseconds(one.seconds) for route, one in served.items() if one.seconds}


def _milliseconds(seconds: Mapping[str, float]) -> dict[str, float]:
    return {size: 1000 * each for size, each in seconds.items()}


def _describe(
    model: Deployed,
    served: Mapping[str, Served],
    routes: Mapping[str, dict[str, Any]],
    before: _Latency,
) -> dict[str, Any]:
    """Return the entry of a model; ``before`` are the times of the float model."""
    latency = _latency_ms(served)
    params_size = model.params.stat().st_size
    return {
        "precision": model.precision,
        "engine": next((each.engine for each in served.values() if each.engine), "-"),
        "size": model.program.stat().st_size + params_size,
        "params_size": params_size,
        "routes": dict(routes),
        "latency_ms": latency,
        "times_as_fast": {
            route: _quotients(before[route], after)
            for route, after in latency.items()
            if route in before
        },
    }


def _quotients(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {size: before[size] / each for size, each in after.items()}


def _describe_quantization(one: Quantized) -> dict[str, Any]:
    """Return what the entry of a quantized model has beside that of the float model."""
    return {
        "folder": str(one.result.folder),
        "int8_primitives": {kind: list(both) for kind, both in one.primitives.items()},
        "relative_error": one.quality.relative_error,
    }


def report_text(result: dict[str, Any]) -> str:
    """Return a report as two tables."""
    rows = {"float": result["float"], **result["methods"]}
    routes = list(result["float"]["routes"])
    labelled = result["float"]["routes"][PADDLE].get("accuracy") is not None
    what = "Accuracy" if labelled else "Images classified as the float model does"
    notes = [
        f"{name} by {route}: {found['error']}"
        for name, entry in rows.items()
        for route, found in entry["routes"].items()
        if "error" in found
    ]
    notes += [f"refused: {reason}" for reason in result["refused"].values()]
    header = ["", *routes, "same class", "largest\ndifference", "in int8", "parameters", "engine"]
    times = [
        [route, size, *(_time(name, rows[name], route, size) for name in rows)]
        for route in result["float"]["latency_ms"]
        for size in result["float"]["latency_ms"][PADDLE]
    ]
    blocks = (
        f"{what}, {result['test_images']} images; 'in int8' are the convolutions and matrix"
        " products with weights that run in int8; 'engine' is what runs the model when none is"
        " named",
        _table(header, [_quality_row(*row, labelled=labelled) for row in rows.items()]),
        f"Median time of a run in ms, {result['threads']} thread(s); how many times as fast as"
        " float by the same route",
        _table(["", "batch", *rows], times),
        "\n".join(notes),
    )
    return "\n\n".join(filter(None, blocks))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    align = ("left", *["right"] * (len(header) - 1))
    return tabulate(rows, header, disable_numparse=True, colalign=align)


def _percent(share: float | None, otherwise: str = "-") -> str:
    return otherwise if share is None else f"{100 * share:.2f} %"


def _quality_row(name: str, entry: dict[str, Any], *, labelled: bool) -> list[str]:
    shown = "accuracy" if labelled else "agreement"
    first = next((each for each in entry["routes"].values() if "error" not in each), None)
    primitives = entry.get("int8_primitives", {}).values()  # of each kind those in int8, and all
    in_int8 = sum(count for count, _ in primitives)
    total = sum(count for _, count in primitives)
    return [
        name,
        *(_percent(found.get(shown), "failed") for found in entry["routes"].values()),
        _percent(first["agreement"] if first else None),
        f"{first['largest_difference']:.3g}" if first else "-",
        f"{in_int8} of {total}" if primitives else "-",
        f"{entry['params_size'] / 1000:,.0f} kB",
        entry["engine"],
    ]


def _time(name: str, entry: dict[str, Any], route: str, size: str) -> str:
    if route not in entry["latency_ms"]:
        return "-"
    shown = f"{entry['latency_ms'][route][size]:.3g}"
    if name == "float" or route not in entry["times_as_fast"]:
        return shown
    return f"{shown} ({entry['times_as_fast'][route][size]:.2f}x)"


def analysis_text(found: Sequence[Sensitivity]) -> str:
    """Return a sensitivity analysis as a table."""
    return _table(
        ["layer", "weights", "accuracy", "same class", "largest\ndifference", "error"],
        [
            [
                one.layer,
                f"{one.values:,}",
                _percent(one.accuracy),
                _percent(one.agreement),
                f"{one.largest_difference:.3g}",
                _percent(one.relative_error),
            ]
            for one in found
        ],
    )
