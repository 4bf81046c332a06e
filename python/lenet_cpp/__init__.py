"""Runs image classifiers trained in PaddlePaddle through a C++ predictor.

    >>> import numpy as np, lenet_cpp
    >>> lenet_cpp.predict(np.zeros((2, 1, 28, 28), "float32")).shape
    (2, 10)

Importing this package imports no ``paddle`` package and, of what it depends on, NumPy only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from lenet_cpp._core import paddle_version as _paddle_version
from lenet_cpp._core import version as _version
from lenet_cpp._input_range import InputRangeWarning
from lenet_cpp.bundled import Classification, bundled_model_dir, classify, predict
from lenet_cpp.errors import (
    BackendFailure,
    BadInput,
    BadModel,
    Error,
    FileNotFound,
    Unsupported,
    VersionMismatch,
)
from lenet_cpp.plan import Plan
from lenet_cpp.predictor import LayerOutput, Options, Predictor, PredictorPool
from lenet_cpp.tensor_spec import TensorSpec

if TYPE_CHECKING:
    from lenet_cpp.classification import InferenceEngine
    from lenet_cpp.isolated import IsolatedPredictor

__all__ = [
    "BackendFailure",
    "BadInput",
    "BadModel",
    "Classification",
    "Error",
    "FileNotFound",
    "InferenceEngine",
    "InputRangeWarning",
    "IsolatedPredictor",
    "LayerOutput",
    "Options",
    "Plan",
    "Predictor",
    "PredictorPool",
    "TensorSpec",
    "Unsupported",
    "VersionMismatch",
    "__version__",
    "bundled_model_dir",
    "classify",
    "paddle_version",
    "predict",
]

__version__ = _version()

# Imported when they are first asked for: they take longer than all the rest.
_LATER = {
    "InferenceEngine": "lenet_cpp.classification",
    "IsolatedPredictor": "lenet_cpp.isolated",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_LATER[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted(globals() | _LATER)


def paddle_version() -> str:
    """Return the version of the Paddle library that predictors run on; loads it if need be."""
    from lenet_cpp.predictor import use_installed_paddle

    use_installed_paddle()
    return _paddle_version()
