"""The one rule of equality: when the outputs of two routes agree.

Every comparison of outputs in this project is made here: by ``verify``, by every conversion before
it writes a file, by quantization, and by the tools.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp.errors import BadModel

NO_CLASS = -1
"""In place of a class where the outputs give none, such as NaN."""

TOLERANCES = {"fp32": 1e-5, "bf16": 0.1, "int8": 0.5, "tf32": 0.0125}
"""The tolerance of each precision of arithmetic. bf16 has 8 significant bits, TF32 11; int8
clips what is beyond the range that calibration found: a rare logit is far off (quantization.md)."""
TOLERANCE = TOLERANCES["fp32"]


@dataclass(frozen=True)
class Comparison:
    """The outputs of two routes, side by side."""

    first: str  # what to call the reference
    second: str  # what to call the other route
    exact: bool  # whether they have to be the same bits; otherwise the tolerance applies
    identical: bool  # whether they are the same bits
    within: bool
    """Whether every output is within the tolerance, and every class is the same, except where the
    reference's two largest outputs are closer than the tolerance (a near tie)."""
    largest_difference: float  # absolute; infinite when two differ and one of them is not finite
    share: float  # as a share of the tolerance of that image, 1 being the limit; infinite likewise
    equal_predictions: int  # how many images have their largest output at the same class
    images: int

    @property
    def agrees(self) -> bool:
        """Whether the two agree by the rule that applies to them."""
        return self.identical or (self.within and not self.exact)

    @property
    def verdict(self) -> str:
        """``identical``, ``within tolerance`` or ``DIFFERS``."""
        if self.identical:
            return "identical"
        return "within tolerance" if self.agrees else "DIFFERS"

    @property
    def size(self) -> str:
        """``identical``, or the largest difference as :func:`difference` writes it."""
        return "identical" if self.identical else difference(self.largest_difference, self.share)

    @property
    def mismatch(self) -> str:
        """The text of an error about two routes that do not agree."""
        said = (
            f"{self.second} does not compute what {self.first} computes: outputs differ by up to"
            f" {self.largest_difference:.3g}"
        )
        if self.exact:
            return f"{said} and have to be identical"
        said += f", {self.share:.3g} times the tolerance"
        changed = self.images - self.equal_predictions
        return f"{said}, and the class of {changed} of {self.images} images" if changed else said


def compare(
    reference: NDArray[Any],
    found: NDArray[Any],
    *,
    names: tuple[str, str] = ("reference", "found"),
    exact: bool = False,
    tolerance: float = TOLERANCE,
) -> Comparison:
    """Compare the outputs of two routes for the same images.

    Each output may be off by ``tolerance * max(1, |a|)``, with ``|a|`` the largest output of the
    same image in the reference: adding in another order changes a sum by an amount that depends on
    its terms, not on the sum, which may be small when large terms cancel (N. J. Higham, "Accuracy
    and Stability of Numerical Algorithms", 3.1). Values that are not finite agree when they are
    the same infinity, or both NaN.

    Args:
        reference: Outputs [N, classes]. With any other shape [N, ...] no classes are compared.
        found: As ``reference``.
        names: What to call the two.
        exact: Whether they have to be the same bits.
        tolerance: 0 or more; :data:`TOLERANCES` has a value for each precision.

    Raises:
        BadModel: The shapes or dtypes differ.
    """
    if reference.shape != found.shape or reference.dtype != found.dtype:
        raise BadModel(
            f"{names[1]} gives {found.dtype} {list(found.shape)} where {names[0]} gives"
            f" {reference.dtype} {list(reference.shape)}: they do not run the same model"
        )
    distance, share = differences(reference, found, tolerance)
    within = bool((share <= 1).all())
    same_class = np.ones(len(reference), np.bool_)
    if reference.ndim == 2 and reference.size:
        expected, classes = predicted(reference), predicted(found)
        same_class = expected == classes
        within = within and bool((same_class | _near_ties(reference, tolerance)).all())
        same_class &= expected != NO_CLASS
    return Comparison(
        *names,
        exact=exact,
        identical=reference.tobytes() == found.tobytes(),
        within=within,
        largest_difference=float(distance.max(initial=0)),
        share=float(share.max(initial=0)),
        equal_predictions=int(same_class.sum()),
        images=len(reference),
    )


def predicted(outputs: NDArray[Any]) -> NDArray[np.intp]:
    """Return the class of each image, by outputs [N, classes]: the greatest.

    It is :data:`NO_CLASS` where an output is NaN, of which no class is made, as in C++.
    """
    classes: NDArray[np.intp] = np.where(
        np.isnan(outputs).any(axis=1), NO_CLASS, outputs.argmax(axis=1)
    )
    return classes


def compare_batches(
    pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]],
    *,
    names: tuple[str, str] = ("reference", "found"),
    exact: bool = False,
) -> Comparison:
    """Compare the outputs for one or more batches; arguments and errors as :func:`compare`."""
    parts = [compare(*pair, names=names, exact=exact) for pair in pairs]
    return Comparison(
        *names,
        exact=exact,
        identical=all(part.identical for part in parts),
        within=all(part.within for part in parts),
        largest_difference=max(part.largest_difference for part in parts),
        share=max(part.share for part in parts),
        equal_predictions=sum(part.equal_predictions for part in parts),
        images=sum(part.images for part in parts),
    )


def difference(largest: float, share: float) -> str:
    """Write a difference and, in percent, its share of the tolerance: ``1.9e-05 (12 %)``."""
    percent = 100 * share
    if not np.isfinite(percent):
        return f"{largest:.2g}"
    return f"{largest:.2g} ({'<1' if 0 < percent < 1 else f'{percent:.0f}'} %)"


def differences(
    reference: NDArray[Any], found: NDArray[Any], tolerance: float = TOLERANCE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the absolute difference of each element, and its share of the tolerance."""
    a, b = reference.astype(np.float64), found.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0, np.abs(a - b))
    difference[np.isnan(difference)] = np.inf
    allowed = np.broadcast_to(_allowed_difference(a, tolerance), a.shape)
    share = np.full(a.shape, np.inf)
    share[difference == 0] = 0
    np.divide(difference, allowed, out=share, where=np.isfinite(a) & (allowed > 0))
    return difference, share


def _allowed_difference(reference: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Return the allowed difference [N, 1, ...]; values that are not finite do not count."""
    magnitude = np.abs(reference)
    magnitude[~np.isfinite(magnitude)] = 0
    axes = tuple(range(1, magnitude.ndim))
    largest: NDArray[np.float64] = magnitude.max(axis=axes, keepdims=True, initial=1)
    return tolerance * largest


def _near_ties(outputs: NDArray[Any], tolerance: float) -> NDArray[np.bool_]:
    """Return which rows' two largest values are closer than the tolerance."""
    if outputs.shape[1] < 2:
        return np.zeros(len(outputs), np.bool_)
    values = outputs.astype(np.float64)
    top = np.sort(values, axis=1)[:, -2:]
    with np.errstate(invalid="ignore"):
        near: NDArray[np.bool_] = (
            top[:, 1] - top[:, 0] < _allowed_difference(values, tolerance)[:, 0]
        )
    return near
