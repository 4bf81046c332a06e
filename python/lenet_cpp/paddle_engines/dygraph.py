"""Training engines: a layer with trained parameters, and an exported model in an executor."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp.inference.engine import RunSettings, require_finite
from lenet_cpp.inference.paddle_package import library_facts
from lenet_cpp.paddle_engines.running import find_gpu, paddle_failures

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import paddle

    from lenet_cpp.inference.model import Model


def _place(device: str) -> Any:
    """Return Paddle's name for a device."""
    import paddle

    number = find_gpu(device)
    return paddle.CPUPlace() if number < 0 else paddle.CUDAPlace(number)


def _settings(engine: str, place: Any) -> RunSettings:
    """Return the settings of training engines: Paddle's own kernels and its flags."""
    import paddle

    flags = paddle.get_flags(["FLAGS_paddle_num_threads", "FLAGS_use_mkldnn"])
    return RunSettings(
        engine=engine,
        **library_facts(str(paddle.__version__)),
        accelerator="onednn" if flags["FLAGS_use_mkldnn"] else "plain",
        ir_optim=False,
        memory_optim=False,
        threads=int(flags["FLAGS_paddle_num_threads"]),
        runtime_device="gpu" if isinstance(place, paddle.CUDAPlace) else "cpu",
    )


class DygraphEngine:
    """An engine that runs a layer, operator by operator."""

    def __init__(self, layer: paddle.nn.Layer, device: str = "cpu") -> None:
        """Put a layer into evaluation mode, on a device; Unsupported if there is no such GPU."""
        layer.eval()
        self._place = _place(device)
        self._layer = layer.to(device=self._place)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the outputs."""
        import paddle

        require_finite(batch)
        with paddle_failures("running the layer"), paddle.no_grad():
            output: NDArray[np.float32] = self._layer(
                paddle.to_tensor(batch, place=self._place)
            ).numpy()
            return output

    def settings(self, batch_size: int) -> RunSettings:  # noqa: ARG002 - the interface has it
        """Return how batches of any size are computed."""
        return _settings("dygraph", self._place)

    def close(self) -> None:
        """Free the parameters."""
        del self._layer


class ExecutorEngine:
    """An engine that runs an exported model with ``paddle.static.Executor``.

    While a model is loaded or run, Paddle's static mode is on, and for programs other than .json
    its older intermediate representation too; both are restored afterwards. They are states of the
    whole process: other threads must not call Paddle at the same time.
    """

    def __init__(self, model: Model, device: str = "cpu") -> None:
        """Load a model, with combined parameters or one file for each variable.

        Raises:
            Unsupported: There is no such GPU.
            BackendFailure: Paddle could not load the model.
        """
        import paddle

        self._pir = model.is_pir
        self._place = _place(device)
        self._scope = paddle.static.Scope()
        with paddle_failures(f"loading {model.program}"), self._static():
            self._executor = paddle.static.Executor(self._place)
            load = self._load_separate if model.params is None else self._load_combined
            self._program, self._inputs, self._outputs = load(model)

    def _load_combined(self, model: Model) -> Any:
        import paddle

        program, params = model.program.resolve(), Path(str(model.params)).resolve()
        # Paddle prefers other files of similar names: this folder has no others.
        with tempfile.TemporaryDirectory(prefix="lenet-") as folder:
            prefix = Path(folder, "model")
            prefix.with_suffix(".json" if self._pir else ".pdmodel").symlink_to(program)
            prefix.with_suffix(".pdiparams").symlink_to(params)
            return paddle.static.load_inference_model(str(prefix), self._executor)

    def _load_separate(self, model: Model) -> Any:
        import paddle

        # Paddle warns that this layout is deprecated each time it reads it.
        logger = logging.getLogger("paddle.static.io")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            return paddle.static.load_inference_model(
                str(model.program.resolve().parent),
                self._executor,
                model_filename=model.program.name,
                params_filename=None,
            )
        finally:
            logger.setLevel(level)

    @contextmanager
    def _static(self) -> Iterator[None]:
        import paddle
        from paddle.pir_utils import IrGuard, OldIrGuard

        representation: AbstractContextManager[Any] = IrGuard() if self._pir else OldIrGuard()
        with representation, paddle.static.scope_guard(self._scope):
            yield

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the outputs."""
        require_finite(batch)
        with paddle_failures("running the model"), self._static():
            outputs: list[NDArray[np.float32]] = self._executor.run(
                self._program, feed={self._inputs[0]: batch}, fetch_list=self._outputs[:1]
            )
        return outputs[0]

    def settings(self, batch_size: int) -> RunSettings:  # noqa: ARG002 - the interface has it
        """Return how batches of any size are computed."""
        return _settings("executor", self._place)

    def close(self) -> None:
        """Free the model."""
        self._executor.close()
        del self._executor, self._program, self._inputs, self._outputs, self._scope
