"""The preprocessing of well-known data sets."""

from __future__ import annotations

from lenet_cpp.data.images.digit import Digit
from lenet_cpp.data.images.pipeline import Pipeline
from lenet_cpp.data.images.steps import CenterCrop, Normalize, Resize, ToCHW


def imagenet(img_size: int = 224) -> Pipeline:
    """Return what classifiers trained on ImageNet take, such as AlexNet and ResNet50_vd.

    The short side is resized to ``round(img_size * 256 / 224)``, bilinear, and the middle
    ``img_size`` x ``img_size`` cropped; RGB in [0, 1] less ImageNet's mean, over its standard
    deviation.

    Args:
        img_size: Height and width that the model takes, in pixels.

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
    """Return what LeNet takes: the digit of a photo as MNIST would have it, in [0, 1].

    The pixels are divided by 255, as :func:`lenet_cpp.predict` and Paddle's ToTensor do, rather
    than multiplied with 1/255, which gives other last bits.

    Returns:
        A pipeline to float32 [1, 28, 28].
    """
    return Pipeline("L", (Digit(size=28, box=20), Normalize(1.0, (0.0,), (255.0,)), ToCHW()))
