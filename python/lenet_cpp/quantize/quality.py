"""How good a quantized model is: its outputs beside the float model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lenet_cpp.errors import BadModel

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_DROP = 0.5
# Rounding to 8 bits costs a few hundredths in a deep network; wrong weights cost about 1.
_MAX_RELATIVE_ERROR = 0.5


@dataclass(frozen=True)
class Quality:
    """How the outputs of a quantized model compare with the float model's, on the same images.

    Attributes:
        images: How many.
        float_correct: How many the float model classified correctly; None without labels.
        correct: How many the quantized one did; None without labels.
        equal: How many got the same class from both.
        largest_difference: Of a logit.
        relative_error: Root of the mean square of the differences, relative to the spread of the
            float model's logits.
    """

    images: int
    float_correct: int | None
    correct: int | None
    equal: int
    largest_difference: float
    relative_error: float

    @property
    def drop(self) -> float:
        """What was lost, in percentage points: accuracy, or agreement without labels."""
        if self.correct is None or self.float_correct is None:
            return 100 * (1 - self.equal / self.images)
        return 100 * (self.float_correct - self.correct) / self.images

    @property
    def accuracy(self) -> float | None:
        """Share of images that the quantized model classified correctly."""
        return None if self.correct is None else self.correct / self.images

    @property
    def float_accuracy(self) -> float | None:
        """Share of images that the float model classified correctly."""
        return None if self.float_correct is None else self.float_correct / self.images

    @property
    def agreement(self) -> float:
        """Share of images that got the same class from both."""
        return self.equal / self.images


def measure_quality(
    reference: npt.NDArray[np.float32],
    outputs: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64] | None,
) -> Quality:
    """Compare outputs.

    Args:
        reference: float32 [N, classes], the float model's.
        outputs: The same of the quantized model.
        labels: int64 [N]; None when the images show nothing.

    Raises:
        BadModel: The shapes differ, or an output is not finite.
    """
    if reference.shape != outputs.shape or not np.isfinite(outputs).all():
        raise BadModel(
            f"the quantized model returns {list(outputs.shape)} where {list(reference.shape)} was"
            " expected, or values that are not finite"
        )
    first, second = reference.argmax(axis=1), outputs.argmax(axis=1)
    difference = outputs.astype(np.float64) - reference
    spread = float(reference.std()) or 1.0
    return Quality(
        images=len(reference),
        float_correct=None if labels is None else int((first == labels).sum()),
        correct=None if labels is None else int((second == labels).sum()),
        equal=int((first == second).sum()),
        largest_difference=float(np.abs(difference).max()),
        relative_error=float(np.sqrt((difference**2).mean())) / spread,
    )


def check_quality(method: str, quality: Quality, max_drop: float | None) -> None:
    """Refuse a quantized model that lost too much; see :attr:`Settings.max_drop`.

    Raises:
        BadModel: It did; says how much.
    """
    most = max_drop
    if quality.accuracy is not None and quality.float_accuracy is not None:
        most = MAX_DROP if max_drop is None else max_drop
        found = (
            f"reaches {100 * quality.accuracy:.2f} % where the float model reaches"
            f" {100 * quality.float_accuracy:.2f} %"
        )
    else:
        found = f"classifies {quality.drop:.2f} % of the images otherwise than the float model"
    remedy = "nothing was written; calibrate with more images, by another --algo, or train (qat)"
    if most is not None and quality.drop > most:
        raise BadModel(
            f"{method}: the quantized model {found}, more than the {most:g} points of --max-drop:"
            f" {remedy}"
        )
    if quality.relative_error > _MAX_RELATIVE_ERROR:
        raise BadModel(
            f"{method}: the outputs of the quantized model are off by"
            f" {100 * quality.relative_error:.0f} % of their spread: {remedy}"
        )
