"""The columns of tables: images, however they are kept there, and what a model makes of them."""

import math
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_cpp.data.arrays import fits, has_numbers_of, is_picture, numpy_dtype
from lenet_cpp.data.images.reading import ImageSource
from lenet_cpp.errors import BadInput, Unsupported
from lenet_cpp.inference.model import Model
from lenet_cpp.inference.outputs import normalized
from lenet_cpp.inference.results import NOTHING, Finding

KINDS = ("auto", "pixels", "encoded", "path")
OUTPUTS = (
    *("class_id", "label", "probability", "score"),
    *("class_ids", "labels", "probabilities", "logits"),
)
"""What :class:`lenet_cpp.BatchPredictor` can add to a table, each as a column."""

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
        same: dict[tuple[Any, ...], dict[int, NDArray[Any]]] = {}
        for number, value in enumerate(values):
            array: NDArray[Any] | None = None
            if value is None or (isinstance(value, float) and math.isnan(value)):
                rows.errors[number] = _MISSING
            elif isinstance(value, (bytes, bytearray, memoryview)):
                array = self._one_of_bytes(rows, number, bytes(value))
            elif not isinstance(value, (str, os.PathLike)):
                try:
                    array = np.asarray(value)
                except ValueError as error:
                    rows.errors[number] = f"not an array: {error}"
            elif self._kind in {"auto", "path"}:
                rows.images.append((number, value))
            else:
                rows.errors[number] = f"expected bytes, got the text {str(value)[:40]!r}"
            if array is not None and array.dtype.kind not in "iuf":
                rows.errors[number] = f"expected numbers, got {type(value).__name__}"
            elif array is not None:
                same.setdefault((array.dtype, array.shape), {})[number] = array
        for group in same.values():
            block = self._numbers(np.stack([*group.values()]))
            _merge(rows, block, np.array([*group], np.intp))
        return rows

    def arrow(self, column: Any) -> Rows:
        """Read an array or chunked array of Arrow."""
        import pyarrow as pa

        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
            if isinstance(column, pa.ChunkedArray):  # more than one array can hold
                rows = Rows(0)
                for part in map(self.arrow, column.chunks):
                    places = np.arange(rows.count, rows.count + part.count)
                    rows.count += part.count
                    _merge(rows, part, places)
                return rows
        if column.null_count:
            valid = np.asarray(column.is_valid())
            missing = dict.fromkeys(np.flatnonzero(~valid).tolist(), _MISSING)
            rows = Rows(len(column), errors=missing)
            _merge(rows, self.arrow(column.filter(pa.array(valid))), np.flatnonzero(valid))
            return rows
        if isinstance(column.type, pa.FixedShapeTensorType):
            return self.array(column.to_numpy_ndarray())
        column = _stored(column)
        types, kind = pa.types, column.type
        if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
            pixels = self._pixels_of_arrow(column) if self._kind in {"auto", "pixels"} else None
            return self.each(column.to_pylist()) if pixels is None else self._pixels(pixels)
        if types.is_struct(kind) and {"data", "shape"} <= {each.name for each in kind}:
            # Tensors of different shapes, by Arrow's definition of arrow.variable_shape_tensor.
            values = (np.asarray(each) for each in column.field("data").to_pylist())
            shapes = column.field("shape").to_pylist()
            return self.each([_shaped(*each) for each in zip(values, shapes, strict=True)])
        return self._arrow_lists(column)

    def _arrow_lists(self, column: Any) -> Rows:
        """Read lists of numbers, of fixed or any length, nested or not; or a text column."""
        import pyarrow as pa

        types, values, sizes = pa.types, column, [len(column)]
        if any(is_text(column.type) for is_text in (types.is_string, types.is_large_string)):
            # Paths, which need not be UTF-8.
            return self.each([*map(os.fsdecode, column.cast(pa.large_binary()).to_pylist())])
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

    def _pixels_of_arrow(self, column: Any) -> NDArray[np.uint8] | None:
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
            # Of a model of integers its own type; else integers are pixels.
            to = self._dtype if takes_integers else np.dtype(np.uint8)
            why = f"expected numbers of the model's {to}, got others"
            if not takes_integers:
                why = "integers are pixels from 0 to 255, got others"
            wrong = ~has_numbers_of(array.reshape(len(array), -1), to).all(axis=1)
            rows.errors.update(dict.fromkeys(np.flatnonzero(wrong).tolist(), why))
            places = np.flatnonzero(~wrong)
            array = array[places].astype(to)
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
        return rows

    def _form(self, given: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the [channels, height, width] of such rows; None when they have another form."""
        forms = [given]
        if self._item[0] == 1:
            forms += [(1, *given), (1, *given[:-1])] if given[-1:] == (1,) else [(1, *given)]
        if len(given) == 1 and given[0] == self._size:
            forms.append(self._item)
        return next((form for form in forms if fits(form, self._item)), None)


def _stored(column: Any) -> Any:
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


class OutputColumns(NamedTuple):
    """What a model's outputs mean."""

    model: Model
    rule: dict[str, Any]  # the post-processing
    labels: tuple[str, ...]
    threshold: float | None

    @property
    def finds_several(self) -> bool:
        """Whether an image may have several classes, or attributes."""
        rule, role = self.rule["type"], self.model.output_role
        if role in {"multi_hot", "class_numbers"}:
            return role == "multi_hot"
        return rule != "ThreshOutput" and (rule != "Topk" or self.threshold is not None)

    def of(
        self, outputs: Sequence[NDArray[np.float32]], errors: dict[int, str], asked: Collection[str]
    ) -> dict[str, NDArray[Any]]:
        """Return the columns that are asked for, and maybe others; bad rows have class -1.

        Args:
            outputs: What the plan of the model wants, [rows, ...] each.
            errors: Why rows are bad, by their numbers.
            asked: The names of columns.

        Raises:
            Unsupported: The model gives no such values, or several answers about an image.
        """
        wanted, model = set(asked), self.model
        values = _rows_of(outputs[0])
        if wanted <= {"logits"}:
            return {"logits": values}
        self._require(wanted)
        by_place = model.plan.is_plain and self.rule["type"] != "ThreshOutput"
        if by_place and not self.finds_several and not wanted & {"class_ids", "labels"}:
            return self._by_place(values, errors, wanted)
        return self._by_findings(outputs, errors, wanted)

    def _require(self, wanted: set[str]) -> None:
        model, plan = self.model, self.model.plan
        if plan.gives_several:
            names = [model.outputs[number].name for number in plan.wanted]
            raise Unsupported(
                f"{model.program} gives several answers about an image, {names}, and a table has"
                " one for each row: choose one by output_name, or ask for 'logits'"
            )
        if model.output_role in {"class_numbers", "multi_hot"} and wanted & {
            "score",
            "probability",
            "probabilities",
        }:
            raise Unsupported(
                f"{model.program} gives the numbers of classes alone, without scores: ask for"
                " 'class_id' or 'label'"
            )
        if "probabilities" in wanted and not plan.is_plain:
            raise Unsupported(
                f"{model.program} gives the values of some classes alone: ask for 'probability'"
            )
        known = model.value_name == "probability" or model.output_role == "logits"
        if wanted & {"probability", "probabilities"} and not known:
            raise Unsupported(
                f"{model.program} ends in operators that do not tell what its outputs are,"
                " so that there are no probabilities: ask for 'score' or 'logits'"
            )

    def _by_place(
        self, values: NDArray[np.float32], errors: dict[int, str], wanted: set[str]
    ) -> dict[str, NDArray[Any]]:
        """Return the greatest value of each row, and its place as the class."""
        bad = np.array(sorted(errors), np.intp)
        class_ids = np.zeros(0, np.int32)
        if values.size:
            class_ids = values.argmax(axis=1).astype(np.int32)
        class_ids[bad] = -1
        found: dict[str, NDArray[Any]] = {"class_id": class_ids, "logits": values}
        if "score" in wanted:
            found["score"] = values.max(axis=1, initial=-np.inf)
            found["score"][bad] = np.nan
        if wanted & {"probability", "probabilities"}:
            found |= self._shares(values, bad)
        labels = self.labels
        if "label" in wanted and labels and len(labels) != values.shape[1]:
            raise BadInput(f"{len(labels)} labels for {values.shape[1]} classes")
        found["label"] = np.array([*map(dict(enumerate(labels)).get, class_ids.tolist())], object)
        return found

    def _shares(
        self, values: NDArray[np.float32], bad: NDArray[np.intp]
    ) -> dict[str, NDArray[Any]]:
        shares = np.array(normalized(values, self.model.output_role))
        shares[bad] = np.nan
        return {"probabilities": shares, "probability": shares.max(axis=1, initial=0)}

    def _by_findings(
        self, outputs: Sequence[NDArray[np.float32]], errors: dict[int, str], wanted: set[str]
    ) -> dict[str, NDArray[Any]]:
        """Return what the description, or the program itself, finds in each row."""
        rows = len(outputs[0])
        good = [row for row in range(rows) if row not in errors]
        findings: list[Finding] = [NOTHING] * rows
        if good:
            sound = tuple(np.ascontiguousarray(output[good]) for output in outputs)
            overrides = replace(self.model.overrides, labels=self.labels or None)
            model = self.model.overridden(overrides)
            for row, finding in zip(
                good, model.interpret(sound, None, self.threshold), strict=True
            ):
                findings[row] = finding
        values = _rows_of(outputs[0])
        found: dict[str, NDArray[Any]] = {"logits": values, **_lists(findings, errors)}
        found |= _firsts(findings)
        if self.model.plan.is_plain and self.finds_several:
            # The first column is the greatest value, also below the threshold.
            found |= self._by_place(values, errors, wanted)
        elif self.model.plan.is_plain:
            found["score"] = values.max(axis=1, initial=-np.inf)
            if "probabilities" in wanted:
                shares = self._shares(values, np.array(sorted(errors), np.intp))
                found["probabilities"] = shares["probabilities"]
        return found


def _rows_of(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.reshape(len(values), math.prod(values.shape[1:]))


def _firsts(findings: list[Finding]) -> dict[str, NDArray[Any]]:
    """Return the first class of each row; -1, None and NaN where there is none."""
    firsts = [finding.predictions[:1] for finding in findings]
    values = np.array([first[0].value if first else np.nan for first in firsts], np.float32)
    return {
        "class_id": np.array([first[0].class_id if first else -1 for first in firsts], np.int32),
        "label": np.array([first[0].label if first else None for first in firsts], object),
        "probability": values,
        "score": values,
    }


def _lists(findings: list[Finding], errors: dict[int, str]) -> dict[str, NDArray[Any]]:
    """Return what was found in each row as lists; None in bad rows."""
    lists = {name: np.full(len(findings), None, dtype=object) for name in ("class_ids", "labels")}
    for row, (predictions, attributes, flags, _) in enumerate(findings):
        if row in errors:
            continue
        above = [number for number, flag in enumerate(flags) if flag]
        lists["class_ids"][row] = [one.class_id for one in predictions] or above
        lists["labels"][row] = [*attributes] or [
            str(one.class_id) if one.label is None else one.label for one in predictions
        ]
    return lists
