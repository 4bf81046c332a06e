"""Run networks in child processes, where a crash is a find, and minimise the finds."""

import json
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from tools.hostile.children import INTERRUPTED, do_steps
from tools.hostile.networks import Network, dump, smaller, weight
from tools.survey.verdict import operator

BATCH = 15  # candidates that are tried at once in place of a network
ROUNDS = 40
SECONDS = 300  # that exporting a network, and running it with an engine, may take


@dataclass
class Find:
    """A network that an engine does not run as the framework does."""

    name: str
    target: str
    outcome: str
    detail: str
    network: Network

    def kind(self):
        """Return what tells this fault from others, as far as can be said."""
        said = "" if self.outcome == "wrong" else re.sub(r"'[^']*'|[\d(), ]+", "", self.detail)[:80]
        return self.target, self.outcome, said


class Report(NamedTuple):
    """What came of some networks."""

    outcomes: list[tuple[str, str]]  # the target and the outcome of each run
    invalid: list[str]
    finds: list[Find]
    refusals: list[str]  # the operators of networks that were refused


def accepted(network, target, outcome, detail):
    """Return whether a refusal is right: by name, where others run it."""
    way = target.split("/")[1:]
    certain = way[0] == "onnxruntime" or {"auto", "plain"} & {*way}
    known = ["Paddle does not load from a .json"]
    too_late = False
    if network.options.get("open_sizes"):  # which nobody knows before an image comes
        known += ["that the program does not fix", "that Paddle took for 1"]
        known += ["paddle instead of native"]
        too_late = outcome == "BadInput" and "does not take images of" in detail
    elsewhere = not certain or any(reason in detail for reason in known)
    return too_late or (outcome == "Unsupported" and elsewhere)


def examine(entries, done=lambda: None, keep=None):
    """Export and run networks, in this order.

    Each entry is a ``name`` with ``network``, or ``seed`` and ``number``; ``targets``, where not
    every one, and ``program``, whether the C++ program too runs it. The exported models are left
    in ``keep``, in folders by number.
    """
    report = Report([], [], [], [])
    steps = []

    def exported(number, said):
        if "targets" in said:
            steps.extend((number, target) for target in said["targets"])
            return
        # Else Paddle itself crashed.
        why = said.get("invalid") or f"{said['outcome']}: {said['detail']}"
        report.invalid.append(f"{entries[number]['name']}: {why}")
        done()

    def ran(step, said):
        number, target = steps[step]
        if said:
            report.outcomes.append((target, said["outcome"]))
            if said["outcome"] == "Unsupported":
                report.refusals.append(operator(said["detail"]) or "other reasons")
            if said["outcome"] not in {"equal", "own"}:
                path = folder / str(number) / "network.json"
                network = Network.from_json(json.loads(path.read_text("utf-8")))
                if not accepted(network, target, **said):
                    found = Find(entries[number]["name"], target, **said, network=network)
                    report.finds.append(found)
        if step + 1 == len(steps) or steps[step + 1][0] != number:
            done()

    with tempfile.TemporaryDirectory(prefix="lenet-networks-") as name:
        folder = keep or Path(name)
        where = {"folder": str(folder), "seconds": SECONDS, "per_child": len(entries) * 100}
        do_steps("tools.hostile.engines:export_network", [*enumerate(entries)], exported, **where)
        do_steps("tools.hostile.engines:run_target", steps, ran, **where)
    return report


def hunt(entries, jobs, done):
    """Examine networks in several processes."""
    size = min(200, -(-len(entries) // jobs))
    chunks = [entries[i : i + size] for i in range(0, len(entries), size or 1)]
    with ThreadPoolExecutor(jobs) as executor:
        try:
            reports = list(executor.map(lambda chunk: examine(chunk, done), chunks))
        except KeyboardInterrupt:
            INTERRUPTED.set()  # else the threads would go on to the end of their chunks
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    parts = zip(Report([], [], [], []), *reports, strict=True)
    return Report(*(list(chain(*lists)) for lists in parts))


def minimised(finds, jobs, done):
    """Return, for each find, the smallest network that shows the same with the same engine."""
    least = list(finds)
    tried = [0] * len(finds)
    active = set(range(len(finds)))
    for _ in range(ROUNDS):
        entries = []
        for i in sorted(active):
            candidates = sorted(smaller(least[i].network), key=weight)[tried[i] : tried[i] + BATCH]
            if not candidates:
                active.remove(i)
                done()
            tried[i] += BATCH
            entries += [entry(i, network, least[i].target) for network in candidates]
        if not entries:
            break
        for found in hunt(entries, jobs, lambda: None).finds:
            i = found.name
            if found.kind() == finds[i].kind() and weight(found.network) < weight(least[i].network):
                least[i] = replace(found, name=finds[i].name)
                tried[i] = 0
    return least


def entry(name, network, *targets):
    return {"name": name, "network": network.to_json(), "targets": targets}


def save(finds, folder):
    """Write FOLDER/.../find.json for each, to replay, and the exported models beside it."""
    paths = []
    with tempfile.TemporaryDirectory(prefix="lenet-differential-") as name:
        examine([entry(find.name, find.network, "-") for find in finds], keep=Path(name))
        for i, find in enumerate(finds):
            title = re.sub("[/ ]", "-", f"{find.name}-{find.target}-{find.outcome}")
            shutil.rmtree(folder / title, ignore_errors=True)
            shutil.copytree(Path(name) / str(i), folder / title)
            paths.append(folder / title / "find.json")
            said = {**vars(find), "network": find.network.to_json()}  # replay() reads it
            paths[-1].write_text(dump(said) + "\n", encoding="utf-8")
    return paths
