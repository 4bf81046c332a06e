"""``caffe2_roundtrip.py``: from PyTorch over ONNX to Caffe2, and to Caffe2 alone."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from lenet_cpp.cli import run_cli
from lenet_cpp.errors import BadInput
from tools.caffe2 import environment as caffe2_environment
from tools.caffe2.roundtrip import IMAGE_SHAPES, RoundTrip, guide_images, round_trip
from tools.parsers import new_parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lenet_cpp._base.worker import Report

_DESCRIPTION = """\
Export a PyTorch network to ONNX, run it in Caffe2, save Caffe2's own nets, run those in a process
without ONNX, and compare the outputs of all with PyTorch's.

Caffe2 left PyTorch in 2022. It still runs in an environment of its own, with Python 3.9 and PyTorch
1.10.2, which --make-environment makes once in your cache folder (0.9 GB to download, 2 GB kept).

The output folder gets output.onnx, init_net.pb, predict_net.pb and value_info.json, and nothing
when an output differs by more than 1e-5 of the largest one (or of 1).
"""

_EPILOG = """\
examples:
  %(prog)s --make-environment
      make the environment, and nothing else; again: say where it is
  %(prog)s
      a ResNet18 of 2 classes with random parameters, to caffe2_model/resnet18
  %(prog)s --model lenet --params net.prm
      a LeNet of your own
  %(prog)s --image test.jpg
      on the middle 224 x 224 pixels of a photo

exit status: 0 all agree; 1 they differ, and nothing was written; 2 wrong usage; 3 a file is
missing; 4 the parameters are damaged or of another network; 5 a setting, an image or a folder
cannot be used; 6 Python 3.9, the environment or a package is missing; 8 Caffe2 or pip failed; 130
interrupted.
"""
_SHOWN = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and return the exit code."""
    parser = new_parser(_DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add("--make-environment", action="store_true", help="make Caffe2's environment, and stop")
    add(
        "--python", metavar="FILE", help="the Python 3.9 to make it with (default: the first found)"
    )
    names = tuple(IMAGE_SHAPES)
    add("--model", choices=names, default="resnet18", help="the network (default: %(default)s)")
    add("--params", metavar="FILE", type=Path, help="its parameters (default: random ones)")
    add("--classes", metavar="N", type=int, help="of random parameters (default: 10 or 2)")
    add("--seed", metavar="N", type=int, default=0, help="of all that is random (default: 0)")
    add("--image", metavar="FILE", type=Path, action="append", default=[],
        help="an image to run, perhaps several times (default: random images)")  # fmt: skip
    add("--images", metavar="N", type=int, default=4, help="random ones (default: %(default)s)")
    add("-o", "--output-dir", metavar="DIR", type=Path, help="default: caffe2_model/MODEL")
    options = parser.parse_args(argv)
    if options.python is not None and not options.make_environment:
        parser.error("--python goes with --make-environment")
    return run_cli(lambda: _command(options))


def _command(options: argparse.Namespace) -> int:
    if options.make_environment:
        with _progress() as report:
            python = caffe2_environment.make_environment(python=options.python, report=report)
        print(f"Caffe2 is ready: {python}")
        return 0
    caffe2_environment.require_environment()
    images = _images(options)
    output = options.output_dir or Path("caffe2_model") / options.model
    settings = {"params": options.params, "num_classes": options.classes, "seed": options.seed}
    with _progress() as report:
        found = round_trip(options.model, images, output, **settings, report=report)
    _print(options, images, found)
    return 0 if found.agrees else 1


def _images(options: argparse.Namespace) -> NDArray[np.float32]:
    if options.seed < 0:
        raise BadInput(f"the seed is {options.seed}; expected 0 or more")
    if options.image:
        return guide_images(options.model, options.image)
    if not 0 < options.images <= 1024:
        raise BadInput(f"{options.images} images cannot be made; expected 1 to 1024")
    shape = (options.images, *IMAGE_SHAPES[options.model])
    return np.random.default_rng(options.seed).random(shape, np.float32)


def _print(options: argparse.Namespace, images: NDArray[np.float32], found: RoundTrip) -> None:
    versions = found.versions
    print(
        f"{options.model}, {found.stations[0].outputs.shape[1]} classes,"
        f" {'parameters of ' + str(options.params) if options.params else 'random parameters'};"
        f" {len(images)} images; PyTorch {versions['torch']}, onnx {versions['onnx']},"
        f" Python {versions['python']}\n"
    )
    rows = []
    for station in found.stations:
        first = [f"{value:.7f}" for value in station.outputs[0][:_SHOWN]]
        more = [" ..."] if station.outputs.shape[1] > _SHOWN else []
        largest = f"{station.comparison.largest_difference:.1e}"
        difference = "" if station is found.stations[0] else largest
        classes = f"{station.comparison.equal_predictions} of {len(images)}"
        rows.append((station.name, "  ".join(first + more), difference, classes))
    headers = ("", "outputs for the first image", "largest difference", "same class")
    print(tabulate(rows, headers, disable_numparse=True))
    if found.unread:
        print(f"\nits nets were not read back: {found.unread}")
    names = ", ".join(path.name for path in found.files)
    parent = found.files and found.files[0].parent
    print(f"\nwrote {parent}: {names}" if names else "\nthey differ: nothing was written")


@contextmanager
def _progress() -> Iterator[Report]:
    """Yield what shows progress as a bar, when standard error is a terminal."""
    with tqdm(desc="Caffe2", bar_format="{desc}: {postfix}", disable=None, leave=False) as bar:
        yield lambda what, *_: bar.set_postfix_str(what)


if __name__ == "__main__":
    raise SystemExit(main())
