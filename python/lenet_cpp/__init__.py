"""Run PaddlePaddle and ONNX image classifiers from C++, Python, a server or a web page.

Answers are checked against Paddle or ONNX Runtime.

    >>> import lenet_cpp
    >>> lenet_cpp.Classifier("my_model")("photo.jpg")  # doctest: +SKIP
    7 (99.8 %), 1 (0.1 %)

Importing this package imports NumPy, and no other package: no ``paddle``, no Pillow.
"""

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
from lenet_cpp.formats.tensor_spec import OutputSpec, TensorSpec
from lenet_cpp.inference.bundled import bundled_model_dir, predict
from lenet_cpp.inference.input_range import InputRangeWarning
from lenet_cpp.inference.options import EngineInfo, Options, available_engines, paddle_version
from lenet_cpp.inference.predictor import LayerOutput, Predictor, PredictorPool
from lenet_cpp.inference.profile import Profile

if TYPE_CHECKING:
    from lenet_cpp.bulk.batch_predictor import BatchPredictor
    from lenet_cpp.data import images
    from lenet_cpp.inference.classifier import Classification, Classifier, classify
    from lenet_cpp.inference.isolated import IsolatedPredictor
    from lenet_cpp.inference.results import Result
    from lenet_cpp.paddle_engines.autolog import AutoLog
    from lenet_cpp.paddle_engines.classification import InferenceEngine

__all__ = [
    "AutoLog",
    "BackendFailure",
    "BadInput",
    "BadModel",
    "BatchPredictor",
    "Classification",
    "Classifier",
    "EngineInfo",
    "Error",
    "FileNotFound",
    "InferenceEngine",
    "InputRangeWarning",
    "IsolatedPredictor",
    "LayerOutput",
    "Options",
    "OutputSpec",
    "Predictor",
    "PredictorPool",
    "Profile",
    "Result",
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
        "AutoLog": "lenet_cpp.paddle_engines.autolog",
        "BatchPredictor": "lenet_cpp.bulk.batch_predictor",
        "Classification": "lenet_cpp.inference.classifier",
        "Classifier": "lenet_cpp.inference.classifier",
        "InferenceEngine": "lenet_cpp.paddle_engines.classification",
        "IsolatedPredictor": "lenet_cpp.inference.isolated",
        "Result": "lenet_cpp.inference.results",
        "classify": "lenet_cpp.inference.classifier",
        "images": "lenet_cpp.data.images",
    },
)
