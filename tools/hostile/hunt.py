"""Run networks in child processes, where a crash is a find, and minimise the finds."""

import json
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
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
        """Return what is alike of finds that show the same fault, as far as can be known."""
        message = ""
        if self.outcome != "wrong":
            without_names_and_numbers = re.sub(r"'[^']*'|[\d(), ]+", "", self.detail)
            message = without_names_and_numbers[:80]
        return self.target, self.outcome, message


class Report(NamedTuple):
    """What came of some networks."""

    outcomes: list[tuple[str, str]]  # the target and the outcome of each run
    invalid: list[str]  # the names of networks that could not be made, and why
    finds: list[Find]
    refusals: list[str]  # the operators and the sentences with which networks were refused


def accepted(network, target, outcome, detail):
    """Return whether an engine may refuse a network in this way."""
    if network.options.get("open_sizes") and outcome == "BadInput":
        # The engine does not know the size before an image comes.
        return "does not take images of" in detail
    if network.options.get("batch", "N") != "N" and outcome == "BadInput":
        # More images than the model takes run in pieces, unless an output may be of all of them.
        return "has no batch axis" in detail
    if outcome != "Unsupported":
        return False
    _form, engine, *others = target.split("/")
    runs_all = engine in {"onnxruntime", "auto"} or not {"auto", "plain"}.isdisjoint(others)
    if not runs_all:
        return True
    reasons = ["Paddle does not load from a .json"]
    if network.options.get("open_sizes"):
        reasons += [
            "that the program does not fix",
            "that Paddle took for 1",
            "paddle instead of native",
        ]
    return any(reason in detail for reason in reasons)


def examine(entries, done=lambda: None, keep=None):
    """Export and run networks, in this order.

    Each entry is a ``name`` with ``network``, or ``seed`` and ``number``; ``targets``, unless all
    of them run it, and ``program``, whether the C++ program runs it too. The exported models are
    left in ``keep``, in folders by number.
    """
    report = Report([], [], [], [])
    steps = []

    def exported(number, answer):
        if "targets" in answer:
            steps.extend((number, target) for target in answer["targets"])
            return
        # An answer without a reason is that of a child which Paddle crashed.
        reason = answer.get("invalid") or f"{answer['outcome']}: {answer['detail']}"
        report.invalid.append(f"{entries[number]['name']}: {reason}")
        done()

    def ran(step, answer):
        number, target = steps[step]
        if answer:
            network_file = folder / str(number) / "network.json"
            add_outcome(report, entries[number]["name"], target, answer, network_file)
        if step + 1 == len(steps) or steps[step + 1][0] != number:
            done()

    with tempfile.TemporaryDirectory(prefix="lenet-networks-") as name:
        folder = keep or Path(name)
        where = {"folder": str(folder), "seconds": SECONDS, "per_child": len(entries) * 100}
        do_steps("tools.hostile.engines:export_network", [*enumerate(entries)], exported, **where)
        do_steps("tools.hostile.engines:run_target", steps, ran, **where)
    return report


def add_outcome(report, name, target, answer, network_file):
    """Add the outcome of a run to a report, and a find if the outcome is not right."""
    outcome, detail = answer["outcome"], answer["detail"]
    report.outcomes.append((target, outcome))
    if outcome in {"Unsupported", "BadInput"}:
        report.refusals.append(sentence(detail))
    if outcome in {"equal", "own", "not judged"}:
        return
    network = Network.from_json(json.loads(network_file.read_text("utf-8")))
    if not accepted(network, target, outcome, detail):
        find = Find(name=name, target=target, outcome=outcome, detail=detail, network=network)
        report.finds.append(find)


def sentence(message):
    """Return the sentence of a refusal without names, numbers and the remedy."""
    text = re.sub(r"'[^']*'", "X", message).partition(";")[0]
    text = text.partition(": ")[2] or text
    return f"{operator(message) or 'any'}: {re.sub(r'-?[0-9][0-9, ]*', 'n', text)[:110]}"


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
    return Report(
        outcomes=[outcome for report in reports for outcome in report.outcomes],
        invalid=[reason for report in reports for reason in report.invalid],
        finds=[find for report in reports for find in report.finds],
        refusals=[name for report in reports for name in report.refusals],
    )


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
        for smaller_find in hunt(entries, jobs, lambda: None).finds:
            i = smaller_find.name
            same_fault = smaller_find.kind() == finds[i].kind()
            if same_fault and weight(smaller_find.network) < weight(least[i].network):
                least[i] = replace(smaller_find, name=finds[i].name)
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
            description = {**vars(find), "network": find.network.to_json()}  # replay() reads it
            paths[-1].write_text(dump(description) + "\n", encoding="utf-8")
    return paths
