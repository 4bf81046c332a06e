"""The results as pictures (PNG); needs matplotlib."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lenet_cpp._base.files import atomic_path
from lenet_cpp.errors import Unsupported

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["can_plot", "plot_benchmark", "plot_memory", "plot_networks"]

_COLORS = {
    "dygraph": "tab:gray",
    "paddle.inference": "tab:blue",
    "program": "tab:green",
    "lenet_cpp": "tab:red",
    "onnxruntime": "tab:purple",
    "openvino": "tab:orange",
    "litert": "tab:brown",
}
_MARKERS = {"fp32": "o", "bf16": "s", "int8": "^"}
_HATCHES = {"fp32": "", "bf16": "//", "int8": "xx"}
_DPI = 90
_DECADE = 10
_LONG = 10_000  # microseconds


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    if not can_plot():
        raise Unsupported("plots need matplotlib: pip install matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure: Any, path: Path) -> Path:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png")
    return path


def _color(name: str) -> str:
    return _COLORS.get(name.partition("/")[0], "black")


def plot_benchmark(result: dict[str, Any], folder: Path) -> list[Path]:
    """Draw latency for each number of threads, and the way to the first result.

    Args:
        result: From :func:`tools.benchmark.measure.run_benchmark`.
        folder: Where to; it is made.

    Returns:
        The files.

    Raises:
        Unsupported: matplotlib is not installed.
    """
    files = _latencies([result], folder)
    starts = [
        one for one in result["starts"] if one["threads"] == min(result["settings"]["threads"])
    ]
    if starts:
        files.append(_first_results(starts, result["contenders"], folder / "first-result.png"))
    return files


def plot_networks(result: dict[str, Any], folder: Path) -> list[Path]:
    """Draw latency for each number of threads, a row of axes for each network.

    Args:
        result: From :func:`tools.benchmark.networks.run_networks`.
        folder: Where to; it is made.

    Returns:
        The files.

    Raises:
        Unsupported: matplotlib is not installed.
    """
    return _latencies(result["networks"], folder, "networks")


def _latencies(results: list[dict[str, Any]], folder: Path, name: str = "latency") -> list[Path]:
    files = []
    for threads in results[0]["settings"]["threads"]:
        rows = {
            one.get("network", "LeNet"): [c for c in one["cells"] if c["threads"] == threads]
            for one in results
        }
        rows = {network: cells for network, cells in rows.items() if cells}
        if rows:
            files.append(_latency(rows, threads, folder / f"{name}-{threads}-threads.png"))
    return files


def _latency(rows: dict[str, list[dict[str, Any]]], threads: int, path: Path) -> Path:
    cells = [cell for found in rows.values() for cell in found]
    sizes = sorted({cell["batch_size"] for cell in cells})
    names = list(dict.fromkeys(cell["contender"] for cell in cells))[::-1]
    height = len(rows) * (0.8 + 0.24 * len(names))
    figure, axes = _figure(len(rows), len(sizes), 3 + 2.5 * len(sizes), 0.7 + height)
    for (network, found), line in zip(rows.items(), axes, strict=True):
        for axis, size in zip(line, sizes, strict=True):
            _draw(axis, [cell for cell in found if cell["batch_size"] == size], names)
            of = f"{network}, " if len(rows) > 1 else ""
            axis.set_title(f"{of}batch {size}", fontsize=10)
            axis.set_yticks(range(len(names)), names if size == sizes[0] else [""] * len(names))
    count = "one thread" if threads == 1 else f"{threads} threads"
    precisions = {cell["precision"] for cell in cells}
    shapes = {"fp32": "dot", "bf16": "square: bf16", "int8": "triangle: int8"}
    median = ", ".join(shapes[one] for one in _MARKERS if one in precisions)
    of = f"{next(iter(rows))}, " if len(rows) == 1 else ""
    figure.suptitle(f"{of}{count}: median ({median}), p90 (bar), p99 (end of line)", fontsize=11)
    return _save(figure, path)


def _draw(axis: Any, cells: list[dict[str, Any]], names: list[str]) -> None:
    most = max((cell["median_us"] for cell in cells), default=0)
    least = min((cell["median_us"] for cell in cells), default=0)
    unit, name = (1e3, "milliseconds") if least > _LONG else (1, "microseconds")
    for cell in cells:
        y = names.index(cell["contender"])
        color = _color(cell["contender"])
        median, p90, p99 = (cell[f"{key}_us"] / unit for key in ("median", "p90", "p99"))
        axis.plot([median, p99], [y, y], color=color, alpha=0.4)
        axis.plot(p90, y, "|", color=color)
        axis.plot(median, y, _MARKERS[cell["precision"]], color=color)
    if most < _DECADE * least:
        axis.set_xlim(left=0)
    else:
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter("")  # less than a decade would be labelled too densely
    axis.set_xlabel(f"{name} a run")
    axis.set_ylim(-0.7, len(names) - 0.3)
    axis.grid(axis="both", alpha=0.3)


def _first_results(
    starts: list[dict[str, Any]], contenders: list[dict[str, Any]], path: Path
) -> Path:
    order = [one["name"] for one in contenders]
    precisions = {one["name"]: one["precision"] for one in contenders}
    starts = sorted(starts, key=lambda one: -order.index(one["contender"]))
    figure, axes = _figure(1, 1, 8, 1.2 + 0.24 * len(starts))
    axis = axes[0][0]
    for y, one in enumerate(starts):
        hatch = _HATCHES[precisions[one["contender"]]]
        color = _color(one["contender"])
        axis.barh(y, one["first_result_ms"], color=color, alpha=0.6, hatch=hatch, edgecolor="white")
        axis.plot(one["samples_ms"], [y] * len(one["samples_ms"]), ".", color="black")
    axis.set_yticks(range(len(starts)), [one["contender"] for one in starts])
    axis.set_xlabel("milliseconds from process start to the first logits (dots: each process)")
    axis.grid(axis="x", alpha=0.3)
    return _save(figure, path)


def plot_memory(result: dict[str, Any], folder: Path) -> list[Path]:
    """Draw resident memory over runs and over creations.

    Args:
        result: From :func:`tools.benchmark.memory.run_memory`.
        folder: Where to; it is made.

    Returns:
        The files.

    Raises:
        Unsupported: matplotlib is not installed.
    """
    files = []
    labels = {
        "runs": "runs with batches of 1 to 256 images",
        "creations": "predictors made, run once and dropped",
    }
    for kind, label in labels.items():
        series = [one for one in result["series"] if one["kind"] == kind]
        if not series:
            continue
        figure, axes = _figure(1, 1, 8, 4.5)
        axis = axes[0][0]
        for one in series:
            done, resident = zip(*one["samples"], strict=True)
            name = one["contender"] + (f", {one['note']}" if one["note"] else "")
            megabytes = [value / 1e6 for value in resident]
            axis.plot(done, megabytes, "--" if one["note"] else "-", label=name)
        axis.set_xlabel(label)
        axis.set_ylabel("resident memory, MB")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
        files.append(_save(figure, folder / f"memory-{kind}.png"))
    return files
