"""Run the corpus of tools.exporters, and write docs/results/exporters.json.

    python -m tools.exporters check                 all files; a minute
    python -m tools.exporters check --tool tf2onnx --output FILE

``python -m tools.pages`` writes the result into docs/onnx.md. The exit status is 1 where an
engine crashed, was wrong, or called a file damaged.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.exporters.corpus import (
    ENGINES,
    OF_ONE_MACHINE,
    RESULTS,
    File,
    files,
    judge,
    read_index,
    reason,
    unpack,
)
from tools.survey import results
from tools.survey.machine import processor_flags
from tools.survey.runner import run_all
from tools.survey.verdict import FAILURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tools.survey.runner import Outcome

Case = tuple[File, str]


def _run(case: Case, folder: str) -> Outcome:
    file, engine = case
    return judge(file, Path(folder), engine)


def summarise(outcomes: Iterable[tuple[Case, Outcome]]) -> list[dict[str, Any]]:
    """Return a row for each tool: its files, and what each engine does with them."""
    rows: dict[str, dict[str, Any]] = {}
    for (file, engine), (kind, message) in outcomes:
        found = read_index()[file.tool]
        unused = {key: found[key] for key in ("not_written", "not_run")}
        row = rows.setdefault(
            file.tool,
            {"tool": file.tool, "versions": found["versions"], "opsets": [], "files": 0, **unused},
        )
        row["opsets"] = sorted({*row["opsets"], file.opset})
        row["files"] += engine == ENGINES[0]
        of_engine = row.setdefault(engine, {"right": 0, "near": [], "refused": {}, "failures": {}})
        if kind == "right":
            of_engine["right"] += 1
        elif kind == "near":
            of_engine["near"].append(file.name)
        elif kind == "Unsupported":
            of_engine["refused"].setdefault(reason(message), []).append(file.name)
        else:
            of_engine["failures"][file.name] = [kind, message]
    return list(rows.values())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.exporters check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = list(read_index())
    parser.add_argument("--tool", nargs="+", choices=known, default=known, metavar="TOOL")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FILE")
    options = parser.parse_args(arguments)
    groups = [
        [(file, engine) for file in files() if file.tool == tool for engine in ENGINES]
        for tool in options.tool
    ]
    with tempfile.TemporaryDirectory() as folder:
        unpack(Path(folder))
        outcomes = run_all(groups, functools.partial(_run, folder=folder), parallel=1)
    rows = summarise(outcomes)
    if "avx512_vnni" not in processor_flags():
        before = {row["tool"]: row for row in json.loads(RESULTS.read_text())["tools"]}
        for row in rows:
            if row["tool"] in OF_ONE_MACHINE:
                row["auto"] = before[row["tool"]]["auto"]
                print(f"{row['tool']}, auto: as before: needs AVX-512 VNNI", file=sys.stderr)
    results.write(options.output, {**results.about("onnxruntime"), "tools": rows})
    failed = False
    for row in rows:
        for engine in ENGINES:
            for name, (kind, message) in row[engine]["failures"].items():
                failed |= kind in FAILURES
                print(f"{row['tool']} {name}, {engine}: {kind}: {message}", file=sys.stderr)
    print(f"{options.output}: {sum(row['files'] for row in rows)} files")
    return int(failed)
