"""Training in PyTorch on the digits: LeNet to tell the ten, ResNet18 to tell even from odd.

As in :mod:`lenet_cpp.training.loop`, everything random is a function of the seed and of the step.
"""

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from lenet_cpp import models
from lenet_cpp.agreement import predicted
from lenet_cpp.data.mnist import Mnist, Split, to_model_input
from lenet_cpp.errors import BadInput
from lenet_cpp.interchange.torch.models import create_network
from lenet_cpp.training.evaluation import Evaluation
from lenet_cpp.training.recipes import Recipe, TrainingConfig, learning_rate

REPORT_EVERY = 300
EVEN_OR_ODD = ("even", "odd")


@dataclass(frozen=True)
class TorchTrainingSettings:
    """What to train, and how; with the data and the device it determines the parameters.

    Without a recipe the initial parameters stay as they are. The seed is theirs and that of the
    order of the images; ``image_size`` that of the images that ResNet18 is trained with.
    """

    model: str = "lenet"
    recipe: Recipe | None = field(default_factory=lambda: default_recipe("lenet"))
    seed: int = 0
    image_size: int = 32
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Check what the recipe and the model do not check themselves; BadInput."""
        recipe = self.config.recipe
        unknown = (recipe.weight_decay, recipe.label_smoothing, recipe.average_decay)
        if recipe.optimizer != "adam" or any(unknown) or recipe.augmentation is not None:
            raise BadInput(f"the recipe {recipe.name} is not for PyTorch, which knows Adam alone")
        if recipe.batch_size < 2:
            raise BadInput("the batch size must be at least 2")
        if self.model == "resnet18":
            models.get("ResNet18").shape(self.image_size)

    @property
    def config(self) -> TrainingConfig:
        """What a training in Paddle has too, checked."""
        return TrainingConfig(self.recipe or default_recipe("lenet"), seed=self.seed)

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each class, in output order."""
        return EVEN_OR_ODD if self.model == "resnet18" else models.get("lenet").labels


class Training(NamedTuple):
    """What training left: the network on the device, in evaluation mode, and how it came about.

    The accuracy, on the test images, is None when nothing was trained; the record is what
    :func:`lenet_cpp.formats.training_record.write_torch_record` takes.
    """

    net: torch.nn.Module
    accuracy: Evaluation | None
    record: dict[str, Any]


def default_recipe(model: str, mnist: Mnist | None = None) -> Recipe:
    """Return how a network is trained unless other things are asked for.

    Adam and half a cosine down to zero: LeNet for 5 epochs of full MNIST (without ``mnist``) or
    other data, or 10 of the embedded sample.
    """
    if model != "lenet":
        return Recipe(name="even or odd", epochs=1, schedule="cosine")
    epochs = 10 if mnist is not None and mnist.kind == "sample" else 5
    return Recipe(name="torch", epochs=epochs, learning_rate=2e-3, schedule="cosine")


def default_device() -> str:
    """The accelerator that PyTorch finds; the processor without one."""
    if not torch.accelerator.is_available():
        return "cpu"
    return str(torch.accelerator.current_accelerator().type)


def train(
    settings: TorchTrainingSettings,
    mnist: Mnist,
    *,
    report: Callable[[str], None] = print,
    progress: bool | None = False,
) -> Training:
    """Train a network on the digits; the test images are only used once, at the end.

    The caller's random state is left as it was. On one kind of processor, with one version of
    PyTorch and one number of threads, the same settings give the same bits. ``report`` takes a line
    every 300 batches; ``progress`` shows a bar, and None shows it on a terminal.

    Raises:
        BadInput: The loss became infinite or not a number, or there is no such device.
    """
    started = time.monotonic()
    net = create_network(settings.model, len(settings.classes), seed=settings.seed)
    try:
        net.to(settings.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInput(f"cannot train on {settings.device!r}: {reason}") from error
    accuracy, test = None, None
    if settings.recipe is not None:
        _optimize(net, settings, mnist.train, report, progress)
        accuracy = evaluate(net, settings, mnist.test)
        of = f"MNIST test images ({mnist.kind})"
        if settings.classes == EVEN_OR_ODD:
            of += ", even or odd"
        test = {**dataclasses.asdict(accuracy), "accuracy": accuracy.fraction, "of": of}
    net.eval()
    sized = settings.recipe is not None and settings.model == "resnet18"
    record = {
        **dataclasses.asdict(settings),
        "image_size": settings.image_size if sized else None,
        "classes": list(settings.classes),
        "data": None if settings.recipe is None else mnist.record(),
        "test": test,
        "seconds": round(time.monotonic() - started, 1),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }
    return Training(net, accuracy, record)


def _optimize(
    net: torch.nn.Module,
    settings: TorchTrainingSettings,
    split: Split,
    report: Callable[[str], None],
    progress: bool | None,
) -> None:
    recipe = settings.config.recipe
    per_epoch = settings.config.steps_per_epoch(len(split))
    total = settings.config.total_steps(len(split))
    optimizer = torch.optim.Adam(net.parameters(), lr=recipe.learning_rate)
    order = np.empty(0, np.int64)
    net.train()
    disable = None if progress is None else not progress
    with tqdm(total=total, unit="batch", disable=disable, file=sys.stderr) as bar:
        for step in range(total):
            epoch, batch = divmod(step, per_epoch)
            if batch == 0:
                order = np.random.default_rng((settings.seed, epoch)).permutation(len(split))
            chosen = order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size]
            images, labels = _batch(settings, split, chosen)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step, total=total, per_epoch=per_epoch)
            optimizer.zero_grad()
            logits = net(images)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            bar.update()
            if not math.isfinite(value := loss.item()):
                raise BadInput(f"the loss became {value} at step {step}: lower the learning rate")
            if batch % REPORT_EVERY == 0:
                accuracy = (logits.argmax(dim=1) == labels).float().mean().item()
                bar.clear()
                report(f"epoch: {epoch}, batch: {batch}, loss: {value:.4f}, acc: {accuracy:.4f}")


def _batch(
    settings: TorchTrainingSettings, split: Split, chosen: NDArray[np.int64]
) -> tuple[torch.Tensor, torch.Tensor]:
    pixels, labels = split.images[chosen], split.labels[chosen]
    if settings.model == "resnet18":
        pipeline = models.get("ResNet18").pipeline(settings.image_size)
        inputs = pipeline.batch([Image.fromarray(digit) for digit in pixels])
        labels = labels % 2
    else:
        inputs = to_model_input(pixels)
    device = settings.device
    return torch.from_numpy(inputs).to(device), torch.from_numpy(labels).to(device)


def evaluate(net: torch.nn.Module, settings: TorchTrainingSettings, split: Split) -> Evaluation:
    """Count the images that a network classifies correctly; it is left in evaluation mode."""
    net.eval()
    batches = np.array_split(np.arange(len(split)), -(-len(split) // 500))
    with torch.inference_mode():
        pairs = (_batch(settings, split, chosen) for chosen in batches)
        correct = sum(
            int((predicted(net(x).cpu().numpy()) == labels.cpu().numpy()).sum())
            for x, labels in pairs
        )
    return Evaluation(correct, len(split))
