"""The declaration of an input or output."""

from collections.abc import Sequence
from dataclasses import dataclass

from lenet_cpp.errors import BadInput


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


def fix_image(name: object, declared: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of one image of a model, whose open sizes (-1) become the given ones.

    Raises:
        BadInput: ``sizes``, all of them or the last ones, are not those of the model.
    """
    image = (*declared[: max(0, len(declared) - len(sizes))], *sizes)
    fits = len(image) == len(declared) and all(
        map(lambda a, b: a > 0 and b in {-1, a}, image, declared)
    )
    if not fits:
        raise BadInput(f"{name} takes images {list(declared)}, not {list(sizes)}")
    return image
