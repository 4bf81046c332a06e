"""Quantized models beside the float model: by every route, with sizes and times."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._core import version
from lenet_cpp.errors import Error
from lenet_cpp.inference.predictor import paddle_version
from lenet_cpp.quantize import deployed
from lenet_cpp.quantize.deployed import LENET_CPP, PADDLE, Deployed
from lenet_cpp.quantize.quality import Quality, measure_quality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from lenet_cpp._base.worker import Report
    from lenet_cpp.quantize import QuantizationSettings, Quantized
    from lenet_cpp.quantize.data import Images
    from lenet_cpp.quantize.sensitivity import Sensitivity
    from lenet_cpp.quantize.source import FloatModel

PROGRAM = "C++ program"


@dataclass(frozen=True)
class _Timing:
    batch_sizes: Sequence[int]
    seconds: float
    threads: int
    report: Report | None


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
    """Run the float model and the quantized ones by every route.

    Args:
        source: The float model.
        images: The images; those to test with are run.
        settings: Those of the quantization, which are recorded.
        quantized: The models.
        reference: The float model's outputs by ``paddle.inference``, with which all are compared.
        refused: Method to reason, of models that were not written.
        program: The C++ program; its route is left out when None.
        seconds: About how long each model is timed by each route, for one image and for a batch.
        threads: CPU threads, of the times.
        report: Takes the progress.

    Returns:
        What can be written as JSON. A route that failed has ``error``.
    """
    known = {"float": measure_quality(reference, reference, images.labels)}
    known |= {one.method: one.quality for one in quantized}
    models = {"float": source.deployed}
    models |= {one.method: one.deployed for one in quantized}
    entries: dict[str, dict[str, Any]] = {}
    routes = (LENET_CPP,) if program is None else (PROGRAM, LENET_CPP)
    for done, (name, model) in enumerate(models.items()):
        if report is not None:
            report("comparing", done, len(models))
        entries[name] = {
            "precision": model.precision,
            "size": model.program.stat().st_size + model.params.stat().st_size,
            "params_size": model.params.stat().st_size,
            "routes": {
                PADDLE: _described(known[name]),
                **{route: _compared(route, model, program, reference, images) for route in routes},
            },
            "latency_ms": {},
            "times_as_fast": {},
        }
    for one in quantized:
        entries[one.method] |= {
            "folder": str(one.result.folder),
            "int8_primitives": {kind: list(both) for kind, both in one.primitives.items()},
            "relative_error": one.quality.relative_error,
        }
    _add_times(entries, list(models.values()), program, images, _Timing(
        (1, deployed.batch_size(images.test)), seconds, threads, report))  # fmt: skip
    return {
        "model": source.spec.name,
        "images": images.kind,
        "test_images": len(images.test),
        "calibration_images": len(images.calibration),
        "settings": asdict(settings),
        "threads": threads,
        "versions": {"lenet_cpp": version(), "paddle": paddle_version()},
        "float": entries.pop("float"),
        "methods": entries,
        "refused": dict(refused or {}),
    }


def _compared(
    route: str,
    model: Deployed,
    program: Path | None,
    reference: npt.NDArray[np.float32],
    images: Images,
) -> dict[str, Any]:
    try:
        if route == PROGRAM and program is not None:
            found = deployed.program_outputs(program, model, images.test)
        else:
            (found,) = deployed.outputs([model], images.test, route=route)
        return _described(measure_quality(reference, found, images.labels))
    except Error as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _add_times(
    entries: dict[str, dict[str, Any]],
    models: Sequence[Deployed],
    program: Path | None,
    images: Images,
    how: _Timing,
) -> None:
    """Add ``latency_ms`` and ``times_as_fast``, by route and batch size; the float model is first.

    Times by the program are those of one process after the other; by the other routes the models
    take turns.
    """
    found: list[list[float]] = []
    for route in (PADDLE, LENET_CPP, PROGRAM):
        if route == PROGRAM and program is None:
            continue
        try:
            if route == PROGRAM and program is not None:
                found = [
                    _program_times(program, models, images, size, expected, how)
                    for size, expected in zip(how.batch_sizes, found, strict=True)
                ]
            else:
                found = deployed.times(
                    models, images.test, how.batch_sizes,
                    route=route, seconds=how.seconds, threads=how.threads, report=how.report,
                )  # fmt: skip
        except Error as error:
            for entry in entries.values():
                entry["latency_error"] = f"{route}: {error}"
            return
        for index, entry in enumerate(entries.values()):
            by_size = {str(s): t for s, t in zip(how.batch_sizes, found, strict=True)}
            entry["latency_ms"][route] = {s: 1000 * t[index] for s, t in by_size.items()}
            entry["times_as_fast"][route] = {s: t[0] / t[index] for s, t in by_size.items()}


def _program_times(
    program: Path,
    models: Sequence[Deployed],
    images: Images,
    size: int,
    expected: Sequence[float],
    how: _Timing,
) -> list[float]:
    batch = images.test[np.arange(size) % len(images.test)]
    found = []
    for done, (model, seconds) in enumerate(zip(models, expected, strict=True)):
        if how.report is not None:
            how.report(f"timing {size} in C++", done, len(models))
        runs = max(deployed.LEAST_RUNS, round(how.seconds / seconds))
        found.append(deployed.program_time(program, model, batch, runs=runs, threads=how.threads))
    return found


def _described(quality: Quality) -> dict[str, Any]:
    return {
        "correct": quality.correct,
        "accuracy": quality.accuracy,
        "equal": quality.equal,
        "agreement": quality.agreement,
        "largest_difference": quality.largest_difference,
    }


def report_text(result: dict[str, Any]) -> str:
    """Return a report as two tables."""
    from tabulate import tabulate

    labelled = any(
        route.get("accuracy") is not None for route in result["float"]["routes"].values()
    )
    routes = list(result["float"]["routes"])
    rows = {"float": result["float"], **result["methods"]}
    first = tabulate(
        [_quality_row(name, entry, routes, labelled=labelled) for name, entry in rows.items()],
        headers=[
            "",
            *routes,
            "same class",
            "largest\ndifference",
            "in int8",
            "parameters",
        ],
        disable_numparse=True,
        colalign=("left", *["right"] * (len(routes) + 4)),
    )
    what = "Accuracy" if labelled else "Images classified as the float model does"
    times = [
        (route, size)
        for route, by_size in result["float"]["latency_ms"].items()
        for size in by_size
    ]
    second = tabulate(
        [_time_row(name, entry, times) for name, entry in rows.items()],
        headers=["", *(f"{route}\nbatch {size}" for route, size in times)],
        disable_numparse=True,
        colalign=("left", *["right"] * len(times)),
    )
    notes = [
        f"{name} by {route}: {entry['error']}"
        for name, model in rows.items()
        for route, entry in model["routes"].items()
        if "error" in entry
    ]
    notes += [f"not timed: {e['latency_error']}" for e in rows.values() if "latency_error" in e][:1]
    notes += [f"refused: {reason}" for reason in result["refused"].values()]
    return "\n".join(
        [
            f"{what}, {result['test_images']} images; 'in int8' are oneDNN's convolutions and"
            " matrix products",
            "",
            first,
            "",
            f"Median time of a run in ms, {result['threads']} thread(s); how many times as fast as"
            " float, which oneDNN computes too",
            "",
            second,
            *(["", *notes] if notes else []),
        ]
    )


def _quality_row(
    name: str, entry: dict[str, Any], routes: Sequence[str], *, labelled: bool
) -> list[str]:
    cells = []
    for route in routes:
        found = entry["routes"][route]
        share = found.get("accuracy" if labelled else "agreement")
        cells.append("failed" if share is None else f"{100 * share:.2f} %")
    first = next((r for r in entry["routes"].values() if "error" not in r), None)
    primitives = entry.get("int8_primitives")
    whole = "-"
    if primitives:
        done = [sum(column) for column in zip(*primitives.values(), strict=True)]
        whole = f"{done[0]} of {done[1]}"
    return [
        name,
        *cells,
        f"{100 * first['agreement']:.2f} %" if first else "-",
        f"{first['largest_difference']:.3g}" if first else "-",
        whole,
        f"{entry['params_size'] / 1000:,.0f} kB",
    ]


def _time_row(name: str, entry: dict[str, Any], times: Sequence[tuple[str, str]]) -> list[str]:
    return [name, *(_time(name, entry, route, size) for route, size in times)]


def _time(name: str, entry: dict[str, Any], route: str, size: str) -> str:
    shown = f"{entry['latency_ms'][route][size]:.3g}"
    return shown if name == "float" else f"{shown} ({entry['times_as_fast'][route][size]:.2f}x)"


def analysis_text(found: Sequence[Sensitivity]) -> str:
    """Return a sensitivity analysis as a table."""
    from tabulate import tabulate

    return tabulate(
        [
            [
                one.layer,
                f"{one.values:,}",
                "-" if one.quality.accuracy is None else f"{100 * one.quality.accuracy:.2f} %",
                f"{100 * one.quality.agreement:.2f} %",
                f"{one.quality.largest_difference:.3g}",
                f"{100 * one.quality.relative_error:.2f} %",
            ]
            for one in found
        ],
        headers=["layer", "weights", "accuracy", "same class", "largest\ndifference", "error"],
        disable_numparse=True,
        colalign=("left", "right", "right", "right", "right", "right"),
    )
