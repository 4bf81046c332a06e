"""The benchmark: every contender in turn, round after round, and what came of it."""

from __future__ import annotations

import os
import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from lenet_cpp.errors import BackendFailure, BadInput
from tools.benchmark.child import on_processors
from tools.benchmark.comparisons import best_peers, python_door, ratio_of
from tools.benchmark.contenders import BASELINE
from tools.benchmark.correctness import assess
from tools.benchmark.machine import (
    contender_bytes,
    describe_machine,
    load_average,
    multiply_add_limit,
    versions,
)
from tools.benchmark.making import CALIBRATION_IMAGES
from tools.benchmark.prepare import prepare
from tools.benchmark.sessions import open_session
from tools.benchmark.subject import read_subject
from tools.benchmark.summary import percentile, summarize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.benchmark.contenders import Contender
    from tools.benchmark.correctness import Correctness
    from tools.benchmark.sessions import Session, Start
    from tools.benchmark.summary import Block

__all__ = ["BATCH_SIZES", "Settings", "run_benchmark"]

BATCH_SIZES = (1, 8, 64, 1024)
_LIMIT_SECONDS = 0.03


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Attributes:
        model_dir: Folder of the exported model.
        program: The C++ program; ``multiply_add_limit`` lies beside it.
        batch_sizes: Images a run.
        threads: Threads a run; each number is a pass of its own, on as many processors.
        seconds: Measured time of each contender, batch size and number of threads.
        rounds: Into how many turns that time is cut.
        starts: Processes of each contender that are started to time the first result.
        seed: Of the order of turns.
        quantized_model_dir: Folder of a quantized LeNet; quantized from ``model_dir`` when None.
        network: What builds the network of ``model_dir``, a name or ``FILE.py:SPEC``; what its
            manifest says when None.
        params: The ``.pdparams`` that it was exported from; None of LeNet and of random ones.
        baseline: The contender that all are compared with, should it take part.
    """

    model_dir: Path
    program: Path
    batch_sizes: tuple[int, ...] = BATCH_SIZES
    threads: tuple[int, ...] = (1,)
    seconds: float = 0.5
    rounds: int = 5
    starts: int = 3
    seed: int = 1
    quantized_model_dir: Path | None = None
    network: str | None = None
    params: Path | None = None
    baseline: str = BASELINE


@dataclass
class _Entrant:
    """A contender of one pass, and what has been found of it."""

    contender: Contender
    session: Session
    blocks: list[Block] = field(default_factory=list)


class _Benchmark:
    def __init__(
        self,
        settings: Settings,
        contenders: Sequence[Contender],
        folder: Path,
        *,
        progress: bool,
    ) -> None:
        self._settings = settings
        self._random = random.Random(settings.seed)
        self.subject = read_subject(
            settings.model_dir,
            settings.batch_sizes,
            folder,
            network=settings.network,
            params=settings.params,
        )
        prepared = prepare(
            contenders,
            self.subject,
            quantized_model_dir=settings.quantized_model_dir,
            program=settings.program,
            folder=folder,
            progress=progress,
        )
        self._files = prepared.files
        self._entries: dict[str, dict[str, Any]] = {
            one.name: {
                "name": one.name,
                "precision": one.precision,
                "float": one.float_name,
                "status": "measured",
                "reason": None,
                "installed_bytes": None,
            }
            for one in contenders
        }
        for status in ("unavailable", "refused"):
            for name, reason in getattr(prepared, status).items():
                self._entries[name] |= {"status": status, "reason": reason}
        self._contenders = [one for one in contenders if self._is_in(one)]
        for one in self._contenders:
            self._entries[one.name]["installed_bytes"] = contender_bytes(one, self._files.program)
        self.limits: list[dict[str, Any]] = []
        self.starts: list[dict[str, Any]] = []
        self.cells: list[dict[str, Any]] = []
        turns = settings.starts + settings.rounds * len(settings.batch_sizes)
        self._bar = tqdm(
            total=len(self._contenders) * turns * len(settings.threads),
            desc="benchmark",
            unit="turn",
            disable=None if progress else True,
        )

    @property
    def contenders(self) -> list[dict[str, Any]]:
        return list(self._entries.values())

    def _refuse(self, entrant: _Entrant, reason: str) -> None:
        entrant.session.close()
        self._entries[entrant.contender.name] |= {"status": "refused", "reason": reason}

    def run(self) -> None:
        with self._bar:
            for threads in self._settings.threads:
                self._pass(threads)

    def _pass(self, threads: int) -> None:
        usable = sorted(os.sched_getaffinity(0))
        # The kernel's own work tends to be on the first.
        processors = usable[-threads:]
        samples: list[dict[str, Any]] = []
        entrants: list[_Entrant] = []
        try:
            self._start(threads, processors, entrants)
            for batch_size in self._settings.batch_sizes:
                entrants = self._batch(entrants, threads, processors, batch_size, samples)
        finally:
            for entrant in entrants:
                entrant.session.close()
        rates = [sample["multiply_adds_per_second"] for sample in samples]
        limit = max(rates)
        self.limits.append(
            {
                "threads": threads,
                "processors": processors,
                "instructions": samples[0]["instructions"],
                "multiply_adds_per_second": limit,
                "gflops": 2 * limit / 1e9,
                "lowest_sample_gflops": 2 * min(rates) / 1e9,
            }
        )
        for cell in self.cells:
            if cell["threads"] == threads:
                done = cell["images_per_second"] * self.subject.multiply_adds
                cell["share_of_limit"] = done / limit

    def _start(self, threads: int, processors: Sequence[int], entrants: list[_Entrant]) -> None:
        """Start the contenders; the last process of each goes to ``entrants``."""
        starts: dict[str, list[Start]] = {}
        for attempt in range(self._settings.starts):
            order = [one for one in self._contenders if self._is_in(one)]
            self._random.shuffle(order)
            for contender in order:
                self._bar.set_postfix_str(f"start {contender.name}")
                try:
                    session = open_session(contender, self._files, threads, processors)
                except BackendFailure as error:
                    self._entries[contender.name] |= {"status": "refused", "reason": str(error)}
                    continue
                starts.setdefault(contender.name, []).append(session.start)
                if attempt == self._settings.starts - 1:
                    entrants.append(_Entrant(contender, session))
                else:
                    session.close()
                self._bar.update()
        entrants.sort(key=lambda entrant: self._contenders.index(entrant.contender))
        for name in (entrant.contender.name for entrant in entrants):
            found = starts[name]
            self.starts.append(
                {
                    "contender": name,
                    "threads": threads,
                    **{
                        key: percentile([getattr(start, key) for start in found], 50)
                        for key in ("first_result_ms", "create_ms", "first_run_ms")
                    },
                    "samples_ms": [start.first_result_ms for start in found],
                }
            )

    def _is_in(self, contender: Contender) -> bool:
        return bool(self._entries[contender.name]["status"] == "measured")

    def _batch(
        self,
        entrants: list[_Entrant],
        threads: int,
        processors: Sequence[int],
        batch_size: int,
        limits: list[dict[str, Any]],
    ) -> list[_Entrant]:
        settings = self._settings
        first_runs: dict[str, float] = {}
        answers: dict[str, Correctness] = {}
        warmups: dict[str, Any] = {}
        engines: dict[str, str | None] = {}
        count = self.subject.count(batch_size)
        for entrant in list(entrants):
            name = entrant.contender.name
            self._bar.set_postfix_str(f"{threads} thread(s), batch {batch_size}, check {name}")
            entrant.blocks = []
            try:
                outputs, first_runs[name] = entrant.session.outputs(batch_size, count)
                answers[name] = assess(
                    self.subject.expected[:count],
                    outputs,
                    self.subject.labels,
                    name=name,
                    precision=entrant.contender.precision,
                )
                wrong = answers[name].wrong
                if wrong is None:
                    engines[name] = entrant.session.engine(batch_size)
                    warmups[name] = entrant.session.warm(batch_size, settings.seconds)
            except BackendFailure as error:
                wrong = str(error)
            if wrong is not None:
                self._refuse(entrant, wrong)
                entrants = [one for one in entrants if one is not entrant]
        for _ in range(settings.rounds):
            with on_processors(processors):
                limits.append(multiply_add_limit(self._files.program, threads, _LIMIT_SECONDS))
            order = list(entrants)
            self._random.shuffle(order)
            for entrant in order:
                self._bar.set_postfix_str(
                    f"{threads} thread(s), batch {batch_size}, {entrant.contender.name}"
                )
                seconds = settings.seconds / settings.rounds
                entrant.blocks.append(entrant.session.block(batch_size, seconds))
                self._bar.update()
        blocks = {one.contender.name: one.blocks for one in entrants}
        peers = best_peers([one.contender for one in entrants], blocks)
        for entrant in entrants:
            name = entrant.contender.name
            found = summarize(entrant.blocks)
            peer = peers.get(entrant.contender.precision)
            self.cells.append(
                {
                    "contender": name,
                    "precision": entrant.contender.precision,
                    "threads": threads,
                    "batch_size": batch_size,
                    "engine": engines[name],
                    "first_run_ms": first_runs[name],
                    "warmup_runs": warmups[name].runs,
                    "warmup_stable": warmups[name].stable,
                    "runs": found.runs,
                    "median_us": found.median,
                    "p90_us": found.p90,
                    "p99_us": found.p99,
                    "quietest_median_us": found.quietest,
                    "images_per_second": 1e6 * batch_size / found.median,
                    "spread_between_turns": found.spread,
                    "coefficient_of_variation": found.variation,
                    "outliers": found.outliers,
                    "peak_rss_bytes": entrant.session.peak_bytes(),
                    "ratio": ratio_of(blocks.get(settings.baseline), entrant.blocks),
                    "float_ratio": ratio_of(
                        blocks.get(entrant.contender.float_name or ""), entrant.blocks
                    ),
                    "peer": peer,
                    "peer_ratio": ratio_of(blocks.get(peer or ""), entrant.blocks),
                    "accuracy": answers[name].accuracy,
                    "same_class": answers[name].same_class,
                    "largest_difference": answers[name].largest_difference,
                }
            )
        return entrants


def run_benchmark(
    settings: Settings, contenders: Sequence[Contender], *, progress: bool = False
) -> dict[str, Any]:
    """Measure the contenders side by side.

    Each runs in a process of its own. For each number of threads and each batch size, every
    contender's outputs are compared first, with a NumPy computation of LeNet, or with what Paddle's
    training engine gives for another network; one that differs is refused, in bf16 and int8 one
    that gives too many images another class. Then all take turns, in an order drawn anew for each
    round, so that a change of the machine's speed hits all alike.

    Args:
        settings: What to measure.
        contenders: Who takes part.
        progress: Whether to show a progress bar on a terminal.

    Returns:
        What the command writes as JSON; see ``docs/benchmark.md``.

    Raises:
        FileNotFound: A model, or ``multiply_add_limit``, is missing.
        BadModel: A model is damaged.
        BadInput: A setting makes no sense, the network is not known, or its parameters are needed.
        Unsupported: The model cannot be measured, or that of ``quantized_model_dir`` is not
            quantized.
        BackendFailure: A contender that had agreed before failed in its turn.
    """
    usable = len(os.sched_getaffinity(0))
    if not all(1 <= threads <= usable for threads in settings.threads):
        raise BadInput(f"threads are from 1 to {usable}, the processors that can be used")
    before = describe_machine()
    multiply_add_limit(settings.program, 1, 0.01)
    with tempfile.TemporaryDirectory(prefix="lenet-benchmark-") as folder:
        benchmark = _Benchmark(settings, contenders, Path(folder), progress=progress)
        benchmark.run()
    return {
        "machine": before | {"load_average_at_the_end": load_average()},
        "versions": versions(),
        "settings": {
            "model_dir": settings.model_dir.name,
            "batch_sizes": list(settings.batch_sizes),
            "threads": list(settings.threads),
            "seconds": settings.seconds,
            "rounds": settings.rounds,
            "starts": settings.starts,
            "seed": settings.seed,
            "quantized_model_dir": settings.quantized_model_dir
            and settings.quantized_model_dir.name,
            "calibration_images": CALIBRATION_IMAGES,
        },
        "baseline": settings.baseline,
        "network": benchmark.subject.name,
        "image_shape": list(benchmark.subject.input_shape),
        "multiply_adds_per_image": benchmark.subject.multiply_adds,
        "multiply_add_limit": benchmark.limits,
        "contenders": benchmark.contenders,
        "starts": benchmark.starts,
        "cells": benchmark.cells,
        "python_door": python_door(benchmark.cells),
    }
