"""Draw the embedded MNIST sample from the full data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lenet_cpp.cli import run_cli
from lenet_cpp.data.mnist import read_mnist_dir, stratified_indices, write_idx
from lenet_cpp.errors import BadInput
from tools.parsers import new_parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    parser = new_parser(str(__doc__))
    parser.add_argument("data_dir", type=Path, help="folder with the four files of full MNIST")
    parser.add_argument("output_dir", type=Path, help="folder for the four files of the sample")
    parser.add_argument("--train", type=int, default=6000, help="training images (default 6000)")
    parser.add_argument("--test", type=int, default=1000, help="test images (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the drawing (default 0)")
    options = parser.parse_args(argv)
    return run_cli(lambda: _draw(options))


def _draw(options: argparse.Namespace) -> int:
    mnist = read_mnist_dir(options.data_dir)
    if mnist.kind != "full":
        raise BadInput(f"{options.data_dir} does not hold the full MNIST")
    parts = (("train", mnist.train, options.train), ("t10k", mnist.test, options.test))
    for number, (prefix, split, count) in enumerate(parts):
        chosen = stratified_indices(split.labels, count, seed=(options.seed, number))
        images = options.output_dir / f"{prefix}-images-idx3-ubyte.gz"
        labels = options.output_dir / f"{prefix}-labels-idx1-ubyte.gz"
        write_idx(images, split.images[chosen])
        write_idx(labels, split.labels[chosen].astype("uint8"))
    drawn = read_mnist_dir(options.output_dir)
    print(drawn.describe())
    for name, digest in drawn.md5.items():
        print(f"{digest}  {name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
