"""What a set of run times comes to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "Block",
    "Ratio",
    "Summary",
    "block_of",
    "compare_blocks",
    "median_interval",
    "percentile",
    "summarize",
]

_FAR = 3.0


def percentile(values: Sequence[float] | NDArray[np.float64], percent: float) -> float:
    """Return the value below or at which ``percent`` of the values lie (nearest rank).

    It is one of the values, as the C++ program has it; no interpolation.

    Args:
        values: At least one, in any order.
        percent: Above 0, up to 100.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    rank = max(math.ceil(percent / 100 * len(ordered)), 1)
    return float(ordered[rank - 1])


@dataclass(frozen=True)
class Block:
    """One contender's turn: runs of one batch size in a row. Times in microseconds."""

    runs: int
    median: float
    p90: float
    p99: float
    times: tuple[float, ...] | None = None
    """Of each run; None for the C++ program, which reports the percentiles only."""


def block_of(nanoseconds: Sequence[int]) -> Block:
    """Make a block of the times of its runs."""
    times = np.asarray(nanoseconds, np.float64) / 1e3
    median, p90, p99 = (percentile(times, percent) for percent in (50, 90, 99))
    return Block(len(times), median, p90, p99, tuple(times.tolist()))


@dataclass(frozen=True)
class Summary:
    """All turns of one contender with one batch size. Times in microseconds."""

    runs: int
    median: float
    p90: float
    p99: float
    quietest: float
    """The smallest of the turns' medians: with the least disturbance by other programs."""
    spread: float
    """Between the turns: largest minus smallest of their medians, as a share of the median."""
    variation: float | None
    """Coefficient of variation of the runs: standard deviation by mean, outliers included."""
    outliers: int | None
    """Runs slower than the third quartile by more than three interquartile ranges; they count."""


def summarize(blocks: Sequence[Block]) -> Summary:
    """Sum up the turns.

    The percentiles are those of all runs together; where the runs are not known, the median of the
    turns' percentiles.
    """
    medians = [block.median for block in blocks]
    runs = sum(block.runs for block in blocks)
    known = [block.times for block in blocks if block.times is not None]
    if len(known) < len(blocks):
        median, p90, p99 = (
            percentile([getattr(block, name) for block in blocks], 50)
            for name in ("median", "p90", "p99")
        )
        spread = (max(medians) - min(medians)) / median
        return Summary(runs, median, p90, p99, min(medians), spread, None, None)
    times = np.concatenate([np.asarray(one) for one in known])
    median, p90, p99 = (percentile(times, percent) for percent in (50, 90, 99))
    lower, upper = (percentile(times, percent) for percent in (25, 75))
    return Summary(
        runs,
        median,
        p90,
        p99,
        quietest=min(medians),
        spread=(max(medians) - min(medians)) / median,
        variation=float(times.std() / times.mean()),
        outliers=int((times > upper + _FAR * (upper - lower)).sum()),
    )


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as the baseline; above 1 is faster."""

    median: float
    low: float
    high: float
    p99: float


def compare_blocks(baseline: Sequence[Block], found: Sequence[Block]) -> Ratio:
    """Compare turn by turn: the two of one round ran within a second or so of each other.

    Args:
        baseline: The turns of the baseline, in the order of the rounds.
        found: As many turns of the other.

    Returns:
        Median, smallest and largest ratio of the rounds' medians; and the ratio of the p99.
    """
    ratios = [a.median / b.median for a, b in zip(baseline, found, strict=True)]
    p99 = summarize(baseline).p99 / summarize(found).p99
    return Ratio(float(np.median(ratios)), min(ratios), max(ratios), p99)


def median_interval(
    values: Sequence[float], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Return an interval that holds the median of what the values were drawn from.

    It is the interval of the sign test: two of the values, chosen by the binomial distribution.
    Nothing is assumed about the distribution of the values, so that rounds in which the machine
    did something else do not widen it much.

    Args:
        values: In any order.
        confidence: How sure, at least.

    Returns:
        Its ends; None when there are too few values to be that sure.
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
