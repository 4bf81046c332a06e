"""The declaration of an input or output."""

from collections.abc import Sequence
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class OutputSpec(TensorSpec):
    """An output of a model, and what it is as far as the program tells (C++'s OutputMeaning).

    Attributes:
        role: What the numbers are: ``logits``, of which a softmax makes probabilities;
            ``probabilities``, of a softmax; ``scores``, of a sigmoid: each class for itself, from 0
            to 1; ``features``, from which another output is computed; ``class_numbers``, such as of
            an argmax; ``indices``, class numbers that belong to another output, such as the second
            of a top-k; ``multi_hot``, 1 for each class that holds, else 0; or ``unknown``.
        picked: The values are those of some classes only, such as of a top-k.
        ranked: There are several picked values or class numbers for each image, the best first.
        partner: The number of the output that has the class numbers of picked values, or of indices
            that of the values; None when there is none.
        num_classes: The number of classes from which they were picked; 0 when it is not known.
        class_axis: The axis of the classes in ``shape``; -1 when it is not known.
        source: Outputs with the same number are the same values in another form.
        family: Outputs with the same number are products of the same features.
    """

    role: str = "unknown"
    picked: bool = False
    ranked: bool = False
    partner: int | None = None
    num_classes: int = 0
    class_axis: int = field(default=-1, repr=False)
    source: int = field(default=0, repr=False)
    family: int = field(default=0, repr=False)


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
