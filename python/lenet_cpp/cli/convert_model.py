"""``convert_model.py``: from one format to another."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_cpp.cli import run_cli
from lenet_cpp.cli._parsers import new_parser
from lenet_cpp.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTION = """\
Convert a model from one of Paddle's formats to another:

{formats}

The source is a file, a path without suffix, or a folder. What was written is run and compared
with the source before it is put in its place; docs/formats.md has who reads and writes each
format. From a source without structure, and for what Paddle has no translation for (json to an
older format, anything to pdparams), the parameters are loaded into the network of that name
(--model), unless manifest.json beside the source names it.
"""

_EPILOG = """\
examples:
  %(prog)s inference_model/lenet/lenet.json -o old --to separate
      from Paddle 3's format to one file for each variable and __model__
  %(prog)s ResNet50_vd_persistable -o resnet50-vd --to model-params -m ResNet50_vd
      a folder of variables, as fluid.io.save_persistables wrote it, to model and params
  %(prog)s resnet50-vd -o checkpoint --to pdparams -m ResNet50_vd
      and from there to a state dict to fine-tune

exit status: 0 done; 2 wrong usage; 3 a file is missing; 4 the source is damaged, or is not the
network that it is said to be; 5 a name or folder cannot be used, or --model is needed; 6 not
supported; 8 Paddle failed; 1 anything else, such as a full disk; 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        The exit code.
    """
    width = max(map(len, FORMATS))
    formats = "\n".join(f"  {name:<{width}}  {what}" for name, what in FORMATS.items())
    parser = new_parser(_DESCRIPTION.format(formats=formats), _EPILOG)
    add = parser.add_argument
    add("source", metavar="SOURCE", type=Path, help="the model to convert")
    add("-o", "--output-dir", metavar="DIR", type=Path, required=True, help="the folder to write")
    add("--to", metavar="FORMAT", choices=tuple(FORMATS), required=True, help="what to write")
    add(
        "--from",
        dest="source_format",
        metavar="FORMAT",
        choices=tuple(FORMATS),
        help="which one to take when SOURCE has several formats (default: .pdmodel before .json)",
    )
    add(
        "-m",
        "--m",
        "--model",
        dest="model",
        metavar="NAME",
        help="the network: a registered name, or FILE.py:NAME (default: the one that the source's"
        " manifest.json names)",
    )
    add("--class_dim", metavar="N", type=int, help="its classes (default: the source's)")
    add("--img_size", metavar="N", type=int, help="its image size (default: the source's)")
    add(
        "--softmax",
        action=argparse.BooleanOptionalAction,
        help="append a softmax when SOURCE has no structure (default: --no-softmax)",
    )
    add("--name", metavar="STEM", help="stem of the files (default: the source's)")
    options = parser.parse_args(argv)
    return run_cli(lambda: _command(options))


def _command(options: argparse.Namespace) -> int:
    from lenet_cpp.export import convert_model

    done = convert_model(
        options.source,
        options.output_dir,
        options.to,
        source_format=options.source_format,
        model=options.model,
        class_dim=options.class_dim,
        img_size=options.img_size,
        softmax=options.softmax,
        name=options.name,
    )
    print(f"converted {done.source.path} ({done.source.format}) to {options.to} in {done.folder}:")
    shown = done.files if len(done.files) <= 12 else done.files[:10]
    for path in shown:
        print(f"  {path.name}  {path.stat().st_size:,} bytes")
    if len(shown) < len(done.files):
        print(f"  and {len(done.files) - len(shown)} more files")
    print(f"checked: outputs differ from the source's by at most {done.max_difference:g}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
