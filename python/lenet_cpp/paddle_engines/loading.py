"""Open a model in an engine of any name, in C++ or in Paddle's Python package."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

from lenet_cpp.errors import BadInput
from lenet_cpp.inference.model import Model
from lenet_cpp.inference.options import BUNDLED, File, Options, Source
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.paddle_engines.engine import CppEngine, Engine

_CPP = ("auto", "native", "paddle", "onnxruntime", "plain")
_PYTHON = ("python", "executor", "dygraph")
"""The engines of :mod:`lenet_cpp.paddle_engines.engines`, which is imported when one is opened."""


def load(
    engine: str,
    model_file: Source = BUNDLED,
    params_file: File = None,
    *,
    model_dir: File = None,
    **options: Any,
) -> tuple[Engine, Model]:
    """Load a model into the engine of a name, as ``InferenceEngine.load_predictor`` says.

    ``options`` are some of :class:`lenet_cpp.Options`; for the ``dygraph`` engine ``num_classes``,
    the number of classes, and ``image_size``, height and width of the images in pixels.

    Raises:
        lenet_cpp.Error: An argument is wrong, or the model cannot be loaded.
    """
    make: Callable[..., tuple[Engine, Model]]
    supported: AbstractSet[str]
    if engine in _CPP:
        make, supported = partial(_load_cpp, engine=engine), Options.__annotations__.keys()
    elif engine in _PYTHON:
        from lenet_cpp.paddle_engines.engines import ENGINES

        make, supported = ENGINES[engine]
    else:
        raise BadInput(f"unknown engine {engine!r}; choose among {', '.join((*_CPP, *_PYTHON))}")
    if wrong := sorted(options.keys() - supported):
        if wrong[0] in {"num_classes", "image_size"}:
            raise BadInput("an exported model has its own number of classes and size of images")
        known = ", ".join(sorted({*supported} - {"engine"}))
        raise BadInput(
            f"the {engine} engine does not support the option {wrong[0]}: it supports {known}"
        )
    return make(model_file, params_file, model_dir=model_dir, **options)


def _load_cpp(model_file: Source, params_file: File, **options: Any) -> tuple[Engine, Model]:
    predictor = Predictor(model_file, params_file, **options)
    return CppEngine(predictor), Model.of(predictor)
