"""Runs exported models with ``paddle.inference``, for the checks that follow writing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lenet_cpp.manifest import ModelSignature, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

__all__ = ["run_model", "signature_of"]


def run_model(
    model_path: Path, params_path: Path | None, inputs: Sequence[npt.NDArray[np.float32]]
) -> tuple[str, list[str], list[list[npt.NDArray[Any]]]]:
    """Run a model with ``paddle.inference`` and its plain kernels, on one thread.

    Args:
        model_path: The program; the folder when the layout is separate.
        params_path: The parameters; None when the layout is separate.
        inputs: One batch for each run.

    Returns:
        Name of the input, names of the outputs, and the outputs of each run.
    """
    from paddle.inference import Config, create_predictor

    paths = (model_path,) if params_path is None else (model_path, params_path)
    config = Config(*map(str, paths))
    config.disable_gpu()
    config.disable_glog_info()
    # Paddle 3.1 knows oneDNN only by its older name, for which later versions print a warning.
    disable_onednn = getattr(config, "disable_onednn", None) or config.disable_mkldnn
    disable_onednn()
    config.set_cpu_math_library_num_threads(1)
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
    return input_name, output_names, outputs


def signature_of(
    input_name: str,
    inputs: Sequence[npt.NDArray[Any]],
    output_names: Sequence[str],
    outputs: Sequence[Sequence[npt.NDArray[Any]]],
) -> ModelSignature:
    """Describe a model from two runs: a dimension that differed between them is free."""

    def tensor(name: str, first: npt.NDArray[Any], last: npt.NDArray[Any]) -> TensorSpec:
        shape = tuple(a if a == b else -1 for a, b in zip(first.shape, last.shape, strict=True))
        return TensorSpec(name, shape, str(first.dtype))

    return ModelSignature(
        (tensor(input_name, inputs[0], inputs[-1]),),
        tuple(map(tensor, output_names, outputs[0], outputs[-1])),
    )
