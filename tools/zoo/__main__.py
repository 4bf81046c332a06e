"""Run the networks of other packages on every engine, and write docs/results/zoo.json.

    python -m tools.zoo                               the smallest network of each family; an hour
    python -m tools.zoo --source PaddleClas --all     every network of one package
    python -m tools.zoo --source timm --network dpn48b levit_128s --output FILE

Each network gets random numbers, is exported as .json, .pdmodel or .onnx, and is judged in a
process of its own, which has fifteen minutes; nothing exported is kept. An answer is right where it
differs from the framework's by at most the tolerance of lenet_cpp.agreement, for three images and
for one. Where the framework's own answer is farther than that from its answer in float64, a right
one is at most twice as far. The packages are downloaded without their dependencies, once, into the
user's cache folder. It needs this project with its extras paddle, torch and onnx. Each result is
written at once, and those of other networks stay in the file. ``scripts/benchmark.py --pages``
writes them into docs/zoo.md. The exit status is 1 where an engine crashed, was wrong, or called a
file damaged.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from lenet_cpp._base.files import write_text
from lenet_cpp._base.worker import WorkerCrashed, call
from lenet_cpp.errors import BackendFailure, Error
from tools.benchmark import machine
from tools.corpora import report
from tools.zoo.sources import ENVIRONMENT, SOURCES
from tools.zoo.worker import ENGINES, VARIABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    Row = dict[str, Any]
    Case = tuple[str, str, str, str]

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results" / "zoo.json"
SMALLEST = Path(__file__).with_name("smallest.json")
FORMATS = {"paddle": ("json", "pdmodel"), "torch": ("onnx",)}
FAILURES = ("wrong", "crashed", "BadModel")
_SECONDS = 900.0


def packages() -> str:
    """Return the folder with the packages of ``ENVIRONMENT``, which is made if it is not there."""
    python = ENVIRONMENT.make(sys.executable, report=report)
    (folder,) = python.parents[1].glob("lib/python*/site-packages")
    return str(folder)


def judge(case: Case, folder: str) -> Row:
    """Judge one network in one format; what ends the process is the result of that step."""
    source, family, name, suffix = case
    ended: dict[str, str] = {}
    row: Row = {"source": source, "family": family, "network": name, "format": suffix}
    while True:
        steps = ["start"]
        with tempfile.TemporaryDirectory() as exported:
            given = {"packages": folder, "folder": exported, "ended": ended}
            how: dict[str, Any] = {"seconds": _SECONDS, "variables": VARIABLES[suffix]}
            try:
                found: Row = call(
                    "tools.zoo.worker:judge",
                    {"source": source, "name": name, "suffix": suffix, **given},
                    doing=name, report=lambda what, *_, to=steps: to.append(what), **how,
                ).result  # fmt: skip
                return row | found
            except BackendFailure as error:
                said = error.signal if isinstance(error, WorkerCrashed) else str(error)
                if steps[-1] in {"start", *ended}:
                    return row | {"not_built": said}
                ended[steps[-1]] = said


def cases(options: argparse.Namespace, folder: str) -> list[Case]:
    """Return the networks to judge, in each format."""
    smallest = json.loads(SMALLEST.read_text(encoding="utf-8"))
    found: list[Case] = []
    for source in options.source:
        given = {"source": source, "packages": folder}
        of = call("tools.zoo.worker:families", given, doing=source).result
        if not (options.all or options.network):
            of = {family: [smallest[source].get(family, of[family][0])] for family in of}
        found += [
            (source, family, name, suffix)
            for family, names in of.items()
            for name in names
            if not options.network or name in options.network
            for suffix in FORMATS[SOURCES[source].framework]
        ]
    return found


def summarise(rows: Sequence[Row], old: Row) -> Row:
    """Return the results with what is kept of those of earlier runs."""
    keys = ("source", "network", "format")
    new = {tuple(row[key] for key in keys): row for row in rows}
    kept = {tuple(row[key] for key in keys): row for row in old.get("networks", [])}
    order = list(SOURCES)
    networks = sorted(
        (kept | new).values(),
        key=lambda row: (order.index(row["source"]), row["family"], row["network"], row["format"]),
    )
    return {"networks": networks}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.zoo", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--all", action="store_true", help="not the smallest of each family alone")
    parser.add_argument("--network", nargs="+", metavar="NAME", help="these alone")
    parser.add_argument("--parallel", type=int, default=1, metavar="N", help="networks at once")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FILE")
    options = parser.parse_args(arguments)
    if options.parallel < 1:
        parser.error("--parallel is at least 1")
    rows: list[Row] = []
    try:
        folder = packages()
        chosen = cases(options, folder)
        missing = set(options.network or ()) - {name for _, _, name, _ in chosen}
        if missing:
            parser.error(f"no such network: {', '.join(sorted(missing))}; try another --source")
        about = machine.describe(
            argparse.Namespace(), *(of.package for of in SOURCES.values()), "torch"
        )
        pinned = dict(each.split("==") for each in ENVIRONMENT.requirements)
        about["versions"] = pinned | about["versions"]
        about.pop("settings")
        exists = options.output.exists()
        old = json.loads(options.output.read_text(encoding="utf-8")) if exists else {}
        with (
            ThreadPoolExecutor(options.parallel) as pool,
            tqdm(total=len(chosen), unit="file", disable=None) as bar,
        ):
            try:
                for done in as_completed([pool.submit(judge, case, folder) for case in chosen]):
                    rows.append(done.result())
                    results = about | summarise(rows, old)
                    write_text(options.output, json.dumps(results, indent=1) + "\n")
                    bar.set_postfix_str(rows[-1]["network"])
                    bar.update()
            finally:
                pool.shutdown(cancel_futures=True)
    except Error as error:
        print(f"zoo: {error}", file=sys.stderr)
        return error.exit_code
    failed = [
        (row, engine)
        for row in rows
        for engine in ENGINES[row["format"]]
        if engine in row and row[engine]["outcome"] in FAILURES
    ]
    for row, engine in failed:
        print("{source} {network}.{format}".format(**row), engine, row[engine])
    print(f"{options.output}: {len(rows)} files, {len(failed)} failures")
    return int(bool(failed))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("zoo: interrupted; the networks that were run are in the file", file=sys.stderr)
        sys.exit(130)
