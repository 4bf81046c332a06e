"""Does resident memory stay flat over many runs, and what does making a predictor leave behind?"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from tqdm import tqdm

from lenet_cpp.errors import BackendFailure
from lenet_cpp.verify import find_models
from tools.benchmark.child import module_environment, start_child
from tools.benchmark.contenders import CONTENDERS
from tools.benchmark.machine import describe_machine, versions
from tools.benchmark.memory_worker import LARGEST_BATCH
from tools.benchmark.text import MB, joined, number, table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["SERIES", "MemorySettings", "Series", "memory_text", "run_memory", "summarize_series"]

_WORKER = "tools.benchmark.memory_worker"
_SAMPLES = 100
# The first part is left to the pools and caches, which fill up once.
_SETTLED = 0.2


@dataclass(frozen=True)
class Series:
    """What one child process does over and over.

    Attributes:
        contender: A name of :data:`tools.benchmark.contenders.CONTENDERS`.
        kind: ``runs`` of a predictor, or ``creations``: make one, run it once, drop it.
        note: What differs from the contender's usual options.
        onednn_shapes: Of how many input shapes oneDNN keeps the primitives; Paddle takes 0 for no
            limit.
        part: Of the count asked for, for those that are there to show the contrast.
    """

    contender: str
    kind: str
    note: str = ""
    onednn_shapes: int = 16
    part: float = 1.0


_KINDS = ("pdmodel/plain", "pdmodel/onednn", "pdmodel/openvino", "json/plain", "json/onednn")
SERIES = (
    *(Series(f"lenet_cpp/{kind}", "runs") for kind in _KINDS),
    *(
        Series(f"paddle.inference/{format_}/onednn", "runs", "no limit on shapes", 0, part=0.2)
        for format_ in ("pdmodel", "json")
    ),
    *(Series(f"lenet_cpp/{kind}", "creations") for kind in _KINDS),
)


@dataclass(frozen=True)
class MemorySettings:
    """How much to measure.

    Attributes:
        model_dir: Folder of the exported model.
        runs: Runs of one predictor, with batches of 1 to 256 images.
        creations: Predictors that are made and dropped.
        seed: Of the batch sizes.
    """

    model_dir: Path
    runs: int = 100_000
    creations: int = 1_000
    seed: int = 1


def summarize_series(samples: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Sum up samples ``(done, resident bytes)``.

    Returns:
        ``first_bytes`` and ``last_bytes``; ``settled_bytes``, after a fifth of the whole;
        ``bytes_each``, the slope of the line (least squares) through what follows.
    """
    done, resident = np.array(samples, np.float64).T
    settled = done >= _SETTLED * done[-1]
    slope = np.polyfit(done[settled], resident[settled], 1)[0] if settled.sum() > 1 else 0.0
    return {
        "first_bytes": float(resident[0]),
        "settled_bytes": float(resident[settled][0]),
        "last_bytes": float(resident[-1]),
        "bytes_each": float(slope),
    }


def run_memory(
    settings: MemorySettings, series: Sequence[Series] = SERIES, *, progress: bool = False
) -> dict[str, Any]:
    """Sample the resident memory of child processes, one after the other, one thread each.

    Args:
        settings: How much.
        series: Which.
        progress: Whether to show a progress bar on a terminal.

    Returns:
        ``series``: for each the samples ``[done, resident bytes]`` and their summary.

    Raises:
        FileNotFound: The model is missing.
        BackendFailure: A child failed.
    """
    models = {model.format: model for model in find_models(settings.model_dir)}
    known = {contender.name: contender for contender in CONTENDERS}
    counts = {"runs": settings.runs, "creations": settings.creations}
    tasks = [
        (one, known[one.contender], max(1, int(one.part * counts[one.kind])))
        for one in series
        if known[one.contender].format in models and not known[one.contender].missing()
    ]
    found = []
    total = sum(count for _, _, count in tasks)
    with tqdm(total=total, desc="memory", disable=None if progress else True) as bar:
        for one, contender, count in tasks:
            bar.set_postfix_str(" ".join(filter(None, (one.contender, one.kind, one.note))))
            model = models[contender.format]
            task = {
                "factory": contender.factory,
                "model": {
                    "program": str(model.program.resolve()),
                    "params": str(model.combined_params.resolve()),
                    "accelerator": contender.accelerator,
                    "threads": 1,
                    "onednn_shapes": one.onednn_shapes,
                },
                "kind": one.kind,
                "count": count,
                "samples": _SAMPLES,
                "seed": settings.seed,
            }
            samples = _sample(f"{one.contender}, {one.kind}", task, bar)
            found.append(
                {
                    "contender": one.contender,
                    "kind": one.kind,
                    "note": one.note,
                    "samples": samples,
                    **summarize_series(samples),
                }
            )
    return {
        "machine": describe_machine(),
        "versions": versions(),
        "settings": {
            "runs": settings.runs,
            "creations": settings.creations,
            "largest_batch": LARGEST_BATCH,
            "seed": settings.seed,
        },
        "series": found,
    }


def _sample(name: str, task: dict[str, Any], bar: tqdm[NoReturn]) -> list[tuple[int, int]]:
    """Run a child and take down what it prints."""
    samples: list[tuple[int, int]] = []
    with tempfile.TemporaryDirectory(prefix="lenet-benchmark-") as folder:
        task["model"]["cache"] = folder
        command = [sys.executable, "-W", "ignore", "-m", _WORKER, json.dumps(task)]
        with start_child(command, folder, module_environment(1)) as child:
            for line in child.lines():
                done, resident = json.loads(line)
                bar.update(done - samples[-1][0] if samples else 0)
                samples.append((done, resident))
            if (how := child.failure()) is not None:
                raise BackendFailure(f"{name}: {how}")
    return samples


def memory_text(result: dict[str, Any], *, markdown: bool = False) -> str:
    """Format what :func:`run_memory` returned.

    Args:
        result: The results.
        markdown: Set every table as a block of text, to be pasted into a page.
    """
    parts = []
    titles = {
        "runs": "Resident memory over runs with batches of 1 to 256 images",
        "creations": "Resident memory over predictors made, run once and dropped",
    }
    for kind, title in titles.items():
        rows = [
            [
                one["contender"] + (f" ({one['note']})" if one["note"] else ""),
                f"{one['samples'][-1][0]:,}",
                number(one["first_bytes"] / MB),
                number(one["settled_bytes"] / MB),
                number(one["last_bytes"] / MB),
                number(one["bytes_each"], 0),
            ]
            for one in result["series"]
            if one["kind"] == kind
        ]
        header = [
            "what",
            kind,
            "MB at\nthe first",
            "after\na fifth",
            "at the\nend",
            "bytes each\nafter a fifth",
        ]
        if rows:
            parts.append(f"{title}\n\n{table(header, rows)}")
    return joined(parts, markdown=markdown)
