"""The table of docs/onnx.md, from docs/results/exporters.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.exporters.corpus import ENGINES
from tools.survey.results import markdown_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _right(found: dict[str, Any]) -> str:
    kinds = [kind for kind, _ in found["failures"].values()]
    counts = {"near": len(found["near"]), **{kind: kinds.count(kind) for kind in kinds}}
    more = [f"{count} {kind}" for kind, count in counts.items() if count]
    return ", ".join([str(found["right"]), *more])


def _refused(refused: Mapping[str, list[str]]) -> str:
    counts = sorted((-len(names), why) for why, names in refused.items())
    return ", ".join(why if count == -1 else f"{why} {-count}" for count, why in counts)


def tools(result: dict[str, Any]) -> str:
    """Return what each engine does with the files of each tool."""
    rows = []
    for row in result["tools"]:
        versions = row["versions"].items()
        rows.append(
            [
                row["tool"],
                ", ".join(f"{name} {version.split('+')[0]}" for name, version in versions),
                ", ".join(map(str, row["opsets"])),
                str(row["files"]),
                *(cell(row[engine]) for engine in ENGINES for cell in _CELLS),
            ]
        )
    header = ["tool", "version", "operator sets", "files"]
    return markdown_table([*header, *(f"{e}{w}" for e in ENGINES for w in ("", " refuses"))], rows)


_CELLS = (_right, lambda found: _refused(found["refused"]))


def total(result: dict[str, Any], engine: str, what: str) -> str:
    """Return how many files are ``right``, ``near`` or ``refused`` by an engine, or all files."""
    rows = [row[engine] for row in result["tools"]]
    return str(
        {
            "right": sum(row["right"] for row in rows),
            "near": sum(len(row["near"]) for row in rows),
            "refused": sum(len(names) for row in rows for names in row["refused"].values()),
            "files": sum(row["files"] for row in result["tools"]),
        }[what]
    )


def not_made(result: dict[str, Any]) -> str:
    """Return the files that a tool did not write, or that onnxruntime does not run."""
    found = {
        f"{row['tool']} {name}": outcome
        for row in result["tools"]
        for outcome in ("not_written", "not_run")
        for name in row[outcome]
    }
    return ", ".join(f"`{name}`" for name in found)


PARTS: dict[str, Callable[..., str]] = {
    "exporters": tools,
    "exporters-total": total,
    "exporters-not-made": not_made,
}
