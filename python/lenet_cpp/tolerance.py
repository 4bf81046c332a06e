"""How far two ways of computing the same network may lie apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TOLERANCE", "TOLERANCES", "allowed_difference"]

TOLERANCES = {"fp32": 1e-5, "bf16": 0.1, "int8": 0.5}
"""By the precision of the arithmetic. A bf16 has 8 significant bits; int8 cuts off what lies beyond
the range that calibration found, so that a rare logit is far off (docs/quantization.md)."""
TOLERANCE = TOLERANCES["fp32"]


def allowed_difference(
    reference: NDArray[Any], tolerance: float = TOLERANCE
) -> NDArray[np.float64]:
    """Return the largest difference that another engine's outputs may have from ``reference``.

    It is tolerance * max(1, max |a|), with the largest output of the same image: adding in another
    order changes a sum by an amount that goes with its terms, not with the sum, which may be small
    when large terms cancel (N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 3.1).

    Args:
        reference: Outputs [N, ...]; values that are not finite do not count.
        tolerance: 0 or more.

    Returns:
        float64 [N, 1, ...], which broadcasts against ``reference``.
    """
    magnitude = np.abs(reference.astype(np.float64))
    magnitude[~np.isfinite(magnitude)] = 0
    axes = tuple(range(1, magnitude.ndim))
    largest: NDArray[np.float64] = magnitude.max(axis=axes, keepdims=True, initial=1)
    return tolerance * largest
