"""What an ONNX file says of itself in its ``metadata_props``, read without the package onnx.

The export writes class names, preprocessing and where the model comes from, each as JSON under a
key that begins with ``lenet_cpp.``; docs/onnx.md lists them. A classifier that ultralytics exported
has the first two in entries of its own, which C++ reads (cpp/src/description/metadata.h).
"""

import io
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lenet_cpp import _core
from lenet_cpp._base.strict_json import read_json

METADATA_PREFIX = "lenet_cpp."
"""Before the key of each of our entries in a model's ``metadata_props``."""

_PRODUCER_NAME, _METADATA_PROPS = 2, 14  # numbers of fields of ModelProto
_MOST_BYTES = 1 << 20  # of one entry
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5


def read_onnx_metadata(model: Path | bytes) -> dict[str, Any]:
    """Return our entries in a file or its content, by their keys without the prefix.

    Where they say nothing of them, ``preprocess`` and ``classes`` are those of ultralytics.
    ``producer_name`` is the field of that name, such as ``pytorch``; empty where it is not there.
    Entries that are no JSON are left out, and what comes after damage: whatever runs the model says
    what is wrong with it.

    Raises:
        OSError: The file cannot be read.
    """
    found: dict[str, Any] = {}
    others = {}
    producer = ""
    with io.BytesIO(model) if isinstance(model, bytes) else model.open("rb") as file:
        end = len(model) if isinstance(model, bytes) else os.fstat(file.fileno()).st_size
        for number, entry in _fields(file, {_PRODUCER_NAME, _METADATA_PROPS}, end):
            if number == _PRODUCER_NAME:
                producer = entry.decode(errors="replace")
                continue
            parts = dict(_fields(io.BytesIO(entry), {1, 2}, len(entry)))
            try:
                key = parts.get(1, b"").decode()
                if key.startswith(METADATA_PREFIX):
                    found[key.removeprefix(METADATA_PREFIX)] = read_json(parts.get(2, b""))
                else:
                    others[key] = parts.get(2, b"").decode()
            except ValueError:
                continue
    preprocess, classes = _core.describe_metadata(others)
    if preprocess:
        found.setdefault("preprocess", json.loads(preprocess))
    if classes:
        found.setdefault("classes", classes)
    found["producer_name"] = producer
    return found


def class_names(known: Any) -> tuple[str, ...]:
    """Return the class names of an entry, if they can all be printed."""
    if not isinstance(known, (list, tuple)):
        return ()
    sound = all(isinstance(name, str) and name and name.isprintable() for name in known)
    return tuple(known) if sound else ()


def _fields(file: BinaryIO, wanted: Collection[int], end: int) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of the wanted fields of bytes in a protobuf message."""
    while (tag := _varint(file)) is not None:
        number, kind = tag >> 3, tag & 7
        if kind == _BYTES:
            size = _varint(file)
            if size is None or size > end:
                return
            if number in wanted and size <= _MOST_BYTES:
                yield number, file.read(size)
            else:
                file.seek(size, os.SEEK_CUR)
        elif kind == _VARINT:
            _varint(file)
        elif kind in {_FIXED_32, _FIXED_64}:
            file.seek(4 if kind == _FIXED_32 else 8, os.SEEK_CUR)
        else:
            return


def _varint(file: BinaryIO) -> int | None:
    """Read an integer; None at the end of the file, or when it has too many bytes."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    return None
