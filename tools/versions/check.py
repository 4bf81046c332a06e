"""Run tests/data/versions on every engine, and write docs/results/versions.json.

    python -m tools.versions check                       all; ten minutes
    python -m tools.versions check --version 1.8.5 --layout separate --sample 20 --output FILE

An answer is right where it differs from that of the Paddle which wrote the file by at most 1e-4 of
the largest output. ``unchecked`` is engine auto with ``check_program=False``. The exit status is 1
where an engine crashed, was wrong, or called a file damaged. ``scripts/benchmark.py --pages``
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
    kind, said = predict(options, x, expected)
    return kind, said.replace(f"{here}/", "")


def summarise(outcomes: Iterable[tuple[Case, Outcome]]) -> dict[str, Any]:
    """Return the counts, the operators that do not run, and the failures."""
    counts: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    failures: dict[tuple[str, ...], set[str]] = defaultdict(set)
    refused: dict[Network, str] = {}
    unchecked: dict[Network, Outcome] = {}
    for (network, engine), (kind, said) in outcomes:
        counts[network.version, network.layout, engine][kind] += 1
        if engine == "unchecked":
            unchecked[network] = kind, said
        elif engine == "auto" and kind == "Unsupported":
            refused[network] = said
        if kind not in {"right", "Unsupported"} and (engine != "unchecked" or kind in FAILURES):
            where = f"{network.version} {network.layout}"
            failures[network.name, engine, kind, _NUMBER.sub("X", said)].add(where)
    operators: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for network, said in refused.items():
        name = operator(said) or f"network {network.name}"
        kind, why = unchecked[network]
        how = "absent" if "is not registered" in why else "refused"
        how = "unchecked" if kind == "right" else how
        operators[network.version][how].add(name)
    keys = ("version", "layout", "engine")
    return {
        "counts": [
            {**dict(zip(keys, key, strict=True)), "outcomes": dict(sorted(count.items()))}
            for key, count in sorted(counts.items())
        ],
        "operators": {
            version: {how: sorted(names) for how, names in sorted(found.items())}
            for version, found in sorted(operators.items())
        },
        "failures": [
            dict(
                zip(("network", "engine", "outcome", "said"), key, strict=True), files=sorted(where)
            )
            for key, where in sorted(failures.items())
        ],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.versions check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = sorted({network.version for network in networks()})
    parser.add_argument("--version", nargs="+", choices=known, default=known)
    layouts = sorted({network.layout for network in networks()})
    parser.add_argument("--layout", nargs="+", choices=layouts, default=layouts)
    parser.add_argument("--sample", type=int, metavar="N", help="networks of each layout")
    parser.add_argument("--parallel", type=int, default=2, metavar="N", help="processes")
    target = ROOT / "docs" / "results" / "versions.json"
    parser.add_argument("--output", type=Path, default=target, metavar="FILE")
    options = parser.parse_args(arguments)
    if options.parallel < 1 or (options.sample is not None and options.sample < 1):
        parser.error("--parallel and --sample are at least 1")
    groups: dict[tuple[str, str], list[Network]] = defaultdict(list)
    for network in networks():
        if network.version in options.version and network.layout in options.layout:
            groups[network.version, network.layout].append(network)
    for key, group in groups.items():
        step = len(group) / min(options.sample or len(group), len(group))
        groups[key] = [group[int(k * step)] for k in range(round(len(group) / step))]
    chosen = [network for group in groups.values() for network in group]
    # A process for every 20 networks: loading Paddle takes longer than running one.
    cases = [
        [(network, engine) for network in chosen[k : k + 20] for engine in ENGINES]
        for k in range(0, len(chosen), 20)
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
    for one in result["failures"]:
        print("{network}, {engine}: {outcome}: {said}; {files}".format(**one))
    print(f"{options.output}: {result['networks']} files, {len(result['failures'])} failures")
    return int(any(one["outcome"] in FAILURES for one in result["failures"]))
