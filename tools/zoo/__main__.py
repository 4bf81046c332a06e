"""Run the networks of other packages on every engine, and write docs/results/zoo.json.

    python -m tools.zoo                               the smallest network of each family; an hour
    python -m tools.zoo --source PaddleClas --all     every network of one package
    python -m tools.zoo --source timm --network dpn48b levit_128s --output FILE
    python -m tools.zoo --keep FOLDER --engine native --output FILE      again, in minutes
    python -m tools.zoo --source timm --draw 150 --seed 1                of all its networks
    python -m tools.zoo --show --output FILE          what is not right in a file; runs nothing

Each network gets random numbers and is exported as .json, .pdmodel or .onnx, some by PyTorch's
newer exporter too (``dynamo``). That, and running the file with the engines, is done in processes
of their own, which have fifteen minutes each. An answer is right where it differs from the
framework's by at most the tolerance of lenet_cpp.agreement, for three images and for one. Where the
framework's own answer is farther than that from its answer in float64, a right one is at most twice
as far. The packages are downloaded without their dependencies, once, into the user's cache folder.
It needs this project with its extras paddle, torch and onnx. Each result is written at once, and
those of other networks and engines stay in the file. ``python -m tools.pages`` writes them
into docs/zoo.md. The exit status is 1 where an engine crashed, was wrong, or called a file damaged.

With --keep the exported files, the images and the answers stay in a folder. A later run with it
neither builds nor exports what is there. Of all networks that takes 25 GB.

With --draw the networks are drawn with the seed among all of the package, those with more than
--max-parameters left out, and docs/results/zoo-drawn.json is written. What is in the file is not
done again, so that a draw can be interrupted, and continued with a larger number.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from lenet_cpp._base.files import write_text
from lenet_cpp._base.worker import call
from lenet_cpp.errors import BadInput, Error
from tools.corpora import report
from tools.survey import machine
from tools.survey.verdict import FAILURES
from tools.zoo.drawing import draw, order
from tools.zoo.keeping import Case, Keep, make, not_kept, run
from tools.zoo.sources import ENVIRONMENT, SOURCES
from tools.zoo.worker import ENGINES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Row = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results" / "zoo.json"
DRAWN = RESULTS.with_name("zoo-drawn.json")
SMALLEST = Path(__file__).with_name("smallest.json")
FORMATS = {"paddle": ("json", "pdmodel"), "torch": ("onnx",)}
BY_DYNAMO = {
    "torchvision": ("convnext_tiny", "mobilenet_v3_small", "resnet18", "swin_t", "vit_b_16"),
    "timm": (
        "deit_tiny_patch16_224",
        "edgenext_xx_small",
        "efficientformer_l1",
        "levit_128s",
        "mobilevit_xxs",
        "mobilenetv3_small_050",
        "pvt_v2_b0",
        "swin_tiny_patch4_window7_224",
    ),
}
"""Networks that PyTorch's newer exporter writes too."""
_KEYS = ("source", "network", "format")
_ENGINES = tuple(dict.fromkeys(engine for of in ENGINES.values() for engine in of))


def packages() -> str:
    """Return the folder with the packages of ``ENVIRONMENT``, which is made if it is not there."""
    python = ENVIRONMENT.make(sys.executable, report=report)
    (folder,) = python.parents[1].glob("lib/python*/site-packages")
    return str(folder)


def judge(case: Case, options: argparse.Namespace, folder: str, keep: Keep | None) -> Row:
    """Judge one network in one format; what ends a process is the result of that step."""
    made = keep.made if keep else not_kept
    making = partial(make, case, folder, most=options.max_parameters)
    with made(case, making) as (where, found):
        row = case.row | found
        file = row.pop("file", None)
        if file is None or options.only == "export":
            return row
        engines = [each for each in ENGINES[case.suffix] if each in options.engine]
        return row | run(case, where, file, engines)


def families(source: str, folder: str) -> dict[str, list[str]]:
    """Return the names of a source's networks, by family."""
    given = {"source": source, "packages": folder}
    found: dict[str, list[str]] = call("tools.zoo.worker:families", given, doing=source).result
    return found


def formats(source: str, name: str, chosen: Sequence[str] | None) -> list[str]:
    """Return the formats in which a network is exported."""
    by_dynamo = ("dynamo",) if name in BY_DYNAMO.get(source, ()) else ()
    usual = (*FORMATS[SOURCES[source].framework], *by_dynamo)
    able = ("onnx", "dynamo") if SOURCES[source].framework == "torch" else usual
    return [each for each in able if each in (chosen or usual)]


def cases(options: argparse.Namespace, folder: str) -> list[Case]:
    """Return the networks to judge, in each format."""
    smallest = json.loads(SMALLEST.read_text(encoding="utf-8"))
    found: list[Case] = []
    for source in options.source:
        of = families(source, folder)
        if not (options.all or options.network):
            of = {family: [smallest[source].get(family, of[family][0])] for family in of}
        found += [
            Case(source, family, name, suffix)
            for family, names in of.items()
            for name in names
            if not options.network or name in options.network
            for suffix in formats(source, name, options.format)
        ]
    return found


def summarise(rows: Sequence[Row], old: Row) -> Row:
    """Return the results with what is kept of those of earlier runs: other networks and engines."""
    kept = {tuple(row[key] for key in _KEYS): row for row in old.get("networks", [])}
    for row in rows:
        key = tuple(row[key] for key in _KEYS)
        before = {e: of for e, of in kept.get(key, {}).items() if e in ENGINES[row["format"]]}
        built = not {"not_built", "not_written", "too_large"} & {*row}
        merged = row | {each: of for each, of in before.items() if built and each not in row}
        order_of = {each: merged[each] for each in ENGINES[row["format"]] if each in merged}
        rest = {each: of for each, of in merged.items() if each not in order_of}
        kept[key] = rest | order_of
    sources, suffixes = list(SOURCES), list(ENGINES)
    networks = sorted(
        kept.values(),
        key=lambda row: (
            sources.index(row["source"]),
            row["family"],
            row["network"],
            suffixes.index(row["format"]),
        ),
    )
    return {"networks": networks}


def failures(rows: Iterable[Row]) -> list[tuple[Row, str]]:
    """Return the rows and engines that are faults of this project."""
    return [
        (row, engine)
        for row in rows
        for engine in ENGINES[row["format"]]
        if engine in row and row[engine]["outcome"] in FAILURES
    ]


def show(rows: Sequence[Row]) -> int:
    """Print what each engine does with these, and each failure; return the exit status."""
    failed = failures(rows)
    for row, engine in failed:
        print("{source} {network}.{format}".format(**row), engine, row[engine])
    for engine in _ENGINES:
        outcomes = Counter(row[engine]["outcome"] for row in rows if engine in row)
        refused = Counter(
            row[engine].get("operator", "other reasons")
            for row in rows
            if row.get(engine, {}).get("outcome") == "Unsupported"
        )
        if outcomes:
            counts_text = ", ".join(
                f"{count} {outcome}" for outcome, count in outcomes.most_common()
            )
            names = ", ".join(f"{name} {count}" for name, count in refused.most_common())
            print(f"{engine}: {counts_text}" + (f" ({names})" if names else ""))
    for kind in ("not_built", "not_written", "too_large"):
        if count := sum(kind in row for row in rows):
            print(f"{kind}: {count}")
    return int(bool(failed))


class Results:
    """The file of results, which is written after each network."""

    def __init__(self, path: Path, about: Row) -> None:
        """Read what is in the file, if it is there."""
        self._path, self._about = path, about
        text = path.read_text(encoding="utf-8") if path.exists() else "{}"
        self.old: Row = json.loads(text)
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Write a row and all that were there before."""
        self.rows.append(row)
        written = self._about | summarise(self.rows, self.old)
        write_text(self._path, json.dumps(written, indent=1) + "\n")

    def finished(self, case: Case, most: float) -> Row | None:
        """Return the row of a draw that needs not be done again, if it is there."""
        for row in self.old.get("networks", []):
            if tuple(row[key] for key in _KEYS) == (case.source, case.name, case.suffix):
                return None if row.get("too_large", most + 1) <= most else dict(row)
        return None


def judge_all(
    chosen: Sequence[Case],
    options: argparse.Namespace,
    folder: str,
    keep: Keep | None,
    results: Results,
) -> list[Row]:
    """Judge some networks, and write each result at once."""
    rows: list[Row] = []
    with (
        ThreadPoolExecutor(options.parallel) as pool,
        tqdm(total=len(chosen), unit="file", disable=None) as bar,
    ):
        try:
            started = [pool.submit(judge, case, options, folder, keep) for case in chosen]
            for done in as_completed(started):
                rows.append(done.result())
                if options.only != "export":
                    results.add(rows[-1])
                bar.set_postfix_str(rows[-1]["network"])
                bar.update()
        finally:
            pool.shutdown(cancel_futures=True)
    return rows


def judge_drawn(
    options: argparse.Namespace, folder: str, keep: Keep | None, results: Results
) -> None:
    """Draw networks of each source, and judge those that are not judged yet."""

    def some(chosen: Sequence[Case]) -> list[Row]:
        found = {case: results.finished(case, options.max_parameters) for case in chosen}
        if options.again:
            found = {case: row and None for case, row in found.items()}
        left = [case for case, row in found.items() if row is None]
        done = [row for row in found.values() if row is not None]
        return done + judge_all(left, options, folder, keep, results)

    for source in options.source:
        every = order(source, families(source, folder), options.seed)
        usual = FORMATS[SOURCES[source].framework]
        chosen = [
            [Case(source, family, name, suffix) for suffix in options.format or usual]
            for family, name in every
        ]
        draw(options.draw, chosen, some)


def described(options: argparse.Namespace, old: Mapping[str, Any]) -> Row:
    """Return what the results begin with."""
    about = machine.describe(
        argparse.Namespace(), *(of.package for of in SOURCES.values()), "torch", "onnxscript"
    )
    pinned = dict(each.split("==") for each in ENVIRONMENT.requirements)
    about["versions"] = pinned | about["versions"]
    about.pop("settings")
    if options.draw:
        about["draw"] = {"seed": options.seed, "max_parameters": options.max_parameters}
        if old and old.get("draw") != about["draw"]:
            raise BadInput(f"{options.output} has another draw: {old.get('draw')}; name another")
    return about


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.zoo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--source", nargs="+", choices=SOURCES, default=list(SOURCES))
    add("--all", action="store_true", help="not the smallest of each family alone")
    add("--network", nargs="+", metavar="NAME", help="these alone")
    add("--format", nargs="+", choices=ENGINES, help="these alone (default: each of the framework)")
    add(
        "--engine",
        nargs="+",
        choices=_ENGINES,
        default=list(_ENGINES),
        help="these alone; results of others stay in the file",
    )
    add("--keep", type=Path, metavar="FOLDER", help="keep what is exported, and use what is there")
    add(
        "--only",
        choices=("export", "run"),
        help="with --keep: fill the folder, or run only what is in it",
    )
    add("--draw", type=int, metavar="N", help="so many of each source, drawn with --seed")
    add("--seed", type=int, default=1, help="of the draw (%(default)s)")
    add(
        "--max-parameters",
        type=float,
        metavar="X",
        help="leave larger networks out (default: 100e6 with --draw)",
    )
    add("--again", action="store_true", help="with --draw: judge what the file has once more")
    add("--show", action="store_true", help="run nothing, and print what is not right in --output")
    add("--parallel", type=int, default=1, metavar="N", help="networks at once")
    add("--output", type=Path, metavar="FILE", help="(default: docs/results/zoo[-drawn].json)")
    options = parser.parse_args(arguments)
    if options.parallel < 1:
        parser.error("--parallel is at least 1")
    if options.draw is not None and options.draw < 1:
        parser.error("--draw is at least 1")
    if options.draw and (options.all or options.network):
        parser.error("--draw goes with neither --all nor --network")
    if options.only and not options.keep:
        parser.error(f"--only {options.only} goes with --keep")
    if options.only == "run" and options.draw:
        parser.error("--only run does not go with --draw")
    if options.draw and options.max_parameters is None:
        options.max_parameters = 100e6
    options.output = options.output or (DRAWN if options.draw else RESULTS)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        if options.show:
            return show(json.loads(options.output.read_text(encoding="utf-8"))["networks"])
        folder = packages()
        results = Results(options.output, {})
        about = described(options, results.old)
        results = Results(options.output, about)
        keep = None
        if options.keep:
            keep = Keep(options.keep, about["versions"], makes=options.only != "run")
        if options.draw:
            judge_drawn(options, folder, keep, results)
        else:
            chosen = cases(options, folder)
            missing = set(options.network or ()) - {case.name for case in chosen}
            if missing:
                names = ", ".join(sorted(missing))
                raise BadInput(f"no such network: {names}; try another --source")
            if keep and options.only == "run":
                chosen = [case for case in chosen if keep.has(case)]
            judge_all(chosen, options, folder, keep, results)
    except Error as error:
        print(f"zoo: {error}", file=sys.stderr)
        return error.exit_code
    if options.only == "export":
        print(f"{options.keep}: the files are there")
        return 0
    status = show(results.rows)
    print(f"{options.output}: {len(results.rows)} files, {len(failures(results.rows))} failures")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("zoo: interrupted; the networks that were run are in the file", file=sys.stderr)
        sys.exit(130)
