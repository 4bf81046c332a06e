"""Check files beside the truth: each is right, or Unsupported with a remedy that works.

A case is a folder with the files of a model and ``truth.npz``: ``x1`` and ``y1``, and so on for
each number of images that it takes. Nothing here knows what wrote it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import lenet_cpp
from tools.survey.runner import run
from tools.survey.verdict import TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    Outcome = tuple[str, str]


class Case(NamedTuple):
    """A model, and the options that it is opened with."""

    folder: Path
    files: dict[str, str]
    """The arguments of Predictor, and names of files in the folder."""
    options: dict[str, Any]


REMEDIES: tuple[tuple[str, dict[str, Any]], ...] = (
    (r"isolated(=| to )[Tt]rue", {"check_program": False, "isolated": True}),
    (r"check_program( to |=)\"?[Ff]alse", {"check_program": False}),
    (r"(--engine[= ]|engine[= ]['\"]?)onnxruntime", {"engine": "onnxruntime"}),
    (r"(--engine[= ]|engine[= ]['\"]?)paddle", {"engine": "paddle"}),
    (r"(--engine[= ]|engine[= ]['\"]?)native", {"engine": "native"}),
)
"""What a message says, and the options that it asks for."""
ADVICE = re.compile(r"\bexport\b|\bquantize it\b|\bleave\b.*\bout\b")
"""A message that asks for another file."""


def check(case: Case) -> Outcome:
    """Run a model on each number of images."""
    files = {name: case.folder / file for name, file in case.files.items()}
    worst = 0.0
    with np.load(case.folder / "truth.npz") as truth:
        arrays = dict(truth)
    try:
        with lenet_cpp.Predictor(**files, **case.options) as predictor:
            for key in sorted(name for name in arrays if name.startswith("x")):
                expected = arrays["y" + key[1:]]
                answer = predictor.run(arrays[key])
                if answer.shape != expected.shape:
                    message = f"the shape of {key} is {answer.shape} in place of {expected.shape}"
                    return "wrong", message
                difference = np.abs(answer - expected).max() / max(np.abs(expected).max(), 1e-30)
                worst = max(worst, float(np.nan_to_num(difference, nan=np.inf)))
    except lenet_cpp.Error as error:
        return type(error).__name__, str(error).replace(f"{case.folder}/", "")
    return ("right" if worst <= TOLERANCE else "wrong"), f"the difference is {worst:.1e}"


def remedy_of(message: str) -> dict[str, Any] | None:
    """Return the options that a message asks for."""
    return next((options for word, options in REMEDIES if re.search(word, message)), None)


def check_all(cases: Iterable[Case], parallel: int) -> Iterator[tuple[Case, Outcome, str]]:
    """Yield each case with its outcome, and for Unsupported what came of the remedy.

    The third is empty, ``advice`` where another file is asked for, ``none`` where nothing is, or
    the outcome of a run with the options that the message names.
    """
    waiting: list[tuple[Case, Outcome]] = []
    for case, outcome in run(_in_groups(list(cases)), check, parallel):
        if outcome[0] == "right":
            yield case, outcome, ""
            continue
        options = remedy_of(outcome[1]) if outcome[0] == "Unsupported" else {"check_program": False}
        if options is None:
            yield case, outcome, "advice" if ADVICE.search(outcome[1]) else "none"
        else:
            waiting.append((case._replace(options=options), outcome))
    outcomes = {case.folder: (case, outcome) for case, outcome in waiting}
    for case, found in run(_in_groups([case for case, _ in waiting]), check, parallel):
        word = next(iter(case.options))
        yield (
            *outcomes[case.folder],
            f"{found[0]} with {word}" + ("" if found[0] == "right" else f": {found[1]}"),
        )


def _in_groups(cases: list[Case]) -> list[list[Case]]:
    """Return groups of 20, each for a process: loading Paddle takes longer than running one."""
    return [cases[k : k + 20] for k in range(0, len(cases), 20)]
