"""The tables of docs/gpu.md, from docs/results/gpu.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.gpu.worker import OWN, PEER
from tools.survey.results import markdown_table

if TYPE_CHECKING:
    from collections.abc import Callable

    Row = dict[str, Any]

_MISSING = "-"


def checked(result: Row) -> str:
    """Return when, on what and with which libraries the models were run."""
    gpu, libraries = result["gpu"], result["libraries"]
    engines = {row["engine"] for row in result["rows"]}
    versions = [f"{name} {libraries[name]}" for name in sorted(engines)]
    versions += [f"{name} {version}" for name, version in result["cuda"].items()]
    name = f"{gpu['name']}, driver {gpu['driver_version']}" if gpu else "no GPU"
    return f"{result['date'][:10]}, {name}, {', '.join(versions)}"


def _by_model(result: Row) -> dict[tuple[str, str, str], dict[str, Row]]:
    """Return the rows by network, engine and format, and in these by precision."""
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in result["rows"]:
        key = (row["network"], row["engine"], row["format"])
        found.setdefault(key, {})[row["precision"]] = row
    return found


def _cells(row: Row | None, place: int) -> list[str]:
    if row is None:
        return [_MISSING] * 3
    cell = row["cells"][place]
    program = row["program"].get(str(cell["images"]))
    share = max(each["share"] for each in (cell, program or cell))
    own = cell[OWN]
    ratio = f"{cell['ratio']:.2f}" if "ratio" in cell else _MISSING
    times = f"{own['median_us'] / 1e3:.2f} ({own['p99_us'] / 1e3:.2f})"
    return [f"{share:.1%}", times, ratio]


def runs(result: Row) -> str:
    """Return how far answers are off, milliseconds a run, and the ratio to the other's."""
    rows = [
        [
            f"{network}, `.{suffix}`",
            str(cell["images"]),
            *_cells(by.get("fp32"), place),
            *_cells(by.get("tf32"), place),
        ]
        for (network, _, suffix), by in _by_model(result).items()
        for place, cell in enumerate(next(iter(by.values()))["cells"])
    ]
    columns = ["difference", "ms (p99)", "relative time"]
    header = [f"{name}, {column}" for name in ("fp32", "tf32") for column in columns]
    return markdown_table(["model", "images", *header], rows)


def costs(result: Row) -> str:
    """Return what loading and first runs take, and the GPU's memory, in float32."""
    rows = []
    for (network, _, suffix), by in _by_model(result).items():
        row = by["fp32"]
        cells = [row["cells"][place][OWN]["first_s"] for place in (0, -1)]
        memory = [row.get(who, {}).get("memory_mb") for who in (OWN, PEER)]
        rows.append(
            [
                f"{network}, `.{suffix}`",
                f"{row[OWN]['load_s']:.2f}",
                *(f"{cell:.2f}" for cell in cells),
                *(_MISSING if each is None else f"{each:,.0f}" for each in memory),
            ]
        )
    sizes = [result["rows"][0]["cells"][place]["images"] for place in (0, -1)]
    first = [f"first run of {size}, s" for size in sizes]
    memory = ["memory, MB", "onnxruntime's own, MB"]
    return markdown_table(["model", "loading, s", *first, *memory], rows)


def errors(result: Row) -> str:
    """Return what was tried beside running models, and what was said."""
    rows = [[row["what"], row["said"].replace("|", "\\|")] for row in result["errors"]]
    return markdown_table(["case", "result"], rows)


PARTS: dict[str, Callable[..., str]] = {
    "gpu-checked": checked,
    "gpu-runs": runs,
    "gpu-costs": costs,
    "gpu-errors": errors,
}
