"""Read Paddle's own files of variables, strictly.

A variable is a record: uint32 version (0), uint64 number of levels of detail (0), uint32 version of
the tensor (0), int32 size of a ``TensorDesc`` message, the message (field 1 the type, field 2 the
dimensions), and the values in row-major order; all little-endian. The file of one variable
has one record, a ``.pdiparams`` those of all variables in the order of their names.

Paddle's readers silently accept a file that is too short or too long, and those of state dicts may
run code from it. That is why this package has its own reader.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp.errors import BadModel, FileNotFound, Unsupported

_HEADER = struct.Struct("<IQIi")
# VarType.Type of Paddle's framework.proto.
_DTYPES = {0: "?", 1: "<i2", 2: "<i4", 3: "<i8", 4: "<f2", 5: "<f4", 6: "<f8", 20: "u1", 21: "i1"}


def read_variable(path: Path) -> NDArray[Any]:
    """Read the file of one variable.

    Raises:
        FileNotFound: There is no such file, or it cannot be read.
        BadModel: The file is damaged, or is not the file of a variable.
        Unsupported: NumPy does not have the type of the values.
    """
    (value,) = _read_records(path, 1)
    return value


def read_combined(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read the file of all variables of a program.

    Args:
        path: The file.
        names: The names of the variables, in any order.

    Raises:
        lenet_cpp.Error: As :func:`read_variable`.
    """
    return dict(zip(sorted(names), _read_records(path, len(names)), strict=True))


def _read_records(path: Path, count: int) -> list[NDArray[Any]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileNotFound(f"cannot read {path}: {error.strerror}") from error
    found = []
    at = 0
    try:
        for _ in range(count):
            value, at = _read_record(content, at)
            found.append(value)
    except Unsupported as error:
        raise Unsupported(f"{path}: {error}") from error
    except (struct.error, IndexError, ValueError) as error:
        raise BadModel(
            f"{path} is truncated or damaged, or is not a file of Paddle variables"
        ) from error
    if at != len(content):
        raise BadModel(f"{path} has {len(content) - at} bytes after its {count} variables")
    return found


def _read_record(content: bytes, at: int) -> tuple[NDArray[Any], int]:
    version, levels, tensor_version, size = _HEADER.unpack_from(content, at)
    at += _HEADER.size
    if (version, levels, tensor_version) != (0, 0, 0) or not 0 < size <= len(content) - at:
        raise ValueError("not a variable")
    kind, shape = _read_tensor_desc(content[at : at + size])
    at += size
    if kind not in _DTYPES:
        raise Unsupported(f"a variable of type {kind} cannot be converted")
    dtype = np.dtype(_DTYPES[kind])
    elements = math.prod(shape)
    if any(length < 0 for length in shape) or elements * dtype.itemsize > len(content) - at:
        raise ValueError("too short")
    value = np.frombuffer(content, dtype, elements, at).reshape(shape)
    return value, at + value.nbytes


def _read_tensor_desc(message: bytes) -> tuple[int, list[int]]:
    kind, shape, at = -1, [], 0
    while at < len(message):
        key, at = _varint(message, at)
        if key == 1 << 3:
            kind, at = _varint(message, at)
        elif key == 2 << 3:
            length, at = _varint(message, at)
            shape.append(length)
        elif key == 2 << 3 | 2:  # packed
            size, at = _varint(message, at)
            end = at + size
            while at < end:
                length, at = _varint(message, at)
                shape.append(length)
        else:
            raise ValueError("not a TensorDesc")
    return kind, shape


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("not a number")
