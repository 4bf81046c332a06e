"""Draw networks of a package."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tools.zoo.keeping import Case

    Row = dict[str, Any]


def order(source: str, names: Mapping[str, Sequence[str]], seed: int) -> list[tuple[str, str]]:
    """Return the family and name of each network of a source, in the order of the draw."""
    every = sorted((family, name) for family, of in names.items() for name in of)
    random.Random(f"{seed}/{source}").shuffle(every)
    return every


def draw(
    count: int, drawn: Sequence[Sequence[Case]], judge: Callable[[Sequence[Case]], Sequence[Row]]
) -> None:
    """Judge networks in their order until there are enough that are not too large.

    Args:
        count: How many.
        drawn: The cases, the formats, of each network.
        judge: Returns the rows of some cases, in any order.
    """
    enough = at = 0
    while enough < count and at < len(drawn):
        wave = drawn[at : at + count - enough]
        at += len(wave)
        rows = judge([case for cases in wave for case in cases])
        large = {row["network"] for row in rows if "too_large" in row}
        enough += sum(cases[0].name not in large for cases in wave)
