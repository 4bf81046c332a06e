"""Run tests/data/versions on every engine, and write docs/results/versions.json.

    python -m tools.versions check                       all; ten minutes
    python -m tools.versions check --version 1.8.5 --layout separate --sample 20 --output FILE

An answer is right where it differs from that of the Paddle which wrote the file by at most 1e-4 of
the largest output. ``unchecked`` is engine auto with ``check_program=False``. The exit status is 1
where an engine crashed, was wrong, or called a file damaged. ``python -m tools.pages``
writes the result into docs/compatibility.md.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.survey import results
from tools.survey.runner import run_all
from tools.survey.verdict import FAILURES, TOLERANCE, operator, predict
from tools.versions.tables import ENGINES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tools.survey.runner import Outcome

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from versions_corpus import Network, networks, unpack  # noqa: E402 - tests/ is on the path only now

Case = tuple[Network, str]
_PER_PROCESS = 20  # networks: loading Paddle takes longer than running one
_NUMBER = re.compile(r"\d\.\de[+-]\d+")


def _run(case: Case, folder: str) -> Outcome:
    network, engine = case
    here = Path(tempfile.mkdtemp(dir=folder))
    (program, *params), x, expected = unpack(network, here)
    options = dict(ENGINES[engine])
    if program.name == "__model__":
        options["model_dir"] = here
    else:
        options["model_file"] = program
        if params:
            options["params_file"] = params[0]
    kind, message = predict(options, x, expected)
    return kind, message.replace(f"{here}/", "")


def summarise(outcomes: Iterable[tuple[Case, Outcome]]) -> dict[str, Any]:
    """Return the counts, the operators that do not run, and the failures."""
    outcomes = list(outcomes)
    return {
        "counts": _counts(outcomes),
        "operators": _operators(outcomes),
        "failures": _failures(outcomes),
    }


def _counts(outcomes: Sequence[tuple[Case, Outcome]]) -> list[dict[str, Any]]:
    """Return how often each engine had each outcome, by the version and the layout of the file."""
    counts: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for (network, engine), (kind, _message) in outcomes:
        counts[network.version, network.layout, engine][kind] += 1
    return [
        {
            "version": version,
            "layout": layout,
            "engine": engine,
            "outcomes": dict(sorted(count.items())),
        }
        for (version, layout, engine), count in sorted(counts.items())
    ]


def _operators(outcomes: Sequence[tuple[Case, Outcome]]) -> dict[str, dict[str, list[str]]]:
    """Return the operators that engine auto refuses, by version and by what runs them unchecked."""
    refused: dict[Network, str] = {}
    unchecked: dict[Network, Outcome] = {}
    for (network, engine), (kind, message) in outcomes:
        if engine == "unchecked":
            unchecked[network] = kind, message
        elif engine == "auto" and kind == "Unsupported":
            refused[network] = message
    operators: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for network, message in refused.items():
        name = operator(message) or f"network {network.name}"
        group = _group_of_refused(unchecked[network])
        operators[network.version][group].add(name)
    return {
        version: {group: sorted(names) for group, names in sorted(groups.items())}
        for version, groups in sorted(operators.items())
    }


def _group_of_refused(unchecked: Outcome) -> str:
    """Return what became of a refused network when it was not checked."""
    kind, message = unchecked
    if kind == "right":
        return "unchecked"
    return "absent" if "is not registered" in message else "refused"


def _failures(outcomes: Sequence[tuple[Case, Outcome]]) -> list[dict[str, Any]]:
    """Return the failures, each once, with the files that have it."""
    files: dict[tuple[str, str, str, str], set[str]] = defaultdict(set)
    for (network, engine), (kind, message) in outcomes:
        if kind in {"right", "Unsupported"}:
            continue
        if engine != "unchecked" or kind in FAILURES:
            key = network.name, engine, kind, _NUMBER.sub("X", message)
            files[key].add(f"{network.version} {network.layout}")
    return [
        {
            "network": network_name,
            "engine": engine,
            "outcome": kind,
            "said": message,
            "files": sorted(places),
        }
        for (network_name, engine, kind, message), places in sorted(files.items())
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.versions check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    versions = sorted({network.version for network in networks()})
    layouts = sorted({network.layout for network in networks()})
    output = ROOT / "docs" / "results" / "versions.json"
    parser.add_argument("--version", nargs="+", choices=versions, default=versions)
    parser.add_argument("--layout", nargs="+", choices=layouts, default=layouts)
    parser.add_argument("--sample", type=int, metavar="N", help="networks of each layout")
    parser.add_argument("--parallel", type=int, default=2, metavar="N", help="processes")
    parser.add_argument("--output", type=Path, default=output, metavar="FILE")
    return parser


def _choose(versions: Sequence[str], layouts: Sequence[str], sample: int | None) -> list[Network]:
    """Return the networks, or a sample of each layout of each version, at equal distances."""
    groups: dict[tuple[str, str], list[Network]] = defaultdict(list)
    for network in networks():
        if network.version in versions and network.layout in layouts:
            groups[network.version, network.layout].append(network)
    chosen = []
    for group in groups.values():
        step = len(group) / min(sample or len(group), len(group))
        chosen += [group[int(k * step)] for k in range(round(len(group) / step))]
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.parallel < 1 or (options.sample is not None and options.sample < 1):
        parser.error("--parallel and --sample are at least 1")
    chosen = _choose(options.version, options.layout, options.sample)
    cases = [
        [(network, engine) for network in chosen[k : k + _PER_PROCESS] for engine in ENGINES]
        for k in range(0, len(chosen), _PER_PROCESS)
    ]
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run_all(cases, functools.partial(_run, folder=folder), options.parallel)
    result = {
        **results.about("paddlepaddle"),
        "tolerance": TOLERANCE,
        "networks": f"{len(chosen)} of {len(networks())}",
        **summarise(outcomes),
    }
    results.write(options.output, result)
    for failure in result["failures"]:
        print("{network}, {engine}: {outcome}: {said}; {files}".format(**failure))
    print(f"{options.output}: {result['networks']} files, {len(result['failures'])} failures")
    return int(any(failure["outcome"] in FAILURES for failure in result["failures"]))
