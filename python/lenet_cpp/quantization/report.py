"""Quantized models beside the float model: by every route, with sizes and times."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lenet_cpp.errors import Error
from lenet_cpp.quantization.deployed import (
    Deployed,
    lenet_cpp_outputs,
    lenet_cpp_times,
    paddle_times,
    program_outputs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from lenet_cpp.quantization import Images, Quality, Quantized, Settings
    from lenet_cpp.quantization.child import Report
    from lenet_cpp.quantization.sensitivity import Sensitivity
    from lenet_cpp.quantization.source import FloatModel

__all__ = ["BATCH_SIZES", "analysis_text", "make_report", "report_text"]

BATCH_SIZES = (1, 64)


def make_report(
    source: FloatModel,
    images: Images,
    settings: Settings,
    quantized: Sequence[Quantized],
    *,
    reference: npt.NDArray[np.float32],
    refused: Mapping[str, str] | None = None,
    program: Path | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
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
        batch_sizes: Of the times.
        seconds: About how long each model is timed at each batch size, by each route.
        threads: CPU threads, of the times.
        report: Takes the progress.

    Returns:
        What can be written as JSON. A route that failed has ``error``.
    """
    import lenet_cpp
    from lenet_cpp.quantization import compare

    known = {"float": compare(reference, reference, images.labels)}
    known |= {one.method: one.quality for one in quantized}
    models = {"float": Deployed(source.program, source.params, int8=False)}
    models |= {one.method: one.deployed for one in quantized}
    entries: dict[str, dict[str, Any]] = {}
    for done, (name, model) in enumerate(models.items()):
        if report is not None:
            report("comparing", done, len(models))
        entries[name] = {
            "precision": model.precision,
            "size": model.program.stat().st_size + model.params.stat().st_size,
            "params_size": model.params.stat().st_size,
            "routes": {
                "paddle.inference": _described(known[name]),
                **{
                    route: _compare(run, model, reference, images)
                    for route, run in _routes(program).items()
                },
            },
            "latency_ms": {},
        }
    for one in quantized:
        entries[one.method] |= {
            "folder": str(one.result.folder),
            "int8_primitives": {kind: list(both) for kind, both in one.primitives.items()},
            "relative_error": one.quality.relative_error,
        }
    timers = {"paddle.inference": paddle_times, "lenet_cpp": lenet_cpp_times}
    for route, timer in timers.items():
        for size in batch_sizes:
            batch = images.test[[i % len(images.test) for i in range(size)]]
            try:
                times = timer(
                    list(models.values()), batch, seconds=seconds, threads=threads, report=report
                )
            except Error as error:
                for entry in entries.values():
                    entry["latency_ms"].setdefault(route, {})[str(size)] = None
                    entry["latency_error"] = str(error)
                continue
            for entry, median in zip(entries.values(), times, strict=True):
                entry["latency_ms"].setdefault(route, {})[str(size)] = 1000 * median
    return {
        "model": source.spec.name,
        "images": images.kind,
        "test_images": len(images.test),
        "calibration_images": len(images.calibration),
        "settings": asdict(settings),
        "threads": threads,
        "versions": {"lenet_cpp": lenet_cpp.__version__, "paddle": lenet_cpp.paddle_version()},
        "float": entries.pop("float"),
        "methods": entries,
        "refused": dict(refused or {}),
    }


def _routes(program: Path | None) -> dict[str, Callable[..., npt.NDArray[np.float32]]]:
    """The routes that were not taken yet."""
    routes: dict[str, Callable[..., npt.NDArray[np.float32]]] = {}
    if program is not None:
        routes["C++ program"] = lambda model, images: program_outputs(program, model, images)
    return {**routes, "lenet_cpp": lenet_cpp_outputs}


def _compare(
    run: Callable[..., npt.NDArray[np.float32]],
    model: Deployed,
    reference: npt.NDArray[np.float32],
    images: Images,
) -> dict[str, Any]:
    from lenet_cpp.quantization import compare

    try:
        quality = compare(reference, run(model, images.test), images.labels)
    except Error as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return _described(quality)


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
        [_time_row(name, entry, result["float"], times) for name, entry in rows.items()],
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
            f"Median time of a run in ms, {result['threads']} thread(s), models taking turns; times"
            " as fast as float",
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


def _time_row(
    name: str,
    entry: dict[str, Any],
    reference: dict[str, Any],
    times: Sequence[tuple[str, str]],
) -> list[str]:
    cells = []
    for route, size in times:
        found, base = entry["latency_ms"][route][size], reference["latency_ms"][route][size]
        if found is None or base is None:
            cells.append("-")
        elif entry is reference:
            cells.append(f"{found:.3g}")
        else:
            cells.append(f"{found:.3g} ({base / found:.2f}x)")
    return [name, *cells]


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
