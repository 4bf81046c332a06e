"""Draw every operator that a float image can reach, export it, and run the file by default options.

    python -m tools.drawn                                    every row of the table; an hour
    python -m tools.drawn --writer "Paddle 3.3.1" --layout json         one of them
    python -m tools.drawn --writer PyTorch --operator nn.GELU nn.LSTM   two operators

Operators, how they are exported and how a file is checked are apart. ``paddle_operators.py`` and
``torch_operators.py`` list them and ask the package what there is. ``paddle_worker.py`` exports
them in the environment of a Paddle (of ``tools.versions``), ``torch_worker.py`` by an exporter of
PyTorch. ``verdicts.py`` runs a folder beside its truth, whatever wrote it. The result is
``docs/results/drawn.json``, from which ``python -m tools.pages`` writes the table in
docs/compatibility.md; what is not drawn anew stays there as it is. The exit status is
1 where an answer is wrong, a process crashed, a file was called damaged, or a remedy did not work.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lenet_cpp._base.worker import clean_variables, run_program
from tools.corpora import report
from tools.drawn.verdicts import Case, check_all
from tools.interpreters import find_interpreter
from tools.survey import results
from tools.versions.__main__ import VERSIONS, environment

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
_MOST_CRASHES = 30
_SECONDS = 3600.0


class Writer(NamedTuple):
    """A framework that exports operators."""

    layouts: tuple[str, ...]
    """What it writes: a layout of Paddle's files, or an exporter of PyTorch."""
    worker: str
    """The script that exports, beside this file."""
    paddle: str = ""
    """The version of Paddle whose environment it needs, if it is a Paddle."""


WRITERS = {
    "Paddle 2.6.2": Writer(("pdmodel",), "paddle_worker.py", "2.6.2"),
    "Paddle 3.0.0": Writer(("pdmodel", "json"), "paddle_worker.py", "3.0.0"),
    "Paddle 3.3.1": Writer(("pdmodel", "json"), "paddle_worker.py", "3.3.1"),
    "PyTorch": Writer(("dynamo", "legacy"), "torch_worker.py"),
}


def interpreter_of(writer: Writer) -> Path:
    """Return the Python that has what a writer needs; an environment is made where none is."""
    if writer.paddle in ("", metadata.version("paddlepaddle")):
        return Path(sys.executable)
    chosen = environment(writer.paddle)
    found = chosen.find()
    if found is not None:
        return found
    python = find_interpreter(VERSIONS[writer.paddle].python, f"Paddle {writer.paddle}")
    return chosen.make(python, report=report)


def export(writer: Writer, layout: str, operators: Sequence[str], folder: Path) -> None:
    """Export operators; each crash costs one of them and starts the worker again."""
    worker = Path(__file__).with_name(writer.worker)
    command = [str(interpreter_of(writer)), "-W", "ignore", str(worker), str(folder), layout]
    # Paddle reads both when it is imported, and writes a .json with the second one alone.
    flags = {"GLOG_minloglevel": "3", "FLAGS_enable_pir_api": str(int(layout == "json"))}
    variables = {**clean_variables(), **flags}
    for _ in range(_MOST_CRASHES):
        ended = run_program([*command, *operators], seconds=_SECONDS, variables=variables)
        if ended.returncode == 0:
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


def read_columns(path: Path) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Return the rows of an earlier result, by writer and layout and by operator."""
    if not path.exists():
        return {}
    result = json.loads(path.read_text(encoding="utf-8"))
    return {
        (column["writer"], column["layout"]): {row["name"]: row for row in column["operators"]}
        for column in result["columns"]
    }


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
    layouts = sorted({layout for writer in WRITERS.values() for layout in writer.layouts})
    parser.add_argument("--writer", nargs="+", choices=WRITERS, default=list(WRITERS))
    parser.add_argument("--layout", nargs="+", choices=layouts, default=layouts)
    parser.add_argument("--operator", nargs="+", default=[], metavar="NAME", help="all are drawn")
    parser.add_argument("--raw-dir", type=Path, help="keeps the files; what is there stays")
    parser.add_argument("--parallel", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    target = ROOT / "docs" / "results" / "drawn.json"
    parser.add_argument("--output", type=Path, default=target, metavar="FILE")
    options = parser.parse_args(arguments)
    columns = read_columns(options.output)
    where = nullcontext(options.raw_dir) if options.raw_dir else tempfile.TemporaryDirectory()
    with where as root:
        for name in options.writer:
            writer = WRITERS[name]
            for layout in writer.layouts:
                if layout not in options.layout:
                    continue
                folder = Path(root, f"{name}-{layout}".replace(" ", "-"))
                export(writer, layout, options.operator, folder)
                drawn = {row["name"]: row for row in check(folder, options.parallel)}
                columns[name, layout] = columns.get((name, layout), {}) | drawn
    result = {
        **results.about("paddlepaddle", "torch", "onnxruntime"),
        "columns": [
            {"writer": name, "layout": layout, "operators": list(columns[name, layout].values())}
            for name, writer in WRITERS.items()
            for layout in writer.layouts
            if (name, layout) in columns
        ],
    }
    results.write(options.output, result)
    failures = 0
    for (name, layout), rows in columns.items():
        for row in filter(is_failure, rows.values()):
            failures += 1
            said, remedy = row.get("said", ""), row.get("remedy", "")
            place = f"{name} {layout}, {row['name']}"
            print(f"{place}: {row['outcome']}: {said}; {remedy}")
    print(f"{options.output}: {failures} failures")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
