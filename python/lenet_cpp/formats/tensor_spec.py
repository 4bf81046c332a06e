"""The declaration of an input or output."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model.

    Attributes:
        name: The name in the predictor.
        shape: The dimensions; -1, as in Paddle, for any size (the batch).
        dtype: NumPy's name of the element type, such as ``float32``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
