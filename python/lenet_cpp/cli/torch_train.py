"""``torch_train.py``: train a network in PyTorch and save its parameters."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp.cli import run_cli
from lenet_cpp.cli._parsers import new_parser
from lenet_cpp.errors import BadInput
from lenet_cpp.interchange.torch import models as torch_models

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from lenet_cpp.data.mnist import Mnist
    from lenet_cpp.interchange.torch.training import TorchTrainingSettings

_DESCRIPTION = """\
Train a network in PyTorch on the digits and save its state_dict.

  lenet      LeNet, on the ten digits: 5 epochs of full MNIST, or 10 of the embedded sample
  resnet18   ResNet18 with two classes, on digits as small colour images: even or odd, 1 epoch

Writes the parameters (torch.save, on the processor, pickle protocol 4) and beside them
NAME.train.json, which says how they came about. import_model.py makes of them what the C++ program
runs. Ctrl-C stops and writes nothing.
"""

_EPILOG = """\
examples:
  %(prog)s
      LeNet to net.prm, on full MNIST when Paddle has it in its cache, else on the sample
  %(prog)s --data-dir mnist --epochs 10 --output lenet.prm
      longer, on the four files in mnist
  %(prog)s --model resnet18 --epochs 0 --seed 1 --output resnet18.prm
      random parameters, to try the road with

exit status: 0 done; 2 wrong usage; 3 a file is missing; 5 data, a number or a device cannot be
used; 6 PyTorch is missing or too old; 1 anything else, such as a full disk; 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        The exit code.
    """
    parser = new_parser(_DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add(
        "-m",
        "--model",
        type=str.lower,
        choices=tuple(torch_models.NETWORKS),
        default="lenet",
        help="default: %(default)s",
    )
    add(
        "--epochs",
        type=int,
        metavar="N",
        help="passes over the training images; 0 saves the random parameters of the seed",
    )
    add("--batch-size", type=int, metavar="N", help="images per step (default: 64)")
    add("--lr", type=float, metavar="X", help="peak learning rate")
    add(
        "--seed",
        type=int,
        metavar="N",
        default=0,
        help="of parameters and order (default: %(default)s)",
    )
    add(
        "--img_size",
        type=int,
        metavar="S",
        default=32,
        help="height and width of the images for resnet18 (default: %(default)s)",
    )
    add(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder with the four MNIST files in IDX format, gzipped or not (default: Paddle's"
        " cache when it is complete, else the embedded sample of 6,000 images)",
    )
    add("--device", metavar="NAME", help="as PyTorch names it (default: cuda or the like, or cpu)")
    add(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        default=Path("net.prm"),
        help="the file to write (default: %(default)s)",
    )
    options = parser.parse_args(argv)
    return run_cli(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    torch_models.require_torch()
    from lenet_cpp.data.mnist import load_mnist
    from lenet_cpp.interchange.torch import record, training

    if options.output.is_dir():
        raise BadInput(f"{options.output} is a folder: the output has to be a file")
    mnist = load_mnist(options.data_dir)
    settings = _settings(options, mnist)
    if settings.recipe is not None:
        print(f"data: {mnist.describe()}", flush=True)
    result = training.train(
        settings, mnist, report=lambda line: print(line, flush=True), progress=None
    )
    torch_models.save_state(result.net, options.output)
    record.write_record(options.output, result.record)
    if result.accuracy is None:
        print("not trained: the parameters are random")
    else:
        print(f"test accuracy: {result.accuracy}")
    print(f"saved {options.output} and {record.record_path(options.output).name}")
    return 0


def _settings(options: argparse.Namespace, mnist: Mnist) -> TorchTrainingSettings:
    from lenet_cpp.interchange.torch.training import (
        TorchTrainingSettings,
        default_device,
        default_recipe,
    )

    changes: dict[str, Any] = {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": options.lr,
    }
    changes = {key: value for key, value in changes.items() if value is not None}
    recipe = dataclasses.replace(default_recipe(options.model, mnist), **changes)
    return TorchTrainingSettings(
        model=options.model,
        recipe=None if options.epochs == 0 else recipe,
        seed=options.seed,
        img_size=options.img_size,
        device=options.device or default_device(),
    )


if __name__ == "__main__":
    raise SystemExit(main())
