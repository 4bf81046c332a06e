"""What the child process that quantizes is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.worker import PROGRAM_DESC, call
from lenet_cpp.quantize import slim_environment
from lenet_cpp.quantize.task import Task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lenet_cpp._base.worker import Report
    from lenet_cpp.quantize.data import Images
    from lenet_cpp.quantize.settings import QuantizationSettings
    from lenet_cpp.quantize.source import FloatModel


def make_task(
    source: FloatModel,
    images: Images,
    method: str,
    settings: QuantizationSettings,
    output: Path,
    work: Path,
) -> Task:
    """Describe a quantization to a child process, and write its data into ``work``."""
    np.save(work / "calibration.npy", images.calibration)
    np.save(work / "training.npy", images.training)
    per_epoch = max(1, len(images.training) // settings.batch_size)
    return Task(
        method=method,
        via=settings.via,
        program=str(source.program.resolve()),
        params=str(source.params.resolve()),
        output=str(output.resolve()),
        stem=source.program.stem,
        model=source.model,
        class_dim=source.class_dim,
        img_size=source.input_shape[-1],
        state=str(source.state),
        calibration=str(work / "calibration.npy"),
        training=str(work / "training.npy"),
        algo=settings.algo,
        batch_size=settings.batch_size,
        steps=settings.steps or settings.epochs * per_epoch,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
    )


def run_task(task: Task, *, report: Report | None = None) -> dict[str, Any]:
    """Do a task in a child process, in PaddleSlim's environment when it is for that.

    Returns:
        ``paddle_version``, and name, shape and dtype of ``input`` and ``output``.
    """
    return run_tasks([task], report=report)[0]


def run_tasks(tasks: Sequence[Task], *, report: Report | None = None) -> list[dict[str, Any]]:
    """Do several tasks, all by the same way, one after the other; see :func:`run_task`."""
    python = None
    if tasks[0].via == "paddleslim":
        python = slim_environment.environment_python(report=report)
    answers: list[dict[str, Any]] = call(
        "lenet_cpp.quantize.worker:quantize",
        {"tasks": [task.to_json() for task in tasks]},
        doing="quantizing",
        report=report,
        python=python,
        variables=PROGRAM_DESC,
    ).result
    return answers
