"""The report of a verification."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp.agreement import TOLERANCE, Comparison, difference
from lenet_cpp.inference.options import Precision
from lenet_cpp.verify.routes import Case


class Compared(ABC):
    """Base of the results that consist of comparisons."""

    @abstractmethod
    def _all(self) -> Iterable[Comparison]:
        """Return the comparisons."""

    @property
    def agrees(self) -> bool:
        """Whether every comparison agrees."""
        return all(each.agrees for each in self._all())

    @property
    def largest_difference(self) -> float:
        """The largest difference of all comparisons."""
        return max((each.largest_difference for each in self._all()), default=0.0)

    @property
    def share(self) -> float:
        """The largest share of the tolerance of all comparisons: 1 is the limit."""
        return max((each.share for each in self._all()), default=0.0)

    @property
    def size(self) -> str:
        """The largest difference as :func:`lenet_cpp.agreement.difference` writes it."""
        return difference(self.largest_difference, self.share)

    @property
    def verdict(self) -> str:
        """The worst of the comparisons' verdicts."""
        worst = max(self._all(), key=lambda one: (not one.agrees, not one.identical))
        return worst.verdict

    def summary(self, *names: str) -> dict[str, Any]:
        """Return these attributes and those of all comparisons for JSON."""
        return {name: getattr(self, name) for name in ("agrees", "equal_predictions", *names)} | {
            "largest_difference": finite(self.largest_difference),
            "share_of_tolerance": finite(self.share),
        }


def comparison_entry(one: Comparison) -> dict[str, Any]:
    """Return a comparison for JSON."""
    return {
        "routes": [one.first, one.second],
        "largest_difference": finite(one.largest_difference),
        "share_of_tolerance": finite(one.share),
        "equal_predictions": one.equal_predictions,
        "verdict": one.verdict,
    }


def finite(value: float) -> float | None:
    """Return a number for JSON: None when it is not finite."""
    return value if np.isfinite(value) else None


@dataclass(frozen=True)
class Row(Compared):
    """The comparisons of one case, and how many images every route puts into the same class."""

    case: Case
    comparisons: tuple[Comparison, ...]
    equal_predictions: int

    def _all(self) -> Iterable[Comparison]:
        return self.comparisons


@dataclass(frozen=True)
class Recorded:
    """The first output of each route in one row, [N, classes] of a classifier.

    Their role is ``output_role``; see :class:`lenet_cpp.OutputSpec`.
    """

    row: Row
    outputs: dict[str, NDArray[Any]]
    output_role: str


@dataclass(frozen=True)
class Report(Compared):
    """The result of :func:`verify`."""

    model_dir: Path
    images: int
    reference: str
    """The reference of ``paddle.inference``: ``dygraph``; without trained parameters the training
    engine with the exported model, or ``paddle.inference``'s plain kernels."""
    rows: tuple[Row, ...]
    unavailable: dict[tuple[str, str], str]
    """Pairs of format and accelerator that cannot be combined, with the reason."""
    correct: dict[str, int] = field(default_factory=dict)
    """The correct predictions of each route, the fewest of all rows; empty without labels."""
    notes: tuple[str, ...] = ()
    precision: Precision = "fp32"
    """The precision of the exported model's arithmetic."""
    tolerance: float = TOLERANCE
    recorded: Recorded | None = field(default=None, repr=False)
    """The outputs of the row that differs most, if they were requested."""

    def _all(self) -> Iterable[Comparison]:
        return [one for row in self.rows for one in row.comparisons]

    @property
    def equal_predictions(self) -> int:
        """The images that every route puts into the same class, the fewest of all rows."""
        return min(row.equal_predictions for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON, with None for differences that are not finite."""
        return {
            **self.summary("images", "precision", "tolerance", "reference", "notes"),
            "accuracy": {
                route: {"correct": correct, "total": self.images, "fraction": correct / self.images}
                for route, correct in self.correct.items()
            },
            "rows": [
                {
                    "format": row.case.model.format,
                    "accelerator": row.case.accelerator,
                    "batch_size": row.case.batch_size,
                    "threads": row.case.threads,
                    "equal_predictions": row.equal_predictions,
                    "verdict": row.verdict,
                    "comparisons": [comparison_entry(one) for one in row.comparisons],
                }
                for row in self.rows
            ],
            "unavailable": [
                {"format": format_, "accelerator": accelerator, "reason": reason}
                for (format_, accelerator), reason in self.unavailable.items()
            ],
        }
