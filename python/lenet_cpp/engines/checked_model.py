"""The files of a model, looked at by the C++ checks before Paddle's Python side reads them.

Paddle crashes on some damaged programs, and gives wrong answers for some damaged parameters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lenet_cpp.predictor import Predictor

if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["CheckedModel", "check_model"]

_SOFTMAX = re.compile(r"(pd_op\.)?softmax_?(:\d+)?")
# Paddle 1 and 2 append a multiplication by one to what they export, later ones a copy.
_NEUTRAL = re.compile(r"(pd_op\.)?(scale|assign|shadow_output)_?(:\d+)?")


@dataclass(frozen=True)
class CheckedModel:
    """A model that the C++ predictor loads."""

    program: Path
    params: Path | None
    """None in the layout with one file for each variable."""
    input_shape: tuple[int, ...]

    def is_pir(self) -> bool:
        """Whether the program is in Paddle 3's format: JSON, not a protocol buffer."""
        with self.program.open("rb") as file:
            return file.read(1) == b"{"

    def ends_in_softmax(self) -> bool:
        """Whether the program's last operator is a softmax; runs the model once to see it."""
        with Predictor(self.program, self.params, accelerator="plain", ir_optim=False) as predictor:
            image = np.zeros((1, *predictor.input_spec.shape[1:]), np.float32)
            kinds = [layer.op_type for layer in predictor.run_layers(image)]
        while kinds and _NEUTRAL.fullmatch(kinds[-1]):
            kinds.pop()
        return bool(kinds) and _SOFTMAX.fullmatch(kinds[-1]) is not None


def check_model(
    model_file: str | os.PathLike[str] | None = None,
    params_file: str | os.PathLike[str] | None = None,
    *,
    model_dir: str | os.PathLike[str] | None = None,
    check_program: bool = True,
    check_hashes: bool = True,
    precision: str = "fp32",
) -> CheckedModel:
    """Find the files of a model and load it once in C++.

    Args:
        model_file: As for :class:`lenet_cpp.Predictor`.
        params_file: As for :class:`lenet_cpp.Predictor`.
        model_dir: As for :class:`lenet_cpp.Predictor`.
        check_program: As in :class:`lenet_cpp.Options`.
        check_hashes: As in :class:`lenet_cpp.Options`.
        precision: As in :class:`lenet_cpp.Options`; refused where the model has not got it.

    Raises:
        lenet_cpp.Error: As :class:`lenet_cpp.Predictor`.
    """
    with Predictor(
        model_file,
        params_file,
        model_dir=model_dir,
        accelerator="plain" if precision == "fp32" else "onednn",
        precision=precision,
        ir_optim=precision != "fp32",
        check_program=check_program,
        check_hashes=check_hashes,
    ) as predictor:
        return CheckedModel(predictor.model_file, predictor.params_file, predictor.input_spec.shape)
