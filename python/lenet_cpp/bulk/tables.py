"""The inputs of bulk prediction, cut into parts, and the files of its results."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.files import atomic_path, reading
from lenet_cpp._base.optional import require
from lenet_cpp.bulk.table_names import tables_of
from lenet_cpp.data.images import find_images
from lenet_cpp.data.mnist import read_idx
from lenet_cpp.errors import BadInput, FileNotFound

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

SUFFIXES = (".parquet", ".csv", ".jsonl")

# A part is what is lost when a process is killed, and what one process takes at a time.
_FILES_OF_A_PART = 1024
_ROWS_OF_A_PART = 16_384
_MAX_ROWS_OF_A_PART = 65_536  # of a larger row group each part decodes what comes before it
# Result columns and their types in Arrow, in the order of the file.
_TYPES = {
    "class_id": "int32",
    "label": "string",
    "probability": "float",
    "score": "float",
    "class_ids": "class_ids",
    "labels": "labels",
    "probabilities": "list",
    "logits": "list",
    "error": "string",
    "model": "string",
}
RESULTS = ("file", "row", *_TYPES)


@dataclass(frozen=True)
class Part:
    """Some rows of the input, which one process predicts at a time."""

    number: int  # its place among the parts
    files: tuple[str, ...] = ()  # of images, one for each row; empty for rows of a table
    table: str = ""  # a .npy, IDX or .parquet file
    begin: int = 0  # the first row in it
    end: int = 0  # the row after the last one
    groups: tuple[int, ...] = ()  # of a .parquet file, those that hold the rows
    skip: int = 0  # how many rows of these groups come before the first one

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.files) or self.end - self.begin

    def name_of(self, row: int) -> str:
        """Return how to call a row, counted from the part's first one."""
        return self.files[row] if self.files else f"{self.table}[{self.begin + row}]"


def find_parts(names: Sequence[Path], *, part_rows: int | None, missing: bool) -> list[Part]:
    """Find the input, and cut it into parts: the same ones each time.

    Args:
        names: Image files, folders, globs and lists as for ``find_images``; .npy, IDX and .parquet
            files, and folders or globs of these.
        part_rows: About how many rows a part has; by default 1,024 files, or 16,384 of a table.
        missing: Leave a file of a list that does not exist among the images, as a bad row.

    Raises:
        FileNotFound: A file is missing, or a folder or glob holds no images.
        BadInput: A table cannot be read.
        Unsupported: There is a .parquet file, and pyarrow is not installed.
    """
    parts: list[Part] = []
    files: list[str] = []

    def add_files() -> None:
        size = part_rows or _FILES_OF_A_PART
        parts.extend(Part(0, tuple(files[i : i + size])) for i in range(0, len(files), size))
        files.clear()

    for name in names:
        if found := tables_of(name):
            add_files()
            for path in found:
                parts += _cut(path, part_rows or _ROWS_OF_A_PART)
        else:
            files += map(str, find_images(name, missing=missing))
    add_files()
    return [replace(part, number=number) for number, part in enumerate(parts)]


def fingerprint(parts: Sequence[Part]) -> str:
    """Return a checksum of what the input is: names and rows, and size and time of the tables."""
    digest = hashlib.sha256()
    seen = ""
    for part in parts:
        digest.update(repr((part.files, part.table, part.begin, part.end)).encode())
        if part.table and part.table != seen:
            seen = part.table
            facts = Path(part.table).stat()
            digest.update(repr((facts.st_size, facts.st_mtime_ns)).encode())
    return digest.hexdigest()


def read_part(
    part: Part, column: str, keep: Sequence[str], size: int
) -> Iterator[tuple[Any, pa.RecordBatch | None]]:
    """Read a part in batches of at most ``size`` rows: the images, and other columns to hand on.

    Raises:
        FileNotFound: A table is missing.
        BadInput: A table is damaged, or lacks a column.
    """
    if part.files:
        for at in range(0, len(part.files), size):
            yield part.files[at : at + size], None
    elif part.table.endswith(".parquet"):
        yield from _read_parquet(part, column, keep, size)
    else:
        array = _array(part.table)
        for at in range(part.begin, part.end, size):
            yield np.asarray(array[at : min(at + size, part.end)]), None


def write_part(
    target: Path, part: Part, results: Mapping[str, NDArray[Any]], kept: pa.Table | None
) -> None:
    """Write the results of a part, which appear as a whole or not at all.

    Args:
        target: The file; its suffix is one of :data:`SUFFIXES`.
        part: The rows.
        results: Arrays [rows] or [rows, classes] of some of :data:`RESULTS`, with ``class_id``
            and ``error`` among them. A bad row has an error; where nothing was found, ``class_id``
            is negative.
        kept: The columns of the input that are handed on.

    Raises:
        BadInput: A column that is handed on holds text that the file cannot have.
    """
    with atomic_path(target) as temporary:
        write = _write_arrow if target.suffix == ".parquet" else _write_text
        write(temporary, part, results, kept)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # a name must not outlive its contents when the power fails


def join_parts(target: Path, parts: Sequence[Path], header: Sequence[str]) -> None:
    """Write one file of all parts, in their order; it replaces an older one when it is complete."""
    with atomic_path(target) as temporary:
        if target.suffix == ".parquet":
            _join_parquet(temporary, parts)
            return
        with temporary.open("wb") as file:
            if target.suffix == ".csv":
                line = ",".join(_quoted(name) for name in header) + "\n"
                file.write(line.encode("utf-8", "surrogateescape"))
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if re.search(r'[",\n\r]', name) else name


def _text(path: Path) -> IO[str]:
    return path.open("w", encoding="utf-8", errors="surrogateescape", newline="")


def _cut(path: Path, rows: int) -> Iterator[Part]:
    """Yield the parts of a table, not yet numbered; one part when it is empty."""
    return _cut_parquet(path, rows) if path.suffix == ".parquet" else _cut_array(path, rows)


def _cut_array(path: Path, rows: int) -> Iterator[Part]:
    table = str(path)
    count = len(_array(table))
    for begin in range(0, count or 1, rows):
        yield Part(0, table=table, begin=begin, end=min(begin + rows, count))


def _cut_parquet(path: Path, rows: int) -> Iterator[Part]:
    """Yield parts that hold whole row groups, or a piece of one that is much too large."""
    table = str(path)
    with _parquet(table) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    if not sizes:
        yield Part(0, table=table)
    begin = 0
    for groups in _gather_groups(sizes, rows):
        held = sum(sizes[group] for group in groups)
        most = held if len(groups) > 1 else max(rows, min(4 * rows, _MAX_ROWS_OF_A_PART))
        for skip in range(0, held or 1, most or 1):
            end = begin + min(skip + most, held)
            yield Part(0, table=table, begin=begin + skip, end=end, groups=groups, skip=skip)
        begin += held


def _gather_groups(sizes: Sequence[int], rows: int) -> Iterator[tuple[int, ...]]:
    """Yield the numbers of row groups, neighbours together until they have enough rows."""
    groups: list[int] = []
    held = 0
    for group, size in enumerate(sizes):
        groups.append(group)
        held += size
        if held >= rows:
            yield tuple(groups)
            groups, held = [], 0
    if groups:
        yield tuple(groups)


def _array(table: str) -> NDArray[Any]:
    with reading(table):
        facts = Path(table).stat()
    return _array_as_of(table, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=1)  # the parts of a compressed file come one after the other
def _array_as_of(table: str, _size: int, _time: int) -> NDArray[Any]:
    if not table.endswith(".npy"):
        return read_idx(Path(table))
    try:
        with reading(table):
            array = np.load(table, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise BadInput(f"{table} is not an array of images: {error}") from error
    if array.ndim < 2:
        raise BadInput(f"{table} has shape {list(array.shape)}; expected [N, ...] images")
    return np.asarray(array)


@contextmanager
def _reading_parquet(table: str) -> Iterator[None]:
    """Name the table in what Arrow raises."""
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFound(f"cannot read {table}: it does not exist") from error
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{table}: the name of a column is not UTF-8 ({error.object!r:.80}); write the table"
            " anew with other names"
        ) from error
    except MemoryError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{table} is not a .parquet file that can be read: {error}") from error


def _parquet(table: str) -> parquet.ParquetFile:
    require("pyarrow", extra="parquet")
    from pyarrow import parquet

    with _reading_parquet(table):
        return parquet.ParquetFile(table, memory_map=True, pre_buffer=False)


def _read_parquet(
    part: Part, column: str, keep: Sequence[str], size: int
) -> Iterator[tuple[Any, pa.RecordBatch]]:
    with _parquet(part.table) as file, _reading_parquet(part.table):
        names = file.schema_arrow.names
        for name in (column, *keep):
            if name not in names:
                raise BadInput(f"{part.table} has no column {name!r}; it has {', '.join(names)}")
        skip, left = part.skip, part.rows
        batches = file.iter_batches(
            size, row_groups=part.groups, columns=[column, *keep], use_threads=False
        )
        for batch in batches if left else ():
            rows = batch.slice(skip, left)
            skip = max(0, skip - len(batch))
            left -= len(rows)
            if len(rows):
                yield rows.column(column), rows.select(keep)
            if left == 0:
                return


def _utf8(text: str) -> str:
    """Return a text, such as the name of a file, as Arrow takes it: other bytes become U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _in_order(results: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return the names of the results in the order of the file."""
    return [name for name in _TYPES if name in results]


def _write_arrow(
    target: Path, part: Part, results: Mapping[str, NDArray[Any]], kept: pa.Table | None
) -> None:
    """Write a part of a .parquet in Arrow's file format: it is read once, and soon removed."""
    import pyarrow as pa

    columns = _arrow_names(part)
    if kept is not None:
        columns |= {name: kept.column(name) for name in kept.column_names}
    for name in _in_order(results):
        columns[name] = _arrow_column(results[name], _TYPES[name], _missing(name, results))
    table = pa.table(columns)
    with pa.ipc.new_file(str(target), table.schema) as writer:
        writer.write_table(table)


def _missing(name: str, results: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return the rows that have no value of a result.

    Lists are missing in bad rows alone: where nothing was found they are empty. A single class and
    its value are missing there too.
    """
    if name in {"error", "model"}:
        return np.zeros(len(results[name]), bool)
    if _TYPES[name] in {"list", "class_ids", "labels"}:
        return np.array([error is not None for error in results["error"]], bool)
    missing: NDArray[np.bool_] = results["class_id"] < 0
    return missing


def _arrow_names(part: Part) -> dict[str, pa.Array]:
    """Return the columns that tell which rows these are."""
    import pyarrow as pa

    if part.files:
        files = pa.array([*map(_utf8, part.files)], pa.string())
        return {"file": files, "row": pa.nulls(part.rows, pa.int64())}
    file = pa.repeat(pa.scalar(_utf8(part.table)), part.rows)
    return {"file": file, "row": pa.array(np.arange(part.begin, part.end))}


def _arrow_column(values: NDArray[Any], kind: str, missing: NDArray[np.bool_]) -> pa.Array:
    """Return results as an array of a type in ``_TYPES``, with nulls where they are missing."""
    import pyarrow as pa

    if kind == "list":
        return _arrow_lists(values, missing)
    if kind == "string":
        return pa.array([None if text is None else _utf8(text) for text in values], pa.string())
    types = {
        "int32": pa.int32(),
        "float": pa.float32(),
        "class_ids": pa.list_(pa.int32()),
        "labels": pa.list_(pa.string()),
    }
    # Objects are None there already.
    return pa.array(values, types[kind], mask=None if values.dtype == object else missing)


def _arrow_lists(values: NDArray[Any], missing: NDArray[np.bool_]) -> pa.Array:
    """Return [rows, classes] as a list for each row, which is null where it is missing."""
    import pyarrow as pa

    ends = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    lists = pa.ListArray.from_arrays(pa.array(ends), pa.array(values.ravel()))
    if not missing.any():
        return lists
    rows = [None if empty else row for empty, row in zip(missing, values, strict=True)]
    return pa.array(rows, lists.type)


def _join_parquet(target: Path, parts: Sequence[Path]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    writer = None
    try:
        for part in parts:
            with pa.memory_map(str(part)) as source:
                table = pa.ipc.open_file(source).read_all()
            if writer is None:
                writer = parquet.ParquetWriter(target, table.schema)
            writer.write_table(table.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()


def _write_text(
    target: Path, part: Part, results: Mapping[str, NDArray[Any]], kept: pa.Table | None
) -> None:
    """Write lines of CSV, without the header, or of JSON."""
    columns = _text_columns(part, results, kept)
    rows = zip(*columns.values(), strict=True)
    with _text(target) as file:
        if target.suffix == ".csv":
            csv.writer(file, lineterminator="\n").writerows([*map(_csv_cell, row)] for row in rows)
        else:
            for row in rows:
                print(json.dumps(dict(zip(columns, row, strict=True)), default=str), file=file)


def _text_columns(
    part: Part, results: Mapping[str, NDArray[Any]], kept: pa.Table | None
) -> dict[str, Sequence[Any]]:
    """Return the columns of the file with Python's values; results that are missing are None."""
    columns: dict[str, Sequence[Any]] = {
        "file": part.files or [part.table] * part.rows,
        "row": [None] * part.rows if part.files else range(part.begin, part.end),
    }
    if kept is not None:
        columns |= {name: _listed(part, name, kept.column(name)) for name in kept.column_names}
    for name in _in_order(results):
        missing = _missing(name, results).tolist()
        values = results[name].tolist()
        columns[name] = [
            None if empty else each for empty, each in zip(missing, values, strict=True)
        ]
    return columns


def _listed(part: Part, name: str, column: pa.ChunkedArray) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{part.table}: the column {name!r} holds text that is not UTF-8; do not"
            " keep it, or write .parquet"
        ) from error


def _csv_cell(value: object) -> object:
    """Return a value as a cell has it: lists and dicts as JSON, others as they are."""
    return json.dumps(value, default=str) if isinstance(value, (list, dict)) else value
