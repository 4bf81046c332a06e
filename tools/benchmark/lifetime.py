"""Starting a process, and keeping it: time to the first result, and resident memory."""

from __future__ import annotations

import random
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from lenet_cpp._base.worker import call
from lenet_cpp.errors import Unsupported
from tools.benchmark.subject import prepare, subjects
from tools.benchmark.turns import CHILD, pinned, take_turn, task_of
from tools.survey import machine
from tools.survey.summary import judge, percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tools.benchmark.contenders import Contender
    from tools.benchmark.subject import Settings
    from tools.benchmark.turns import Turn

LARGEST_BATCH = 256
_SAMPLES = 100
# The first part is left to the pools and caches, which fill up once.
_SETTLED = 0.2
_MAX_MORE_MB = 1  # of the native engine, after that part


def run_startup(settings: Settings, contenders: Sequence[Contender]) -> dict[str, Any]:
    """Start processes that load the model and run one image of zeros, in an order of chance.

    The first start of each, which may read from the disk, does not count.
    """
    order = random.Random(settings.seed)
    result, rows = {"kind": "startup", **machine.describe(settings)}, []
    for subject in subjects(settings):
        files, absent = prepare(contenders, subject, settings.program)
        reasons = {name: one["reason"] for name, one in absent.items()}
        tasks = [
            task_of(one, files, subject, threads=1, program=settings.program) for one in contenders
        ]
        turns: dict[str, list[Turn]] = {task.name: [] for task in tasks}
        for _ in tqdm(range(settings.starts + 1), "startup", disable=None):
            for task in order.sample(tasks, len(tasks)):
                if task.name not in reasons:
                    try:
                        turns[task.name].append(take_turn(task))
                    except Unsupported as error:
                        reasons[task.name] = str(error)
        for name, found in turns.items():
            row = {"contender": name, "absent": reasons.get(name)}
            rows.append(row if name in reasons else row | _startup_row(found[1:]))
    return {**result, "rows": rows}


def _startup_row(turns: Sequence[Turn]) -> dict[str, Any]:
    row: dict[str, Any] = {"peak_bytes": max(turn.peak_bytes for turn in turns)}
    for key in ("numpy_ms", "load_ms", "first_run_ms"):
        values = [getattr(turn, key) for turn in turns]
        row[key] = None if None in values else statistics.median(values)
    first = [turn.first_result_ms for turn in turns]
    row |= {"median_ms": statistics.median(first), "p99_ms": percentile(first, 99)}
    return {**row, "samples_ms": first}


def batch_sizes(count: int, seed: int) -> NDArray[np.int64]:
    """Return ``count`` batch sizes from 1 to 256, as many from 1 to 16 as from 16 to 256."""
    exponents = np.random.default_rng(seed).random(count) * np.log(LARGEST_BATCH + 1)
    sizes: NDArray[np.int64] = np.exp(exponents).astype(np.int64)
    return sizes


def summarize_series(samples: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Sum up samples ``(done, resident bytes)``.

    Returns:
        ``first_bytes`` and ``last_bytes``; ``settled_bytes``, after a fifth of the whole;
        ``bytes_each``, the slope of the line (least squares) through what follows.
    """
    done, resident = np.array(samples, np.float64).T
    settled = done >= _SETTLED * done[-1]
    slope = np.polyfit(done[settled], resident[settled], 1)[0] if settled.sum() > 1 else 0.0
    found = {"first": resident[0], "settled": resident[settled][0], "last": resident[-1]}
    return {f"{k}_bytes": float(v) for k, v in found.items()} | {"bytes_each": float(slope)}


def run_memory(settings: Settings, contenders: Sequence[Contender]) -> dict[str, Any]:
    """Sample the resident memory of child processes, one after the other, one thread each."""
    result, found = {"kind": "memory", **machine.describe(settings)}, []
    # The largest first: what it needs is there before the first sample.
    runs = [LARGEST_BATCH, *batch_sizes(settings.runs, settings.seed).tolist()]
    work = {"runs": runs, "creations": [1] * (1 + max(5, settings.runs // 100))}
    for subject in subjects(replace(settings, batch_sizes=(LARGEST_BATCH,))):
        files, absent = prepare(contenders, subject, settings.program)
        there = [one for one in contenders if one.factory and one.name not in absent]
        series = [(one, kind) for kind in work for one in there]
        for one, kind in tqdm(series, "memory", disable=None):
            task = task_of(one, files, subject, threads=1, program=settings.program)
            what: dict[str, Any] = {"factory": task.factory, "model": task.model}
            every = max(1, len(work[kind]) // _SAMPLES)
            what |= {"images": str(task.images), "kind": kind, "sizes": work[kind], "every": every}
            with pinned(1):
                samples = call(f"{CHILD}:memory", what, doing=f"{one.name}, {kind}").result
            row = {"contender": one.name, "kind": kind, "samples": samples}
            found.append(row | summarize_series(samples))
    figures = (
        (
            f"{row['contender']}, {row['samples'][-1][0]:,} {row['kind']}: MB more",
            (row["last_bytes"] - row["settled_bytes"]) / 1e6,
            _MAX_MORE_MB,
            False,
        )
        for row in found
        if row["contender"].endswith("/native")
    )
    return {**result, "series": found, "figures": judge(figures)}
