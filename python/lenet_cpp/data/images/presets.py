"""The preprocessing of well-known data sets."""

from __future__ import annotations

from lenet_cpp.data.images.digit import Digit
from lenet_cpp.data.images.pipeline import Pipeline
from lenet_cpp.data.images.steps import CenterCrop, Normalize, Resize, ToCHW


def imagenet(img_size: int = 224) -> Pipeline:
    """Return the preprocessing of classifiers trained on ImageNet, such as AlexNet.

    The short side is resized to ``round(img_size * 256 / 224)``, bilinear, and the middle
    ``img_size`` x ``img_size`` is cropped. ImageNet's mean is subtracted from RGB in [0, 1], and
    the result is divided by its standard deviation.

    Args:
        img_size: Height and width of the model's input, in pixels.

    Returns:
        A pipeline to float32 [3, img_size, img_size].
    """
    return Pipeline(
        "RGB",
        (
            Resize(short_side=round(img_size * 256 / 224)),
            CenterCrop((img_size, img_size)),
            Normalize(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ToCHW(),
        ),
    )


def digit() -> Pipeline:
    """Return LeNet's preprocessing: the digit of a photo as in MNIST, in [0, 1].

    The pixels are divided by 255, as in :func:`lenet_cpp.predict` and Paddle's ToTensor. A
    multiplication by 1/255 would give other last bits.

    Returns:
        A pipeline to float32 [1, 28, 28].
    """
    return Pipeline("L", (Digit(size=28, box=20), Normalize(1.0, (0.0,), (255.0,)), ToCHW()))
