"""The inputs of bulk prediction, cut into parts, and the files of its results."""

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.files import atomic_path, reading
from lenet_cpp._base.optional import require
from lenet_cpp.bulk.table_names import tables_of
from lenet_cpp.data.images import find_images
from lenet_cpp.data.mnist import read_idx
from lenet_cpp.errors import BadInput, FileNotFound

_Batch = tuple[Any, Any]

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
    parts: list[dict[str, Any]] = []
    files: list[str] = []

    def add_files() -> None:
        size = part_rows or _FILES_OF_A_PART
        parts.extend({"files": tuple(files[i : i + size])} for i in range(0, len(files), size))
        files.clear()

    for name in names:
        if found := tables_of(name):
            add_files()
            for path in found:
                parts += _cut(path, part_rows or _ROWS_OF_A_PART)
        else:
            files += map(str, find_images(name, missing=missing))
    add_files()
    return [Part(number, **fields) for number, fields in enumerate(parts)]


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


def read_part(part: Part, column: str, keep: Sequence[str], size: int) -> Iterator[_Batch]:
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


def write_part(target: Path, part: Part, columns: dict[str, Any], kept: Any) -> None:
    """Write the results of a part, which appear as a whole or not at all.

    ``columns`` are arrays of some of :data:`RESULTS`, with a value for each row, except for
    ``model``, which is one string; ``kept`` is a table of Arrow, or None.
    """
    with atomic_path(target) as temporary:
        write = _write_arrow if target.suffix == ".parquet" else _write_text
        write(temporary, part, columns, kept)
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


def _cut(path: Path, rows: int) -> Iterator[dict[str, Any]]:
    """Yield the fields of the parts of a table; one part when it is empty."""
    table = str(path)
    if path.suffix != ".parquet":
        count = len(_array(table))
        for begin in range(0, count or 1, rows):
            yield {"table": table, "begin": begin, "end": min(begin + rows, count)}
        return
    with _parquet(table) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    largest = max(rows, min(4 * rows, _MAX_ROWS_OF_A_PART))
    begin, groups, held = 0, [], 0
    for group, size in enumerate(sizes):
        groups.append(group)
        held += size
        if held < rows and group + 1 < len(sizes):
            continue
        for skip in range(0, held or 1, largest if len(groups) == 1 else held):
            end = min(skip + largest, held) if len(groups) == 1 else held
            fields = {"begin": begin + skip, "end": begin + end, "skip": skip}
            yield {"table": table, "groups": tuple(groups), **fields}
        begin, groups, held = begin + held, [], 0
    if not sizes:
        yield {"table": table}


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


def _parquet(table: str) -> Any:
    require("pyarrow", extra="parquet")
    from pyarrow import parquet

    with _reading_parquet(table):
        return parquet.ParquetFile(table, memory_map=True, pre_buffer=False)


def _read_parquet(part: Part, column: str, keep: Sequence[str], size: int) -> Iterator[_Batch]:
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


def _write_arrow(target: Path, part: Part, columns: dict[str, Any], kept: Any) -> None:
    """Write a part of a .parquet in Arrow's file format: it is read once, and soon removed."""
    import pyarrow as pa

    if part.files:
        names = [*map(_utf8, part.files)]
        arrays = {"file": pa.array(names, pa.string()), "row": pa.nulls(part.rows, pa.int64())}
    else:
        rows = pa.array(np.arange(part.begin, part.end))
        arrays = {"file": pa.repeat(pa.scalar(_utf8(part.table)), part.rows), "row": rows}
    arrays |= {name: kept.column(name) for name in (kept.column_names if kept is not None else ())}
    bad = columns["class_id"] < 0
    for name in (name for name in _TYPES if name in columns):
        kind, values = _TYPES[name], columns[name]
        if name == "model":
            arrays[name] = pa.repeat(pa.scalar(values), part.rows)
        elif kind == "list":
            ends = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
            arrays[name] = pa.ListArray.from_arrays(pa.array(ends), pa.array(values.ravel()))
            if bad.any():
                rows = [None if each else row for each, row in zip(bad, values, strict=True)]
                arrays[name] = pa.array(rows, arrays[name].type)
        else:
            missing = bad if values.dtype != object else None
            if kind == "string":
                values = [None if text is None else _utf8(text) for text in values]
            kinds = {"int32": pa.int32(), "float": pa.float32(), "string": pa.string()}
            kinds |= {"class_ids": pa.list_(pa.int32()), "labels": pa.list_(pa.string())}
            arrays[name] = pa.array(values, kinds[kind], mask=missing)
    table = pa.table(arrays)
    with pa.ipc.new_file(str(target), table.schema) as writer:
        writer.write_table(table)


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


def _listed(part: Part, name: str, column: Any) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{part.table}: the column {name!r} holds text that is not UTF-8; do not"
            " keep it, or write .parquet"
        ) from error


def _write_text(target: Path, part: Part, columns: dict[str, Any], kept: Any) -> None:
    """Write lines of CSV, without the header, or of JSON."""
    numbers = [None] * part.rows if part.files else range(part.begin, part.end)
    table: dict[str, Sequence[Any]] = {"file": part.files or [part.table] * part.rows}
    table["row"] = numbers
    if kept is not None:
        table |= {name: _listed(part, name, kept.column(name)) for name in kept.column_names}
    bad = (columns["class_id"] < 0).tolist()
    for name in (name for name in _TYPES if name in columns):
        values = [columns[name]] * part.rows if name == "model" else columns[name].tolist()
        missing = bad if name not in {"error", "model"} else [False] * part.rows
        each = zip(missing, values, strict=True)
        table[name] = [None if wrong else value for wrong, value in each]
    with _text(target) as file:
        if target.suffix == ".csv":
            csv.writer(file, lineterminator="\n").writerows(
                [
                    json.dumps(value, default=str) if isinstance(value, (list, dict)) else value
                    for value in row
                ]
                for row in zip(*table.values(), strict=True)
            )
        else:
            for row in zip(*table.values(), strict=True):
                print(json.dumps(dict(zip(table, row, strict=True)), default=str), file=file)
