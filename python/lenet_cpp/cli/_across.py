"""``verify.py --across``: the table of every two frameworks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tabulate import tabulate

from lenet_cpp._base.files import write_text
from lenet_cpp.cli._verify_text import SHARES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lenet_cpp.cli._command import Options
    from lenet_cpp.models import ModelSpec
    from lenet_cpp.verify.across import Across


def run_across(
    options: Options,
    spec: ModelSpec | None,
    images: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    data: str,
) -> int:
    """Compare, print, and return the exit code: 1 when two ways differ."""
    from lenet_cpp.verify.across import across

    report = across(
        options.model_dir,
        images,
        labels,
        program=options.program,
        torch_params=options.torch,
        formats=options.formats,
        threads=options.threads,
        spec=spec,
        tolerance=options.threshold,
        progress=True,
        more_routes=getattr(options, "more_routes", None),
    )
    document = json.dumps({"data": data, **report.to_dict()}, allow_nan=False)
    if options.report is not None:
        write_text(options.report, document + "\n")
    print(document if options.format == "json" else _text(report, f"{len(images):,} {data}"))
    return 0 if report.agrees else 1


def _text(report: Across, data: str) -> str:
    parts = [
        f"model {report.model_dir}, {data}",
        "Above the diagonal: the largest difference of two ways; below: the images that both put"
        " into the same class.",
        _table(report),
        SHARES,
    ]
    if report.correct:
        accuracies = (
            f"{name} {100 * correct / report.images:.2f} %"
            for name, correct in report.correct.items()
        )
        parts.append("accuracy: " + ", ".join(accuracies))
    count = len(report.routes)
    largest = f"largest difference {report.size}"
    if report.agrees:
        parts.append(
            f"All {count} ways agree: {largest}, {report.equal_predictions:,} of"
            f" {report.images:,} equal predictions."
        )
    else:
        wrong = [f"{pair.first} and {pair.second}" for pair in report.pairs if not pair.agrees]
        parts.append(f"{len(wrong)} of {len(report.pairs)} pairs DIFFER, {largest}: {wrong[0]}")
    return "\n\n".join(parts)


def _table(report: Across) -> str:
    names = report.routes
    cells = {}
    for pair in report.pairs:
        mark = "" if pair.agrees else " DIFFERS"
        cells[pair.first, pair.second] = pair.size + mark
        cells[pair.second, pair.first] = str(pair.equal_predictions)
    lines = [
        [index, name, *(cells.get((name, other), "-") for other in names)]
        for index, name in enumerate(names, start=1)
    ]
    table = tabulate(
        lines,
        ["", "way", *(str(index) for index in range(1, len(names) + 1))],
        disable_numparse=True,
        colalign=("right", "left", *("right",) * len(names)),
    )
    missing = [f"{name}: left out: {reason}" for name, reason in report.unavailable.items()]
    return "\n".join([table, *missing])
