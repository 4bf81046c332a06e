"""Summarize run times, and judge whether a contender's answers are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lenet_cpp import agreement
from lenet_cpp.errors import BadModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

LEAST_SAME = 0.98
"""The least share of the images with float's class, in bf16 and int8."""
MOST_LOST = 0.01
"""The most that bf16 and int8 may lose of float's accuracy."""
ACCURATE = 1e-4
"""The largest error of a float32 contender with which others are compared; see :func:`assess`."""
_WRONG = 1e-2  # tolerance: what is farther is another network, not another way to add
_ROUNDING = 1e-9


def percentile(values: Sequence[float] | NDArray[np.float64], percent: float) -> float:
    """Return the value below or at which ``percent`` of the values lie (nearest rank).

    It is one of the values, as the C++ program has it; no interpolation.
    """
    return float(np.percentile(values, percent, method="inverted_cdf"))


@dataclass(frozen=True)
class Block:
    """One contender's turn: runs of one batch size in a row. Times in microseconds."""

    runs: int
    median: float
    p90: float
    p99: float


def block_of(nanoseconds: Sequence[int]) -> Block:
    """Make a block of the times of its runs."""
    times = np.asarray(nanoseconds, np.float64) / 1e3
    return Block(len(times), *(percentile(times, percent) for percent in (50, 90, 99)))


def summarize(blocks: Sequence[Block]) -> dict[str, Any]:
    """Sum up the turns of one contender, in microseconds: the medians of their percentiles.

    ``spread_between_turns`` is the largest minus the smallest of the turns' medians, as a share of
    the median.
    """
    names, medians = ("median", "p90", "p99"), [block.median for block in blocks]
    found = {f"{n}_us": percentile([getattr(one, n) for one in blocks], 50) for n in names}
    spread = (max(medians) - min(medians)) / found["median_us"]
    return {"runs": sum(one.runs for one in blocks), **found, "spread_between_turns": spread}


def ratio(baseline: Sequence[Block] | None, found: Sequence[Block]) -> dict[str, float] | None:
    """Say how many times as fast one contender is, where there is a baseline.

    The turns are compared round by round: the two of one ran within a second or so of each other.

    Returns:
        ``median``, ``low`` and ``high`` of the rounds' medians; and the ratio of the ``p99``.
    """
    if baseline is None:
        return None
    ratios = [a.median / b.median for a, b in zip(baseline, found, strict=True)]
    p99 = summarize(baseline)["p99_us"] / summarize(found)["p99_us"]
    ends = {"low": min(ratios), "high": max(ratios)}
    return {"median": float(np.median(ratios)), **ends, "p99": p99}


def judge(figures: Iterable[tuple[str, float | None, float, bool]]) -> list[dict[str, Any]]:
    """Say whether figures hold: what each is, what was found, its limit; True: at least that."""
    return [
        {"what": what, "found": found, "limit": limit, "least": least}
        | {"holds": found >= limit if least else found <= limit}
        for what, found, limit, least in figures
        if found is not None
    ]


def median_interval(
    values: Sequence[float], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Return an interval that holds the median of what the values were drawn from.

    It is the interval of the sign test: two of the values, chosen by the binomial distribution.
    Nothing is assumed about how they are distributed, so that rounds in which the machine did
    something else do not widen it much. There is none of too few values to be that sure.
    """
    ordered = sorted(values)
    count = len(ordered)
    # The largest rank at which the two tails together are improbable enough.
    rank, ways, tail = 0, 1, 1
    while 2 * tail / 2**count <= 1 - confidence:
        rank += 1
        ways = ways * (count - rank + 1) // rank
        tail += ways
    return (ordered[rank - 1], ordered[count - rank]) if rank else None


class Correctness(NamedTuple):
    """What a contender's answers are worth, and why it is refused (None when it is not)."""

    wrong: str | None
    same_class: float = 0.0
    """Share of the images with the class that float arithmetic gives."""
    accuracy: float | None = None
    """Share of the images with the class of their label; None without labels."""
    largest_difference: float = 0.0
    error: float = 0.0
    """The largest difference as a share of the largest output of all images."""


def is_accurate(cell: dict[str, Any]) -> bool:
    """Return whether a result counts as the best of its precision: in float32 by its error."""
    return bool(cell["precision"] != "fp32" or cell.get("error", 0.0) <= ACCURATE)


def assess(
    expected: NDArray[np.float64],
    outputs: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    *,
    name: str,
    precision: str = "fp32",
) -> Correctness:
    """Judge a contender's outputs, float32 [N, classes].

    Those of a float32 contender go by :mod:`lenet_cpp.agreement`, with a wide tolerance; others may
    be compared with it when its error is :data:`ACCURATE` at most. Without labels, bf16 and int8 go
    by the same rule with the tolerance of the precision. With labels, in bf16 and int8 at least
    :data:`LEAST_SAME` of the images have to get the same class, and the accuracy may be lower by
    :data:`MOST_LOST` at most.

    ``labels`` are those of the first images; None where the classes mean nothing.
    """
    by_values = precision == "fp32" or labels is None
    tolerance = _WRONG if precision == "fp32" else agreement.TOLERANCES[precision]
    names = ("the reference", name)
    reference = expected.astype(np.float32)
    try:
        found = agreement.compare(reference, np.asarray(outputs), names=names, tolerance=tolerance)
    except BadModel as problem:
        return Correctness(str(problem))
    error = float(np.abs(outputs - expected).max() / np.abs(expected).max())
    should, accuracy = (_accuracy(one, labels) for one in (expected, outputs))
    same = found.equal_predictions / found.images
    wrong = None
    if by_values:
        wrong = None if found.agrees else found.mismatch
    elif not np.isfinite(outputs).all():
        wrong = f"in {precision} it gives values that are not finite"
    elif same < LEAST_SAME or accuracy < should - MOST_LOST - _ROUNDING:
        wrong = (
            f"in {precision} {100 * same:.1f} % of the images get float's class, and"
            f" {100 * accuracy:.1f} % the right one ({100 * should:.1f} % in float); at least"
            f" {100 * LEAST_SAME:.0f} % and {100 * (should - MOST_LOST):.1f} % have to"
        )
    known = None if labels is None else accuracy
    return Correctness(wrong, same, known, found.largest_difference, error)


def _accuracy(outputs: NDArray[Any], labels: NDArray[np.int64] | None) -> float:
    if labels is None:
        return float("nan")
    return float((outputs[: len(labels)].argmax(axis=1) == labels).mean())
