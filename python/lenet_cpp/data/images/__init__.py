"""From an image file to the float32 tensor that a classifier takes.

    >>> from lenet_cpp import images
    >>> pipeline = images.imagenet()
    >>> pipeline("photo.jpg").shape  # doctest: +SKIP
    (3, 224, 224)

Importing this package imports neither Pillow nor ``paddle``; Pillow is imported when the first
image is read.
"""

from lenet_cpp._base.files import PREPROCESS_NAME
from lenet_cpp.data.images.pipeline import Pipeline, digit, imagenet, keras
from lenet_cpp.data.images.reading import MAX_PIXELS, is_image_source, read_image
from lenet_cpp.data.images.sources import IMAGE_SUFFIXES, find_images
from lenet_cpp.data.images.steps import CenterCrop, Digit, Normalize, Pad, Resize, ToCHW

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "PREPROCESS_NAME",
    "CenterCrop",
    "Digit",
    "Normalize",
    "Pad",
    "Pipeline",
    "Resize",
    "ToCHW",
    "digit",
    "find_images",
    "imagenet",
    "is_image_source",
    "keras",
    "read_image",
]
