"""The steps of preprocessing, with their exact arithmetic.

Each step is a frozen dataclass with the fields of ``preprocess.json``, and may be called from any
thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.data.images.reading import MAX_PIXELS
from lenet_cpp.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


def check_size(name: str, value: Any) -> None:
    """Raise BadInput unless ``value`` can be the size of an image, in pixels."""
    if type(value) is not int or not 1 <= value <= MAX_PIXELS:
        raise BadInput(f"{name}: expected an integer from 1 to {MAX_PIXELS}, got {value!r}")


def _check_height_width(name: str, value: Any) -> None:
    if not isinstance(value, tuple) or len(value) != 2:
        raise BadInput(f"{name}: expected (height, width), got {value!r}")
    for side in value:
        check_size(name, side)
    if math.prod(value) > MAX_PIXELS:
        raise BadInput(f"{name}: {value[0]} x {value[1]} is over the limit of {MAX_PIXELS} pixels")


@dataclass(frozen=True)
class Resize:
    """Resize an image as Pillow's ``Image.resize`` does, with antialiasing when it shrinks.

    With ``short_side`` the shorter side s becomes that and the longer side l becomes
    ``int(l * short_side / s)``, truncated. An image of that size stays unchanged.

    Attributes:
        short_side: Pixels; None when ``size`` is given.
        size: (height, width) in pixels; None when ``short_side`` is given.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``.
    """

    short_side: int | None = None
    size: tuple[int, int] | None = None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        """Check the fields."""
        if (self.short_side is None) == (self.size is None):
            raise BadInput("Resize: expected either short_side or size")
        if self.short_side is not None:
            check_size("Resize.short_side", self.short_side)
        if self.size is not None:
            _check_height_width("Resize.size", self.size)
        if self.interpolation not in INTERPOLATIONS:
            raise BadInput(
                f"Resize.interpolation: expected one of {', '.join(INTERPOLATIONS)},"
                f" got {self.interpolation!r}"
            )

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the image resized.

        Raises:
            BadInput: The result would have more than
                :data:`~lenet_cpp.data.images.MAX_PIXELS` pixels.
        """
        from PIL import Image

        height, width = self._target(image.height, image.width)
        if height * width > MAX_PIXELS:
            raise BadInput(
                f"resizing {image.width} x {image.height} pixels to {width} x {height} is over the"
                f" limit of {MAX_PIXELS}: crop the image first"
            )
        if (width, height) == image.size:
            return image
        return image.resize((width, height), Image.Resampling[self.interpolation.upper()])

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if self.size is not None:
            return self.size
        assert self.short_side is not None  # noqa: S101 - for the type checker
        if height <= width:
            return self.short_side, int(width * self.short_side / height)
        return int(height * self.short_side / width), self.short_side


@dataclass(frozen=True)
class CenterCrop:
    """Crop the middle: from row ``round((H - h) / 2)``, half to even; columns likewise.

    Attributes:
        size: (h, w) in pixels.
    """

    size: tuple[int, int]

    def __post_init__(self) -> None:
        """Check the fields."""
        _check_height_width("CenterCrop.size", self.size)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the middle of the image.

        Raises:
            BadInput: The image is smaller than the crop.
        """
        height, width = self.size
        if image.height < height or image.width < width:
            raise BadInput(
                f"cannot crop {width} x {height} pixels from {image.width} x {image.height}: resize"
                " the image first"
            )
        top = round((image.height - height) / 2)
        left = round((image.width - width) / 2)
        return image.crop((left, top, left + width, top + height))


@dataclass(frozen=True)
class Normalize:
    """Convert pixels into float32 values, with all arithmetic in float32 and in this order.

    ``t = float32(pixel) * float32(scale)``, then ``t = t - float32(mean[c])``, then
    ``t = t / float32(std[c])``, each rounded to float32.

    Attributes:
        scale: The factor for the pixels, such as 1/255.
        mean: A value for each channel, in the order of the mode.
        std: A value above 0 for each channel.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the fields."""
        if len(self.mean) != len(self.std) or not self.mean:
            raise BadInput("Normalize: expected as many std as mean, at least one")
        for name, values in (("scale", (self.scale,)), ("mean", self.mean), ("std", self.std)):
            for value in values:
                _check_float32(f"Normalize.{name}", value)
        if not np.float32(self.scale) or any(np.float32(value) <= 0 for value in self.std):
            raise BadInput("Normalize: expected scale other than 0 and std above 0 in float32")

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return uint8 [H, W, C] as float32 [H, W, C]."""
        values = pixels.astype(np.float32)
        values *= np.float32(self.scale)
        values -= np.array(self.mean, np.float32)
        values /= np.array(self.std, np.float32)
        return values


def _check_float32(name: str, value: Any) -> None:
    largest = float(np.finfo(np.float32).max)
    if type(value) not in {int, float} or not abs(value) <= largest:
        raise BadInput(f"{name}: expected a number that float32 holds, got {value!r}")


@dataclass(frozen=True)
class ToCHW:
    """Put the channels first: [H, W, C] becomes [C, H, W]."""

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the array with the last axis first, C-contiguous."""
        return np.ascontiguousarray(values.transpose(2, 0, 1))
