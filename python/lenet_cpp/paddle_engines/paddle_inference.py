"""The inference engine of ``paddle.inference`` in Python."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp.errors import BadInput, Unsupported
from lenet_cpp.inference.autolog import settings_of
from lenet_cpp.inference.engine import require_finite
from lenet_cpp.paddle_engines.running import find_gpu, inference_config, paddle_failures

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
        """Load a model.

        Args:
            model: The files.
            accelerator: ``auto`` is oneDNN, on a GPU ``plain``.
            threads: CPU threads of one run, 1 or more.
            ir_optim: Let Paddle fuse and rewrite operators.
            memory_optim: Let intermediate results share memory.
            precision: As in :class:`lenet_cpp.Options`; ``check_model`` has checked that the model
                supports it.
            device: As in :class:`lenet_cpp.Options`.
            gpu_mem: As in :class:`lenet_cpp.Options`.

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
        pir = model.is_pir
        if accelerator == "openvino" and (pir or model.params is None):
            raise Unsupported(f"{model.program}: OpenVINO runs .pdmodel programs only")
        self._known: dict[str, Any] = {
            "accelerator": accelerator,
            "memory_optim": memory_optim,
            "precision": precision,
        }
        self._cache = tempfile.TemporaryDirectory(prefix="lenet-")
        try:
            with paddle_failures(f"loading {model.program}"):
                from paddle.inference import create_predictor

                # Both live as long as the predictor: a Config serves one predictor, and the
                # handles point into it.
                self._config = inference_config(
                    model.program,
                    model.params,
                    pir=pir,
                    threads=threads,
                    ir_optim=ir_optim,
                    device=device,
                    gpu_mem=gpu_mem,
                    cache=self._cache.name,
                    **self._known,
                )
                self._predictor = create_predictor(self._config)
                self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
                self._output = self._predictor.get_output_handle(
                    self._predictor.get_output_names()[0]
                )
        except BaseException:
            self._cache.cleanup()
            raise

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the outputs."""
        require_finite(batch)
        with paddle_failures("running the model"):
            self._input.reshape(batch.shape)
            self._input.copy_from_cpu(batch)
            self._predictor.run()
            output: NDArray[np.float32] = self._output.copy_to_cpu()
            return output

    def settings(self, batch_size: int) -> RunSettings:  # noqa: ARG002 - the interface has it
        """Return how batches of any size are computed."""
        return settings_of(self._config, engine="python", **self._known)

    def close(self) -> None:
        """Free the model."""
        del self._input, self._output, self._predictor, self._config
        self._cache.cleanup()
