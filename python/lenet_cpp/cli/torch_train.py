"""``lenet-cpp torch-train``: train a network in PyTorch and save its parameters."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp.cli import _shared as shared
from lenet_cpp.cli._command import Options, command, option
from lenet_cpp.errors import BadInput
from lenet_cpp.interchange.torch import models as torch_models

if TYPE_CHECKING:
    from lenet_cpp.data.mnist import Mnist
    from lenet_cpp.interchange.torch.training import TorchTrainingSettings


@command(
    examples="""\
  {prog}
      LeNet to net.prm, on full MNIST when Paddle has it in its cache, else on the sample
  {prog} --data-dir mnist --epochs 10 --output lenet.prm
      longer, on the four files in mnist
  {prog} --model resnet18 --epochs 0 --seed 1 --output resnet18.prm
      random parameters, to try the road with
"""
)
@option(f"-m, --model {'|'.join(torch_models.NETWORKS)}", "which network", default="lenet")
@option(
    "--epochs N",
    "passes over the training images; 0 saves the random parameters of the seed",
    type=int,
)
@shared.batch_size("images a step (default: 64)")
@shared.learning_rate
@shared.seed("of parameters and order", 0)
@shared.image_size("for resnet18 (default: 32)")
@shared.data_dir
@option("--device NAME", "as PyTorch names it (default: cuda or the like, or cpu)")
@option("-o, --output FILE", "the file to write", default=Path("net.prm"))
def main(options: Options) -> int:
    """Train a network in PyTorch on the digits and save its state_dict.

      lenet      LeNet, on the ten digits: 5 epochs of full MNIST, or 10 of the embedded sample
      resnet18   ResNet18 with two classes, on digits as small colour images: even or odd, 1 epoch

    Writes the parameters (torch.save, on the processor, pickle protocol 4) and beside them
    NAME.train.json, which says how they came about. import_model.py makes of them what the C++
    program runs. Ctrl-C stops and writes nothing.
    """
    torch_models.require_torch()
    from lenet_cpp.data.mnist import load_mnist
    from lenet_cpp.interchange.torch import training

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
    torch_models.write_record(options.output, result.record)
    if result.accuracy is None:
        print("not trained: the parameters are random")
    else:
        print(f"test accuracy: {result.accuracy}")
    print(f"saved {options.output} and {torch_models.record_path(options.output).name}")
    return 0


def _settings(options: Options, mnist: Mnist) -> TorchTrainingSettings:
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
        img_size=options.image_size or 32,
        device=options.device or default_device(),
    )
