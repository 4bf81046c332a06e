"""``lenet-cpp torch-train``: train a network in PyTorch and save its parameters."""

import dataclasses
from pathlib import Path
from typing import Any

from click import option

from lenet_cpp.cli import _options as cli
from lenet_cpp.data.mnist import load_mnist
from lenet_cpp.errors import BadInput
from lenet_cpp.formats.training_record import record_path, write_torch_record
from lenet_cpp.interchange.torch import models as torch_models


@cli.command("""
%prog --data-dir mnist --epochs 10 -o lenet.prm
    train LeNet on the four files in mnist
%prog -n resnet18 --epochs 0 --seed 1 -o resnet18.prm
    write random parameters, to try the pipeline
""")
@cli.network(type=cli.choice(*torch_models.NETWORKS), default="lenet", help="the network")
@option(
    "--epochs",
    type=cli.INTEGER,
    help="passes over the training images; 0 saves random parameters from the seed",
)
@cli.batch_size(help="images per step (default: 64)")
@cli.learning_rate()
@cli.seed(default=0, help="seed of the initial parameters and the order of the images")
@cli.image_size(default=32, help="height and width of the images for resnet18, in pixels")
@cli.data_dir()
@option(
    "--device",
    metavar="DEVICE",
    help="PyTorch's name of the device (default: cuda if there is one, or else cpu)",
)
@option("-o", "--output", type=cli.FILE, default="net.prm", help="the file to write")
def main(
    network: str,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    seed: int,
    image_size: int,
    data_dir: Path | None,
    device: str | None,
    output: Path,
) -> int:
    """Train a network in PyTorch on the digits and save its state_dict.

      lenet      LeNet with ten classes, the digits: 5 epochs of full MNIST, or 10 of the sample
      resnet18   ResNet18 with two classes, even and odd digits as colour images: 1 epoch

    The command writes the parameters (torch.save), and beside them NAME.train.json, the record of
    the training. After Ctrl-C it stops and writes nothing.
    """
    torch_models.require_torch()
    from lenet_cpp.interchange.torch import training  # which imports PyTorch

    if output.is_dir():
        raise BadInput(f"{output} is a folder: name a file with -o")
    mnist = load_mnist(data_dir)
    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    recipe = dataclasses.replace(training.default_recipe(network, mnist), **changes)
    if epochs != 0:
        print(f"data: {mnist.describe()}", flush=True)
    settings = training.TorchTrainingSettings(
        model=network,
        recipe=None if epochs == 0 else recipe,
        seed=seed,
        image_size=image_size,
        device=device or training.default_device(),
    )
    result = training.train(
        settings, mnist, report=lambda line: print(line, flush=True), progress=None
    )
    torch_models.save_state(result.net, output)
    write_torch_record(output, result.record)
    trained = result.accuracy is not None
    print(
        f"test accuracy: {result.accuracy}" if trained else "not trained: the parameters are random"
    )
    print(f"saved {output} and {record_path(output).name}")
    return 0
