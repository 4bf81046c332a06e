"""The engines that compute a classifier's outputs, behind one interface.

Inference engines load an exported model and only run it: those in C++ (:class:`lenet_cpp.Options`)
and ``python``, which is ``paddle.inference``. Training engines can also compute gradients; they run
the model as it was trained or exported: ``dygraph`` a registered model's layer with trained
parameters, ``executor`` an exported model in ``paddle.static.Executor``.

This module does not import Paddle; an engine that needs Paddle imports it when it is opened.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lenet_cpp import _core
from lenet_cpp.errors import BadInput
from lenet_cpp.inference.model import Model
from lenet_cpp.inference.options import BUNDLED, File, Options, Source
from lenet_cpp.inference.paddle_package import library_facts
from lenet_cpp.inference.predictor import Predictor


@dataclass(frozen=True)
class RunSettings:
    """How an engine computes: its own values, not the requested ones."""

    engine: str
    """The engine that runs the model; never ``auto``."""
    paddle_version: str
    """``none`` when Paddle does not compute."""
    paddle_commit: str | None
    """The commit of the Paddle library; None when the installed package has another version."""
    cuda_version: str | None
    """The CUDA that the Paddle library was built with; None for a build without CUDA."""
    cudnn_version: str | None
    accelerator: str
    """The kernels: ``onednn``, ``openvino``, ``tensorrt``, or ``plain`` for the engine's own."""
    ir_optim: bool
    memory_optim: bool | None
    """None when it is not known."""
    threads: int
    runtime_device: str = "cpu"
    tensorrt: bool = False
    precision: str = "fp32"


class Engine(Protocol):
    """A loaded model, which must not be called from two threads at once."""

    def run(self, batch: NDArray[np.float32], wanted: Sequence[int]) -> list[NDArray[Any]]:
        """Compute outputs of a C-contiguous batch of the input's shape.

        ``wanted`` are the numbers of the outputs in :attr:`Model.outputs`.
        """
        ...

    def settings(self, batch_size: int) -> RunSettings:
        """Return how batches of this size are computed."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


def require_finite(batch: NDArray[np.float32]) -> None:
    """Refuse NaN and infinity, as the C++ predictor does.

    Rectifiers and max-pooling hide them: the outputs would look like any others.
    """
    if not np.isfinite(batch).all():
        raise BadInput("the images hold NaN or infinity")


class CppEngine:
    """An engine that owns and runs a :class:`lenet_cpp.Predictor`."""

    def __init__(self, predictor: Predictor) -> None:
        """Take over a loaded predictor."""
        self._predictor = predictor
        self.nan_origin = predictor.nan_origin
        self.close = predictor.close

    def run(self, batch: NDArray[np.float32], wanted: Sequence[int]) -> list[NDArray[Any]]:
        """Compute outputs."""
        if [*wanted] == [0]:
            return [self._predictor.run(batch)]
        specs = self._predictor.output_specs
        names = [specs[number].name for number in wanted]
        return [*self._predictor.run_outputs(batch, *names).values()]

    def settings(self, batch_size: int) -> RunSettings:
        """Return how batches of this size are computed."""
        options = self._predictor.options
        version = _core.engine_version("paddle") if options["engine"] == "paddle" else "none"
        accelerator = self._predictor.accelerator(batch_size)
        return RunSettings(
            engine=options["engine"],
            **library_facts(version),
            accelerator=accelerator,
            tensorrt=accelerator == "tensorrt",
            ir_optim=options["ir_optim"],
            memory_optim=options["memory_optim"],
            threads=options["threads"],
            precision=options["precision"],
            runtime_device=options["device"].partition(":")[0],
        )


_CPP = ("auto", "native", "paddle", "onnxruntime")
_PYTHON = ("python", "executor", "dygraph")
"""Those of :mod:`lenet_cpp.paddle_engines.engines`, which is built on this module."""


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
    if engine in _CPP:
        make, supported = partial(_load_cpp, engine=engine), Options.__annotations__.keys()
    elif engine in _PYTHON:
        make, supported = import_module("lenet_cpp.paddle_engines.engines").ENGINES[engine]
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
