"""``export_model.py``: from trained parameters to the files that inference loads."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_cpp.cli import run_cli
from lenet_cpp.models import MODELS
from lenet_cpp.tolerance import TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lenet_cpp.export import ExportResult

__all__ = ["main"]

_DESCRIPTION = """\
Turn trained parameters (.pdparams) into the files that Paddle Inference loads.

The output folder NAME gets
  NAME.pdmodel     the program in the format that every Paddle reads
  NAME.json        the same program in Paddle 3's format (PIR)
  NAME.pdiparams   the parameters, for either of the two
  manifest.json    what the model is: inputs, outputs, training, checksums
  SHA256SUMS       checksums; 'sha256sum -c SHA256SUMS' in the folder verifies it
The input is called x: float32 [N, 1, 28, 28] for lenet, pixels in [0, 1], any N. The output is
[N, classes]: logits, or probabilities with --softmax.

What was written is loaded back and compared with the trained model before it replaces an older
export; a failure leaves the older one as it was.
"""

_EPILOG = """\
examples:
  %(prog)s
      checkpoints/lenet/lenet.pdparams to inference_model/lenet, both formats
  %(prog)s -p my/lenet.pdparams -o my/export --softmax
      other places, and probabilities as the output
  %(prog)s --format separate -o separate_persistables
      the old layout: __model__ and one file for each variable
  %(prog)s --combine separate_persistables -o combined
      and back: lenet.pdmodel and lenet.pdiparams

exit status: 0 done; 2 wrong usage; 3 a file is missing; 4 the parameters or the model are
damaged, or do not fit; 5 a name or folder cannot be used; 6 not supported; 8 Paddle failed;
1 anything else, such as a full disk; 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-m",
        "--m",
        "--model",
        dest="model",
        metavar="NAME",
        choices=sorted(MODELS),
        default="lenet",
        help=f"the model, and the name of the files: {', '.join(sorted(MODELS))}"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "-p",
        "--p",
        "--params",
        dest="params",
        metavar="PERSISTABLE",
        type=Path,
        help="the trained parameters, with or without .pdparams"
        " (default: checkpoints/NAME/NAME.pdparams)",
    )
    parser.add_argument(
        "-o",
        "--o",
        "--output-dir",
        dest="output_dir",
        metavar="DIR",
        type=Path,
        help="the folder to write (default: inference_model/NAME;"
        " inference_model/NAME_separate with --format separate)",
    )
    parser.add_argument(
        "--softmax",
        action=argparse.BooleanOptionalAction,
        help="append a softmax, so that the output is probabilities (default: --no-softmax)",
    )
    parser.add_argument(
        "--format",
        choices=("both", "pdmodel", "json", "separate"),
        help="what to write: both programs, one of them, or the old layout with one file for each"
        " variable (default: both)",
    )
    parser.add_argument(
        "--combine",
        metavar="DIR",
        type=Path,
        help="instead of exporting parameters, convert DIR, a model in the old layout, to"
        " NAME.pdmodel and NAME.pdiparams",
    )
    options = parser.parse_args(argv)
    if options.combine is not None:
        given = {
            "--params": options.params,
            "--softmax": options.softmax,
            "--format": options.format,
        }
        for flag, value in given.items():
            if value is not None:
                parser.error(f"{flag} does not go with --combine, which converts a finished model")
    return run_cli(lambda: _command(options))


def _command(options: argparse.Namespace) -> int:
    from lenet_cpp import export, separate_layout

    name = options.model
    separate = options.format == "separate"
    output = options.output_dir or Path("inference_model") / (
        f"{name}_separate" if separate else name
    )
    if options.combine is not None:
        result = separate_layout.combine_separate(options.combine, output, name=name)
        check = f"outputs are those of {options.combine}, bit for bit"
    else:
        params = options.params or Path("checkpoints") / name / f"{name}.pdparams"
        if separate:
            result = export.export_separate(
                params, output, model=name, softmax=bool(options.softmax)
            )
        else:
            formats = export.FORMATS if options.format in {None, "both"} else (options.format,)
            result = export.export_model(
                params, output, model=name, formats=formats, softmax=bool(options.softmax)
            )
        check = (
            f"outputs differ from the trained model's by at most {result.max_difference:g}"
            f" (allowed: {TOLERANCE:g})"
        )
    _report(result, check)
    return 0


def _report(result: ExportResult, check: str) -> None:
    print(f"wrote {result.folder}:")
    width = max(len(path.name) for path in result.files)
    for path in result.files:
        print(f"  {path.name:<{width}}  {path.stat().st_size:>10,} bytes")
    print(f"checked: {check}")
