"""The LeNet in the package, trained on MNIST (``bundled/lenet/manifest.json``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet_cpp.inference.clones import Clones
from lenet_cpp.inference.options import BUNDLED_DIR
from lenet_cpp.inference.predictor import Predictor


def bundled_model_dir() -> Path:
    """Return the folder of the bundled model: .pdmodel, .json, .pdiparams and manifest."""
    return BUNDLED_DIR


_predictors = Clones(Predictor)


def predict(images: ArrayLike) -> NDArray[np.float32]:
    """Return the bundled LeNet's logits for images of digits, computed in C++.

    Thread-safety: may be called from any thread; the threads run in parallel.

    Args:
        images: White digits on black, as in MNIST: float values from 0 to 1, or uint8 pixels from
            0 to 255 (divided by 255), of shape [28, 28], [1, 28, 28], [N, 28, 28] or
            [N, 1, 28, 28].

    Returns:
        float32 [N, 10], the logit of each digit.

    Raises:
        lenet_cpp.BadInput: Wrong type or shape, or a value that is not finite.
        lenet_cpp.Error: The Paddle library could not be loaded or failed.
    """
    return _predictors.get().run(images)
