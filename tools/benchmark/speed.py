"""Latency: every contender in turn, round after round, and what came of it."""

from __future__ import annotations

import json
import random
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from lenet_cpp.errors import Error
from lenet_cpp.inference.program import call_program
from tools.benchmark.contenders import BASELINE
from tools.benchmark.subject import failure, prepare, subjects
from tools.benchmark.turns import pinned, take_turn, task_of
from tools.survey import machine
from tools.survey.summary import assess, is_accurate, judge, ratio, summarize

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tools.benchmark.contenders import Contender
    from tools.benchmark.subject import Settings, Subject
    from tools.benchmark.turns import Task
    from tools.survey.summary import Block

_LIMIT_SECONDS = 0.03
# The native engine beside Paddle's plain kernels, of which it takes a tenth of the time or less.
_LEAST_TIMES = 4


def run_speed(settings: Settings, contenders: Sequence[Contender]) -> dict[str, Any]:
    """Measure the contenders side by side, each turn in a process of its own.

    For each number of threads and each batch size, every contender's outputs are judged first; one
    that is wrong is refused. Then all take turns, in an order drawn anew for each round, so that a
    change of the machine's speed hits all alike. Ctrl-C ends the measurement after the networks
    that are done; before the first it is raised.
    """
    environments = [one.environment for one in contenders if one.environment is not None]
    result = {"kind": "speed", **machine.describe(settings, environments=environments)}
    multiply_add_limit(settings.program, 1, 0.01)
    networks: list[dict[str, Any]] = []
    interrupted = False
    try:
        for subject in subjects(settings):
            network = _Network(settings, contenders, subject)
            networks.append(network.result())
    except KeyboardInterrupt:
        if not networks:
            raise
        interrupted = True
    cells = [one for network in networks for one in network["cells"]]
    figures = (
        (
            f"{one['contender']}, batch {one['batch_size']}: times {settings.baseline}",
            one["ratio"]["median"],
            _LEAST_TIMES,
            True,
        )
        for one in cells
        if one["contender"].endswith("/native") and one["ratio"] and one["threads"] == 1
    )
    guard = {"figures": judge(figures)} if settings.baseline == BASELINE else {}
    return {**result, "interrupted": interrupted, "networks": networks, **guard}


class _Network:
    """The measurement of one network."""

    def __init__(
        self, settings: Settings, contenders: Sequence[Contender], subject: Subject
    ) -> None:
        self._settings, self._subject = settings, subject
        self._random = random.Random(settings.seed)
        self._files, absent = prepare(contenders, subject, settings.program)
        self._there = {one.name: one for one in contenders if one.name not in absent}
        measured = {"status": "measured", "reason": None}
        self._contenders: dict[str, dict[str, Any]] = {
            one.name: {"name": one.name, "precision": one.precision, "float": one.float_name}
            | absent.get(one.name, measured)
            for one in contenders
        }
        total = len(settings.threads) * len(settings.batch_sizes) * (settings.rounds + 1)
        self._bar = tqdm(total=total * len(contenders), desc=subject.name, disable=None)

    def result(self) -> dict[str, Any]:
        """Measure with each number of threads, and return what came of it."""
        with self._bar:  # Ctrl-C closes it too
            found = {threads: self._measure(threads) for threads in self._settings.threads}
        cells = [cell for _, cells in found.values() for cell in cells]
        of = ("contender", "batch_size")
        base = {itemgetter(*of)(one): one["images_per_second"] for one in found[min(found)][1]}
        for cell in cells:
            least = base.get(itemgetter(*of)(cell))
            cell["speed_up"] = least and cell["images_per_second"] / least
        of_image: dict[str, Any] = {"image_shape": list(self._subject.images.shape[1:])}
        of_image |= {"multiply_adds_per_image": self._subject.multiply_adds}
        of_image |= {"reference": self._subject.reference}
        limits = {"multiply_add_limit": [limit for limit, _ in found.values()]}
        who = {"contenders": list(self._contenders.values()), "cells": cells}
        return {"network": self._subject.name, **of_image, **limits, **who}

    def _measure(self, threads: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Measure each batch size; return the limit, and a cell for each who is right."""
        limits: list[dict[str, Any]] = []
        cells: list[dict[str, Any]] = []
        tasks = {
            name: task_of(
                one,
                self._files,
                self._subject,
                threads=threads,
                program=self._settings.program,
            )
            for name, one in self._there.items()
        }
        for size in self._settings.batch_sizes:
            found = {name: self._check(task, size) for name, task in tasks.items()}
            mine = [{"threads": threads, "batch_size": size, **c} for c in found.values() if c]
            tasks = {name: task for name, task in tasks.items() if found[name]}
            self._there = {name: self._there[name] for name in tasks}
            limits += self._rounds(tasks, threads, size, mine)
            cells += mine
        rates = [one["multiply_adds_per_second"] for one in limits]
        for cell in cells:
            adds = self._subject.multiply_adds
            cell["share_of_limit"] = adds and cell["images_per_second"] * adds / max(rates)
        gflops = {"gflops": 2 * max(rates) / 1e9, "lowest_sample_gflops": 2 * min(rates) / 1e9}
        return {**limits[0], "multiply_adds_per_second": max(rates), **gflops}, cells

    def _check(self, task: Task, size: int) -> dict[str, Any] | None:
        """Judge the outputs, and begin the results; None of who is wrong."""
        one, subject, count = self._there[task.name], self._subject, self._subject.count(size)
        self._bar.set_postfix_str(f"check {one.name}, batch {size}")
        self._bar.update()
        try:
            turn = take_turn(task, size, count=count)
        except Error as error:
            self._contenders[one.name] |= failure(error, "refused")
            return None
        if turn.busy_threads is not None and turn.busy_threads > task.model["threads"]:
            asked = task.model["threads"]
            reason = f"it computes on {turn.busy_threads} threads, and {asked} were asked for"
            self._contenders[one.name] |= {"status": "refused", "reason": reason}
            return None
        names = {"name": one.name, "precision": one.precision}
        outputs = np.asarray(turn.outputs).reshape(count, -1)
        found = assess(subject.expected[:count], outputs, subject.labels, **names)
        cell = found._asdict()
        if wrong := cell.pop("wrong"):
            self._contenders[one.name] |= {"status": "refused", "reason": wrong}
            return None
        start = {"first_result_ms": turn.first_result_ms, "load_ms": turn.load_ms}
        about = {"contender": one.name, "precision": one.precision, "engine": turn.used}
        return {**about, **cell, **start}

    def _rounds(
        self, tasks: dict[str, Task], threads: int, size: int, cells: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Have all take turns, and put what came of it into the cells; return the limits."""
        settings = self._settings
        blocks: dict[str, list[Block]] = {name: [] for name in tasks}
        peaks = dict.fromkeys(tasks, 0)
        limits = []
        for _ in range(settings.rounds):
            with pinned(threads):
                limits.append(multiply_add_limit(settings.program, threads, _LIMIT_SECONDS))
            for name in self._random.sample(list(tasks), len(tasks)):
                self._bar.set_postfix_str(f"{name}, {threads} thread(s), batch {size}")
                turn = take_turn(tasks[name], size, seconds=settings.seconds / settings.rounds)
                blocks[name] += [turn.block] if turn.block else []
                peaks[name] = max(peaks[name], turn.peak_bytes)
                self._bar.update()
        accurate = {cell["contender"] for cell in cells if is_accurate(cell)}
        those = [one for one in self._there.values() if one.name in accurate]
        peers = best_peers(those, blocks)
        for cell in cells:
            name, peer = cell["contender"], peers.get(cell["precision"])
            cell.update(summarize(blocks[name]), peak_bytes=peaks[name] or None, peer=peer)
            others = {"": settings.baseline, "float_": self._there[name].float_name, "peer_": peer}
            for kind, other in others.items():
                cell[f"{kind}ratio"] = ratio(blocks.get(other or ""), blocks[name])
            cell["images_per_second"] = 1e6 * size / cell["median_us"]
        return limits


def best_peers(contenders: Sequence[Contender], blocks: dict[str, list[Block]]) -> dict[str, str]:
    """Return, for each precision, the fastest that the native engine is compared with."""
    best: dict[str, str] = {}
    medians = {name: summarize(turns)["median_us"] for name, turns in blocks.items()}
    for one in sorted((c for c in contenders if c.is_peer), key=lambda c: medians[c.name]):
        best.setdefault(one.precision, one.name)
    return best


def multiply_add_limit(program: Path, threads: int, seconds: float) -> dict[str, Any]:
    """Measure the machine's single-precision multiply-adds a second, by the program beside ours."""
    path = program.with_name("multiply_add_limit")
    return dict(json.loads(call_program(path, f"--threads={threads}", f"--seconds={seconds}")))
