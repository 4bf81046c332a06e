"""The results as pictures (PNG); needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lenet_cpp._base.files import atomic_path
from tools.benchmark.contenders import CONTENDERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Row = dict[str, Any]
    Panel = tuple[str, list[Row], Callable[[Any, list[Row]], None]]
    """A label, the rows to draw, and the function that draws them."""

_GROUPS = [*dict.fromkeys(one.group for one in CONTENDERS)]
_MARKERS = {"fp32": "o", "bf16": "s", "int8": "^"}


def draw(result: Row, folder: Path) -> list[Path]:
    """Draw the pictures of a result into a folder, and return the files."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    files = []
    for name, panels in _pictures(result).items():
        figure = Figure(figsize=(6, 5 * len(panels)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(panels), squeeze=False)[:, 0]
        for axis, (label, rows, paint) in zip(axes, panels, strict=True):
            paint(axis, rows)
            axis.set_title(label, fontsize=10)
            axis.grid(alpha=0.3)
        with atomic_path(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=90, format="png")
        files.append(folder / f"{name}.png")
    return files


def _pictures(result: Row) -> dict[str, list[Panel]]:
    """Return the pictures: latency by threads, memory, or the time to the first result."""
    if result["kind"] == "startup":
        rows = [row for row in result["rows"] if row["absent"] is None]
        return {"first-result": [("ms from process start to the first logits", rows, _starts)]}
    pictures: dict[str, list[Panel]] = {}
    for row in result.get("series", ()):
        label = f"resident memory, MB, over {row['kind']}"
        panel = pictures.setdefault(f"memory-{row['kind']}", [(label, [], _lines)])[0]
        panel[1].append(row)
    for network in result.get("networks", ()):
        panels: dict[tuple[int, int], list[Row]] = {}
        for cell in network["cells"]:
            panels.setdefault((cell["threads"], cell["batch_size"]), []).append(cell)
        for (threads, size), cells in panels.items():
            label = f"{network['network']}, batch {size}: median, p90 and p99, us"
            picture = pictures.setdefault(f"latency-{threads}-threads", [])
            picture.append((label, cells, _latencies))
    return pictures


def _color(row: Row) -> str:
    group = row["contender"].partition("/")[0]
    return f"C{_GROUPS.index(group)}" if group in _GROUPS else "black"


def _named(axis: Any, rows: list[Row]) -> None:
    axis.set_yticks(range(len(rows)), [row["contender"] for row in rows], fontsize=7)
    axis.invert_yaxis()


def _latencies(axis: Any, cells: list[Row]) -> None:
    for y, cell in enumerate(cells):
        color = _color(cell)
        axis.plot([cell["median_us"], cell["p99_us"]], [y, y], color=color, alpha=0.4)
        axis.plot(cell["p90_us"], y, "|", color=color)
        axis.plot(cell["median_us"], y, _MARKERS[cell["precision"]], color=color)
    axis.set_xscale("log")
    _named(axis, cells)


def _starts(axis: Any, rows: list[Row]) -> None:
    for y, row in enumerate(rows):
        axis.barh(y, row["median_ms"], color=_color(row), alpha=0.6)
        axis.plot(row["samples_ms"], [y] * len(row["samples_ms"]), ".", color="black")
    _named(axis, rows)


def _lines(axis: Any, rows: list[Row]) -> None:
    for row in rows:
        done, resident = zip(*row["samples"], strict=True)
        axis.plot(done, [value / 1e6 for value in resident], label=row["contender"])
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)
