"""The inference engine of the C++ predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lenet_cpp import _core
from lenet_cpp.inference.engine import RunSettings
from lenet_cpp.inference.paddle_package import library_facts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lenet_cpp.inference.predictor import Predictor


class CppEngine:
    """An engine that owns and runs a :class:`lenet_cpp.Predictor`."""

    def __init__(self, predictor: Predictor) -> None:
        """Take over a loaded predictor."""
        self._predictor = predictor

    @property
    def input_shape(self) -> tuple[int, ...]:
        """``(N, channels, height, width)``; -1 for a free dimension."""
        return self._predictor.input_spec.shape

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the outputs."""
        return self._predictor.run(batch)

    def settings(self, batch_size: int) -> RunSettings:
        """Return how batches of this size are computed."""
        options = self._predictor.options
        version = _core.paddle_version() if options["engine"] == "paddle" else "none"
        return RunSettings(
            engine=options["engine"],
            **library_facts(version),
            accelerator=self._predictor.accelerator(batch_size),
            ir_optim=options["ir_optim"],
            memory_optim=options["memory_optim"],
            threads=options["threads"],
            precision=options["precision"],
        )

    def close(self) -> None:
        """Free the model."""
        self._predictor.close()
