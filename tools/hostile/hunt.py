"""Run networks in child processes, where a crash is a find, and minimise the finds."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.hostile.children import do_steps
from tools.hostile.networks import Network, dump, smaller, weight

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 15
"""Candidates that are tried at once in place of a network."""
ROUNDS = 40
INTERRUPTED = threading.Event()
SECONDS = 300
"""What exporting a network, and running it with an engine, may take."""


@dataclass
class Find:
    """A network that an engine does not run as the framework does."""

    name: str
    target: str
    outcome: str
    detail: str
    network: Network

    def kind(self) -> tuple[str, str, str]:
        """Return what tells this fault from others, as far as can be said."""
        said = "" if self.outcome == "wrong" else re.sub(r"'[^']*'|[\d(), ]+", "", self.detail)[:80]
        return self.target, self.outcome, said

    def to_json(self) -> dict[str, Any]:
        """Return what is saved, and replayed."""
        what = {"name": self.name, "target": self.target, "outcome": self.outcome}
        return {**what, "detail": self.detail, "network": self.network.to_json()}


@dataclass
class Report:
    """What came of some networks."""

    networks: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    """By target and outcome."""
    invalid: list[str] = field(default_factory=list)
    finds: list[Find] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Count another's in."""
        self.networks += other.networks
        self.outcomes.update(other.outcomes)
        self.invalid += other.invalid
        self.finds += other.finds


def accepted(target: str, outcome: str) -> bool:
    """Return whether an outcome is right: equal, or refused by name where others run it."""
    way = target.split("/")[1:]
    if way[0] in ("auto", "onnxruntime") or "plain" in way or "auto" in way:
        return outcome == "equal"
    return outcome in ("equal", "Unsupported")


def examine(
    entries: list[dict[str, Any]],
    done: Callable[[], object] = lambda: None,
    keep: Path | None = None,
) -> Report:
    """Export and run networks, in this order.

    Args:
        entries: Each a ``name`` with ``network``, or ``seed`` and ``number``; ``targets``, where
            not every one, and ``program``, whether the C++ program too runs it.
        done: Called after each.
        keep: Where to leave the exported models, in folders by number.
    """
    report = Report(networks=len(entries))
    steps: list[tuple[int, str]] = []

    def exported(number: int, said: dict[str, Any]) -> None:
        if INTERRUPTED.is_set():
            raise KeyboardInterrupt
        if "targets" in said:
            steps.extend((number, target) for target in said["targets"])
            return
        # Else Paddle itself crashed.
        why = said.get("invalid") or f"{said['outcome']}: {said['detail']}"
        report.invalid.append(f"{entries[number]['name']}: {why}")
        done()

    def ran(step: int, said: dict[str, str]) -> None:
        if INTERRUPTED.is_set():
            raise KeyboardInterrupt
        number, target = steps[step]
        if said:
            report.outcomes[f"{target} {said['outcome']}"] += 1
            if not accepted(target, said["outcome"]):
                path = folder / str(number) / "network.json"
                network = Network.from_json(json.loads(path.read_text("utf-8")))
                found = (said["outcome"], said["detail"], network)
                report.finds.append(Find(entries[number]["name"], target, *found))
        if step + 1 == len(steps) or steps[step + 1][0] != number:
            done()

    with tempfile.TemporaryDirectory(prefix="lenet-networks-") as name:
        folder = keep or Path(name)
        where = {"folder": str(folder), "seconds": SECONDS, "per_child": len(entries) * 100}
        do_steps("tools.hostile.engines:export_network", [*enumerate(entries)], exported, **where)
        do_steps("tools.hostile.engines:run_target", steps, ran, **where)
    return report


def hunt(entries: list[dict[str, Any]], jobs: int, done: Callable[[], object]) -> Report:
    """Examine networks in several processes."""
    if not entries:
        return Report()
    size = min(200, -(-len(entries) // jobs))
    chunks = [entries[i : i + size] for i in range(0, len(entries), size)]
    report = Report()
    with ThreadPoolExecutor(jobs) as executor:
        try:
            for part in executor.map(lambda chunk: examine(chunk, done), chunks):
                report.add(part)
        except KeyboardInterrupt:
            INTERRUPTED.set()  # else the threads would go on to the end of their chunks
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    return report


def minimised(finds: list[Find], jobs: int, done: Callable[[], object]) -> list[Find]:
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
            entries += [
                {"name": i, "network": network.to_json(), "targets": [least[i].target]}
                for network in candidates
            ]
        if not entries:
            break
        for found in hunt(entries, jobs, lambda: None).finds:
            i = int(found.name)
            if found.kind() == finds[i].kind() and weight(found.network) < weight(least[i].network):
                least[i] = replace(found, name=finds[i].name)
                tried[i] = 0
    return least


def save(finds: list[Find], folder: Path) -> list[Path]:
    """Write FOLDER/.../find.json for each, to replay, and the exported models beside it."""
    with tempfile.TemporaryDirectory(prefix="lenet-differential-") as name:
        entries = [
            {"name": find.name, "network": find.network.to_json(), "targets": ["-"]}
            for find in finds
        ]
        examine(entries, keep=Path(name))
        paths = []
        for i, find in enumerate(finds):
            title = f"{find.name}-{find.target}-{find.outcome}".translate(str.maketrans("/ ", "--"))
            shutil.rmtree(folder / title, ignore_errors=True)
            shutil.copytree(Path(name) / str(i), folder / title)
            paths.append(folder / title / "find.json")
            paths[-1].write_text(dump(find.to_json()), encoding="utf-8")
    return paths
