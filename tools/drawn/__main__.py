"""Draw every operator that a float image can reach, export it, and run the file by default options.

    python -m tools.drawn                                    2.6.2, 3.0.0 and 3.3.1; an hour
    python -m tools.drawn --paddle 3.3.1 --layout json       one column of the table
    python -m tools.drawn --operator tensor.std nn.LPPool2D  these two

Operators, how they are exported and how a file is checked are apart: ``operators.py`` lists them
and asks Paddle what there is, ``paddle_worker.py`` exports them in the environment of a Paddle (of
``tools.versions``), and ``verdicts.py`` runs a folder beside its truth, whatever wrote it. The
result is ``docs/results/drawn.json``, from which ``scripts/benchmark.py --pages`` writes the table
in docs/compatibility.md. The exit status is 1 where an answer is wrong, a process crashed, a file
was called damaged, or a remedy did not work.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import nullcontext
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lenet_cpp
from lenet_cpp._base.files import write_text
from lenet_cpp._base.worker import clean_variables, run_program
from tools.corpora import report
from tools.drawn.verdicts import Case, check_all
from tools.interpreters import find_interpreter
from tools.versions.__main__ import VERSIONS, environment

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("paddle_worker.py")
LAYOUTS = {"2.6.2": ("pdmodel",), "3.0.0": ("pdmodel", "json"), "3.3.1": ("pdmodel", "json")}
_MOST_CRASHES = 30
_SECONDS = 3600.0


def export(version: str, layout: str, operators: Sequence[str], folder: Path) -> None:
    """Export operators; each crash costs one of them and starts the worker again."""
    python: str | Path = sys.executable
    if version != metadata.version("paddlepaddle"):
        found = environment(version).find()
        if found is None:
            interpreter = find_interpreter(VERSIONS[version].python, f"Paddle {version}")
            found = environment(version).make(interpreter, report=report)
        python = found
    command = [str(python), "-W", "ignore", str(WORKER), str(folder), layout, *operators]
    variables = {**clean_variables(), "GLOG_minloglevel": "3"}
    for _ in range(_MOST_CRASHES):
        if run_program(command, seconds=_SECONDS, variables=variables).returncode == 0:
            return


def read_entries(folder: Path) -> list[dict[str, Any]]:
    """Return what the worker wrote of each operator, by name."""
    paths = sorted(folder.glob("*/entry.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def check(folder: Path, parallel: int) -> list[dict[str, Any]]:
    """Run what was exported; return a row for each operator."""
    rows = {entry["name"]: entry for entry in read_entries(folder)}
    cases = []
    for entry in rows.values():
        if entry["outcome"] == "exported":
            program, *params = entry["files"]
            files = {"model_file": program} | ({"params_file": params[0]} if params else {})
            cases.append(Case(folder / entry["name"], files, {}))
    for case, (kind, said), remedy in check_all(cases, parallel):
        rows[case.folder.name] |= {"outcome": kind, "said": "" if kind == "right" else said}
        if remedy:
            rows[case.folder.name]["remedy"] = remedy
    return [
        {key: row[key] for key in ("name", "outcome", "said", "remedy", "batch") if row.get(key)}
        for row in rows.values()
    ]


def is_failure(row: dict[str, Any]) -> bool:
    """Return whether a row is wrong, a crash, an untrue refusal, or a remedy without effect."""
    if row["outcome"] == "Unsupported":
        return not row.get("remedy", "").startswith(("right", "advice"))
    return row["outcome"] in ("wrong", "crashed", "BadModel", "BadInput", "BackendFailure")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.drawn",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--paddle", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--layout", nargs="+", choices=("pdmodel", "json"))
    parser.add_argument("--operator", nargs="+", default=[], metavar="NAME", help="all are drawn")
    parser.add_argument("--raw-dir", type=Path, help="keeps the files; what is there stays")
    parser.add_argument("--parallel", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    target = ROOT / "docs" / "results" / "drawn.json"
    parser.add_argument("--output", type=Path, default=target, metavar="FILE")
    options = parser.parse_args(arguments)
    columns = []
    where = nullcontext(options.raw_dir) if options.raw_dir else tempfile.TemporaryDirectory()
    with where as root:
        for version in options.paddle:
            for layout in LAYOUTS[version]:
                if options.layout and layout not in options.layout:
                    continue
                folder = Path(root, f"{version}-{layout}")
                export(version, layout, options.operator, folder)
                rows = check(folder, options.parallel)
                columns.append({"paddle": version, "layout": layout, "operators": rows})
    result = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {
            "lenet_cpp": lenet_cpp.__version__,
            "paddlepaddle": metadata.version("paddlepaddle"),
        },
        "columns": columns,
    }
    write_text(options.output, json.dumps(result, indent=1) + "\n")
    failures = 0
    for column in columns:
        for row in filter(is_failure, column["operators"]):
            failures += 1
            said, remedy = row.get("said", ""), row.get("remedy", "")
            place = f"{column['paddle']} {column['layout']}, {row['name']}"
            print(f"{place}: {row['outcome']}: {said}; {remedy}")
    print(f"{options.output}: {failures} failures")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
