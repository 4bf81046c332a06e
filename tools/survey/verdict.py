"""Whether an engine's answer is right, and what a refusal names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

import lenet_cpp
from lenet_cpp.agreement import compare, differences

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tools.survey.runner import Outcome

    Outputs = Sequence[NDArray[Any]]

FAILURES = ("wrong", "crashed", "BadModel")
"""The outcomes that are faults of this project, for files that other programs wrote."""
TOLERANCE = 1e-4
"""The largest difference of a right answer of :func:`predict`, as a share of the largest output."""

RANKS = ("right", "own", "wrong")
AS_FAR = 2
"""How many times as far from float64 as the framework's own answer a right one may be, where that
one itself is farther than the tolerance."""
_OPERATORS = (
    r"has an operator '(?:\d+\.)?([\w.]+)'",
    r"\((?:\d+\.)?(\w[\w.]*), which ",
    r"operator \d+ \((?:\d+\.)?(\w+)\) has a",
    r"for one machine \(([\w.]+)",
    r"while it runs \((\w+)",
    r"no int8 kernel for (\w+)",
)


def predict(options: dict[str, Any], x: NDArray[Any], expected: NDArray[Any]) -> Outcome:
    """Compare the answer of a predictor with these options with the expected one.

    It is for files whose expected answer another version or library computed, with another order of
    additions: it is right within ``TOLERANCE`` of the largest output.
    """
    try:
        with lenet_cpp.Predictor(**options) as predictor:
            answer = predictor.run(x)
    except lenet_cpp.Error as error:
        return type(error).__name__, str(error)
    if answer.size != expected.size:
        return "wrong", f"the shape is {answer.shape} in place of {expected.shape}"
    difference = np.abs(answer.reshape(expected.shape) - expected.astype("float32")).max()
    share = float(difference / max(np.abs(expected).max(), 1e-30))
    return ("right" if share <= TOLERANCE else "wrong"), f"the difference is {share:.1e}"


def judge(
    expected: Outputs, found: Outputs, exact: Callable[[], Outputs | None], own: Callable[[], bool]
) -> dict[str, Any]:
    """Compare answers with those of the framework.

    Args:
        expected: The framework's outputs, [N, ...] each.
        found: The engine's.
        exact: Returns the framework's outputs in float64, or None where it cannot compute so. It is
            called only where ``found`` differs from ``expected`` by more than the tolerance.
        own: Returns whether the library's own Python gives the bits of ``found``; called last.

    Returns:
        ``outcome``: ``right``, ``own`` (wrong, but by the library's own fault) or ``wrong``;
        ``share``, the largest difference as a share of the tolerance; and ``float64``, the same of
        ``found`` and of ``expected`` from float64, where that was asked for.
    """
    shapes = [[each.shape for each in outputs] for outputs in (expected, found)]
    if shapes[0] != shapes[1]:
        return {"outcome": "wrong", "said": f"shapes {shapes[1]} in place of {shapes[0]}"}
    pairs = [compare(a, b.astype(a.dtype)) for a, b in zip(expected, found, strict=True)]
    result: dict[str, Any] = {"outcome": "right", "share": max(each.share for each in pairs)}
    if all(each.agrees for each in pairs):
        return result
    truth = exact()
    if truth is not None:
        own_error, reference_error = (_farthest(truth, outputs) for outputs in (found, expected))
        result["float64"] = [own_error, reference_error]
        most = AS_FAR * reference_error if reference_error > 1 else 1
        if own_error <= most:
            return result
    return result | {"outcome": "own" if own() else "wrong"}


def _farthest(truth: Outputs, outputs: Outputs) -> float:
    shares = [differences(a, b)[1] for a, b in zip(truth, outputs, strict=True)]
    return max(float(share.max(initial=0)) for share in shares)


def worst(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the worst of some results of :func:`judge`."""
    return max(found, key=lambda each: (RANKS.index(each["outcome"]), each.get("share", 0)))


def same_bits(first: Outputs, second: Outputs) -> bool:
    """Return whether all outputs are the same bits."""
    return len(first) == len(second) and all(map(np.array_equal, first, second))


def operator(message: str) -> str:
    """Return the operator that a message names; nothing if it names none."""
    message = message.split(" (engine native:")[0]
    for pattern in _OPERATORS:
        if match := re.search(pattern, message):
            return match[1]
    return ""
