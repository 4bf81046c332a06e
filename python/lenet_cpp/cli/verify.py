"""``verify.py``: do C++ and Python give the same answers?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from lenet_cpp._files import write_text
from lenet_cpp.cli import run_cli
from lenet_cpp.errors import BadInput
from lenet_cpp.verify import ACCELERATORS, BATCH_SIZES, FORMATS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lenet_cpp.verify import Comparison, LayerComparison, Report

__all__ = ["main"]

_DESCRIPTION = """\
Run the same images through four routes and compare what comes out:

  dygraph           the trained network itself, in Python
  paddle.inference  the exported model, in Python
  C++ program       the exported model, by lenet_infer_test
  lenet_cpp         the exported model, by the Python package over the C++ library

The last three use one engine and have to give the same bits. Between the trained network and the
exported model every output has to be within 1e-05 * max(1, |a|), with |a| the largest output of
that image, and the predicted class the same unless the two largest are closer than that.
"""

_EPILOG = """\
examples:
  %(prog)s
      what ./run.sh made, on every test image at hand
  %(prog)s --batch-sizes 64 --accelerators openvino --images 100
      one row of the table
  %(prog)s --layers
      which layer departs first

exit status: 0 the routes agree; 1 they differ; 2 wrong usage; 3 a file is missing; 4 the model or
the parameters are damaged, or do not fit; 5 the data cannot be used; 6 not supported; 7 another
Paddle; 8 a route failed; 130 interrupted.
"""


def main(argv: Sequence[str] | None = None, *, root: Path | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process when None.
        root: The repository, for the defaults; the working folder when None.

    Returns:
        The exit code.
    """
    root = Path() if root is None else root
    parser = argparse.ArgumentParser(
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--model-dir",
        metavar="DIR",
        type=Path,
        help="the exported model (default: inference_model/lenet)",
    )
    add(
        "--params",
        metavar="FILE",
        type=Path,
        help="the .pdparams it was exported from (default: checkpoints/lenet/lenet.pdparams with"
        " the default model; otherwise the trained network is left out)",
    )
    add(
        "--program",
        metavar="FILE",
        type=Path,
        default=root / "build" / "lenet_infer_test",
        help="the C++ program (default: build/lenet_infer_test)",
    )
    add(
        "--data-dir",
        metavar="DIR",
        type=Path,
        help="folder with the four MNIST files in IDX format (default: Paddle's cache when it is"
        " complete, else the embedded sample)",
    )
    add("--images", metavar="N", type=_positive, help="the first N test images (default: all)")
    add(
        "--batch-sizes",
        metavar="N,...",
        type=_sizes,
        default=BATCH_SIZES,
        help=f"images a run, 1 to 1024 (default: {','.join(map(str, BATCH_SIZES))})",
    )
    add(
        "--accelerators",
        metavar="NAME,...",
        type=_choices(ACCELERATORS),
        default=ACCELERATORS,
        help=f"some of {','.join(ACCELERATORS)} (default: all)",
    )
    add(
        "--formats",
        metavar="NAME,...",
        type=_choices(FORMATS),
        help=f"some of {','.join(FORMATS)} (default: those of the exported model)",
    )
    add("--threads", metavar="N", type=_positive, default=1, help="CPU threads (default: 1)")
    add("--layers", action="store_true", help="also say which layer departs first")
    add("--format", choices=("text", "json"), default="text", help="what to print (default: text)")
    add("--report", metavar="FILE", type=Path, help="also write the comparison as JSON")
    options = parser.parse_args(argv)
    if options.model_dir is None:
        options.model_dir = root / "inference_model" / "lenet"
        trained = root / "checkpoints" / "lenet" / "lenet.pdparams"
        if options.params is None and trained.is_file():
            options.params = trained
    if options.layers and options.params is None:
        parser.error("--layers needs the trained parameters: --params FILE")
    return run_cli(lambda: _command(options))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_positive(part) for part in text.split(",")))


class _choices:  # noqa: N801 - argparse names the type in its messages
    """The type of an option that takes some of a few names, separated by commas."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def __call__(self, text: str) -> tuple[str, ...]:
        given = tuple(dict.fromkeys(text.split(",")))
        for name in given:
            if name not in self._names:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(self._names)}")
        return given


def _command(options: argparse.Namespace) -> int:
    from lenet_cpp import verify
    from lenet_cpp.data import load_mnist, to_model_input

    mnist = load_mnist(options.data_dir)
    count = len(mnist.test) if options.images is None else options.images
    if count > len(mnist.test):
        raise BadInput(f"--images {count}: there are {len(mnist.test)} test images, {mnist.folder}")
    images = to_model_input(mnist.test.images[:count])
    report = verify.verify(
        options.model_dir,
        images,
        mnist.test.labels[:count],
        program=options.program,
        params=options.params,
        formats=options.formats,
        accelerators=options.accelerators,
        batch_sizes=options.batch_sizes,
        threads=options.threads,
        progress=True,
    )
    layers = (
        verify.compare_layers(
            options.model_dir, images, params=options.params, formats=options.formats
        )
        if options.layers
        else None
    )
    document = json.dumps(_document(report, layers, mnist.describe()), allow_nan=False)
    if options.report is not None:
        write_text(options.report, document + "\n")
    if options.format == "json":
        print(document)
    else:
        print(_text(report, layers, f"{count:,} images of the {mnist.describe()}"))
    return 0 if report.agrees else 1


def _document(
    report: Report, layers: Sequence[LayerComparison] | None, data: str
) -> dict[str, object]:
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
                "departs": layer.departs,
            }
            for layer in layers
        ]
        first = _first_departing(layers)
        document["first_departing_layer"] = None if first is None else first.layer
    return document


def _text(report: Report, layers: Sequence[LayerComparison] | None, data: str) -> str:
    parts = [f"model {report.model_dir}, {data}", _table(report)]
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
    header = [
        "format",
        "accelerator",
        "batch",
        "C++ program\nand paddle.inference",
        "lenet_cpp\nand paddle.inference",
        f"paddle.inference\nand {report.reference.replace(', ', chr(10))}",
        "equal\npredictions",
        "verdict",
    ]
    lines = [
        [
            f".{row.case.model.format}",
            row.case.accelerator,
            row.case.batch_size,
            *map(_cell, row.comparisons),
            f"{row.equal_predictions}/{report.images}",
            row.verdict,
        ]
        for row in report.rows
    ]
    lines += [
        [f".{format_}", accelerator, "", "-", "-", "-", "-", reason]
        for (format_, accelerator), reason in report.unavailable.items()
    ]
    align = ("left", "left", "right", "left", "left", "left", "right", "left")
    return tabulate(lines, header, colalign=align, disable_numparse=True)


def _cell(comparison: Comparison) -> str:
    if comparison.identical:
        return "identical"
    return f"{comparison.largest_difference:.2g}" + ("" if comparison.agrees else " DIFFERS")


def _layer_table(layers: Sequence[LayerComparison]) -> str:
    header = ["format", "layer", "operator", "shape", "largest difference", "verdict"]
    lines = [
        [
            f".{layer.format}",
            f"{layer.layer} ({layer.kind})",
            layer.operator or "-",
            list(layer.shape),
            f"{layer.largest_difference:.2g}" if layer.operator else "-",
            _layer_verdict(layer),
        ]
        for layer in layers
    ]
    return tabulate(lines, header, disable_numparse=True)


def _layer_verdict(layer: LayerComparison) -> str:
    if not layer.operator:
        return "not compared"
    if layer.departs:
        return "DIFFERS"
    return "identical" if layer.largest_difference == 0 else "within tolerance"


def _first_departing(layers: Sequence[LayerComparison]) -> LayerComparison | None:
    return next((layer for layer in layers if layer.departs), None)


def _verdict(report: Report, layers: Sequence[LayerComparison] | None) -> str:
    largest = f"largest difference {report.largest_difference:.2g}"
    if report.agrees:
        return f"The routes agree: {largest}, {report.equal_predictions:,} equal predictions."
    wrong = sum(not row.agrees for row in report.rows)
    said = f"The routes DIFFER in {wrong} of {len(report.rows)} rows: {largest}."
    if layers is None:
        return said + " --layers says which layer departs first."
    first = _first_departing(layers)
    if first is None:
        return said + " No layer of the unoptimized program departs: look at the accelerator."
    return said + f" The first layer to depart is {first.layer} ({first.kind}, .{first.format})."
