"""Read Paddle's own files of variables, strictly.

The file of one variable has one record, a ``.pdiparams`` those of all variables in the order of
their names. Paddle's readers silently accept a file that is too short or too long, and those of
state dicts may run code from it. That is why the C++ library reads them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp import _core
from lenet_cpp.errors import Unsupported

# VarType.Type of Paddle's framework.proto.
_DTYPES = {0: "?", 1: "<i2", 2: "<i4", 3: "<i8", 4: "<f2", 5: "<f4", 6: "<f8", 20: "u1", 21: "i1"}


def read_variable(path: Path) -> NDArray[Any]:
    """Read the file of one variable.

    Raises:
        FileNotFound: There is no such file, or it cannot be read.
        BadModel: The file is damaged, or is not the file of a variable.
        Unsupported: NumPy does not have the type of the values, or such a shape.
    """
    return read_combined(path, [""])[""]


def read_combined(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read the file of all variables of a program, whose names may be in any order."""
    found = _core.read_variables(path, len(names))
    if unknown := [kind for kind, _, _ in found if kind not in _DTYPES]:
        raise Unsupported(f"{path}: a variable of type {unknown[0]} cannot be converted")
    try:
        return {
            name: np.frombuffer(values, _DTYPES[kind]).reshape(shape)
            for name, (kind, shape, values) in zip(sorted(names), found, strict=True)
        }
    except ValueError as error:  # such as no values in too many dimensions
        raise Unsupported(f"{path}: NumPy has no such array: {error}") from error
