"""Convert a user's array into the batch that a model takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet_cpp.errors import BadInput

_FLOAT32 = np.dtype(np.float32)
_MAX_PIXEL = np.float32(255)
_MOST_EXACT = 1 << 24
_DLPACK_CPU = 1
_BFLOAT16 = "bfloat16"
_PIXELS_REMEDY = ": convert pixels from 0 to 255 with .astype('uint8')"


def as_batch(
    images: ArrayLike, shape: tuple[int, ...], dtype: str = "float32"
) -> NDArray[np.float32]:
    """Return ``images`` as a float32, C-contiguous array of the model's rank.

    An array that has this form already is returned without a copy.

    Args:
        images: float16, float32 or float64 values as the model takes them, or uint8 pixels from
            0 to 255, which are divided by 255 as Paddle's ToTensor does. Any strides and byte
            order, in whatever NumPy or DLPack (on the processor) reads. A missing batch dimension
            is added; so is a missing channel dimension when the model takes one channel.
        shape: The model's input shape, ``(N, channels, height, width)``; -1 for any size.
        dtype: The element type of the model's input. Pixels for another one than float32 are the
            numbers that it takes, and are not divided.

    Raises:
        BadInput: The element type or the shape is wrong; the message has the expected and the
            given one. Or float32 does not have a number that a model of another type takes.
    """
    batch = as_input(images, shape, dtype)
    if dtype != "float32":
        return _as_float32(batch)
    if batch.dtype == np.uint8:
        return batch.astype(np.float32) / _MAX_PIXEL
    return cast("NDArray[np.float32]", batch)


def as_own(images: ArrayLike, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return what :func:`as_batch` does, in the element type of the model's input.

    Raises:
        BadInput: As :func:`as_input`; a number is none of that type.
    """
    if dtype == "float32":
        return as_batch(images, shape)
    batch, own = as_input(images, shape, dtype), numpy_dtype(dtype)
    if own.kind != "f" and batch.dtype != own:
        batch = _of_type(batch.astype(np.float64), batch.shape, dtype)
    with np.errstate(all="ignore"):
        return batch.astype(own, copy=False)


def _as_float32(batch: NDArray[Any]) -> NDArray[np.float32]:
    """Return the same numbers in float32; floats are rounded, but no integers."""
    with np.errstate(all="ignore"):
        found = batch.astype(np.float32)
    if batch.dtype.kind in "iu" and (np.abs(found) > _MOST_EXACT).any():
        raise BadInput(
            f"the input holds an integer beyond {_MOST_EXACT}, the largest up to which float32 has"
            " them all"
        )
    return found


def as_input(images: ArrayLike, shape: tuple[int, ...], dtype: str = "float32") -> NDArray[Any]:
    """Return what :func:`as_batch` does, but pixels as they are: C++ divides them.

    Args:
        images: As for :func:`as_batch`.
        shape: The model's input shape.
        dtype: The element type of the model's input. For another one than float32 the array has
            that type, or is float32 or uint8 of which C++ takes the numbers; integers of any type
            may be given, and what would be another number in the model's type is refused.
    """
    array = (
        images if type(images) is np.ndarray else as_array(images, f"of shape {_describe(shape)}")
    )
    flags = array.flags
    usable = array.dtype is _FLOAT32 and flags.c_contiguous and flags.aligned
    batch: NDArray[Any] = array
    if not usable:
        same = dtype == "float32"
        batch = _contiguous(array, shape) if same else _of_type(array, shape, dtype)
    if batch.shape[1:] == shape[1:]:
        return batch
    return batch.reshape(_batch_shape(batch, shape))


def random_input(
    random: np.random.Generator, shape: Sequence[int], dtype: str = "float32"
) -> NDArray[Any]:
    """Return random numbers for a model's input: from 0 to 1, or of integers from 0 to 255."""
    own = numpy_dtype(dtype)
    if own.kind == "f":
        return random.random(shape, np.float32).astype(own, copy=False)
    return random.integers(0, 256, shape).astype(own)


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """Return NumPy's type for numbers of an input: float32 for bfloat16, which NumPy lacks."""
    return np.dtype("float32" if dtype == _BFLOAT16 else dtype)


def as_pixels(images: ArrayLike) -> NDArray[np.uint8]:
    """Return uint8 pixels [N, H, W, C], or [H, W, C] of one image, C-contiguous as [N, H, W, C].

    Raises:
        BadInput: The element type or the number of dimensions is wrong.
    """
    expected = "of uint8 pixels [N, height, width, channels] for the pipeline"
    array = as_array(images, expected)
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise BadInput(
            f"expected an array {expected}; got {array.dtype} of shape {_describe(array.shape)}"
        )
    return np.ascontiguousarray(array[None] if array.ndim == 3 else array)


def as_array(images: Any, expected: str) -> NDArray[np.generic]:
    """Return the array in what NumPy reads, or in a DLPack object on the processor.

    Raises:
        BadInput: It has none; the message has ``expected``, and what the object itself says.
    """
    if isinstance(images, (str, bytes)):
        raise BadInput(f"expected an array {expected}, got a string")
    if images is None:
        raise BadInput(f"expected an array {expected}, got None")
    if isinstance(images, Mapping):
        keys = ", ".join(map(repr, islice(images, 3))) or "no key"
        raise BadInput(f"expected an array {expected}, got a dict ({keys}): give one of its arrays")
    if isinstance(images, np.ma.MaskedArray):
        raise BadInput("masked arrays are not supported: choose values with images.filled(value)")
    try:
        if hasattr(images, "__array__") or not hasattr(images, "__dlpack__"):
            return np.asarray(images)
        device, _ = images.__dlpack_device__()
        if device == _DLPACK_CPU:
            return np.from_dlpack(images)
        reason = f"it is on another device (DLPack's {int(device)}): move it to the CPU"
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - the object is of any class, and raises what it likes
        reason = " ".join(str(error).split()) or type(error).__name__
    raise BadInput(f"expected an array {expected}: {reason}")


def _contiguous(
    images: NDArray[np.generic], shape: tuple[int, ...]
) -> NDArray[np.float32] | NDArray[np.uint8]:
    kind = images.dtype.kind
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images, dtype=np.uint8)
    if kind != "f" or images.dtype.itemsize > 8:
        raise BadInput(
            f"expected float16, float32 or float64 values, or uint8 pixels, of shape "
            f"{_describe(shape)}; got {images.dtype} of shape {_describe(images.shape)}"
            f"{_PIXELS_REMEDY if kind in 'iu' else ''}"
        )
    # Values that overflow become infinity, which the predictor refuses.
    with np.errstate(all="ignore"):
        return np.require(images, dtype=np.float32, requirements=["C", "A"])


def _of_type(images: NDArray[np.generic], shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return numbers for a model of another type than float32, none of them changed.

    Raises:
        BadInput: A number is none of the model's type, or these are no numbers.
    """
    own = numpy_dtype(dtype)
    if dtype == images.dtype.name == _BFLOAT16:  # of the package ml_dtypes
        images = images.astype(np.float32)
    given, real = images.dtype, own.kind == "f"
    takes = "iuf" if not real else "f"
    if given != np.uint8 and (given.kind not in takes or given.itemsize > 8):
        raise BadInput(
            f"expected {dtype} values of shape {_describe(shape)}; got {given} of shape"
            f" {_describe(images.shape)}"
        )
    if given in {np.uint8, np.float32}:  # of which C++ takes the numbers
        return np.require(images, requirements=["C", "A"])
    if real:
        # As for a model of float32: a float is rounded to the model's own type, and to no other.
        kept = np.float64 if own == np.float64 else np.float32
        with np.errstate(all="ignore"):
            return np.require(images, dtype=kept, requirements=["C", "A"])
    fits = has_numbers_of(images, own)
    if not fits.all():
        value = images[~fits].flat[0]
        raise BadInput(
            f"the input has the value {value}, which is no number of the model's {dtype}"
        )
    return np.require(images, dtype=own, requirements=["C", "A"])


def has_numbers_of(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Return of each number whether an integer type has it."""
    limits = np.iinfo(dtype)
    if values.dtype.kind != "f":
        # As Python's integers: NumPy would compare int64 with uint64 as floats.
        least, most = np.iinfo(values.dtype).min, np.iinfo(values.dtype).max
        above = values >= limits.min if least < limits.min else np.ones(values.shape, np.bool_)
        return above & (values <= limits.max) if most > limits.max else above
    with np.errstate(all="ignore"):  # of NaN
        whole = values == np.trunc(values)
        found: NDArray[np.bool_] = whole & (values >= limits.min) & (values < float(limits.max) + 1)
    return found


def _batch_shape(images: NDArray[Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    item, given = shape[1:], images.shape
    forms = [given, (1, *given)]
    if len(item) == 3 and item[0] == 1:
        forms += [(1, 1, *given), (*given[:1], 1, *given[1:])]
    for form in forms:
        if fits(form[1:], item):
            return form
    remedy = rearranging(given, item)
    what = (
        "pictures of other sizes are prepared by lenet_cpp.classify (digits), Classifier, or"
        " InferenceEngine.preprocess"
    )
    if remedy:
        what = f"convert it with {remedy}"
    raise BadInput(f"expected shape {_describe(shape)}, got {_describe(given)}: {what}")


def rearranging(given: tuple[int, ...], item: tuple[int, ...]) -> str:
    """Return the call that makes images of the model's shape of an array; "" if none does.

    Args:
        given: The shape of the array: one image or several, whose channels stand at another place,
            or whose values stand in one row.
        item: The shape of an image as the model takes it, with -1 for any size.
    """
    if len(item) == 3 and len(given) in {3, 4}:
        *before, a, b, c = range(len(given))
        for axes in ((c, a, b), (b, c, a)):
            if fits(tuple(given[axis] for axis in axes), item):
                return f".transpose({', '.join(map(str, (*before, *axes)))})"
    size = math.prod(item)
    if size > 0 and given and len(given) <= 2 and given[-1] == size:
        return f".reshape({', '.join(map(str, (-1, *item)))})"
    return ""


def fits(given: tuple[int, ...], item: tuple[int, ...]) -> bool:
    """Return whether a model that takes images of a shape, with -1 for any size, takes this one."""
    return len(given) == len(item) and all(
        size == found or size < 0 < found for size, found in zip(item, given, strict=True)
    )


def stack_alike(
    arrays: Mapping[int, NDArray[Any]],
) -> Iterator[tuple[NDArray[np.intp], NDArray[Any]]]:
    """Yield the arrays of each shape and element type as one array, with their numbers.

    Args:
        arrays: Arrays of any shapes, by numbers such as those of rows.
    """
    alike: dict[tuple[tuple[int, ...], np.dtype[Any]], list[int]] = {}
    for number, array in arrays.items():
        alike.setdefault((array.shape, array.dtype), []).append(number)
    for numbers in alike.values():
        yield np.array(numbers, np.intp), np.stack([arrays[number] for number in numbers])


def is_picture(shape: tuple[int, ...]) -> bool:
    """Return whether pixels of this shape are a picture: [H, W], or [H, W, C] of 1, 3 or 4."""
    return len(shape) == 2 or (len(shape) == 3 and shape[2] in {1, 3, 4})


def _describe(shape: tuple[int, ...]) -> str:
    free = "NCHW" if len(shape) == 4 else "N" * len(shape)
    sizes = (n if size < 0 else str(size) for n, size in zip(free, shape, strict=True))
    return f"[{', '.join(sizes)}]"
