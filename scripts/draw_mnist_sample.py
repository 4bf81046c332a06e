#!/usr/bin/env python3
"""Draw the embedded MNIST sample from the full data set: stratified, seeded, reproducible."""

from __future__ import annotations

import sys
from pathlib import Path

from lenet_cpp.cli._options import Options, command
from lenet_cpp.data.mnist import read_mnist_dir, stratified_indices, write_idx
from lenet_cpp.errors import BadInput


@command("""
Arguments:
  DATA_DIR  folder with the four files of full MNIST
  OUTPUT_DIR  folder for the four files of the sample
Options:
  --train N  training images [default: 6000]
  --test N  test images [default: 1000]
  --seed SEED  seed of the drawing [default: 0]
Examples:
  %prog mnist data/mnist_sample  the embedded sample
""")
def main(options: Options) -> int:
    """Draw the embedded MNIST sample from the full data set."""
    source, output = Path(options.data_dir), Path(options.output_dir)
    mnist = read_mnist_dir(source)
    if mnist.kind != "full":
        raise BadInput(f"{source} does not hold the full MNIST")
    parts = (("train", mnist.train, options.train), ("t10k", mnist.test, options.test))
    for number, (prefix, split, count) in enumerate(parts):
        chosen = stratified_indices(split.labels, count, seed=(options.seed, number))
        images = output / f"{prefix}-images-idx3-ubyte.gz"
        labels = output / f"{prefix}-labels-idx1-ubyte.gz"
        write_idx(images, split.images[chosen])
        write_idx(labels, split.labels[chosen].astype("uint8"))
    drawn = read_mnist_dir(output)
    print(drawn.describe())
    for name, digest in drawn.md5.items():
        print(f"{digest}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
