"""What the child process does that quantizes (:mod:`lenet_cpp._base.worker`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lenet_cpp._base.worker import Report
    from lenet_cpp.quantize.task import Task


def quantize(tasks: list[dict[str, Any]], report: Report) -> list[dict[str, Any]]:
    """Do tasks, one after the other.

    Args:
        tasks: Each as :meth:`Task.to_json` gives it.
        report: Takes the progress.

    Returns:
        Of each ``paddle_version``, and name, shape and dtype of ``input`` and ``output``.
    """
    from lenet_cpp.quantize.task import Task

    parsed = [Task.from_json(task) for task in tasks]
    return [_quantize(*each) for each in _in_turn(parsed, report)]


def _in_turn(tasks: list[Task], progress: Report) -> Iterator[tuple[Task, Report]]:
    """Give each task with a function that takes its progress as its share of the whole."""
    for index, task in enumerate(tasks):

        def share(what: str, done: int, total: int, before: int = index) -> None:
            progress(what, before * total + done, len(tasks) * total)

        yield task, share


def _quantize(task: Task, progress: Report) -> dict[str, Any]:
    import paddle

    from lenet_cpp.quantize.int8_weights import finish_program

    paddle.disable_static()  # an earlier task may have left it on
    paddle.seed(task.seed)
    program = task.prefix.with_name(f"{task.stem}.pdmodel")
    params = task.prefix.with_name(f"{task.stem}.pdiparams")
    with paddle.static.scope_guard(paddle.static.Scope()):
        _method(task.method, task.via)(task, progress)
        paddle.enable_static()
        signature = finish_program(program, params)
    for leftover in Path(task.output).iterdir():
        if leftover not in {program, params}:
            leftover.unlink()
    return {"paddle_version": str(paddle.__version__), **signature}


def _method(name: str, via: str) -> Callable[[Task, Report], None]:
    """Return the function that quantizes by a method."""
    from importlib import import_module

    if via == "paddleslim":
        found = getattr(import_module("lenet_cpp.quantize.slim"), name.replace("-", "_"))
    else:
        found = import_module(f"lenet_cpp.quantize.{name.replace('-', '_')}").quantize
    result: Callable[[Task, Report], None] = found
    return result
