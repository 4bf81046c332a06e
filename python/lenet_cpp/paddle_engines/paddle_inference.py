"""The inference engine of ``paddle.inference`` in Python."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp.errors import BadInput, Unsupported
from lenet_cpp.inference.autolog import settings_of
from lenet_cpp.inference.engine import require_finite
from lenet_cpp.paddle_engines.running import (
    ConfiguredPredictor,
    find_gpu,
    inference_config,
    paddle_failures,
)

if TYPE_CHECKING:
    from lenet_cpp.inference.engine import RunSettings
    from lenet_cpp.inference.model import Model
    from lenet_cpp.inference.options import Accelerator, Precision

_ACCELERATORS = ("plain", "onednn", "openvino")


class PaddleInferenceEngine:
    """An engine that runs an exported model with ``paddle.inference``."""

    def __init__(
        self,
        model: Model,
        *,
        accelerator: Accelerator = "auto",
        threads: int = 1,
        ir_optim: bool = True,
        memory_optim: bool = False,
        precision: Precision = "fp32",
        device: str = "cpu",
        gpu_mem: int = 0,
    ) -> None:
        """Load a model, which ``check_model`` has checked, also for the precision.

        The options are those of :class:`lenet_cpp.Options`, but ``auto`` is oneDNN, and on a GPU
        ``plain``.

        Raises:
            BadInput: An option is wrong.
            Unsupported: There is no such GPU, or what it is asked for is computed by the processor
                alone; OpenVINO for a model that is not a ``.pdmodel``.
            BackendFailure: Paddle could not load the model.
        """
        gpu = find_gpu(device) >= 0
        if accelerator == "auto":
            accelerator = "plain" if gpu else "onednn"
        if gpu and (accelerator != "plain" or precision != "fp32"):
            raise Unsupported(f"device {device}: a GPU computes with accelerator plain, in fp32")
        if accelerator not in _ACCELERATORS:
            known = ", ".join(("auto", *_ACCELERATORS))
            raise BadInput(f"unknown accelerator {accelerator!r}; choose among {known}")
        if threads < 1:
            raise BadInput(f"threads is {threads}; expected 1 or more")
        if precision != "fp32" and (accelerator != "onednn" or not ir_optim):
            raise BadInput(
                f"precision {precision} is computed by oneDNN with ir_optim: leave out accelerator"
                " and ir_optim, or set them to onednn and True"
            )
        if accelerator == "openvino" and (model.is_pir or model.params is None):
            raise Unsupported(f"{model.program}: OpenVINO runs .pdmodel programs only")
        self._known: dict[str, Any] = {
            "accelerator": accelerator,
            "memory_optim": memory_optim,
            "precision": precision,
        }
        self._cache = tempfile.TemporaryDirectory(prefix="lenet-")
        try:
            with paddle_failures(f"loading {model.program}"):
                config = inference_config(
                    model.program,
                    model.params,
                    threads=threads,
                    ir_optim=ir_optim,
                    device=device,
                    gpu_mem=gpu_mem,
                    cache=self._cache.name,
                    **self._known,
                )
                self._predictor = ConfiguredPredictor(config)
        except BaseException:
            self._cache.cleanup()
            raise

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the outputs."""
        require_finite(batch)
        with paddle_failures("running the model"):
            return self._predictor.run(batch)[0]

    def settings(self, batch_size: int) -> RunSettings:  # noqa: ARG002 - the interface has it
        """Return how batches of any size are computed."""
        return settings_of(self._predictor.config, engine="python", **self._known)

    def close(self) -> None:
        """Free the model."""
        del self._predictor
        self._cache.cleanup()
