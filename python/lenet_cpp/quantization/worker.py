"""The child process that quantizes; Paddle reads ``FLAGS_enable_pir_api`` when it is imported."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lenet_cpp.quantization.task import Progress, Task

__all__ = ["main"]


def main() -> None:
    """Read a request from standard input, do it, and answer in lines of JSON.

    The request holds ``do``: ``quantize``, with ``tasks``, or ``run``, with what
    :func:`lenet_cpp.quantization.serving.serve` takes. A line of the answer
    holds ``progress`` (what, done, total), or is the last one: ``result``; or ``error``, the name
    of a class in :mod:`lenet_cpp.errors`, and ``message``. What Paddle prints goes to stderr.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    request = json.load(sys.stdin)

    def send(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    def progress(what: str, done: int, total: int) -> None:
        send({"progress": [what, done, total]})

    try:
        if request["do"] == "run":
            from lenet_cpp.quantization.serving import serve

            send({"result": serve(request, progress)})
        else:
            from lenet_cpp.quantization.task import Task

            tasks = [Task.from_json(task) for task in request["tasks"]]
            send({"result": {"done": [_quantize(*each) for each in _in_turn(tasks, progress)]}})
    except Error as error:
        send({"error": type(error).__name__, "message": str(error)})


def _in_turn(tasks: list[Task], progress: Progress) -> Iterator[tuple[Task, Progress]]:
    """Give each task with a function that takes its progress as its share of the whole."""
    for index, task in enumerate(tasks):

        def share(what: str, done: int, total: int, before: int = index) -> None:
            progress(what, before * total + done, len(tasks) * total)

        yield task, share


def _quantize(task: Task, progress: Progress) -> dict[str, Any]:
    import paddle

    from lenet_cpp.quantization.int8_weights import finish_program

    paddle.disable_static()  # an earlier task may have left it on
    paddle.seed(task.seed)
    program = task.prefix.with_name(f"{task.stem}.pdmodel")
    params = task.prefix.with_name(f"{task.stem}.pdiparams")
    with paddle.static.scope_guard(paddle.static.Scope()):
        method(task.method, task.via)(task, progress)
        paddle.enable_static()
        signature = finish_program(program, params)
    for leftover in Path(task.output).iterdir():
        if leftover not in {program, params}:
            leftover.unlink()
    return {"paddle_version": str(paddle.__version__), **signature}


def method(name: str, via: str) -> Callable[[Task, Progress], None]:
    """Return the function that quantizes by a method."""
    from importlib import import_module

    if via == "paddleslim":
        found = getattr(import_module("lenet_cpp.quantization.slim"), name.replace("-", "_"))
    else:
        found = import_module(f"lenet_cpp.quantization.{name.replace('-', '_')}").quantize
    result: Callable[[Task, Progress], None] = found
    return result
