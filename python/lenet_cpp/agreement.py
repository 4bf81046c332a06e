"""The one rule of equality: when the outputs of two routes agree.

* A floating-point value may be off by ``tolerance * max(1, |a|)``, with ``|a|`` the largest value
  of the same output and image in the reference.
* An integer or a bool has to be the same.
* The class has to be the same, except in a near tie: where the reference's scores of the classes
  that may change places are closer than that tolerance. This applies to the largest of the outputs
  [N, classes], and to class numbers that the model itself gives (:func:`compare_outputs`).

Every comparison of outputs in this project is made here: by ``verify``, by every conversion before
it writes a file, by quantization, and by the tools. The benchmark alone has a wider tolerance of
its own: it shows how far from float64 each library is, also those that do not agree.
"""

from collections.abc import Iterable, Mapping, Sequence
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
ROUNDING_TOLERANCE = 0.05
"""The tolerance of two routes that round the same values of a quantized program. A value in the
middle of two integers may be rounded to either, which changes outputs by a few steps of 8 bits."""


@dataclass(frozen=True)
class Comparison:
    """The outputs of two routes, side by side."""

    first: str  # what to call the reference
    second: str  # what to call the other route
    exact: bool  # whether they have to be the same bits; otherwise the tolerance applies
    identical: bool  # whether they are the same bits
    within: bool  # whether they agree by the rule of this module, with the tolerance
    largest_difference: float  # absolute; infinite when two differ and one of them is not finite
    share: float
    """The largest difference as a share of the tolerance of that image, 1 being the limit. It is
    infinite when two values differ and one of them is not finite, or they are integers, except for
    class numbers in a near tie."""
    equal_predictions: int
    """How many images have the same prediction: their largest output at the same class, or the same
    integers. Of other outputs, such as features, nothing is predicted: every image counts."""
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
        if np.isfinite(self.share):
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
    """Compare one output of two routes for the same images, by the rule of this module.

    The tolerance depends on the largest value of an image, because adding in another order changes
    a sum by an amount that depends on its terms, not on the sum, which may be small when large
    terms cancel (N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 3.1). Values that
    are not finite agree when they are the same infinity, or both NaN.

    Args:
        reference: Values of any type and shape [N, ...]; of a scalar, one value of one image.
            Classes are compared in floating-point values [N, classes] only.
        found: As ``reference``.
        names: What to call the two.
        exact: Whether they have to be the same bits.
        tolerance: 0 or more; :data:`TOLERANCES` has a value for each precision.

    Raises:
        BadModel: The shapes or dtypes differ.
    """
    return _compare(reference, found, names, exact, tolerance)


def compare_outputs(
    reference: Mapping[str, NDArray[Any]],
    found: Mapping[str, NDArray[Any]],
    *,
    names: tuple[str, str] = ("reference", "found"),
    images: int,
    exact: bool = False,
    tolerance: float = TOLERANCE,
) -> Comparison:
    """Compare all outputs of two routes for the same images, by name; return the worst of each.

    An output of integers is taken for class numbers where, in all of the reference, it names the
    classes with the largest scores, the largest first: of an output [..., classes], as ArgMax and
    TopK do, or of the sorted scores that TopK gives beside them. A class number may differ where
    its score is closer than the tolerance to that of the class before or behind it. Of integers
    without such scores nothing is known: they have to be the same.

    Args:
        reference: Each output by its name; see :func:`compare` for the values. The outputs may be
            in any order.
        found: As ``reference``.
        names: What to call the two.
        images: How many there are. Of an output with another first size nothing is predicted.
        exact: As for :func:`compare`.
        tolerance: As for :func:`compare`.

    Raises:
        BadModel: The names, the shapes or the dtypes of the outputs differ.
    """
    if missing := reference.keys() ^ found.keys():
        gives, lacks = names if min(missing) in reference else reversed(names)
        raise BadModel(
            f"{gives} gives an output {min(missing)!r}, {lacks} does not: they do not run the same"
            " model"
        )
    parts = []
    for name, values in reference.items():
        called = names
        if len(reference) > 1:
            called = (f"{names[0]}, {name!r}", f"{names[1]}, {name!r}")
        near = _class_ties(values, reference.values(), tolerance)
        parts.append(_compare(values, found[name], called, exact, tolerance, near))
    equal = [part.equal_predictions for part in parts if part.images == images]
    return _joined(parts, names, exact, images=images, equal=min(equal, default=images))


def _compare(
    reference: NDArray[Any],
    found: NDArray[Any],
    names: tuple[str, str],
    exact: bool,
    tolerance: float,
    near: NDArray[np.bool_] | None = None,
) -> Comparison:
    """Compare one output; ``near``, of the same shape, marks the integers that may differ."""
    if reference.shape != found.shape or reference.dtype != found.dtype:
        raise BadModel(
            f"{names[1]} gives {found.dtype} {list(found.shape)} where {names[0]} gives"
            f" {reference.dtype} {list(reference.shape)}: they do not run the same model"
        )
    identical = reference.tobytes() == found.tobytes()
    reference, found = np.atleast_1d(reference), np.atleast_1d(found)
    distance, share = differences(reference, found, tolerance)
    if near is not None:
        share[np.atleast_1d(near)] = 0
    within = bool((share <= 1).all())
    if _gives_scores(reference):
        same_class = predicted(reference) == predicted(found)
        within = within and bool((same_class | _near_ties(reference, tolerance)).all())
    return Comparison(
        *names,
        exact=exact,
        identical=identical,
        within=within,
        largest_difference=float(distance.max(initial=0)),
        share=float(share.max(initial=0)),
        equal_predictions=int(same_predictions(reference, found).sum()),
        images=len(reference),
    )


def same_predictions(reference: NDArray[Any], found: NDArray[Any]) -> NDArray[np.bool_]:
    """Return for each image of an output [N, ...] whether two routes predict the same.

    Of floating-point values [N, classes] that is the class, and never so where there is none; of
    integers and bools all of them. Of other values, such as features, nothing is predicted: True.
    """
    if reference.dtype.kind != "f":
        same: NDArray[np.bool_] = (reference == found).all(axis=tuple(range(1, reference.ndim)))
        return same
    if not _gives_scores(reference):
        return np.ones(len(reference), np.bool_)
    classes = predicted(reference)
    agrees: NDArray[np.bool_] = (classes == predicted(found)) & (classes != NO_CLASS)
    return agrees


def _gives_scores(output: NDArray[Any]) -> bool:
    """Return whether an output has a floating-point score of each class, [N, classes]."""
    return output.dtype.kind == "f" and output.ndim == 2 and output.size > 0


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
    equal = sum(part.equal_predictions for part in parts)
    return _joined(parts, names, exact, images=sum(part.images for part in parts), equal=equal)


def _joined(
    parts: Sequence[Comparison], names: tuple[str, str], exact: bool, *, images: int, equal: int
) -> Comparison:
    return Comparison(
        *names,
        exact=exact,
        identical=all(part.identical for part in parts),
        within=all(part.within for part in parts),
        largest_difference=max(part.largest_difference for part in parts),
        share=max(part.share for part in parts),
        equal_predictions=equal,
        images=images,
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
    """Return the absolute difference of each element, and its share of the tolerance.

    Of integers and bools, which have no tolerance, the share is infinite where they differ.
    """
    a, b = reference.astype(np.float64), found.astype(np.float64)
    if reference.dtype.kind != "f":  # float64 may round two integers to the same number
        difference = np.where(reference == found, 0, np.maximum(np.abs(a - b), 1))
        return difference, np.where(reference == found, 0, np.inf)
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


def _class_ties(
    numbers: NDArray[Any], outputs: Iterable[NDArray[Any]], tolerance: float
) -> NDArray[np.bool_]:
    """Return which integers of the reference may differ, by its outputs; the shape is the same.

    They are class numbers in a near tie, as :func:`compare_outputs` says.
    """
    near = np.zeros(numbers.shape, np.bool_)
    if numbers.dtype.kind not in "iu" or numbers.size == 0:
        return near
    for scores in outputs:
        if scores.dtype.kind != "f" or scores.ndim == 0:
            continue
        before = scores.shape[:-1]
        if before not in (numbers.shape, numbers.shape[:-1]):
            continue
        values = scores.reshape(-1, scores.shape[-1]).astype(np.float64)
        classes = numbers.reshape(len(values), -1).astype(np.intp)
        largest = _scores_of(classes, values)
        if largest is None:
            continue
        with np.errstate(invalid="ignore"):
            gaps = largest[:, :-1] - largest[:, 1:] < _allowed_difference(values, tolerance)
        ties = np.zeros(classes.shape, np.bool_)
        ties[:, : gaps.shape[1]] |= gaps[:, : classes.shape[1]]
        ties[:, 1:] |= gaps[:, : classes.shape[1] - 1]
        near |= ties.reshape(numbers.shape)
    return near


def _scores_of(
    classes: NDArray[np.intp], values: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the scores of classes [rows, named] and of the next one, if it is known.

    None where ``values`` [rows, scores] are no scores of these classes, the largest first.
    """
    falling = -np.sort(-values, axis=1)
    named = classes.shape[1]
    if named == values.shape[1] and np.array_equal(values, falling):
        return falling  # those that TopK gives beside the classes
    known = named <= values.shape[1] and classes.min() >= 0 and classes.max() < values.shape[1]
    if not known:
        return None
    given = np.take_along_axis(values, classes, axis=1)
    return falling[:, : named + 1] if np.array_equal(given, falling[:, :named]) else None


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
