"""What ``verify.py`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tabulate import tabulate

from lenet_cpp.verify import format_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lenet_cpp.verify import Comparison, LayerComparison, Report

_INFERENCE = "paddle.inference"
SHARES = "In parentheses: the difference as a share of the tolerance."


def report_document(
    report: Report, layers: Sequence[LayerComparison] | None, data: str
) -> dict[str, object]:
    """Return what the command writes as JSON.

    Args:
        report: The comparison.
        layers: That of the layers, if it was asked for.
        data: What the images are.
    """
    document: dict[str, object] = {"data": data, **report.to_dict()}
    if layers is not None:
        document["layers"] = [
            {
                "format": layer.format,
                "layer": layer.layer,
                "kind": layer.kind,
                "operator": layer.operator or None,
                "shape": list(layer.shape),
                "largest_difference": layer.largest_difference,
                "share_of_tolerance": layer.share if np.isfinite(layer.share) else None,
                "differs": layer.differs,
            }
            for layer in layers
        ]
        first = _first_differing(layers)
        document["first_differing_layer"] = None if first is None else first.layer
    return document


def report_text(report: Report, layers: Sequence[LayerComparison] | None, data: str) -> str:
    """Return what the command prints; arguments as those of :func:`report_document`."""
    computed = "" if report.precision == "fp32" else f", computed in {report.precision}"
    parts = [f"model {report.model_dir}{computed}, {data}", _table(report), SHARES]
    if "dygraph" not in report.reference:
        parts.append(
            f"dygraph is left out: no trained parameters (--params); {report.reference} stands in"
        )
    parts += [f"note: {note}" for note in report.notes]
    if report.correct:
        accuracies = (
            f"{route} {100 * correct / report.images:.2f} % ({correct:,} of {report.images:,})"
            for route, correct in report.correct.items()
        )
        parts.append("accuracy: " + ", ".join(accuracies))
    if layers is not None:
        parts.append(_layer_table(layers))
    parts.append(_verdict(report, layers))
    return "\n\n".join(parts)


def _table(report: Report) -> str:
    routes = [each.second for each in report.rows[0].comparisons if each.first == _INFERENCE]
    header = [
        *("format", "accelerator", "batch"),
        *(f"{route}\nand {_INFERENCE}" for route in routes),
        f"{_INFERENCE}\nand {report.reference.replace(', ', chr(10))}",
        *("equal\npredictions", "verdict"),
    ]
    lines = [
        [
            row.case.model.label,
            row.case.accelerator,
            row.case.batch_size,
            *map(_cell, row.comparisons[: len(routes) + 1]),
            f"{row.equal_predictions}/{report.images}",
            row.verdict,
        ]
        for row in report.rows
    ]
    lines += [
        [format_label(format_), accelerator, "", *"-" * (len(routes) + 2), reason]
        for (format_, accelerator), reason in report.unavailable.items()
    ]
    align = ("left", "left", "right", *("left",) * (len(routes) + 1), "right", "left")
    return tabulate(lines, header, colalign=align, disable_numparse=True)


def _cell(comparison: Comparison) -> str:
    return comparison.size + ("" if comparison.agrees else " DIFFERS")


def _layer_table(layers: Sequence[LayerComparison]) -> str:
    header = ["format", "layer", "operator", "shape", "largest difference", "verdict"]
    lines = [
        [
            format_label(layer.format),
            f"{layer.layer} ({layer.kind})",
            layer.operator or "-",
            list(layer.shape),
            layer.size if layer.operator else "-",
            _layer_verdict(layer),
        ]
        for layer in layers
    ]
    return tabulate(lines, header, disable_numparse=True)


def _layer_verdict(layer: LayerComparison) -> str:
    if not layer.operator:
        return "not compared"
    if layer.differs:
        return "DIFFERS"
    return "identical" if layer.largest_difference == 0 else "within tolerance"


def _first_differing(layers: Sequence[LayerComparison]) -> LayerComparison | None:
    return next((layer for layer in layers if layer.differs), None)


def _verdict(report: Report, layers: Sequence[LayerComparison] | None) -> str:
    largest = f"largest difference {report.size}"
    if report.agrees:
        return f"The routes agree: {largest}, {report.equal_predictions:,} equal predictions."
    wrong = sum(not row.agrees for row in report.rows)
    said = f"The routes DIFFER in {wrong} of {len(report.rows)} rows: {largest}."
    if layers is None:
        return said + " --layers names the first layer that differs."
    first = _first_differing(layers)
    if first is None:
        return said + " No layer of the unoptimized program differs: look at the accelerator."
    where = f"{first.layer} ({first.kind}, {format_label(first.format)})"
    return f"{said} The first layer that differs is {where}."
