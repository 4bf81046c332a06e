"""Check a model's files in C++ before Paddle's Python package reads them.

Paddle crashes on some damaged programs, and gives wrong outputs for some damaged parameters.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_cpp._base.optional import require_paddle
from lenet_cpp.inference.predictor import Predictor

if TYPE_CHECKING:
    from lenet_cpp.inference.options import Precision


@dataclass(frozen=True)
class CheckedModel:
    """A model that the C++ predictor has loaded."""

    program: Path
    params: Path | None
    """None for an .onnx, and in the layout with one file for each variable."""
    input_shape: tuple[int, ...]
    output_kind: str
    """As :attr:`lenet_cpp.Predictor.output_kind`."""

    @property
    def image_size(self) -> int | None:
        """Width of the images; None when it is free."""
        return None if self.input_shape[-1] < 0 else self.input_shape[-1]

    def is_pir(self) -> bool:
        """Return whether the program has Paddle 3's format: JSON, not a protocol buffer."""
        with self.program.open("rb") as file:
            return file.read(1) == b"{"

    @classmethod
    def of(cls, predictor: Predictor) -> CheckedModel:
        """Return the model that a predictor has loaded."""
        return cls(
            predictor.model_file,
            predictor.params_file,
            predictor.input_spec.shape,
            predictor.output_kind,
        )


def check_model(
    model_file: str | os.PathLike[str] | None = None,
    params_file: str | os.PathLike[str] | None = None,
    *,
    model_dir: str | os.PathLike[str] | None = None,
    check_program: bool = True,
    check_hashes: bool = True,
    precision: Precision = "fp32",
) -> CheckedModel:
    """Find the files of a model and load it once in C++.

    Args:
        model_file: As for :class:`lenet_cpp.Predictor`.
        params_file: As for :class:`lenet_cpp.Predictor`.
        model_dir: As for :class:`lenet_cpp.Predictor`.
        check_program: As in :class:`lenet_cpp.Options`.
        check_hashes: As in :class:`lenet_cpp.Options`.
        precision: As in :class:`lenet_cpp.Options`; an error when the model does not support it.

    Raises:
        lenet_cpp.Error: As :class:`lenet_cpp.Predictor`; ``Unsupported`` also without PaddlePaddle.
    """
    require_paddle()
    with Predictor(
        model_file,
        params_file,
        model_dir=model_dir,
        engine="paddle",
        accelerator="plain" if precision == "fp32" else "onednn",
        precision=precision,
        ir_optim=precision != "fp32",
        check_program=check_program,
        check_hashes=check_hashes,
    ) as predictor:
        return CheckedModel.of(predictor)
