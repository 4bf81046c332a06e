#!/usr/bin/env python3
"""Draw the embedded MNIST sample from the full data set: stratified, seeded, reproducible."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from click import option

from lenet_cpp.cli import _options as cli
from lenet_cpp.data.mnist import read_mnist_dir, stratified_indices, write_idx
from lenet_cpp.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path


@cli.command("%prog mnist data/mnist_sample\n    the embedded sample")
@cli.argument("data_dir", metavar="DATA_DIR", type=cli.FOLDER, help="with the four files of MNIST")
@cli.argument("output_dir", metavar="OUTPUT_DIR", type=cli.FOLDER, help="for those of the sample")
@option("--train", type=cli.COUNT, default=6000, help="training images")
@option("--test", type=cli.COUNT, default=1000, help="test images")
@cli.seed(default=0, help="seed of the drawing")
def main(data_dir: Path, output_dir: Path, train: int, test: int, seed: int) -> int:
    """Draw the embedded MNIST sample from the full data set."""
    mnist = read_mnist_dir(data_dir)
    if mnist.kind != "full":
        raise BadInput(f"{data_dir} does not hold the full MNIST")
    parts = (("train", mnist.train, train), ("t10k", mnist.test, test))
    for number, (prefix, split, count) in enumerate(parts):
        chosen = stratified_indices(split.labels, count, seed=(seed, number))
        images = output_dir / f"{prefix}-images-idx3-ubyte.gz"
        labels = output_dir / f"{prefix}-labels-idx1-ubyte.gz"
        write_idx(images, split.images[chosen])
        write_idx(labels, split.labels[chosen].astype("uint8"))
    drawn = read_mnist_dir(output_dir)
    print(drawn.describe())
    for name, digest in drawn.md5.items():
        print(f"{digest}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
