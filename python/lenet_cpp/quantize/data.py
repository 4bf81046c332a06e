"""Images to calibrate, train and test with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.data.mnist import load_mnist, stratified_indices
from lenet_cpp.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

_COARSE = 8


@dataclass(frozen=True)
class Images:
    """Images as :func:`lenet_cpp.quantize.task.as_input` takes them.

    Attributes:
        calibration: To find the ranges of activations with; from the training images.
        training: To train on.
        test: Only to measure with.
        labels: int64 [N] of the test images; None when they show nothing.
        description: One line.
        kind: A word for records.
    """

    calibration: npt.NDArray[Any]
    training: npt.NDArray[Any]
    test: npt.NDArray[Any]
    labels: npt.NDArray[np.int64] | None
    description: str
    kind: str


def mnist_images(data_dir: Path | None, calibration: int, *, seed: int = 0) -> Images:
    """Take images of digits, the calibration images with the shares that the classes have.

    Args:
        data_dir: See :func:`lenet_cpp.data.mnist.load_mnist`.
        calibration: How many to calibrate on.
        seed: Of their choice.

    Raises:
        BadInput: There are not that many images, or the data is damaged.
        FileNotFound: The data is missing.
    """
    mnist = load_mnist(data_dir)
    chosen = stratified_indices(mnist.train.labels, calibration, seed=(seed,))
    return Images(
        calibration=mnist.train.images[chosen],
        training=mnist.train.images,
        test=mnist.test.images,
        labels=mnist.test.labels,
        description=mnist.describe(),
        kind=mnist.kind,
    )


def made_image_set(shape: tuple[int, ...], calibration: int, test: int, *, seed: int = 0) -> Images:
    """Make images of smooth blotches and some noise, with mean 0 and variance 1 as ImageNet's.

    Args:
        shape: Channels, height and width.
        calibration: How many to calibrate and train on.
        test: How many to compare outputs on.
        seed: They are a function of it.

    Raises:
        BadInput: A number is below 1.
    """
    if min(calibration, test) < 1:
        raise BadInput("the number of images has to be 1 or more")
    made = np.concatenate(
        [_image(shape, np.random.default_rng((seed, i))) for i in range(calibration + test)]
    )
    return Images(
        calibration=made[:calibration],
        training=made[:calibration],
        test=made[calibration:],
        labels=None,
        description=f"made images, which show nothing: {calibration} to calibrate, {test} to test",
        kind="made",
    )


def _image(shape: tuple[int, ...], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """One image, float32 [1, C, H, W]."""
    channels, height, width = shape
    coarse = random.normal(size=(channels, _COARSE, _COARSE))
    rows = np.linspace(0, _COARSE - 1, height)
    columns = np.linspace(0, _COARSE - 1, width)
    smooth = _along(_along(coarse, rows, 1), columns, 2)
    image = smooth * random.uniform(0.5, 2) + random.normal(scale=0.3, size=shape)
    image = (image - image.mean()) / image.std()
    whole: npt.NDArray[np.float32] = image[np.newaxis].astype(np.float32)
    return whole


def _along(values: npt.NDArray[Any], at: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """Interpolate linearly along an axis."""
    before = np.minimum(at.astype(int), values.shape[axis] - 2)
    share = (at - before).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    first, second = values.take(before, axis), values.take(before + 1, axis)
    result: npt.NDArray[Any] = first * (1 - share) + second * share
    return result
