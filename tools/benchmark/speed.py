"""Latency: every contender in turn, round after round, and what came of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from lenet_cpp.errors import Error, Unsupported
from tools.benchmark import machine
from tools.benchmark.subject import prepare, subjects
from tools.benchmark.summary import assess, ratio, summarize
from tools.benchmark.turns import pinned, take_turn, task_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.benchmark.contenders import Contender
    from tools.benchmark.subject import Settings, Subject
    from tools.benchmark.summary import Block
    from tools.benchmark.turns import Task

_LIMIT_SECONDS = 0.03


def run_speed(settings: Settings, contenders: Sequence[Contender]) -> dict[str, Any]:
    """Measure the contenders side by side, each turn in a process of its own.

    For each number of threads and each batch size, every contender's outputs are judged first; one
    that is wrong is refused. Then all take turns, in an order drawn anew for each round, so that a
    change of the machine's speed hits all alike.

    Raises:
        FileNotFound: A model, or ``multiply_add_limit``, is missing.
        lenet_cpp.Error: As :func:`subjects` and :func:`prepare` do.
        BackendFailure: A contender that had agreed before failed in its turn.
    """
    result = {"kind": "speed", **machine.describe(settings)}
    machine.multiply_add_limit(settings.program, 1, 0.01)
    networks = []
    for subject in subjects(settings):
        measured = _Network(settings, contenders, subject)
        for threads in settings.threads:
            measured.measure(threads)
        networks.append(measured.result())
    return {**result, "networks": networks}


class _Network:
    """The measurement of one network."""

    def __init__(
        self, settings: Settings, contenders: Sequence[Contender], subject: Subject
    ) -> None:
        self._settings = settings
        self._subject = subject
        self._random = random.Random(settings.seed)
        self._files, absent = prepare(contenders, subject, settings.program)
        self._there = {one.name: one for one in contenders if one.name not in absent}
        self._contenders: dict[str, dict[str, Any]] = {}
        for one in contenders:
            status, reason = absent.get(one.name, ("measured", None))
            entry = {"name": one.name, "precision": one.precision, "float": one.float_name}
            self._contenders[one.name] = {**entry, "status": status, "reason": reason}
        self._limits: list[dict[str, Any]] = []
        self._cells: list[dict[str, Any]] = []
        total = len(settings.threads) * len(settings.batch_sizes) * (settings.rounds + 1)
        self._bar = tqdm(total=total * len(contenders), desc=subject.name, disable=None)

    def result(self) -> dict[str, Any]:
        """Return what has been measured."""
        self._bar.close()
        rates = {(c["contender"], c["batch_size"], c["threads"]): c for c in self._cells}
        for cell in self._cells:
            least = (cell["contender"], cell["batch_size"], min(self._settings.threads))
            base = rates.get(least, {}).get("images_per_second")
            cell["speed_up"] = cell["images_per_second"] / base if base else None
        return {
            "network": self._subject.name,
            "image_shape": list(self._subject.images.shape[1:]),
            "multiply_adds_per_image": self._subject.multiply_adds,
            "multiply_add_limit": self._limits,
            "contenders": list(self._contenders.values()),
            "cells": self._cells,
        }

    def measure(self, threads: int) -> None:
        """Measure each batch size with a number of threads."""
        tasks = {
            name: task_of(one, self._files, self._subject, threads, self._settings.program)
            for name, one in self._there.items()
        }
        limits: list[dict[str, Any]] = []
        cells: list[dict[str, Any]] = []
        for size in self._settings.batch_sizes:
            found = {name: self._check(task, size) for name, task in tasks.items()}
            mine = [
                {"threads": threads, "batch_size": size, **cell} for cell in found.values() if cell
            ]
            tasks = {name: task for name, task in tasks.items() if found[name]}
            self._there = {name: one for name, one in self._there.items() if name in tasks}
            limits += self._rounds(tasks, threads, size, mine)
            cells += mine
        rates = [one["multiply_adds_per_second"] for one in limits]
        gflops = {"gflops": 2 * max(rates) / 1e9, "lowest_sample_gflops": 2 * min(rates) / 1e9}
        self._limits.append({**limits[0], "multiply_adds_per_second": max(rates), **gflops})
        for cell in cells:
            done = cell["images_per_second"] * self._subject.multiply_adds
            cell["share_of_limit"] = done / max(rates)
        self._cells += cells

    def _check(self, task: Task, size: int) -> dict[str, Any] | None:
        """Judge the outputs, and begin the results; None of who is wrong."""
        one, subject, count = self._there[task.name], self._subject, self._subject.count(size)
        self._bar.set_postfix_str(f"check {one.name}, batch {size}")
        self._bar.update()
        try:
            turn = take_turn(task, size, count=count)
        except Error as error:
            status = "unavailable" if isinstance(error, Unsupported) else "refused"
            self._contenders[one.name] |= {"status": status, "reason": str(error)}
            return None
        names = {"name": one.name, "precision": one.precision}
        found = assess(subject.expected[:count], np.asarray(turn.outputs), subject.labels, **names)
        if found.wrong is not None:
            self._contenders[one.name] |= {"status": "refused", "reason": found.wrong}
            return None
        right = {k: v for k, v in found._asdict().items() if k != "wrong"}
        start = {"first_result_ms": turn.first_result_ms, "load_ms": turn.load_ms}
        about = {"contender": one.name, "precision": one.precision, "engine": turn.used}
        return {**about, **right, **start}

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
                limits.append(machine.multiply_add_limit(settings.program, threads, _LIMIT_SECONDS))
            for name in self._random.sample(list(tasks), len(tasks)):
                self._bar.set_postfix_str(f"{name}, {threads} thread(s), batch {size}")
                turn = take_turn(tasks[name], size, seconds=settings.seconds / settings.rounds)
                blocks[name] += [turn.block] if turn.block else []
                peaks[name] = max(peaks[name], turn.peak_bytes)
                self._bar.update()
        peers = best_peers(list(self._there.values()), blocks)
        for cell in cells:
            name, peer = cell["contender"], peers.get(cell["precision"])
            others = {"": settings.baseline, "float_": self._there[name].float_name, "peer_": peer}
            found = {
                **summarize(blocks[name]),
                "peak_bytes": peaks[name] or None,
                "peer": peer,
                **{
                    f"{k}ratio": ratio(blocks.get(v or ""), blocks[name]) for k, v in others.items()
                },
            }
            cell.update(found, images_per_second=1e6 * size / found["median_us"])
        return limits


def best_peers(contenders: Sequence[Contender], blocks: dict[str, list[Block]]) -> dict[str, str]:
    """Return, for each precision, the fastest that the native engine is compared with."""
    best: dict[str, str] = {}
    medians = {name: summarize(turns)["median_us"] for name, turns in blocks.items()}
    for one in sorted((c for c in contenders if c.is_peer), key=lambda c: medians[c.name]):
        best.setdefault(one.precision, one.name)
    return best
