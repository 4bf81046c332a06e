"""Run networks in child processes, where a crash is a find, and minimise the finds."""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.differential.networks import Network, dump
from tools.differential.smaller import smaller, weight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
BATCH = 15
"""Candidates that are tried at once in place of a network."""
ROUNDS = 40
INTERRUPTED = threading.Event()
SILENCE = 300
"""Seconds without a word from a child, after which the network at hand is a find."""


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


def child(action: str, folder: Path, *numbers: int) -> Iterator[dict[str, Any]]:
    """Yield what a child says; last ``{"ended": how, "detail": its last words}``."""
    command = [sys.executable, "-W", "ignore", "-m", "tools.differential.work", action, folder]
    environment = {**os.environ, "GLOG_minloglevel": "3", "OMP_NUM_THREADS": "1"}
    with (folder / "stderr.txt").open("w+") as stderr:
        process = subprocess.Popen(
            [*map(str, command), *map(str, numbers)],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr,
        )  # fmt: skip
        assert process.stdout is not None
        selector = selectors.DefaultSelector()
        selector.register(process.stdout, selectors.EVENT_READ)
        ended = ""
        while not ended:
            if INTERRUPTED.is_set():
                process.kill()
                raise KeyboardInterrupt
            if not selector.select(SILENCE):
                ended = f"no answer in {SILENCE} s"
                process.kill()
            elif not (line := process.stdout.readline()):
                break
            elif line.startswith(b"@"):
                yield json.loads(line[1:])
        code = process.wait()
        if code < 0 and not ended:
            ended = signal.Signals(-code).name
        stderr.seek(0)
        words = [line for line in stderr.read().splitlines() if line.strip()]
        yield {
            "ended": ended or (f"exit {code}" if code else ""),
            "detail": " ".join(words[-4:])[-600:],
        }


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
    with tempfile.TemporaryDirectory(prefix="lenet-differential-") as name:
        folder = keep or Path(name)
        (folder / "chunk.json").write_text(json.dumps(entries), encoding="utf-8")
        _export(folder, entries, report)
        _run(folder, entries, report, done)
    return report


def _export(folder: Path, entries: list[dict[str, Any]], report: Report) -> None:
    first = 0
    while first < len(entries):
        at = first
        for said in child("export", folder, first):
            at = said.get("at", at)
            if "invalid" in said:
                report.invalid.append(f"{entries[at]['name']}: {said['invalid']}")
            if said.get("ended"):  # Paddle itself, in Python
                report.invalid.append(f"{entries[at]['name']}: {said['ended']}: {said['detail']}")
                shutil.rmtree(folder / str(at), ignore_errors=True)
        first = at + 1


def _run(
    folder: Path, entries: list[dict[str, Any]], report: Report, done: Callable[[], object]
) -> None:
    first = skip = at = 0
    ended = "begin"
    while ended:
        target = ""
        for said in child("run", folder, first, skip):
            at, target = said.get("at", at), said.get("target", target)
            skip = 0 if "done" in said else skip + ("target" in said and "outcome" not in said)
            if "done" in said:
                first = at + 1
                done()
            ended = said.get("ended", ended)
            if "outcome" not in said and not (ended and "ended" in said):
                continue
            if "ended" in said and not target:
                raise RuntimeError(f"the child does not start: {ended}: {said['detail']}")
            outcome = said.get("outcome", ended)
            report.outcomes[f"{target} {outcome}"] += 1
            if not accepted(target, outcome):
                description = json.loads((folder / str(at) / "network.json").read_text("utf-8"))
                network = Network.from_json(description)
                report.finds.append(
                    Find(entries[at]["name"], target, outcome, said["detail"], network)
                )
        first = max(first, at)


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
