"""Record outputs in the format of ``reprod_log``, which existing check scripts read.

A record is a file of ``reprod_log.ReprodLogger``: a ``.npy`` with a dictionary of arrays by name.
Each route has a record, with

* ``class_id``: int64 [N], the class with the largest output of each image;
* ``prob``: float32 [N], that class's probability; the output where its kind is not known;
* ``output``: float32 [N, classes], the model's output, of several the first.

Of an output of another type or shape, such as class numbers, there is only ``output``. For one
image the first two are the record of Paddle's guide. ``numpy.load`` with pickling allowed runs code
from such a file; :func:`read_record` does not.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.files import atomic_path
from lenet_cpp._base.optional import require
from lenet_cpp._base.unpickling import ArrayUnpickler
from lenet_cpp.agreement import NO_CLASS, predicted
from lenet_cpp.errors import BadInput, FileNotFound
from lenet_cpp.inference.outputs import normalized

TRAINING_NAME = "output_training_engine.npy"
RECORD_NAMES = {
    "dygraph": TRAINING_NAME,
    "paddle.inference": "output_inference_engine.npy",
    "C++ program": "output_cpp_program.npy",
    "lenet_cpp": "output_lenet_cpp.npy",
}
"""The file name of each route; the route that replaces dygraph uses the name of dygraph."""


def entries(output: NDArray[Any], role: str) -> dict[str, NDArray[Any]]:
    """Return the record of outputs of a role; see :class:`lenet_cpp.OutputSpec`."""
    if output.dtype.kind != "f" or output.ndim != 2:
        return {"output": output}
    class_id = predicted(output)
    values = normalized(output, role)
    prob = np.take_along_axis(values, class_id[:, np.newaxis], axis=1)[:, 0]
    prob[class_id == NO_CLASS] = np.nan
    return {"class_id": class_id.astype(np.int64), "prob": prob, "output": output}


def write_record(path: Path, found: dict[str, NDArray[Any]]) -> None:
    """Write one record, which needs the package reprod-log."""
    require("reprod_log", extra="paddle")
    from reprod_log import ReprodLogger

    logger = ReprodLogger()
    for key, value in found.items():
        logger.add(key, value)
    with atomic_path(path) as temporary:
        logger.save(str(temporary))


def read_record(path: Path) -> dict[str, NDArray[Any]]:
    """Read a record of any ``ReprodLogger``, arrays by name, without running code from the file.

    Raises:
        FileNotFound: There is no such file, or it cannot be read.
        BadInput: The file is damaged or is not a record.
    """
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            # The header is short enough for the first version of the format, as NumPy writes it.
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            value = ArrayUnpickler(file).load() if dtype.hasobject and shape == () else None
    except OSError as error:
        raise FileNotFound(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:
        # Unpickling damaged bytes can raise anything, with messages of any length.
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{path} is damaged or is not a record of reprod_log ({reason})") from error
    record = value.item() if isinstance(value, np.ndarray) and value.shape == () else value
    if not isinstance(record, dict) or not all(
        isinstance(key, str) and isinstance(array, np.ndarray) and not array.dtype.hasobject
        for key, array in record.items()
    ):
        raise BadInput(f"{path} is not a record of reprod_log: it holds no named arrays")
    return record
