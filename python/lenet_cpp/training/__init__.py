"""Train the networks of :mod:`lenet_cpp.models` and measure their accuracy.

Importing this package does not import Paddle.
"""

from lenet_cpp.training.evaluation import evaluate
from lenet_cpp.training.loop import TrainingResult, train
from lenet_cpp.training.recipes import RECIPES, Recipe, TrainingConfig

__all__ = ["RECIPES", "Recipe", "TrainingConfig", "TrainingResult", "evaluate", "train"]
