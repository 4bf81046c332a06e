"""Measure how many images a trained model classifies correctly."""

from __future__ import annotations

from dataclasses import dataclass

from lenet_cpp._base.frameworks import paddle
from lenet_cpp.agreement import predicted
from lenet_cpp.data.mnist import Split, to_model_input


@dataclass(frozen=True)
class Evaluation:
    """The number of images, and of those that were classified correctly."""

    correct: int
    count: int

    @property
    def fraction(self) -> float:
        """The fraction of correct images."""
        return self.correct / self.count

    def __str__(self) -> str:
        """Return, for instance, ``98.37 % (9837 of 10000)``."""
        return f"{100 * self.fraction:.2f} % ({self.correct} of {self.count})"


def evaluate(layer: paddle.nn.Layer, split: Split, *, batch_size: int = 500) -> Evaluation:
    """Count the images that a model classifies correctly.

    The mode of the model (training or evaluation) is restored.
    """
    training = layer.training
    layer.eval()
    correct = 0
    with paddle.no_grad():
        for start in range(0, len(split), batch_size):
            images = to_model_input(split.images[start : start + batch_size])
            found = predicted(layer(paddle.to_tensor(images)).numpy())
            correct += int((found == split.labels[start : start + batch_size]).sum())
    if training:
        layer.train()
    return Evaluation(correct, len(split))
