"""What a classifier's outputs are, and what follows from them alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lenet_cpp.errors import Unsupported

_Float = TypeVar("_Float", bound=np.floating[Any])


def normalized(outputs: NDArray[np.float32], role: str) -> NDArray[np.float32]:
    """Return the softmax of logits, and outputs of any other role as they are; [N, classes]."""
    return softmax(outputs) if role == "logits" else outputs


def of_each(find: Callable[[NDArray[Any]], str], images: NDArray[Any]) -> Callable[[int], str]:
    """Return the ``origin`` of ``Model.problems`` for a batch that a predictor has run."""
    return lambda number: find(images[number : number + 1])


def require_rows(outputs: Sequence[NDArray[Any]], images: int, model: Path) -> None:
    """Raise :class:`lenet_cpp.Unsupported` for outputs that are not a row for each image."""
    for output in outputs:
        if output.ndim == 0 or len(output) != images or (images > 0 and output.size == 0):
            raise Unsupported(f"{model} is no classifier: its output is {list(output.shape)}")


def softmax(logits: NDArray[_Float]) -> NDArray[_Float]:
    """Return the softmax of each row; [N, classes] in and out."""
    # Small probabilities may underflow; logits that overflowed give NaN, which Model.problems finds
    # beforehand.
    with np.errstate(under="ignore", invalid="ignore"):
        result: NDArray[_Float] = np.exp(
            logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
        )
        result /= result.sum(axis=1, keepdims=True)
        return result
