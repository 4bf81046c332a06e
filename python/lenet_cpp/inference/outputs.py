"""What a classifier's outputs are, and what follows from them alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet_cpp import _core
from lenet_cpp.errors import BadInput, Unsupported

_Float = TypeVar("_Float", bound=np.floating[Any])


def normalized(outputs: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """Return the softmax of logits, and outputs of any other kind as they are; [N, classes]."""
    return softmax(outputs) if kind == "logits" else outputs


def value_name(kind: str) -> str:
    """Return what the value of a class is called for outputs of a kind."""
    return "score" if kind in {"unknown", "labels"} else "probability"


def problems_of(
    outputs: NDArray[np.float32],
    kind: str,
    names: Sequence[str] = (),
    origin: Callable[[int], str] = lambda _: "",
) -> dict[int, str]:
    """Return why images have no class, by their numbers: of NaN no class and no score is made.

    Args:
        outputs: float32 [N, classes].
        kind: What they are; of logits there must be a softmax too.
        names: What to call each image; by default by its number.
        origin: Returns what :meth:`lenet_cpp.Predictor.nan_origin` says of an image.
    """
    found = _core.find_problems(np.ascontiguousarray(outputs), kind)
    return {
        row: _core.no_class(names[row] if names else f"image {row}", problem, origin(row))
        for row, problem in found
    }


def require_classes(
    outputs: NDArray[np.float32],
    kind: str,
    names: Sequence[str] = (),
    origin: Callable[[int], str] = lambda _: "",
) -> None:
    """Raise :class:`lenet_cpp.BadInput` for the first image of :func:`problems_of`."""
    for problem in problems_of(outputs, kind, names, origin).values():
        raise BadInput(problem)


def of_each(find: Callable[[NDArray[Any]], str], images: NDArray[Any]) -> Callable[[int], str]:
    """Return the ``origin`` of :func:`problems_of` for a batch that a predictor has run."""
    return lambda number: find(images[number : number + 1])


def require_rows(outputs: NDArray[np.float32], images: int, model: Path) -> None:
    """Raise :class:`lenet_cpp.Unsupported` for outputs that are not a row for each image."""
    if outputs.ndim == 0 or len(outputs) != images or (images > 0 and outputs.size == 0):
        raise Unsupported(f"{model} is no classifier: its output is {list(outputs.shape)}")


def softmax(logits: NDArray[_Float]) -> NDArray[_Float]:
    """Return the softmax of each row; [N, classes] in and out."""
    # Small probabilities may underflow; logits that overflowed give NaN, which require_classes
    # refuses beforehand.
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
