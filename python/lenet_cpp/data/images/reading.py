"""Decode an image file of any kind into 8-bit grey or RGB."""

from __future__ import annotations

import io
import os
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ForwardRef, TypeAlias, TypeGuard, Union

import numpy as np
from numpy.typing import NDArray

from lenet_cpp import _core
from lenet_cpp._base.files import hint_of_missing
from lenet_cpp._base.lazy import LazyModule
from lenet_cpp._base.memory import memory_errors
from lenet_cpp._base.optional import require
from lenet_cpp.data.arrays import as_array, is_picture
from lenet_cpp.data.images.containers import essential_parts, is_jpeg_or_png
from lenet_cpp.errors import BadInput, FileNotFound, Unsupported

if TYPE_CHECKING:
    from PIL import Image

    PillowImage: TypeAlias = Image.Image
else:
    Image = LazyModule("PIL.Image")
    PillowImage = ForwardRef("Image.Image", module=__name__)

ImageSource: TypeAlias = Union[  # noqa: UP007 - Python 3.10 has no | for what it reads later
    str, os.PathLike[str], bytes, bytearray, PillowImage, NDArray[np.uint8]
]

MAX_PIXELS = 89_478_485
"""The largest number of pixels, 256 MiB of RGB: Pillow's limit for decompression bombs."""

# In the order of the attempts. None of them starts another program or renders a page.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_NAMES = "PNG, JPEG, BMP, GIF, TIFF, WebP, PNM, HEIC or AVIF"
_ALMOST_WHITE = 240  # a picture with no darker colours would be invisible on white
_RESAVE = "save it anew as PNG or JPEG"
PREFIX = 64
"""So many of its first bytes tell the kind of a file."""


def is_image_source(value: Any) -> TypeGuard[ImageSource]:
    """Return whether ``value`` is a path, bytes or a Pillow image, but not an array."""
    if isinstance(value, (str, os.PathLike, bytes, bytearray)):
        return True
    # A Pillow image exists only when Pillow was imported.
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def is_array(source: Any) -> bool:
    """Return whether ``source`` is an array, and no Pillow image."""
    if is_image_source(source):
        return False
    return hasattr(source, "__array__") or hasattr(source, "__dlpack__")


def describe_source(source: ImageSource) -> str:
    """Return the name of an image in errors: its path, or ``the image`` without one."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return str(getattr(source, "filename", "") or "the image")


@memory_errors("reading an image")
def read_image(source: ImageSource, mode: str, *, depth: int = 16) -> Image.Image:
    """Return an image as 8-bit grey or RGB, upright and opaque.

    - The EXIF orientation is applied.
    - Transparency (an alpha channel, a palette or a transparent colour) is drawn over white: each
      channel becomes (value * alpha + 255 * (255 - alpha)) / 255, rounded to the nearest. It is
      drawn over black, (value * alpha) / 255, when white would hide it: the result over white has
      no value below 240, and the alpha of all pixels is above 0 and below 127.5 on average.
    - 16-bit samples become their high byte, ``value >> 8``, or ``value >> (depth - 8)``.
    - RGB becomes grey by (19595 R + 38470 G + 7471 B + 32768) >> 16; grey becomes RGB by
      repetition. Pillow converts CMYK and other modes, without colour profiles.
    - An animated file gives its first frame, an animated Pillow image its current one.

    Thread-safety: may be called from any thread; a Pillow image by one thread at a time.

    Args:
        source: A PNG, JPEG, BMP, GIF, TIFF, WebP, PNM, HEIC or AVIF file; the bytes of one; a
            Pillow image, which is not changed; or uint8 pixels, grey [H, W] or [H, W, 1], RGB
            [H, W, 3] or RGBA [H, W, 4].
        mode: ``L`` or ``RGB``.
        depth: The bits that 16-bit samples of PNG and TIFF have: 10, 12, 14 or 16. Colours and
            their transparent one have lost the lower 8 in a Pillow image that was loaded before.

    Warns:
        UserWarning: No sample of a 16-bit PNG or TIFF is above 4,095, and ``depth`` is 16.

    Raises:
        FileNotFound: The file does not exist or cannot be read.
        BadInput: The file is not an image, is truncated or damaged, has more than
            :data:`MAX_PIXELS` pixels or too many JPEG scans, also for its number of pixels
            (checked before decoding), or has samples whose white is not known (float, 32-bit), or
            a sample has more bits than ``depth``.
        Unsupported: The picture is 16-bit colour, of which Pillow reads the high bytes only, and
            ``depth`` is not 16; or it is a HEIC or AVIF, and what reads it is not installed.
        BackendFailure: Memory ran out.
    """
    if mode not in {"L", "RGB"}:
        raise BadInput(f"mode: expected L or RGB, got {mode!r}")
    if isinstance(source, (str, os.PathLike)):
        with open_image_file(source) as file:
            return _decode(_open(file, str(source)), mode, str(source), depth, from_file=True)
    name = describe_source(source)
    if isinstance(source, (bytes, bytearray)):
        return _decode(_open(io.BytesIO(source), name), mode, name, depth, from_file=True)
    if is_array(source):
        pixels = as_pixels(source)
        picture = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        return _decode(Image.fromarray(np.ascontiguousarray(picture)), mode, name)
    if not isinstance(source, Image.Image):
        raise BadInput(
            "expected a path, the bytes of an image file, a Pillow image or an array of uint8"
            f" pixels, got {type(source).__name__}"
        )
    _check_before_load(source, name)
    return _decode(source, mode, name, depth)


@contextmanager
def open_image_file(source: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open an image file for reading.

    Raises:
        FileNotFound: It does not exist or cannot be read, also within the block.
        BadInput: It is not a regular file.
    """
    path = Path(source)
    try:
        if path.is_dir():
            raise BadInput(f"{path} is a folder: name an image in it")
        if path.exists() and not path.is_file():
            raise BadInput(f"{path} is not a regular file: name an image file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        hint = hint_of_missing(path) if isinstance(error, FileNotFoundError) else ""
        raise FileNotFound(f"cannot read {path}: {hint or error.strerror}") from error
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise FileNotFound(f"cannot read {str(path)!r}: {error}") from error


def as_pixels(source: Any) -> NDArray[np.uint8]:
    """Return an array of pixels, NumPy's or another library's, as uint8 [H, W, C].

    Raises:
        BadInput: It is no picture, or empty.
    """
    pixels: NDArray[Any] = as_array(source, "of uint8 pixels")
    shape = pixels.shape
    if pixels.dtype != np.uint8 or not is_picture(shape):
        raise BadInput(
            f"an array of pixels is uint8 from 0 to 255, [H, W], [H, W, 1], [H, W, 3] or [H, W, 4];"
            f" got {pixels.dtype} of shape {list(shape)}: convert it, one picture at a time"
        )
    if pixels.size == 0:
        raise BadInput(f"the image has {shape[1]} x {shape[0]} pixels: it must have at least one")
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]


def _check_before_load(image: Image.Image, name: str) -> None:
    """Refuse what would stall, of a Pillow image whose pixels are still in its file."""
    file, tiles = getattr(image, "fp", None), getattr(image, "tile", None)
    if file is None or not tiles or tiles[0][0] != "jpeg" or image.format == "TIFF":
        return
    try:
        file.seek(tiles[0][2])
        content = file.read()
    except (OSError, ValueError) as error:  # a file that was closed
        raise _damaged(name, error) from error
    if is_jpeg_or_png(content):
        essential_parts(content, name, MAX_PIXELS)


def _open(file: IO[bytes], name: str) -> Image.Image:
    """Read the header as ``Image.open`` does, which would warn of a bomb before we can look."""
    prefix = file.read(PREFIX)
    if not prefix:
        raise BadInput(f"{name} is empty (0 bytes): save or copy it anew")
    if is_jpeg_or_png(prefix):
        file = io.BytesIO(essential_parts(prefix + file.read(), name, MAX_PIXELS))
    Image.preinit()
    if not set(_FORMATS) <= Image.OPEN.keys():
        Image.init()
    if (factory := _find_heif(prefix, name)) is not None:
        return _open_as(factory, file, name)
    for kind in _FORMATS:
        if kind not in Image.OPEN:  # this Pillow was built without it
            continue
        factory, accept = Image.OPEN[kind]
        try:
            if accept is not None and accept(prefix) is not True:
                continue
        except Exception as error:  # parsers raise anything on damaged bytes
            raise _damaged(name, error) from error
        return _open_as(factory, file, name)
    raise BadInput(f"{name} is not an image that can be read, which is {_NAMES}: {_RESAVE}")


def _open_as(
    factory: Callable[[IO[bytes], str], Image.Image], file: IO[bytes], name: str
) -> Image.Image:
    """Read the header by a class of one format."""
    file.seek(0)
    try:
        return factory(file, name)
    except MemoryError:
        raise
    except Exception as error:  # parsers raise anything on damaged bytes
        raise _damaged(name, error) from error


_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})


def _find_heif(prefix: bytes, name: str) -> Callable[[IO[bytes], str], Image.Image] | None:
    """Return what opens a HEIC or AVIF file, which begin alike; None for any other file.

    Args:
        prefix: The file's first bytes, with the brands that it names.
        name: The image's name in errors.

    Raises:
        Unsupported: What reads it is not installed.
    """
    if prefix[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(prefix[:4], "big"), len(prefix))
    brands = {prefix[8:12], *(prefix[at : at + 4] for at in range(16, end, 4))}
    if brands & _AVIF_BRANDS:
        known = Image.OPEN.get("AVIF")
        if known is None or known[1] is None or known[1](prefix) is not True:
            raise Unsupported(
                f"{name} is an AVIF, which needs Pillow 11.3 or later: pip install 'pillow>=11.3',"
                f" or {_RESAVE}"
            )
        return known[0]
    if not brands & _HEIC_BRANDS:  # such as a film
        return None
    try:
        require("pillow_heif", extra="heif")
    except Unsupported as error:
        raise Unsupported(f"{name} is a HEIC: {error}; or {_RESAVE}") from error
    factory: Callable[[IO[bytes], str], Image.Image] = import_module("pillow_heif").HeifImageFile
    return factory


_DEPTHS = (10, 12, 14, 16)
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""Of an orientation the ``Transpose`` of Pillow that makes an image upright."""


def _decode(
    image: Image.Image, mode: str, name: str, depth: int = 16, *, from_file: bool = False
) -> Image.Image:
    """Load an opened image, and return it as :func:`read_image` does."""
    _check_size(image, name)
    if depth not in _DEPTHS:
        raise BadInput(f"depth is {depth}; expected 10, 12, 14 or 16")
    wide_colours = _has_wide_colours(image)
    loaded = _load(image, name, keep_key=wide_colours and depth == 16)
    high_byte = _has_high_byte(loaded)
    if wide_colours and depth != 16 and not high_byte:
        raise Unsupported(
            f"{name} has 16-bit colours or transparency, of which Pillow reads the upper 8 bits"
            f' only: "depth": {depth} needs grey, or lenet_classify'
        )
    upright = _upright(loaded, from_file=from_file)
    has_depth = high_byte and loaded.format != "PPM"
    if high_byte:
        upright = _high_byte(upright, name, depth if has_depth else 16)
    if depth == 16 and (has_depth or wide_colours):
        _warn_of_dark(upright, name)
    return _as_mode(upright, mode, name)


def _check_size(image: Image.Image, name: str) -> None:
    """Refuse an image of no pixels, or of so many that they would fill the memory."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadInput(
            f"{name} has {width} x {height} pixels, over the limit of {MAX_PIXELS}: scale it down"
        )
    if width * height == 0:
        raise BadInput(f"{name} has {width} x {height} pixels: it must have at least one")


def _has_wide_colours(image: Image.Image) -> bool:
    """Return whether colours of an image that is not loaded yet have 16 bits.

    Pillow keeps the upper 8 bits of these, and forgets that there were more once it loads them.
    """
    return image.format in {"PNG", "TIFF"} and ";16" in str(getattr(image, "tile", ""))


def _load(image: Image.Image, name: str, *, keep_key: bool) -> Image.Image:
    """Decode the pixels.

    With ``keep_key`` they are 16-bit colours, whose transparent one is compared in all bits, while
    Pillow compares 8 of them.
    """
    key = image.info.get("transparency")
    try:
        # An animation that is at another frame has other pixels than its file begins with.
        if keep_key and isinstance(key, tuple) and image.tell() == 0:
            image = _with_alpha(image, key)
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything on damaged bytes
        raise _damaged(name, error) from error
    return image


def _has_high_byte(image: Image.Image) -> bool:
    """Return whether samples have 16 bits, of which the upper 8 are to be taken."""
    # Pillow reads 16-bit PNM, and 16-bit PNG in older versions, as 32-bit integers.
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in {"PPM", "PNG"})


def _with_alpha(image: Any, key: tuple[int, ...]) -> Image.Image:
    """Return a PNG's 16-bit colours, of which those that are the key in all bits are transparent.

    Pillow loads the lower bytes of samples where it is told that they come first.
    """
    at = image.fp.tell()
    image.fp.seek(0)
    lower = type(image)(io.BytesIO(image.fp.read()))
    image.fp.seek(at)
    lower.tile = [(*lower.tile[0][:3], "RGB;16L")]
    same = np.asarray(lower) == [sample & 255 for sample in key]
    same &= np.asarray(image) == [sample >> 8 for sample in key]
    copy: Image.Image = image.copy()
    copy.putalpha(Image.fromarray(np.where(same.all(axis=2), np.uint8(0), np.uint8(255))))
    return copy


def _damaged(name: str, error: Exception) -> BadInput:
    detail = " ".join(str(error).split()) or type(error).__name__
    return BadInput(f"{name} is truncated or damaged ({detail}): copy or save it anew")


def _upright(image: Image.Image, *, from_file: bool) -> Image.Image:
    from PIL import ExifTags, ImageOps

    # As in C++. Pillow might read every value, of which each may be all of the data.
    exif = image.info.pop("exif", None) if from_file else None
    if isinstance(exif, bytes) and (orientation := _core.exif_orientation(exif)):
        method = _UPRIGHT.get(orientation)
        return image if method is None else image.transpose(Image.Transpose[method])
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image  # exif_transpose would copy it
        return ImageOps.exif_transpose(image)
    # Warning: Pillow warns of damaged EXIF data, which the user may have made an error.
    except (LookupError, SyntaxError, TypeError, ValueError, OSError, struct.error, Warning):
        return image  # the pixels are whole


def _as_mode(image: Image.Image, mode: str, name: str) -> Image.Image:
    if image.mode in {"F", "I"}:
        kind = "float" if image.mode == "F" else "32-bit integer"
        raise BadInput(
            f"{name} has {kind} samples, whose white is not known: save it with 8 or 16 bits"
        )
    if image.mode in {"P", "PA"} and image.palette is None:
        raise BadInput(f"{name} is damaged (its palette is missing): {_RESAVE}")
    try:
        if image.has_transparency_data:
            image = _composed(image.convert("RGBA"))
        return image.convert(mode)  # a copy: the image may be the caller's
    except (ValueError, OSError) as error:
        raise BadInput(f"{name} has pixels of kind {image.mode} ({error}): {_RESAVE}") from error


def _composed(layered: Image.Image) -> Image.Image:
    def over(colour: str) -> Image.Image:
        image = Image.new("RGB", layered.size, colour)
        image.paste(layered, mask=layered)
        return image

    image = over("white")
    alpha = np.asarray(layered.getchannel("A"))
    blank = int(np.asarray(image).min()) >= _ALMOST_WHITE
    return over("black") if blank and 0 < 2 * int(alpha.sum()) < 255 * alpha.size else image


def warn_of_dark(name: str) -> None:
    """Warn that a 16-bit picture has no bright sample."""
    warnings.warn(f"{name}: {_core.DARK_NOTE}", stacklevel=3)


def _warn_of_dark(image: Image.Image, name: str) -> None:
    samples = np.asarray(image).reshape(image.height, image.width, -1)
    colours = samples[..., : 3 if samples.shape[2] >= 3 else 1]
    if int(colours.max()) <= 4095 >> 8:
        warn_of_dark(name)


def _high_byte(image: Image.Image, name: str, depth: int) -> Image.Image:
    samples = np.asarray(image)
    if (largest := int(samples.max())) >> depth:
        raise BadInput(
            f"{name} has a sample of {largest}, which needs more than the {depth} bits of"
            ' "depth" in its preprocess.json'
        )
    grey = (samples >> (depth - 8)).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = np.where(samples == transparent, 0, 255).astype(np.uint8)
        return Image.fromarray(np.dstack([grey, alpha]))
    return Image.fromarray(grey)
