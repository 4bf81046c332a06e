"""What a model declares about an input or output."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model.

    Attributes:
        name: As the predictor knows it.
        shape: Dimensions; -1, as in Paddle, where any size goes (the batch).
        dtype: NumPy's name of the element type, such as ``float32``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
