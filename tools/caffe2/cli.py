"""``caffe2_roundtrip.py``: from PyTorch over ONNX to Caffe2, and to Caffe2 alone."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from click import option
from tabulate import tabulate
from tqdm import tqdm

from lenet_cpp.cli import _options as cli
from lenet_cpp.errors import BadInput
from tools.caffe2 import environment as caffe2_environment
from tools.caffe2.roundtrip import IMAGE_SHAPES, RoundTrip, guide_images, round_trip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lenet_cpp._base.worker import Report

_SHOWN = 4


@cli.command(
    """
%prog --make-environment
    create the environment and stop; if it exists, print its folder
%prog
    convert a ResNet18 with 2 classes and random parameters to caffe2_model/resnet18
%prog -n lenet --params net.prm
    convert your own LeNet
%prog --image test.jpg
    run the central 224 x 224 pixels of a photo
"""
)
@option("--make-environment", is_flag=True, help="create Caffe2's environment and stop")
@option(
    "--python",
    metavar="PROGRAM",
    help="the Python 3.9 of that environment (default: the first one found)",
)
@cli.network(type=cli.choice(*IMAGE_SHAPES), default="resnet18", help="the network")
@option("--params", type=cli.FILE, help="parameters of the network (default: random ones)")
@option(
    "--classes", type=cli.COUNT, help="number of classes with random parameters (default: 10 or 2)"
)
@cli.seed(default=0, help="seed of all random values")
@option(
    "--image",
    "image_files",
    type=cli.FILE,
    multiple=True,
    metavar="FILE...",
    help="an image to run; may be repeated (default: random images)",
)
@option("--images", "count", type=cli.COUNT, default=4, help="number of random images")
@cli.output_dir(help="the folder to write (default: caffe2_model/NETWORK)")
def main(
    make_environment: bool,
    python: str | None,
    network: str,
    params: Path | None,
    classes: int | None,
    seed: int,
    image_files: tuple[Path, ...],
    count: int,
    output_dir: Path | None,
) -> int:
    """Take a network from PyTorch over ONNX to Caffe2.

    The command exports a PyTorch network to ONNX, runs it in Caffe2, saves Caffe2's own nets, runs
    those in a process without ONNX, and compares all outputs with those of PyTorch.

    Caffe2 was removed from PyTorch in 2022. It still runs in a separate environment with Python 3.9
    and PyTorch 1.10.2. --make-environment creates it once in your cache folder (0.9 GB to download,
    2 GB on disk).

    The output folder gets output.onnx, init_net.pb, predict_net.pb and value_info.json. Nothing is
    written if an output differs by more than 1e-5 of the largest one (or of 1).
    """
    if python is not None and not make_environment:
        raise click.UsageError("--python needs --make-environment")
    if make_environment:
        with _progress() as report:
            made = caffe2_environment.make_environment(python=python, report=report)
        print(f"Caffe2 is ready: {made}")
        return 0
    caffe2_environment.require_environment()
    if seed < 0:
        raise BadInput(f"the seed is {seed}; expected 0 or more")
    if count > 1024:
        raise BadInput(f"{count} images cannot be made; expected 1 to 1024")
    shape = (count, *IMAGE_SHAPES[network])
    images = np.random.default_rng(seed).random(shape, np.float32)
    if image_files:
        images = guide_images(network, [*image_files])
    output = output_dir or Path("caffe2_model") / network
    with _progress() as report:
        found = round_trip(
            network, images, output, num_classes=classes, params=params, seed=seed, report=report
        )
    _print(found, network, params)
    return 0 if found.agrees else 1


def _print(found: RoundTrip, network: str, params: Path | None) -> None:
    versions = found.versions
    count, classes = found.stations[0].outputs.shape
    print(
        f"{network}, {classes} classes,"
        f" {f'parameters of {params}' if params else 'random parameters'};"
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
