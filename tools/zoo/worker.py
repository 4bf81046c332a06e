"""Make the files of one network and run them, each in a process of its own: it may crash."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import lenet_cpp
from lenet_cpp._base.worker import PROGRAM_DESC
from tools.exporters.corpus import draw_images
from tools.survey.verdict import judge as judge_answer
from tools.survey.verdict import operator, same_bits, worst
from tools.survey.worker import seed_of
from tools.zoo.frameworks import FRAMEWORKS
from tools.zoo.sources import SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lenet_cpp._base.worker import Report

    Row = dict[str, Any]
    Outputs = list[NDArray[Any]]

ENGINES = {
    "json": ("native", "paddle", "auto"),
    "pdmodel": ("native", "paddle", "auto"),
    "onnx": ("native", "onnxruntime", "auto"),
    "dynamo": ("native", "onnxruntime", "auto"),
}
"""Formats, of which ``dynamo`` is an .onnx by PyTorch's newer exporter, and who reads each."""
BATCHES = (1, 3)
_ONE_THREAD = {"OMP_NUM_THREADS": "1"}
VARIABLES = {
    "pdmodel": PROGRAM_DESC | _ONE_THREAD,
    "json": {"FLAGS_enable_pir_api": "1"} | _ONE_THREAD,
    "onnx": _ONE_THREAD,
    "dynamo": _ONE_THREAD,
}
"""Those of the process that writes or runs a format."""
_IMAGES, _EXPECTED, _EXACT = "images.npy", "expected.npz", "float64.npz"
_LENGTH = 300  # of a message


def families(source: str, packages: str, report: Report) -> dict[str, list[str]]:  # noqa: ARG001 - a worker's function is given it
    """Return the names of a source's networks, by family."""
    sys.path.append(packages)
    return SOURCES[source].families()


def count_parameters(source: str, name: str, packages: str, report: Report) -> int:  # noqa: ARG001 - each worker gets a report
    """Return the number of parameters of a network, in less time and memory than to build it.

    It takes a process of its own: some names of parameters may be used once only in Paddle.
    """
    sys.path.append(packages)
    of = SOURCES[source]
    count: int = FRAMEWORKS[of.framework].count_parameters(lambda: of.build(name)[0])
    return count


def _step(what: str, work: Callable[[], Any], ended: Row, report: Report) -> tuple[Any, str]:
    """Return what ``work`` returns; or None and why: it raised, or ended the process before."""
    report(what, 0, 1)
    if what in ended:
        return None, ended[what]
    try:
        return work(), ""
    except Exception as error:  # noqa: BLE001 - frameworks raise any type, which is a result
        return None, last_line(error)


def make(
    source: str,
    name: str,
    suffix: str,
    packages: str,
    folder: str,
    most: float | None,
    ended: dict[str, str],
    report: Report,
) -> Row:
    """Build a network, write it into a folder with images and answers.

    Args:
        source: Of ``SOURCES``.
        name: The network.
        suffix: The format to export, of ``ENGINES``. Of Paddle's formats this process has to be
            started for the one, as ``VARIABLES`` says.
        packages: A folder with packages that the interpreter does not have.
        folder: Where the file is written, and beside it the images and the answers in float32 and,
            where the framework can compute them, in float64.
        most: The most parameters that it may have; one with more is not written.
        ended: What ended the process at which step, as ``report`` names the steps, in earlier
            calls: these steps are left out.
        report: Receives the steps.

    Returns:
        ``file``, its name; ``shape`` of an image; ``parameters``; and ``spread``, the largest
        difference between images as a share of the tolerance; or ``too_large`` with the number of
        parameters, or ``not_built`` or ``not_written`` and why.
    """
    sys.path.append(packages)
    of, target = SOURCES[source], Path(folder)
    framework = FRAMEWORKS[of.framework]
    seed = seed_of(name)

    def step(what: str, work: Callable[[], Any]) -> tuple[Any, str]:
        return _step(what, work, ended, report)

    def build() -> Any:
        framework.seed(seed)
        network, shape = of.build(name)
        images = draw_images(name, shape, "float").astype("float32")
        parameters = sum(int(np.prod(each.shape)) for each in network.parameters())
        return framework(network, images, np.random.RandomState(seed)), images, parameters

    built, message = step("build", build)
    if built is None:
        return {"not_built": message}
    made, images, parameters = built
    if most is not None and parameters > most:
        return {"too_large": parameters}
    expected, message = step("answer", lambda: made.run(images))
    if expected is None:
        return {"not_built": message}
    spread = max(
        float(np.ptp(each, axis=0).max() / max(1, np.abs(each).max())) for each in expected
    )
    row: Row = {"shape": images.shape[1:], "spread": spread, "parameters": parameters}
    np.save(target / _IMAGES, images)
    np.savez(target / _EXPECTED, *expected)
    path, message = step("export", lambda: made.export(target, suffix, images))
    if path is None:
        return row | {"not_written": message}
    exact, _ = step("float64", lambda: made.run_exactly(images))
    if exact is not None:
        np.savez(target / _EXACT, *exact)
    return row | {"file": path.name}


def run(
    framework: str, path: str, engines: list[str], ended: dict[str, str], report: Report
) -> Row:
    """Run a file that :func:`make` wrote with some engines.

    Args:
        framework: The one that wrote it, of ``FRAMEWORKS``.
        path: The file.
        engines: Those that are judged.
        ended: As of :func:`make`.
        report: Receives the steps.

    Returns:
        What each engine does.
    """
    file = Path(path)
    images = np.load(file.with_name(_IMAGES))
    expected = _read(file.with_name(_EXPECTED))
    row: Row = {}
    for engine in engines:
        work = partial(_run, FRAMEWORKS[framework], file, engine, images, expected)
        found, message = _step(engine, work, ended, report)
        row[engine] = found or {"outcome": "crashed", "said": message}
    return row


def _read(path: Path) -> Outputs:
    with np.load(path) as file:
        return [*file.values()]


def _run(framework: Any, path: Path, engine: Any, images: Any, expected: Any) -> Row:
    """Return what an engine does with a file, with the numbers of images ``BATCHES``."""
    batches = [images[:count] for count in BATCHES]
    try:
        with lenet_cpp.Predictor(path, engine=engine) as predictor:
            answers = [list(predictor.run_outputs(batch).values()) for batch in batches]
            accelerators = [predictor.accelerator(count) for count in BATCHES]
    except lenet_cpp.Error as error:
        message = str(error).replace(f"{path}", path.name)
        by_library = engine != "auto" or isinstance(error, lenet_cpp.BackendFailure)
        if engine != "native" and by_library:  # is it the file?
            try:
                framework.run_file(path, batches, "plain")
            except Exception as cause:  # noqa: BLE001 - whatever the library raises is its result
                return {"outcome": "not_run", "said": last_line(cause)}
        named = {"operator": operator(message)} if operator(message) else {}
        return {"outcome": type(error).__name__, **named, "said": message[:_LENGTH]}
    results = []
    for batch, answer, using in zip(batches, answers, accelerators, strict=True):
        count = len(batch)

        def truth(count: int = count) -> Any:
            exact = path.with_name(_EXACT)
            return [each[:count] for each in _read(exact)] if exact.is_file() else None

        def own(batch: Any = batch, answer: Any = answer, using: str = using) -> bool:
            if engine == "native":
                return False
            reference = framework.run_file(path, [batch], using)[0]
            return reference is not None and same_bits(reference, answer)

        results.append(judge_answer([each[:count] for each in expected], answer, truth, own))
    return worst(results)


def last_line(error: Exception) -> str:
    """Return the last line of a message, which is Paddle's reason, or the only one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message, kind = lines[-1] if lines else "", type(error).__name__
    return (message if message.startswith(kind) else f"{kind}: {message}")[:_LENGTH]
