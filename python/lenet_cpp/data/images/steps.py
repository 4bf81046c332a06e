"""The steps of preprocessing: frozen dataclasses with the fields of ``preprocess.json``.

They are descriptions. C++ checks them when a :class:`~lenet_cpp.data.images.Pipeline` is made of
them, and computes them; ``docs/preprocessing.md`` has the exact arithmetic.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Resize:
    """Resize an image as Pillow's ``Image.resize`` or as ``cv2.resize`` does.

    Pillow averages all the pixels that it covers when it shrinks, OpenCV does not. With
    ``short_side`` the shorter side s becomes that and the longer side l in proportion. An image of
    that size stays unchanged.

    Attributes:
        short_side: Pixels; None when ``size`` is given.
        size: (height, width) in pixels; None when ``short_side`` is given.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``; of OpenCV also ``area``, of Pillow
            also ``lanczos``.
        library: ``pillow``, which None means too, or ``opencv``.
        rounding: Of the longer side: ``down``, which None means too and paddle.vision does:
            ``int(l * short_side / s)``; or ``half_even``, as PaddleClas:
            ``round(l * (short_side / s))``.
        fit: With ``size``: ``fill``, which None means too, gives the image exactly that size;
            ``inside`` and ``outside`` keep its proportions, so that it is as large as goes into
            that size, or as small as covers it, with sides rounded half to even; ``height`` gives
            it that height, and the width in proportion, rounded up, but at most that of the size.
    """

    short_side: int | None = None
    size: tuple[int, int] | None = None
    interpolation: str = "bilinear"
    library: str | None = None
    rounding: str | None = None
    fit: str | None = None


@dataclass(frozen=True)
class CenterCrop:
    """Crop the middle: from row (H - h) / 2; columns likewise.

    Attributes:
        size: (h, w) in pixels, at most the image's unless there is a ``fill``; None when ``share``
            is given.
        rounding: Of half a pixel: ``half_even``, which None means too and paddle.vision does, or
            ``down``, as PaddleClas.
        share: (h, w) as parts of the image's shorter side, above 0 and at most 1, rounded down.
        fill: The colour of the border that a smaller image gets, 0 to 255 for each channel, red
            first. None refuses such an image.
        border: Where a border of an odd number of pixels has the one more: ``after`` the image,
            which None means too, or ``before`` it.
    """

    size: tuple[int, int] | None = None
    rounding: str | None = None
    share: tuple[float, float] | None = None
    fill: tuple[int, ...] | None = None
    border: str | None = None


@dataclass(frozen=True)
class Digit:
    """Find the digit of a photo: light on dark, ``box`` pixels long in ``size`` x ``size``.

    ``cpp/src/images/digit/digit.md`` has the definition.

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
class Pad:
    """Put zeros behind the normalized values, to the right and below, as PaddleOCR does.

    Attributes:
        size: (height, width) of the result, at least those of the image.
    """

    size: tuple[int, int]


@dataclass(frozen=True)
class ToCHW:
    """Put the channels first: [H, W, C] becomes [C, H, W]. Models of [N, H, W, C] go without."""
