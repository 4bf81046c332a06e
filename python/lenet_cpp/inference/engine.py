"""The engines that compute a classifier's outputs, behind one interface.

Inference engines load an exported model and only run it. Training engines can also compute
gradients; they run the model as it was trained or exported. The engines are:

* ``auto``: inference engine, the C++ predictor with the fastest of the next three engines that
  runs the model (:class:`lenet_cpp.Options`);
* ``native``: the C++ predictor with its own kernels, which need no Paddle;
* ``paddle``: the C++ predictor with the Paddle library;
* ``onnxruntime``: the C++ predictor with onnxruntime, for .onnx;
* ``python``: inference engine, ``paddle.inference``;
* ``dygraph``: training engine, a registered model's layer with trained parameters;
* ``executor``: training engine, ``paddle.static.Executor`` with an exported model.

This module does not import Paddle; an engine that needs Paddle imports it when it is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lenet_cpp.errors import BadInput


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

    @property
    def input_shape(self) -> tuple[int, ...]:
        """``(N, channels, height, width)``; -1 for a free dimension."""
        ...

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the outputs [N, classes] of a C-contiguous batch of the input's shape."""
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
