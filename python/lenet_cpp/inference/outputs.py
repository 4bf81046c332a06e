"""What a classifier's outputs are, and what follows from them alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet_cpp.errors import BadInput, Unsupported

_Float = TypeVar("_Float", bound=np.floating[Any])


def normalized(outputs: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """Return the softmax of logits, and outputs of any other kind as they are; [N, classes]."""
    return softmax(outputs) if kind == "logits" else outputs


def value_name(kind: str) -> str:
    """Return what the value of a class is called for outputs of a kind."""
    return "score" if kind in {"unknown", "labels"} else "probability"


def require_rows(outputs: NDArray[np.float32], images: int, model: Path) -> None:
    """Raise :class:`lenet_cpp.Unsupported` for outputs that are not a row for each image."""
    if outputs.ndim == 0 or len(outputs) != images or (images > 0 and outputs.size == 0):
        raise Unsupported(f"{model} is no classifier: its output is {list(outputs.shape)}")


def softmax(logits: NDArray[_Float]) -> NDArray[_Float]:
    """Return the softmax of each row; [N, classes] in and out."""
    # Small probabilities may underflow; logits that overflowed give NaN.
    with np.errstate(under="ignore", invalid="ignore"):
        result: NDArray[_Float] = np.exp(
            logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
        )
        result /= result.sum(axis=1, keepdims=True)
        return result


def rows_of(x: ArrayLike) -> NDArray[np.float32]:
    """Return outputs as float32 [N, values]; [values] are those of one image."""
    outputs: NDArray[np.float32] = np.atleast_2d(np.asarray(x, dtype=np.float32))
    if outputs.size == 0:
        raise BadInput(f"expected outputs of shape [N, classes], got {list(outputs.shape)}")
    return outputs.reshape(len(outputs), -1)
