"""What becomes of a series of mutants."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lenet_cpp.errors import BadModel
from tools.hostile.changes import make_mutant
from tools.hostile.model import ACCELERATORS, Files, Mutant, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tools.hostile.workshop import Workshop

__all__ = ["Tally", "survey", "tabulate_outcomes"]


@dataclass
class Tally:
    """The outcomes of one format.

    Attributes:
        format: One of :data:`FORMATS`.
        outcomes: How many there were of each kind.
        details: How many of each kind and detail.
        killers: The mutants that killed the child, and how.
    """

    format: str
    outcomes: Counter[str] = field(default_factory=Counter)
    details: Counter[tuple[str, str]] = field(default_factory=Counter)
    killers: list[tuple[Mutant, Outcome]] = field(default_factory=list)

    def add(self, mutant: Mutant, outcome: Outcome) -> None:
        """Count one outcome."""
        self.outcomes[outcome.kind] += 1
        self.details[outcome.kind, outcome.detail] += 1
        if outcome.kind == "killed":
            self.killers.append((mutant, outcome))


def survey(
    original: Files,
    model_format: str,
    indices: Iterable[int],
    *,
    seed: int,
    accelerators: Sequence[str],
    workshop: Workshop,
) -> Tally:
    """Try out a series of mutants.

    Args:
        original: The model's files, as :func:`read_model` gives them.
        model_format: One of :data:`FORMATS`.
        indices: Which mutants of the series.
        seed: Seed of the series.
        accelerators: To run each with; those that cannot run the format are left out.
        workshop: Where to run them.

    Raises:
        BadModel: The unchanged model is refused or gives another output than itself.
    """
    usable = [name for name in ACCELERATORS[model_format] if name in accelerators]
    unchanged = Mutant(model_format, seed, -1, (), original)
    outcome = workshop.try_out(unchanged, original, usable)
    if outcome.kind != "equal":
        raise BadModel(f"the unchanged {model_format} model: {outcome.kind} {outcome.message}")
    tally = Tally(model_format)
    for index in indices:
        mutant = make_mutant(original, model_format, seed, index)
        tally.add(mutant, workshop.try_out(mutant, original, usable))
    return tally


def tabulate_outcomes(tallies: Sequence[Tally]) -> str:
    """Return a table of the share of each kind of outcome for each format."""
    from tabulate import tabulate

    kinds = ("refused", "equal", "different", "killed")
    rows = []
    for tally in tallies:
        total = sum(tally.outcomes.values())
        shares = [f"{tally.outcomes[kind]} ({tally.outcomes[kind] / total:.1%})" for kind in kinds]
        infinite = tally.details["different", "non-finite"]
        rows.append([tally.format, total, *shares[:3], infinite, shares[3]])
    headers = ["format", "mutants", "refused", "equal", "different", "(non-finite)", "killed"]
    return tabulate(rows, headers=headers)
