"""The steps of preprocessing: frozen dataclasses with the fields of ``preprocess.json``.

They are descriptions. C++ checks them when a :class:`~lenet_cpp.data.images.Pipeline` is made of
them, and computes them; ``docs/preprocessing.md`` has the exact arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass


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


@dataclass(frozen=True)
class CenterCrop:
    """Crop the middle: from row ``round((H - h) / 2)``, half to even; columns likewise.

    Attributes:
        size: (h, w) in pixels, at most the image's.
    """

    size: tuple[int, int]


@dataclass(frozen=True)
class Digit:
    """Find the digit of a photo: light on dark, ``box`` pixels long in ``size`` x ``size``.

    ``cpp/src/images/digit.md`` has the definition.

    Attributes:
        size: Height and width of the result, in pixels.
        box: The longer side of the digit in it; less than ``size``.
    """

    size: int = 28
    box: int = 20


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


@dataclass(frozen=True)
class ToCHW:
    """Put the channels first: [H, W, C] becomes [C, H, W]."""
