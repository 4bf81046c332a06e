"""The engines that compute a classifier's outputs, behind one interface.

Inference engines load an exported model and only run it: those in C++ (:class:`lenet_cpp.Options`)
and ``python``, which is ``paddle.inference``. Training engines can also compute gradients; they run
the model as it was trained or exported: ``dygraph`` a registered model's layer with trained
parameters, ``executor`` an exported model in ``paddle.static.Executor``.

:mod:`lenet_cpp.paddle_engines.loading` opens an engine by its name. This module imports no Paddle.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lenet_cpp import _core
from lenet_cpp.errors import BadInput
from lenet_cpp.inference.paddle_package import installed_paddle, library_facts
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

        ``wanted`` are the numbers of the outputs in ``Model.outputs``.
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


def settings_of(config: Any, **known: Any) -> RunSettings:
    """Read a ``paddle.inference.Config``; the fields in ``known`` replace those of the config."""
    enabled = getattr(config, "onednn_enabled", None) or config.mkldnn_enabled  # Paddle 3.1
    row = re.search(r"\bmemory_optim +\| (true|false)\b", config.summary())
    found = {
        "engine": "paddle.inference",
        **library_facts(installed_paddle().get("full_version", "none")),
        "accelerator": "onednn" if enabled() else "plain",
        "ir_optim": bool(config.ir_optim()),
        # Only the summary of the config shows this option.
        "memory_optim": row and row[1] == "true",
        "threads": int(config.cpu_math_library_num_threads()),
        "tensorrt": bool(config.tensorrt_engine_enabled()),
        "runtime_device": "gpu" if config.use_gpu() else "cpu",
    }
    return RunSettings(**{**found, **known})
