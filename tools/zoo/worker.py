"""Judge one network, in a process of its own: it may crash, and so may what judges it."""

from __future__ import annotations

import sys
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import lenet_cpp
from lenet_cpp._base.worker import PROGRAM_DESC
from tools.exporters.corpus import draw_images
from tools.versions.common import seed_of
from tools.zoo.frameworks import FRAMEWORKS
from tools.zoo.sources import SOURCES
from tools.zoo.verdict import judge as judge_answer
from tools.zoo.verdict import operator, same_bits, worst

if TYPE_CHECKING:
    from collections.abc import Callable

    from lenet_cpp._base.worker import Report

    Row = dict[str, Any]

ENGINES = {
    "json": ("native", "paddle", "auto"),
    "pdmodel": ("native", "paddle", "auto"),
    "onnx": ("native", "onnxruntime", "auto"),
}
BATCHES = (1, 3)
_ONE_THREAD = {"OMP_NUM_THREADS": "1"}
VARIABLES = {
    "pdmodel": PROGRAM_DESC | _ONE_THREAD,
    "json": {"FLAGS_enable_pir_api": "1"} | _ONE_THREAD,
    "onnx": _ONE_THREAD,
}
"""Those of the process that writes a format."""
_LENGTH = 300  # of a message


def families(source: str, packages: str, report: Report) -> dict[str, list[str]]:  # noqa: ARG001 - a worker's function is given it
    """Return the names of a source's networks, by family."""
    sys.path.append(packages)
    return SOURCES[source].families()


def judge(
    source: str, name: str, suffix: str, packages: str, folder: str, ended: dict[str, str],
    report: Report,
) -> Row:  # fmt: skip
    """Export a network and run every engine.

    Args:
        source: Of ``SOURCES``.
        name: The network.
        suffix: The format to export, of ``ENGINES``. Of Paddle's formats this process has to be
            started for the one, as ``variables`` says.
        packages: A folder with packages that the interpreter does not have.
        folder: Where it is exported; the caller removes that.
        ended: What ended the process at which step, as ``report`` names the steps, in earlier
            calls: these steps are left out.
        report: Receives the steps.

    Returns:
        ``shape`` of an image and ``spread``, the largest difference between images as a share of
        the tolerance; and what each engine does, or ``not_built`` or ``not_written`` and why.
    """
    sys.path.append(packages)
    of = SOURCES[source]
    seed = seed_of(name)

    def step(what: str, work: Callable[[], Any]) -> tuple[Any, str]:
        report(what, 0, 1)
        if what in ended:
            return None, ended[what]
        try:
            return work(), ""
        except Exception as error:  # noqa: BLE001 - whatever others' code raises is its result
            return None, last_line(error)

    def build() -> Any:
        FRAMEWORKS[of.framework].seed(seed)
        network, shape = of.build(name)
        images = draw_images(name, shape, "float").astype("float32")
        made = FRAMEWORKS[of.framework](network, images, np.random.RandomState(seed))
        return made, images

    built, said = step("build", build)
    if built is None:
        return {"not_built": said}
    made, images = built
    expected, said = step("answer", lambda: made.run(images))
    if expected is None:
        return {"not_built": said}
    spread = max(
        float(np.ptp(each, axis=0).max() / max(1, np.abs(each).max())) for each in expected
    )
    row: Row = {"shape": images.shape[1:], "spread": spread}
    path, said = step("export", lambda: made.export(Path(folder), suffix, images))
    if path is None:
        return row | {"not_written": said}

    @cache
    def exact() -> Any:
        return step("float64", lambda: made.run_exactly(images))[0]

    for engine in ENGINES[suffix]:
        run = partial(_run, made, path, engine, images, expected, exact)
        found, said = step(engine, run)
        row[engine] = found or {"outcome": "crashed", "said": said}
    return row


def _run(
    made: Any, path: Path, engine: Any, images: Any, expected: Any, exact: Callable[[], Any]
) -> Row:
    """Return what an engine does with a file, with the numbers of images ``BATCHES``."""
    batches = [images[:count] for count in BATCHES]
    try:
        with lenet_cpp.Predictor(path, engine=engine) as predictor:
            answers = [list(predictor.run_outputs(batch).values()) for batch in batches]
            accelerators = [predictor.accelerator(count) for count in BATCHES]
    except lenet_cpp.Error as error:
        said = str(error).replace(f"{path}", path.name)
        if engine not in {"native", "auto"}:  # is it the file?
            try:
                made.run_file(path, batches, "plain")
            except Exception as cause:  # noqa: BLE001 - whatever the library raises is its result
                return {"outcome": "not_run", "said": last_line(cause)}
        named = {"operator": operator(said)} if operator(said) else {}
        return {"outcome": type(error).__name__, **named, "said": said[:_LENGTH]}
    results = []
    for batch, answer, using in zip(batches, answers, accelerators, strict=True):
        count = len(batch)

        def truth(count: int = count) -> Any:
            return exact() and [each[:count] for each in exact()]

        def own(batch: Any = batch, answer: Any = answer, using: str = using) -> bool:
            theirs = None if engine == "native" else made.run_file(path, [batch], using)[0]
            return theirs is not None and same_bits(theirs, answer)

        results.append(judge_answer([each[:count] for each in expected], answer, truth, own))
    return worst(results)


def last_line(error: Exception) -> str:
    """Return the last line of a message, which is Paddle's reason, or the only one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said, kind = lines[-1] if lines else "", type(error).__name__
    return (said if said.startswith(kind) else f"{kind}: {said}")[:_LENGTH]
