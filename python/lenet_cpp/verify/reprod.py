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

from lenet_cpp._base.files import atomic_path, write_text
from lenet_cpp._base.optional import require
from lenet_cpp._base.unpickling import ArrayUnpickler
from lenet_cpp.agreement import NO_CLASS, Comparison, predicted
from lenet_cpp.errors import BadInput, FileNotFound
from lenet_cpp.inference.outputs import normalized
from lenet_cpp.verify.report import Report
from lenet_cpp.verify.routes import Case

TRAINING_NAME = "output_training_engine.npy"
RECORD_NAMES = {
    "dygraph": TRAINING_NAME,
    "paddle.inference": "output_inference_engine.npy",
    "C++ program": "output_cpp_program.npy",
    "lenet_cpp": "output_lenet_cpp.npy",
}
"""The file of each route; the substitute of dygraph has its file name too."""
REPORT_NAME = "diff.txt"


def entries(output: NDArray[Any], role: str) -> dict[str, NDArray[Any]]:
    """Return the record of outputs of a role; see :class:`lenet_cpp.OutputSpec`."""
    if output.dtype.kind != "f" or output.ndim != 2:
        return {"output": output}
    class_id = predicted(output)
    values = normalized(output, role)
    prob = np.take_along_axis(values, class_id[:, np.newaxis], axis=1)[:, 0]
    prob[class_id == NO_CLASS] = np.nan
    return {"class_id": class_id.astype(np.int64), "prob": prob, "output": output}


def write_records(folder: Path, report: Report) -> tuple[Path, ...]:
    """Write the record of each route, and last ``diff.txt``, which compares them; return the files.

    The report is that of a verification with ``record=True`` and the training engine. The folder is
    created if necessary; records of an earlier run are replaced.

    Raises:
        BadInput: The outputs were not kept, or nothing ran on the training engine.
        Unsupported: The package reprod-log is missing.
        OSError: The folder cannot be written.
    """
    recorded = report.recorded
    if recorded is None or report.reference not in recorded.outputs:
        raise BadInput("there are no outputs of the training engine to record")
    written: dict[str, Path] = {}
    for route in (report.reference, *list(RECORD_NAMES)[1:]):
        if route not in recorded.outputs:
            continue
        path = folder / RECORD_NAMES.get(route, TRAINING_NAME)
        write_record(path, entries(recorded.outputs[route], recorded.output_role))
        written[route] = path
    # The comparison uses the written files.
    records = {route: read_record(path) for route, path in written.items()}
    text = _head(report, recorded.row.case) + "".join(
        _section(comparison, written, records, report.tolerance)
        for comparison in reversed(recorded.row.comparisons)
    )
    verdict = "passed" if report.agrees else "failed"
    write_text(folder / REPORT_NAME, f"{text}diff check {verdict}\n")
    return (*written.values(), folder / REPORT_NAME)


def write_record(path: Path, found: dict[str, NDArray[Any]]) -> None:
    """Write one record, which needs the package reprod-log."""
    require("reprod_log", extra="paddle")
    from reprod_log import ReprodLogger

    logger = ReprodLogger()
    for key, value in found.items():
        logger.add(key, value)
    with atomic_path(path) as temporary:
        logger.save(str(temporary))


def _head(report: Report, case: Case) -> str:
    return (
        f"model {report.model_dir}, {report.images} images\n"
        f"recorded: {case.model.label}, accelerator {case.accelerator}, batch size"
        f" {case.batch_size}, the row of {len(report.rows)} that differs most\n"
        f"threshold: {report.tolerance:g} * max(1, largest output of the image); an image whose two"
        " largest outputs are closer than that may be in either class\n\n"
    )


def _section(
    comparison: Comparison,
    paths: dict[str, Path],
    records: dict[str, dict[str, NDArray[Any]]],
    tolerance: float,
) -> str:
    """Compare two records as ``ReprodDiffHelper`` does, and add the verdict of our rule."""
    from reprod_log.compare import compute_diff
    from reprod_log.utils import check_print_diff

    first, second = records[comparison.first], records[comparison.second]
    magnitude = np.abs(first["output"].astype(np.float64))
    largest = magnitude.max(initial=1, where=np.isfinite(magnitude))
    lines = [f"{paths[comparison.first].name} - {paths[comparison.second].name}"]
    with np.errstate(invalid="ignore"):
        differences = compute_diff(first, second)
    check_print_diff(
        differences,
        diff_method="all",
        diff_threshold=0 if comparison.exact else tolerance * float(largest),
        print_func=lines.append,
    )
    rule = "the same bits" if comparison.exact else "within the threshold"
    lines.append(f"has to be {rule}: {comparison.verdict}")
    return "\n".join(lines) + "\n\n"


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
