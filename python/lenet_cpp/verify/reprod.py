"""Record the outputs of every route, and compare the records as ``reprod_log`` does."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.files import write_text
from lenet_cpp.agreement import Comparison
from lenet_cpp.errors import BadInput
from lenet_cpp.paddle_engines.records import (
    RECORD_NAMES,
    TRAINING_NAME,
    entries,
    read_record,
    write_record,
)
from lenet_cpp.verify.report import Report
from lenet_cpp.verify.routes import Case

REPORT_NAME = "diff.txt"


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
