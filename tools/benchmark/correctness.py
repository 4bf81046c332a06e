"""Are a contender's answers right? Float ones to the tolerance, bf16 and int8 by their classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lenet_cpp.errors import BadModel
from lenet_cpp.verify import compare

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LEAST_SAME", "MOST_LOST", "Correctness", "assess"]

LEAST_SAME = 0.98
"""The least share of the images with float's class, in bf16 and int8."""
MOST_LOST = 0.01
"""The most that bf16 and int8 may lose of float's accuracy."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Correctness:
    """What a contender's answers are worth.

    Attributes:
        wrong: Why it is refused; None when it is not.
        same_class: Share of the images with the class that float arithmetic gives.
        accuracy: Share of the images with the class of their label; None without labels.
        largest_difference: Of a logit, from the reference.
    """

    wrong: str | None
    same_class: float = 0.0
    accuracy: float | None = 0.0
    largest_difference: float = 0.0


def assess(
    expected: NDArray[np.float32],
    outputs: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    *,
    name: str,
    precision: str = "fp32",
) -> Correctness:
    """Judge a contender's outputs.

    Those of a float contender are compared with :func:`lenet_cpp.verify.compare`. In bf16 and int8
    the outputs differ; at least :data:`LEAST_SAME` of the images have to get the same class, and
    the accuracy may be lower by :data:`MOST_LOST` at most.

    Args:
        expected: float32 [N, classes], of :class:`tools.benchmark.subject.Subject`.
        outputs: What the contender gave for the same images.
        labels: int64 [M], of the first M of them; None where the classes mean nothing, which only
            float contenders can be judged without.
        name: Of the contender.
        precision: What it computes in.
    """
    try:
        found = compare(expected, np.asarray(outputs), names=("the reference", name))
    except BadModel as error:
        return Correctness(str(error))
    should, accuracy = (_accuracy(one, labels) for one in (expected, outputs))
    same = found.equal_predictions / found.images
    wrong = None
    if precision == "fp32":
        if not found.within:
            wrong = (
                f"outputs differ by up to {found.largest_difference:.2g},"
                f" {found.equal_predictions} of {found.images} predictions are equal"
            )
    elif not np.isfinite(outputs).all():
        wrong = f"in {precision} it gives values that are not finite"
    elif should is None or accuracy is None:
        wrong = f"in {precision} it is judged by the classes of labelled images, which are not here"
    elif same < LEAST_SAME or accuracy < should - MOST_LOST - _ROUNDING:
        wrong = (
            f"in {precision} {100 * same:.1f} % of the images get float's class, and"
            f" {100 * accuracy:.1f} % the right one ({100 * should:.1f} % in float); at least"
            f" {100 * LEAST_SAME:.0f} % and {100 * (should - MOST_LOST):.1f} % have to"
        )
    return Correctness(wrong, same, accuracy, found.largest_difference)


def _accuracy(outputs: NDArray[np.float32], labels: NDArray[np.int64] | None) -> float | None:
    if labels is None:
        return None
    return float((outputs[: len(labels)].argmax(axis=1) == labels).mean())
