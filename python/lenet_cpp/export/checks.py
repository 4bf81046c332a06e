"""Compare what was written, or read, with what it came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lenet_cpp._base.frameworks import paddle
from lenet_cpp.agreement import compare_batches
from lenet_cpp.errors import BadModel, Error, Unsupported
from lenet_cpp.inference.model import Model
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.paddle_engines.running import Runs, last_line, random_batches, run_model


def run_or_raise(
    program: Path,
    params: Path | None,
    inputs: Sequence[npt.NDArray[np.float32]],
    *,
    error: type[Error] = BadModel,
    name: str | None = None,
) -> Runs:
    """Run a model as :func:`run_model` does, and raise ``error`` when that fails.

    The message calls it ``name``, or names the program.
    """
    try:
        return run_model(program, params, inputs)
    except Exception as reason:
        raise error(f"{name or program} cannot be run: {last_line(reason)}") from reason


def check_agreement(
    pairs: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    names: tuple[str, str],
    *,
    exact: bool = False,
    error: type[Error] = BadModel,
    conclusion: str = "",
) -> float:
    """Compare the expected and the found outputs of each batch; return the largest difference.

    Raises ``error`` unless they agree, or are the same bits where ``exact``; its message calls them
    by the ``names``, and ends with ``conclusion``.
    """
    comparison = compare_batches(pairs, names=names, exact=exact)
    if not comparison.agrees:
        raise error(comparison.mismatch + conclusion)
    return comparison.largest_difference


def read_back(program: Path, params: Path | None) -> str:
    """Load and run what was written, as ``lenet-cpp predict`` does by default.

    Returns why predict does not support the model; nothing when it runs it. Another refusal or
    failure of :class:`lenet_cpp.Predictor` is raised.
    """
    try:
        with Predictor(program, params) as predictor:
            spec = predictor.input_spec
            predictor.run(random_batches(spec.shape, spec.dtype)[0])
    except Unsupported as error:
        return str(error).replace(str(program), program.name)
    return ""


def compare_with_program(layer: paddle.nn.Layer, model: Model) -> tuple[bool, float]:
    """Compare a network's outputs with those of the program that its parameters came from.

    Returns whether the program ends in a softmax, which the network does not have, and the largest
    difference. It is BadModel when the outputs differ, or the program cannot be run.
    """
    inputs = random_batches(model.input_shape, model.input_spec.dtype)
    expected = [run[0] for run in run_or_raise(model.program, model.params, inputs).outputs]
    softmax = model.output_role == "probabilities"
    with paddle.no_grad():
        logits = [layer(paddle.to_tensor(x)) for x in inputs]
        found = [(paddle.nn.functional.softmax(y) if softmax else y).numpy() for y in logits]
    names = "the network with the same parameters", str(model.program)
    pairs = zip(found, expected, strict=True)
    return softmax, check_agreement(pairs, names, conclusion=": it is another network")
