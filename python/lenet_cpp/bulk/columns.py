"""The columns of images in tables, however they are kept there."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp.data.arrays import fits, has_numbers_of, is_picture, numpy_dtype, stack_alike
from lenet_cpp.data.images.reading import ImageSource
from lenet_cpp.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = ("auto", "pixels", "encoded", "path")
_MISSING = "the value is missing (null)"
# An image file of exactly as many bytes as the model has inputs is told from pixels by these.
_FILE_BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"RIFF", b"II*\0", b"MM\0*")
_JPEG = (b"\xff\xd8\xff", b"\xff\xd9")
_BEGINS_A_FILE = np.isin(np.arange(256), np.frombuffer(b"\x89GRIMB\xff", np.uint8))  # by first byte


@dataclass
class Rows:
    """The rows of a column: tensors of the model's shape, images to prepare, and bad rows."""

    count: int
    # Blocks of rows: their numbers, and floats or uint8 pixels [M, channels, height, width].
    tensors: list[tuple[NDArray[np.intp], NDArray[Any]]] = field(default_factory=list)
    images: list[tuple[int, ImageSource]] = field(default_factory=list)  # for the preprocessing
    errors: dict[int, str] = field(default_factory=dict)  # what is wrong with a row


def read_column(
    column: Any, shape: tuple[int, ...], kind: str = "auto", dtype: str = "float32"
) -> Rows:
    """Sort the rows of a column by how they become inputs of a model.

    Args:
        column: A NumPy array or a list, Arrow's arrays (numbers in lists or tensors, binary,
            strings), or a pandas, Polars or Daft series.
        shape: The model's input shape, ``(N, channels, height, width)``; -1 for any size.
        kind: What bytes and strings are, as for :class:`lenet_cpp.BatchPredictor`.
        dtype: The element type of the model's input. Numbers for another one than float32 are
            taken as they are.

    Raises:
        BadInput: The column as a whole is none of these.
    """
    reader = _Reader(shape[1:], kind, numpy_dtype(dtype))
    if hasattr(column, "to_arrow"):  # Daft, Polars
        column = column.to_arrow()
    if type(column).__module__.partition(".")[0] == "pyarrow" or hasattr(column, "combine_chunks"):
        return reader.arrow(column)
    if hasattr(column, "to_numpy"):  # pandas
        column = column.to_numpy()
    if isinstance(column, np.ndarray) and column.ndim > 0:
        return reader.array(column)
    if isinstance(column, (str, bytes, np.ndarray)) or not hasattr(column, "__len__"):
        raise BadInput(f"expected a column of images, got {type(column).__name__}")
    return reader.each(column)


class _Reader:
    """The conversions for one model; each returns the rows of what it gets."""

    def __init__(self, item: tuple[int, ...], kind: str, dtype: np.dtype[Any]) -> None:
        self._item, self._kind, self._dtype = item, kind, dtype
        self._size = math.prod(item) if min(item) > 0 else -1  # unknown for images of any size

    def array(self, array: NDArray[Any]) -> Rows:
        """Read a NumPy array of any type; its first dimension counts the rows."""
        if array.dtype.kind in "iuf":
            return self._numbers(array)
        if array.dtype.kind == "S" and array.dtype.itemsize == self._size and array.ndim == 1:
            # NumPy drops the zeros at the end of such an element, but they are pixels here.
            pixels = np.frombuffer(np.ascontiguousarray(array), np.uint8)
            return self._pixels(pixels.reshape(len(array), self._size))
        if array.dtype.kind not in "SUO":
            raise BadInput(f"expected a column of images, got {array.dtype} values")
        return self.each(array.tolist() if array.dtype.kind in "SU" else list(array))

    def each(self, values: Sequence[Any]) -> Rows:
        """Read values of any kind one by one."""
        rows = Rows(len(values))
        arrays: dict[int, NDArray[Any]] = {}
        for number, value in enumerate(values):
            array = self._one(rows, number, value)
            if array is None:
                continue
            if array.dtype.kind in "iuf":
                arrays[number] = array
            else:
                rows.errors[number] = f"expected numbers, got {type(value).__name__}"
        for places, block in stack_alike(arrays):
            _merge(rows, self._numbers(block), places)
        return rows

    def _one(self, rows: Rows, number: int, value: Any) -> NDArray[Any] | None:
        """Return the array that a value is; list any other value in the rows."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            rows.errors[number] = _MISSING
        elif isinstance(value, (bytes, bytearray, memoryview)):
            return self._one_of_bytes(rows, number, bytes(value))
        elif not isinstance(value, (str, os.PathLike)):
            try:
                return np.asarray(value)
            except ValueError as error:
                rows.errors[number] = f"not an array: {error}"
        elif self._kind in {"auto", "path"}:
            rows.images.append((number, value))
        else:
            rows.errors[number] = f"expected bytes, got the text {str(value)[:40]!r}"
        return None

    def arrow(self, column: pa.Array | pa.ChunkedArray) -> Rows:
        """Read an array or chunked array of Arrow."""
        import pyarrow as pa

        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # more than one array can hold
            return self._arrow_chunks(column)
        if column.null_count:
            return self._arrow_with_nulls(column)
        if isinstance(column.type, pa.FixedShapeTensorType):
            return self.array(column.to_numpy_ndarray())
        return self._arrow_stored(_stored(column))

    def _arrow_stored(self, column: pa.Array) -> Rows:
        """Read an array of one of Arrow's own types, without nulls."""
        import pyarrow as pa

        if _is_binary(column.type):
            return self._arrow_bytes(column)
        if _is_tensors(column.type):
            return self._arrow_tensors(column)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            # Paths, which need not be UTF-8.
            return self.each([*map(os.fsdecode, column.cast(pa.large_binary()).to_pylist())])
        return self._arrow_lists(column)

    def _arrow_chunks(self, column: pa.ChunkedArray) -> Rows:
        """Read the chunks one after the other."""
        rows = Rows(0)
        for part in map(self.arrow, column.chunks):
            places = np.arange(rows.count, rows.count + part.count)
            rows.count += part.count
            _merge(rows, part, places)
        return rows

    def _arrow_with_nulls(self, column: pa.Array) -> Rows:
        """Read the values that are not null; the others are bad rows."""
        import pyarrow as pa

        valid = np.asarray(column.is_valid())
        missing = dict.fromkeys(np.flatnonzero(~valid).tolist(), _MISSING)
        rows = Rows(len(column), errors=missing)
        _merge(rows, self.arrow(column.filter(pa.array(valid))), np.flatnonzero(valid))
        return rows

    def _arrow_bytes(self, column: pa.Array) -> Rows:
        """Read pixels or image files."""
        pixels = self._pixels_of_arrow(column) if self._kind in {"auto", "pixels"} else None
        return self.each(column.to_pylist()) if pixels is None else self._pixels(pixels)

    def _arrow_tensors(self, column: pa.StructArray) -> Rows:
        """Read tensors of different shapes, as Arrow stores arrow.variable_shape_tensor."""
        values = map(np.asarray, column.field("data").to_pylist())
        shapes = column.field("shape").to_pylist()
        return self.each([*map(_shaped, values, shapes)])

    def _arrow_lists(self, column: pa.Array) -> Rows:
        """Read lists of numbers, of fixed or any length, nested or not."""
        import pyarrow as pa

        types, values, sizes = pa.types, column, [len(column)]
        while types.is_list(values.type) or types.is_large_list(values.type):
            lengths = np.diff(values.offsets.to_numpy())
            values = values.flatten()
            if len(lengths) == 0 or (lengths != lengths[0]).any() or values.null_count:
                return self.each(column.to_pylist())
            sizes.append(int(lengths[0]))
        while types.is_fixed_size_list(values.type):
            sizes.append(values.type.list_size)
            values = values.flatten()
        if values.null_count or not types.is_primitive(values.type) or len(sizes) == 1:
            return self.each(column.to_pylist())
        return self.array(values.to_numpy(zero_copy_only=False).reshape(sizes))

    def _pixels_of_arrow(self, column: pa.Array) -> NDArray[np.uint8] | None:
        """Return [N, size] without a copy when every row has that many bytes."""
        import pyarrow as pa

        count, first, buffers = len(column), column.offset, column.buffers()
        if pa.types.is_fixed_size_binary(column.type):
            begin, fits = first * self._size, column.type.byte_width == self._size
        else:
            wide = np.int64 if pa.types.is_large_binary(column.type) else np.int32
            offsets = np.frombuffer(buffers[1], wide)[first : first + count + 1]
            begin, fits = int(offsets[0]), bool((np.diff(offsets) == self._size).all())
        if not fits or count == 0 or buffers[-1] is None:
            return None
        end = begin + count * self._size
        return np.frombuffer(buffers[-1], np.uint8)[begin:end].reshape(count, self._size)

    def _pixels(self, pixels: NDArray[np.uint8]) -> Rows:
        """Read rows of as many bytes as the model has inputs."""
        if self._kind not in {"auto", "pixels"}:
            return self.each([row.tobytes() for row in pixels])
        if self._kind == "auto" and self._size > 0:
            suspects = np.flatnonzero(_BEGINS_A_FILE[pixels[:, 0]]).tolist()
            if any(_is_image_file(pixels[number].tobytes()) for number in suspects):
                return self.each([row.tobytes() for row in pixels])
        return self._numbers(pixels)

    def _one_of_bytes(self, rows: Rows, number: int, value: bytes) -> NDArray[np.uint8] | None:
        """Return the pixels that the bytes are, if they are; else list them in the rows."""
        kind = self._kind
        if kind == "auto":
            pixels = len(value) == self._size and not _is_image_file(value)
            kind = "pixels" if pixels else "encoded"
        if kind == "path":
            rows.images.append((number, os.fsdecode(value)))
        elif kind == "encoded":
            rows.images.append((number, value))
        elif len(value) != self._size:
            rows.errors[number] = f"{len(value)} bytes, expected {self._size} pixels"
        else:
            return np.frombuffer(value, np.uint8)
        return None

    def _numbers(self, array: NDArray[Any]) -> Rows:
        """Read [N, ...] of integers, which are pixels, or floats."""
        rows, places = Rows(len(array)), np.arange(len(array))
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:
            array = array.astype(np.float64)
        takes_integers = self._dtype.kind in "iu"
        if array.dtype != np.uint8 and (array.dtype.kind != "f" or takes_integers):
            to = self._dtype if takes_integers else np.dtype(np.uint8)
            good = has_numbers_of(array.reshape(len(array), -1), to).all(axis=1)
            why = "integers are pixels from 0 to 255, got others"
            if takes_integers:
                why = f"expected numbers of the model's {to}, got others"
            rows.errors.update(dict.fromkeys(places[~good].tolist(), why))
            places, array = places[good], array[good].astype(to)
        self._sort(rows, places, array)
        return rows

    def _sort(self, rows: Rows, places: NDArray[np.intp], array: NDArray[Any]) -> None:
        """Add rows [N, ...] of good numbers as tensors, pictures or errors, by their shape."""
        form = self._form(array.shape[1:])
        if form is not None:
            rows.tensors.append((places, array.reshape(len(array), *form)))
        elif array.dtype == np.uint8 and is_picture(array.shape[1:]):
            rows.images += zip(places.tolist(), array, strict=True)
        else:
            expected = "x".join("any" if size < 0 else str(size) for size in self._item)
            got = "x".join(map(str, array.shape[1:])) or "a number"
            why = f"expected {expected} values, got {got} of {array.dtype}"
            rows.errors.update(dict.fromkeys(places.tolist(), why))

    def _form(self, given: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the [channels, height, width] of such rows; None when they have another form."""
        forms = [given]
        if self._item[0] == 1:
            forms.append((1, *given))
            if given[-1:] == (1,):  # the channel may come last
                forms.append((1, *given[:-1]))
        if len(given) == 1 and given[0] == self._size:
            forms.append(self._item)
        return next((form for form in forms if fits(form, self._item)), None)


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    return bool(
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    )


def _is_tensors(kind: pa.DataType) -> bool:
    """Return whether values are tensors that each have a shape of their own."""
    import pyarrow as pa

    return pa.types.is_struct(kind) and {"data", "shape"} <= {field.name for field in kind}


def _stored(column: pa.Array) -> pa.Array:
    """Return an Arrow array without extension types, dictionaries and views."""
    import pyarrow as pa

    if isinstance(column.type, pa.BaseExtensionType):
        return _stored(column.storage)
    if pa.types.is_dictionary(column.type):
        return _stored(column.dictionary_decode())
    if pa.types.is_binary_view(column.type):
        return column.cast(pa.large_binary())
    if pa.types.is_string_view(column.type):
        return column.cast(pa.large_string())
    return column


def _merge(rows: Rows, block: Rows, places: NDArray[np.intp]) -> None:
    """Add a block whose rows are these of the column."""
    rows.tensors += [(places[numbers], values) for numbers, values in block.tensors]
    rows.images += [(int(places[number]), source) for number, source in block.images]
    rows.errors.update({int(places[number]): why for number, why in block.errors.items()})


def _is_image_file(value: bytes) -> bool:
    begins, ends = _JPEG
    jpeg = value.startswith(begins) and value.endswith(ends)
    bitmap = value[:2] == b"BM" and int.from_bytes(value[2:6], "little") == len(value)
    return jpeg or bitmap or value.startswith(_FILE_BEGINNINGS)


def _shaped(values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    return values.reshape(shape) if values.size == math.prod(shape) else values
