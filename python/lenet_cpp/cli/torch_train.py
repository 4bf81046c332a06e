"""``lenet-cpp torch-train``: train a network in PyTorch and save its parameters."""

from __future__ import annotations

import dataclasses
from typing import Any

from lenet_cpp.cli._options import Options, command
from lenet_cpp.data.mnist import load_mnist
from lenet_cpp.errors import BadInput
from lenet_cpp.formats.training_record import record_path, write_torch_record
from lenet_cpp.interchange.torch import models as torch_models


@command(
    f"""
  -m, --model {"|".join(torch_models.NETWORKS)}  which network [default: lenet]
  --epochs EPOCHS  passes over the training images; 0 saves the random parameters of the seed
  --batch-size  images a step (default: 64)
  --lr
  --seed  of parameters and order [default: 0]
  --image-size  height and width of the images, in pixels, for resnet18 (default: 32)
  --data-dir
  --device DEVICE  as PyTorch names it (default: cuda or the like, or cpu)
  -o, --output FILE  the file to write [default: net.prm]
Examples:
  %prog  LeNet to net.prm, on full MNIST when Paddle has it in its cache, else on the sample
  %prog --data-dir mnist --epochs 10 --output lenet.prm  longer, on the four files in mnist
  %prog --model resnet18 --epochs 0 --seed 1 --output resnet18.prm
      random parameters, to try the pipeline
"""
)
def main(options: Options) -> int:
    """Train a network in PyTorch on the digits and save its state_dict.

      lenet      LeNet, on the ten digits: 5 epochs of full MNIST, or 10 of the embedded sample
      resnet18   ResNet18 with two classes, on digits as small colour images: even or odd, 1 epoch

    Writes the parameters (torch.save, on the processor, pickle protocol 4) and beside them
    NAME.train.json, the record of the training. lenet-cpp import makes of them what the C++ program
    runs. Ctrl-C stops and writes nothing.
    """
    torch_models.require_torch()
    from lenet_cpp.interchange.torch import training  # which imports PyTorch

    if options.output.is_dir():
        raise BadInput(f"{options.output} is a folder: the output has to be a file")
    mnist = load_mnist(options.data_dir)
    given = {**options.only("epochs", "batch_size"), "learning_rate": options.lr}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    recipe = dataclasses.replace(training.default_recipe(options.model, mnist), **changes)
    if options.epochs != 0:
        print(f"data: {mnist.describe()}", flush=True)
    settings = training.TorchTrainingSettings(
        model=options.model,
        recipe=None if options.epochs == 0 else recipe,
        seed=options.seed,
        image_size=options.image_size or 32,
        device=options.device or training.default_device(),
    )
    result = training.train(
        settings, mnist, report=lambda line: print(line, flush=True), progress=None
    )
    torch_models.save_state(result.net, options.output)
    write_torch_record(options.output, result.record)
    trained = result.accuracy is not None
    print(
        f"test accuracy: {result.accuracy}" if trained else "not trained: the parameters are random"
    )
    print(f"saved {options.output} and {record_path(options.output).name}")
    return 0
