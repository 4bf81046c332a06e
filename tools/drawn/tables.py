"""The tables of docs/compatibility.md on drawn operators, from docs/results/drawn.json."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tools.survey.results import markdown_table

_NOT_RUN = ("not run", "not finite", "random", "not exported", "exported otherwise")


def counts(result: dict[str, Any]) -> str:
    """Return for each column how many operators are right, refused, or anything else."""
    rows = []
    for column in result["columns"]:
        found = Counter(row["outcome"] for row in column["operators"])
        refused = [row for row in column["operators"] if row["outcome"] == "Unsupported"]
        works = sum(row.get("remedy", "").startswith("right") for row in refused)
        other = {
            kind: number
            for kind, number in sorted(found.items())
            if kind not in ("right", "Unsupported", "unreachable", *_NOT_RUN)
        }
        rows.append(
            [
                column["writer"],
                f"`{column['layout']}`",
                str(len(column["operators"])),
                str(found["unreachable"]),
                str(sum(found[kind] for kind in _NOT_RUN)),
                str(found["right"]),
                str(works),
                str(len(refused) - works),
                ", ".join(f"{number} {kind}" for kind, number in other.items()) or "0",
            ]
        )
    header = [
        "written by",
        "layout",
        "listed",
        "unreachable",
        "not exported",
        "right",
        "refused, the remedy works",
        "refused, no remedy",
        "anything else",
    ]
    return markdown_table(header, rows)


def unreachable(result: dict[str, Any]) -> str:
    """Return why operators are not drawn, for each framework."""
    reasons: dict[tuple[str, str], set[str]] = {}
    for column in result["columns"]:
        framework = column["writer"].partition(" ")[0]
        for row in column["operators"]:
            if row["outcome"] == "unreachable":
                reasons.setdefault((framework, row["said"]), set()).add(row["name"])
    rows = [
        [framework, why, ", ".join(f"`{name}`" for name in sorted(names))]
        for (framework, why), names in sorted(reasons.items())
    ]
    return markdown_table(["framework", "why", "operators"], rows)


def checked(result: dict[str, Any]) -> str:
    """Return what was run, and when."""
    versions = result["versions"]
    return (
        f"lenet_cpp {versions['lenet_cpp']}, Paddle {versions['paddlepaddle']}, "
        f"PyTorch {versions['torch']}, onnxruntime {versions['onnxruntime']}, "
        f"{result['date'][:10]}"
    )


PARTS = {"drawn": counts, "drawn_checked": checked, "drawn_unreachable": unreachable}
