"""Runs exported models with ``paddle.inference``, as the checks of this package do."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lenet_cpp._base.optional import require_paddle
from lenet_cpp.errors import BackendFailure, Error
from lenet_cpp.formats.manifest import ModelSignature
from lenet_cpp.formats.tensor_spec import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt
    import paddle

_SEED = 20_240_229


class Runs(NamedTuple):
    """Some runs of a model with one input."""

    input_name: str
    output_names: list[str]
    outputs: list[list[npt.NDArray[Any]]]
    """All outputs of each run."""


def random_batches(shape: Sequence[int]) -> list[npt.NDArray[np.float32]]:
    """Return two batches of random inputs, float32 from 0 to 1; the same whenever it is called.

    Args:
        shape: Of the model's input. When its batch is free (-1), the batches are of 1 and 3;
            where another size is free, it is 224 in the first and 256 in the second.
    """
    batches = (1, 3) if shape[0] < 0 else (shape[0], shape[0])
    random = np.random.default_rng(_SEED)
    return [
        random.random((batch, *(free if size < 0 else size for size in shape[1:])), np.float32)
        for batch, free in zip(batches, (224, 256), strict=True)
    ]


def onednn_method(config: paddle.inference.Config, name: str) -> Callable[..., None]:
    """Return a method of ``config`` whose name has ``onednn`` in it."""
    # Paddle 3.1 knows oneDNN only by its older name, for which later versions print a warning.
    method: Callable[..., None] | None = getattr(config, name, None)
    return method or getattr(config, name.replace("onednn", "mkldnn"))


def run_model(
    model_path: Path, params_path: Path | None, inputs: Iterable[npt.NDArray[np.float32]]
) -> Runs:
    """Run a model with ``paddle.inference`` and its plain kernels, on one thread.

    Args:
        model_path: The program; the folder when the layout is separate.
        params_path: The parameters; None when the layout is separate.
        inputs: One batch for each run.
    """
    require_paddle()
    from paddle.inference import Config

    paths = (model_path,) if params_path is None else (model_path, params_path)
    config = Config(*map(str, paths))
    config.disable_gpu()
    config.disable_glog_info()
    onednn_method(config, "disable_onednn")()
    config.set_cpu_math_library_num_threads(1)
    return run_config(config, inputs)


def run_config(config: paddle.inference.Config, inputs: Iterable[npt.NDArray[np.float32]]) -> Runs:
    """Run the model that ``config`` describes, which has one input.

    Args:
        config: The files and options.
        inputs: One batch for each run.
    """
    from paddle.inference import create_predictor

    predictor = create_predictor(config)
    input_name = str(predictor.get_input_names()[0])
    output_names = [str(output) for output in predictor.get_output_names()]
    handle = predictor.get_input_handle(input_name)
    outputs = []
    for x in inputs:
        handle.reshape(x.shape)
        handle.copy_from_cpu(x)
        predictor.run()
        outputs.append([predictor.get_output_handle(n).copy_to_cpu() for n in output_names])
    return Runs(input_name, output_names, outputs)


def signature_of(inputs: Sequence[npt.NDArray[Any]], runs: Runs) -> ModelSignature:
    """Describe a model from two runs: a dimension that differed between them is free."""

    def tensor(name: str, first: npt.NDArray[Any], last: npt.NDArray[Any]) -> TensorSpec:
        shape = tuple(a if a == b else -1 for a, b in zip(first.shape, last.shape, strict=True))
        return TensorSpec(name, shape, str(first.dtype))

    return ModelSignature(
        (tensor(runs.input_name, inputs[0], inputs[-1]),),
        tuple(map(tensor, runs.output_names, runs.outputs[0], runs.outputs[-1])),
    )


def last_line(error: Exception) -> str:
    """Return the last line of what Paddle says, which is the reason; before it come stacks."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


@contextmanager
def paddle_failures(doing: str) -> Iterator[None]:
    """Turn what Paddle raises into :class:`BackendFailure`, in one line."""
    try:
        yield
    except Error:
        raise
    except Exception as error:
        raise BackendFailure(f"Paddle failed while {doing}: {last_line(error)}") from error
