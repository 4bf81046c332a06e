"""Run PaddlePaddle image classifiers through a C++ predictor.

    >>> import numpy as np, lenet_cpp
    >>> lenet_cpp.predict(np.zeros((2, 1, 28, 28), "float32")).shape
    (2, 10)

Importing this package imports NumPy, and no other package: no ``paddle``, no Pillow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lenet_cpp._base.lazy import lazy_exports
from lenet_cpp._core import version as _version
from lenet_cpp.errors import (
    BackendFailure,
    BadInput,
    BadModel,
    Error,
    FileNotFound,
    Unsupported,
    VersionMismatch,
)
from lenet_cpp.formats.tensor_spec import TensorSpec
from lenet_cpp.inference.bundled import bundled_model_dir, predict
from lenet_cpp.inference.input_range import InputRangeWarning
from lenet_cpp.inference.options import EngineInfo, Options, available_engines, paddle_version
from lenet_cpp.inference.predictor import LayerOutput, Predictor, PredictorPool
from lenet_cpp.inference.profile import Profile

if TYPE_CHECKING:
    from lenet_cpp.data import images
    from lenet_cpp.inference.autolog import AutoLog
    from lenet_cpp.inference.batch_predictor import BatchPredictor
    from lenet_cpp.inference.classification import InferenceEngine
    from lenet_cpp.inference.digits import Classification, classify
    from lenet_cpp.inference.isolated import IsolatedPredictor

__all__ = [
    "AutoLog",
    "BackendFailure",
    "BadInput",
    "BadModel",
    "BatchPredictor",
    "Classification",
    "EngineInfo",
    "Error",
    "FileNotFound",
    "InferenceEngine",
    "InputRangeWarning",
    "IsolatedPredictor",
    "LayerOutput",
    "Options",
    "Predictor",
    "PredictorPool",
    "Profile",
    "TensorSpec",
    "Unsupported",
    "VersionMismatch",
    "__version__",
    "available_engines",
    "bundled_model_dir",
    "classify",
    "images",
    "paddle_version",
    "predict",
]

__version__ = _version()

# These take longer to import than everything else together.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "AutoLog": "lenet_cpp.inference.autolog",
        "BatchPredictor": "lenet_cpp.inference.batch_predictor",
        "Classification": "lenet_cpp.inference.digits",
        "InferenceEngine": "lenet_cpp.models",
        "IsolatedPredictor": "lenet_cpp.inference.isolated",
        "classify": "lenet_cpp.inference.digits",
        "images": "lenet_cpp.data.images",
    },
)
