"""Classify images of digits, such as photos, by the bundled LeNet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, TypeGuard, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet_cpp._base.files import PREPROCESS_NAME
from lenet_cpp.data.images import Pipeline, is_image_source
from lenet_cpp.data.images.reading import ImageSource
from lenet_cpp.errors import BadInput
from lenet_cpp.formats.manifest import read_manifest
from lenet_cpp.inference.bundled import bundled_model_dir, predict
from lenet_cpp.inference.classification import softmax


class Classification(NamedTuple):
    """The result of :func:`classify` for N images."""

    labels: list[str]
    """The label of the most probable class of each image."""
    probabilities: NDArray[np.float32]
    """float32 [N, classes]; each row sums to 1."""


def classify(images: ArrayLike | ImageSource | Sequence[ImageSource]) -> Classification:
    """Return the bundled LeNet's label and class probabilities for images of digits.

    A photo of a digit on paper may have dark ink on light paper or the reverse, uneven light,
    noise, any size, and the digit at any place (see ``docs/preprocessing.md``).

    Thread-safety: may be called from any thread; the threads run in parallel.

    Args:
        images: An image file, the bytes of one, a Pillow image, or a list or tuple of those, each
            of one digit; or uint8 pixels of one digit, [H, W], [H, W, 3] or [H, W, 4], of another
            size than 28 x 28; or an array as :func:`predict` takes it, which is used as it is.

    Returns:
        Labels and probabilities of the N images; the probabilities are the softmax of the logits.

    Raises:
        lenet_cpp.FileNotFound: An image file does not exist or cannot be read.
        lenet_cpp.BadInput: As :func:`predict`; or an image is damaged, is too large or has no
            digit in it; the message has the file.
        lenet_cpp.Error: The Paddle library could not be loaded or failed.
    """
    logits = predict(_as_arrays(images))
    names = _labels()
    return Classification([names[i] for i in logits.argmax(axis=1)], softmax(logits))


def _as_arrays(images: ArrayLike | ImageSource | Sequence[ImageSource]) -> ArrayLike:
    if is_image_source(images) or _is_picture(images):
        return _preprocess().batch([images])
    if isinstance(images, (list, tuple)) and any(map(is_image_source, images)):
        return _preprocess().batch(images)
    return cast("ArrayLike", images)


def _is_picture(images: object) -> TypeGuard[NDArray[np.uint8]]:
    """Return whether an array has pixels that must be prepared first."""
    if not isinstance(images, np.ndarray):
        return False
    shape = images.shape
    if not ((len(shape) == 2 and shape != (28, 28)) or (len(shape) == 3 and shape[2] in {3, 4})):
        return False
    if images.dtype != np.uint8:
        raise BadInput(
            f"a digit of another size than 28 x 28 is taken as uint8 pixels from 0 to 255, or as a"
            f" Pillow image; got {images.dtype} of shape {list(shape)}: convert it with"
            " (values * 255).astype('uint8'), if 1 is white"
        )
    return True


@cache
def _preprocess() -> Pipeline:
    return Pipeline.load(bundled_model_dir() / PREPROCESS_NAME)


@cache
def _labels() -> tuple[str, ...]:
    return read_manifest(bundled_model_dir()).classes
