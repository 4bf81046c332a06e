"""Numbers and tables as the benchmark prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "MB",
    "NONE",
    "joined",
    "microseconds",
    "number",
    "percent",
    "rate",
    "table",
    "times",
]

MB = 1e6
NONE = "-"
"""Where there is no value."""


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table, its first column aligned left and the others right."""
    align = ["left"] + ["right"] * (len(header) - 1)
    return tabulate(rows, header, colalign=align, disable_numparse=True) if rows else "none"


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """Return a number with that many digits after the point, or what stands for none."""
    return NONE if value is None else f"{value:,.{digits}f}{unit}"


def percent(value: float | None) -> str:
    """Return a share in percent."""
    return NONE if value is None else f"{100 * value:.1f} %"


def rate(value: float) -> str:
    """Images a second; of large networks there are few."""
    return number(value, 0 if value >= 1000 else 1)


def microseconds(value: float | None) -> str:
    """Return microseconds, with a digit after the point where there are few."""
    return number(value, 1 if value is not None and value < 1000 else 0)


def times(ratio: dict[str, float] | None) -> str:
    """Return a ratio of two contenders: its median."""
    return NONE if ratio is None else f"{ratio['median']:.2f}"


def joined(parts: Sequence[str], *, markdown: bool) -> str:
    """Return the tables below each other; ``markdown`` sets each as a block of text."""
    return "\n\n".join(f"```text\n{part}\n```" if markdown else part for part in parts)
