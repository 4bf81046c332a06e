"""The engines that compute a classifier's outputs, behind one interface.

Inference engines load an exported model and only run it; training engines can also compute
gradients, and run the model as it was trained or exported:

* ``auto``: inference engine, the C++ predictor of this package with the fastest of the next three
  that runs the model (:class:`lenet_cpp.Options`);
* ``native``: the C++ predictor with its own kernels, which need no Paddle;
* ``paddle``: the C++ predictor with the Paddle library;
* ``onnxruntime``: the C++ predictor with onnxruntime, for .onnx;
* ``python``: inference engine, ``paddle.inference``;
* ``dygraph``: training engine, a registered model's layer with trained parameters;
* ``executor``: training engine, ``paddle.static.Executor`` with an exported model.

Paddle is imported when an engine that needs it is opened, not with this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lenet_cpp.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class RunSettings:
    """How an engine computes, as it has it itself and not as it was asked to."""

    engine: str
    """What runs the model; never ``auto``."""
    paddle_version: str
    """``none`` where no Paddle computes."""
    paddle_commit: str | None
    """Of the Paddle library; None when the installed package is of another version."""
    cuda_version: str | None
    """That the Paddle library was built with; None for one without CUDA."""
    cudnn_version: str | None
    accelerator: str
    """What computes the operators: ``onednn``, ``openvino``, or ``plain``, the engine's kernels."""
    ir_optim: bool
    memory_optim: bool | None
    """None when it is not known."""
    threads: int
    runtime_device: str = "cpu"
    tensorrt: bool = False
    precision: str = "fp32"


class Engine(Protocol):
    """A loaded model. Not to be called from two threads at once."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """``(N, channels, height, width)``, -1 for what is free."""
        ...

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the outputs [N, classes] of a C-contiguous batch of the input's shape."""
        ...

    def settings(self, batch_size: int) -> RunSettings:
        """How batches of this size are computed."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


def require_finite(batch: NDArray[np.float32]) -> None:
    """Refuse NaN and infinity, as the C++ predictor does.

    Rectifiers and max-pooling swallow them: the outputs would look like any others.
    """
    if not np.isfinite(batch).all():
        raise BadInput("the images hold NaN or infinity")
