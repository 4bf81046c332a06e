"""When two routes' outputs for the same images agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lenet_cpp.errors import BadModel
from lenet_cpp.tolerance import TOLERANCE, allowed_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Comparison", "compare", "differences"]


@dataclass(frozen=True)
class Comparison:
    """The outputs of two routes, side by side."""

    first: str
    second: str
    exact: bool
    """Whether they have to be the same bits; otherwise the tolerance applies."""
    identical: bool
    within: bool
    """Whether every output is within the tolerance and every class the same, but near ties."""
    largest_difference: float
    """Largest absolute difference; infinity when one of two values is not finite."""
    equal_predictions: int
    images: int

    @property
    def agrees(self) -> bool:
        """Whether the two are as equal as they have to be."""
        return self.identical or (self.within and not self.exact)

    @property
    def verdict(self) -> str:
        """``identical``, ``within tolerance`` or ``DIFFERS``."""
        if self.identical:
            return "identical"
        return "within tolerance" if self.agrees else "DIFFERS"


def compare(
    reference: NDArray[np.float32],
    found: NDArray[np.float32],
    *,
    names: tuple[str, str] = ("reference", "found"),
    exact: bool = False,
    tolerance: float = TOLERANCE,
) -> Comparison:
    """Compare the outputs of two routes for the same images.

    Values that are not finite agree when they are the same infinity or both NaN.

    Args:
        reference: float32 [N, classes].
        found: As ``reference``.
        names: What to call the two.
        exact: Whether they have to be the same bits.
        tolerance: Otherwise, see :func:`lenet_cpp.tolerance.allowed_difference`.

    Raises:
        BadModel: The shapes or dtypes differ.
    """
    if reference.shape != found.shape or reference.dtype != found.dtype:
        raise BadModel(
            f"{names[1]} gives {found.dtype} {list(found.shape)} where {names[0]} gives"
            f" {reference.dtype} {list(reference.shape)}: they do not run the same model"
        )
    difference, close = differences(reference, found, tolerance)
    same_class = reference.argmax(axis=1) == found.argmax(axis=1)
    return Comparison(
        *names,
        exact=exact,
        identical=reference.tobytes() == found.tobytes(),
        within=bool(close.all() and (same_class | _near_ties(reference, tolerance)).all()),
        largest_difference=float(difference.max()),
        equal_predictions=int(same_class.sum()),
        images=len(reference),
    )


def differences(
    reference: NDArray[np.float32], found: NDArray[np.float32], tolerance: float = TOLERANCE
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Absolute differences of all elements, and which of them are within the tolerance."""
    a, b = reference.astype(np.float64), found.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0, np.abs(a - b))
    difference[np.isnan(difference)] = np.inf
    allowed = np.where(np.isfinite(a), allowed_difference(a, tolerance), 0)
    return difference, difference <= allowed


def _near_ties(outputs: NDArray[np.float32], tolerance: float) -> NDArray[np.bool_]:
    """Which rows' two largest values are closer than the tolerance."""
    if outputs.shape[1] < 2:
        return np.zeros(len(outputs), np.bool_)
    top = np.sort(outputs.astype(np.float64), axis=1)[:, -2:]
    with np.errstate(invalid="ignore"):
        near: NDArray[np.bool_] = (
            top[:, 1] - top[:, 0] < allowed_difference(outputs, tolerance)[:, 0]
        )
    return near
