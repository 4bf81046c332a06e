"""The tables of docs/compatibility.md, from versions.json and published.json in docs/results."""

from __future__ import annotations

from typing import Any

from tools.survey.figures import SETTLED
from tools.survey.results import markdown_table

ENGINES: dict[str, dict[str, Any]] = {
    "native": {"engine": "native"},
    "paddle": {"engine": "paddle", "accelerator": "plain"},
    "paddle, oneDNN": {"engine": "paddle", "accelerator": "onednn"},
    "auto": {},
    "unchecked": {"check_program": False},
}
"""The options of a predictor, by the name of a column."""


def counts(result: dict[str, Any]) -> str:
    """Return how many files each engine runs right, and what else happened but Unsupported."""
    found: dict[tuple[str, str], dict[str, dict[str, int]]] = {}
    for row in result["counts"]:
        found.setdefault((row["version"], row["layout"]), {})[row["engine"]] = row["outcomes"]
    rows: dict[tuple[str, ...], list[str]] = {}  # layouts with the same numbers share one
    for (version, layout), by_engine in found.items():
        cells = []
        for engine in ENGINES:
            more = dict(by_engine[engine])
            right = more.pop("right", 0)
            more.pop("Unsupported", None)
            if engine == "unchecked":  # what Paddle refuses is its own
                more.pop("BackendFailure", None)
            cells.append(", ".join([str(right), *(f"{n} {kind}" for kind, n in more.items())]))
        key = (version, str(sum(by_engine["auto"].values())), *cells)
        rows.setdefault(key, []).append(f"`{layout}`")
    lines = [[key[0], ", ".join(layouts), *key[1:]] for key, layouts in rows.items()]
    return markdown_table(["written by", "layout", "files of each", *ENGINES], lines)


def operators(result: dict[str, Any]) -> str:
    """Return the operators for which engine auto refuses files, by version."""
    columns = {
        "unchecked": "run unchecked",
        "absent": f"not in Paddle {result['versions']['paddlepaddle']}",
        "refused": "other",
    }
    rows = [
        [version, *(", ".join(f"`{name}`" for name in found.get(how, ())) for how in columns)]
        for version, found in result["operators"].items()
    ]
    return markdown_table(["written by", *columns.values()], rows)


def published(result: dict[str, Any]) -> str:
    """Return what the native engine makes of the pictures of published packages, and its time."""
    rows = []
    for row in result["rows"]:
        cells = row["native"], row["onnxruntime"]
        times = [
            f"{cell['median_us'] / 1e3:.3g} ({100 * cell['spread_between_turns']:.0f} %)"
            for cell in cells
        ]
        mark = "~" if max(cell["spread_between_turns"] for cell in cells) > SETTLED else ""
        name, _, what = row["package"].partition(", ")
        rows.append(
            [
                f"{name} {result['packages'][name]}" + (f", {what}" if what else ""),
                row["from"],
                f"{len(row['answers'])} {row['pictures']}",
                f"{row['same_class']} of {row['classes']}",
                f"{row['error']:.0e}",
                *times,
                f"{mark}{row['ratio']['median']:.2f}",
                f"{mark}{row['ratio']['p99']:.2f}",
            ]
        )
    header = ["package", "made with", "pictures", "same class", "largest difference"]
    header += ["native, ms", "ONNX Runtime, ms", "native / ONNX Runtime", "p99 ratio"]
    return markdown_table(header, rows)


PARTS = {
    "checked": lambda result: (
        f"{result['networks']} files, lenet_cpp {result['versions']['lenet_cpp']}, "
        f"Paddle {result['versions']['paddlepaddle']}, {result['date'][:10]}"
    ),
    "versions": counts,
    "operators": operators,
    "published": published,
}
