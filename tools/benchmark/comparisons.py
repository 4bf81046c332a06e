"""Comparisons of what was measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tools.benchmark.summary import compare_blocks, summarize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tools.benchmark.contenders import Contender
    from tools.benchmark.summary import Block

__all__ = ["best_peers", "python_door", "ratio_of", "speed_ups"]


def python_door(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Set lenet_cpp beside the C++ program and ``paddle.inference`` where all ran the same.

    The times are those of each one's quietest turn: a difference of a few microseconds would drown
    in what other programs do to the machine.
    """
    by_key = {
        (cell["contender"], cell["threads"], cell["batch_size"]): cell["quietest_median_us"]
        for cell in cells
    }
    rows = []
    for (name, threads, batch_size), ours in by_key.items():
        group, _, kind = name.partition("/")
        program = by_key.get((f"program/{kind}", threads, batch_size))
        inference = by_key.get((f"paddle.inference/{kind}", threads, batch_size))
        if group != "lenet_cpp" or (program is None and inference is None):
            continue
        rows.append(
            {
                "kind": kind,
                "threads": threads,
                "batch_size": batch_size,
                "lenet_cpp_us": ours,
                "program_us": program,
                "added_us": None if program is None else ours - program,
                "paddle_inference_us": inference,
                "times_as_fast": None if inference is None else inference / ours,
            }
        )
    return rows


def ratio_of(other: list[Block] | None, blocks: list[Block]) -> dict[str, float] | None:
    """Return :func:`compare_blocks` as a dictionary; None without another."""
    return None if other is None else asdict(compare_blocks(other, blocks))


def best_peers(
    contenders: Sequence[Contender], blocks: Mapping[str, Sequence[Block]]
) -> dict[str, str]:
    """Find whom the engine native is compared with: of each precision the fastest other.

    Args:
        contenders: Who took part.
        blocks: The turns of each, by its name.

    Returns:
        Precision to the peer with the least median; no entry where there is none.
    """
    best: dict[str, str] = {}
    medians = {name: summarize(turns).median for name, turns in blocks.items()}
    for one in sorted((c for c in contenders if c.is_peer), key=lambda c: medians[c.name]):
        best.setdefault(one.precision, one.name)
    return best


def speed_ups(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Set more threads beside the least number of threads that was measured.

    Args:
        cells: As the benchmark writes them.

    Returns:
        For each contender, batch size and larger number of threads, ``speed_up``: images a second
        over those with the least, ``base_threads``.
    """
    rates = {
        (cell["contender"], cell["batch_size"], cell["threads"]): cell["images_per_second"]
        for cell in cells
    }
    least = min((threads for _, _, threads in rates), default=1)
    return [
        {
            "contender": name,
            "batch_size": size,
            "threads": threads,
            "base_threads": least,
            "speed_up": rate / rates[name, size, least],
        }
        for (name, size, threads), rate in rates.items()
        if threads > least and (name, size, least) in rates
    ]
