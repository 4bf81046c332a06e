"""What ``lenet-cpp verify`` prints."""

from collections.abc import Sequence
from dataclasses import asdict

from tabulate import tabulate

from lenet_cpp.agreement import Comparison
from lenet_cpp.formats.source import format_label
from lenet_cpp.verify.across import Across
from lenet_cpp.verify.layers import LayerComparison
from lenet_cpp.verify.plain import PLAIN, AgainstPlain
from lenet_cpp.verify.report import Report, finite

_INFERENCE = "paddle.inference"
SHARES = "In parentheses: the difference as a share of the tolerance."


def report_document(report: Report, layers: Sequence[LayerComparison] | None) -> dict[str, object]:
    """Return what the command writes as JSON, with the layers if they were compared."""
    document: dict[str, object] = dict(report.to_dict())
    if layers is not None:
        entries = [asdict(layer) | {"operator": layer.operator or None} for layer in layers]
        for entry in entries:
            entry["share_of_tolerance"] = finite(entry.pop("share"))
        document["layers"] = entries
        first = _first_differing(layers)
        document["first_differing_layer"] = None if first is None else first.layer
    return document


def report_text(report: Report, layers: Sequence[LayerComparison] | None, data: str) -> str:
    """Return what the command prints; ``data`` says what the images are."""
    computed = "" if report.precision == "fp32" else f", computed in {report.precision}"
    parts = [f"model {report.model_dir}{computed}, {data}", _table(report), SHARES]
    if "dygraph" not in report.reference:
        parts.append(
            f"dygraph is left out: no trained parameters (--params); {report.reference} stands in"
        )
    parts += [f"note: {note}" for note in report.notes]
    parts += _accuracy(report)
    if layers is not None:
        parts.append(_layer_table(layers))
    parts.append(_verdict(report, layers))
    return "\n\n".join(parts)


def _accuracy(report: Report | Across) -> list[str]:
    accuracies = [
        f"{route} {100 * correct / report.images:.2f} % ({correct:,} of {report.images:,})"
        for route, correct in report.correct.items()
    ]
    return ["accuracy: " + ", ".join(accuracies)] if accuracies else []


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


def across_text(report: Across, data: str) -> str:
    """Return what ``lenet-cpp verify --across`` prints: the table of every two frameworks."""
    parts = [
        f"model {report.model_dir}, {data}",
        "Above the diagonal: the largest difference of two ways; below: the images that both put"
        " into the same class.",
        _across_table(report),
        SHARES,
    ]
    parts += _accuracy(report)
    largest = f"largest difference {report.size}"
    if report.agrees:
        parts.append(
            f"All {len(report.routes)} ways agree: {largest}, {report.equal_predictions:,} of"
            f" {report.images:,} equal predictions."
        )
    else:
        wrong = [f"{pair.first} and {pair.second}" for pair in report.pairs if not pair.agrees]
        parts.append(f"{len(wrong)} of {len(report.pairs)} pairs DIFFER, {largest}: {wrong[0]}")
    return "\n\n".join(parts)


def _across_table(report: Across) -> str:
    names = report.routes
    cells = {}
    for pair in report.pairs:
        cells[pair.first, pair.second] = _cell(pair)
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


def plain_text(report: AgainstPlain, data: str) -> str:
    """Return what ``lenet-cpp verify --plain`` prints: each engine beside the plain program."""
    reference = "the plain program" if report.reference == PLAIN else f"engine {report.reference}"
    computed = "" if report.precision == "fp32" else f", computed in {report.precision}"
    header = ["engine", "threads", "batch", f"largest difference\nfrom {reference}", "verdict"]
    lines = [
        [row.engine, row.threads, row.batch_size, row.size, row.verdict] for row in report.rows
    ]
    align = ("left", "right", "right", "left", "left")
    parts = [
        f"model {report.model}{computed}, {data}",
        tabulate(lines, header, colalign=align, disable_numparse=True),
        SHARES,
        *(f"not compared: {engine}: {why}" for engine, why in report.refusals.items()),
        _plain_verdict(report, reference),
    ]
    return "\n\n".join(parts)


def _plain_verdict(report: AgainstPlain, reference: str) -> str:
    if report.agrees:
        return f"The engines agree with {reference}: largest difference {report.size}."
    wrong = list(dict.fromkeys(row.engine for row in report.rows if not row.agrees))
    said = [f"DIFFERS from {reference}: {', '.join(wrong)}; largest difference {report.size}."]
    if report.layer is not None:
        said.append(f"The first layer that differs is {report.layer}.")
    if report.cause:
        said.append(f"The cause is {report.cause}.")
    return " ".join(said)
