"""``caffe2_roundtrip.py``: from PyTorch over ONNX to Caffe2, and to Caffe2 alone."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from lenet_cpp.cli._options import Options, command
from lenet_cpp.errors import BadInput
from tools.caffe2 import environment as caffe2_environment
from tools.caffe2.roundtrip import IMAGE_SHAPES, RoundTrip, guide_images, round_trip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lenet_cpp._base.worker import Report

_SHOWN = 4


@command(
    f"""
Options:
  --make-environment  make Caffe2's environment, and stop
  --python PROGRAM  the Python 3.9 to make it with (default: the first found)
  --model {"|".join(IMAGE_SHAPES)}  the network [default: resnet18]
  --params FILE  its parameters (default: random ones)
  --classes N  of random parameters (default: 10 or 2)
  --seed SEED  of all that is random [default: 0]
  --image FILE...  an image to run, perhaps several times (default: random images)
  --images N  random ones [default: 4]
  -o, --output-dir DIR  the folder to write (default: caffe2_model/MODEL)
Examples:
  %prog --make-environment  make the environment, and nothing else; again: say where it is
  %prog  a ResNet18 of 2 classes with random parameters, to caffe2_model/resnet18
  %prog --model lenet --params net.prm  a LeNet of your own
  %prog --image test.jpg  on the middle 224 x 224 pixels of a photo
""",
    one="they differ, and nothing was written",
)
def main(options: Options) -> int:
    """Take a network from PyTorch over ONNX to Caffe2.

    Export a PyTorch network to ONNX, run it in Caffe2, save Caffe2's own nets, run those in a
    process without ONNX, and compare the outputs of all with PyTorch's.

    Caffe2 left PyTorch in 2022. It still runs in an environment of its own, with Python 3.9 and
    PyTorch 1.10.2, which --make-environment makes once in your cache folder (0.9 GB to download,
    2 GB kept).

    The output folder gets output.onnx, init_net.pb, predict_net.pb and value_info.json, and
    nothing when an output differs by more than 1e-5 of the largest one (or of 1).
    """
    if options.python is not None and not options.make_environment:
        raise click.UsageError("--python goes with --make-environment")
    if options.make_environment:
        with _progress() as report:
            python = caffe2_environment.make_environment(python=options.python, report=report)
        print(f"Caffe2 is ready: {python}")
        return 0
    caffe2_environment.require_environment()
    images = _images(options)
    output = options.output_dir or Path("caffe2_model") / options.model
    settings = {"num_classes": options.classes, **options.only("params", "seed")}
    with _progress() as report:
        found = round_trip(options.model, images, output, **settings, report=report)
    _print(options, found)
    return 0 if found.agrees else 1


def _images(options: Options) -> NDArray[np.float32]:
    if options.seed < 0:
        raise BadInput(f"the seed is {options.seed}; expected 0 or more")
    if options.image:
        return guide_images(options.model, options.image)
    if options.images > 1024:
        raise BadInput(f"{options.images} images cannot be made; expected 1 to 1024")
    shape = (options.images, *IMAGE_SHAPES[options.model])
    return np.random.default_rng(options.seed).random(shape, np.float32)


def _print(options: Options, found: RoundTrip) -> None:
    versions = found.versions
    count, classes = found.stations[0].outputs.shape
    print(
        f"{options.model}, {classes} classes,"
        f" {f'parameters of {options.params}' if options.params else 'random parameters'};"
        f" {count} images; PyTorch {versions['torch']}, onnx {versions['onnx']},"
        f" Python {versions['python']}\n"
    )
    rows: list[tuple[str, ...]] = []
    for name, outputs, comparison in found.stations:
        first = [f"{value:.7f}" for value in outputs[0][:_SHOWN]]
        more = [" ..."] if classes > _SHOWN else []
        difference = f"{comparison.largest_difference:.1e}" if rows else ""
        same = f"{comparison.equal_predictions} of {count}"
        rows.append((name, "  ".join(first + more), difference, same))
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
