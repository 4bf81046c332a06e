"""Run exported models with ``paddle.inference``, for the checks of this package."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lenet_cpp import _core
from lenet_cpp._base.frameworks import paddle
from lenet_cpp._base.optional import require_paddle
from lenet_cpp.data.arrays import random_input
from lenet_cpp.errors import BackendFailure, Error, Unsupported
from lenet_cpp.formats.manifest import ModelSignature
from lenet_cpp.formats.source import link_as_legacy
from lenet_cpp.formats.tensor_spec import TensorSpec
from lenet_cpp.inference.options import Accelerator, Precision

_SEED = 20_240_229
# As load_predictor.cc has it.
_ONEDNN_SHAPES = 16
_BF16_OPERATORS = (
    *("conv2d", "fused_conv2d", "conv2d_transpose", "fc", "matmul", "matmul_v2", "fused_matmul"),
    *("pool2d", "relu", "concat", "reshape2", "transpose2", "squeeze2", "unsqueeze2"),
)


class Runs(NamedTuple):
    """The results of some runs of a model with one input."""

    input_name: str
    output_names: list[str]
    outputs: list[list[npt.NDArray[Any]]]  # all of each run


def random_batches(shape: Sequence[int], dtype: str = "float32") -> list[npt.NDArray[Any]]:
    """Return two batches of random inputs, as random_input gives them; they are always the same.

    When the batch of ``shape``, the model's input, is free (-1), they have 1 and 3 images; other
    free sizes are 224 in the first batch and 256 in the second.
    """
    batches = (1, 3) if shape[0] < 0 else (shape[0], shape[0])
    random = np.random.default_rng(_SEED)
    return [
        random_input(random, (batch, *(free if size < 0 else size for size in shape[1:])), dtype)
        for batch, free in zip(batches, (224, 256), strict=True)
    ]


def _onednn_method(config: paddle.inference.Config, name: str) -> Callable[..., None]:
    """Return a method of ``config`` whose name has ``onednn`` in it."""
    # Paddle 3.1 has only the older name of oneDNN; later versions print a warning for that.
    method: Callable[..., None] | None = getattr(config, name, None)
    return method or getattr(config, name.replace("onednn", "mkldnn"))


def find_gpu(device: str) -> int:
    """Return the number of the GPU that ``device`` names; -1 for the processor.

    Raises:
        BadInput: It names no device.
        Unsupported: Paddle has no such GPU.
    """
    number = _core.gpu_number(device)
    if number < 0:
        return number
    if not paddle.is_compiled_with_cuda():
        raise Unsupported(
            f"device {device}: this Paddle ({paddle.__version__}) was built without CUDA; install"
            " paddlepaddle-gpu in its place, or use device cpu"
        )
    if number >= (count := paddle.device.cuda.device_count()):
        raise Unsupported(f"device {device}: Paddle finds {count} GPUs; nvidia-smi lists them")
    return number


def inference_config(
    program: Path,
    params: Path | None,
    *,
    cache: str,
    accelerator: Accelerator = "plain",
    threads: int = 1,
    ir_optim: bool = True,
    memory_optim: bool = False,
    precision: Precision = "fp32",
    device: str = "cpu",
    gpu_mem: int = 0,
) -> paddle.inference.Config:
    """Configure ``paddle.inference`` as ``load_predictor.cc`` does.

    ``params`` is None when each variable has a file of its own beside the program, and ``cache`` an
    empty folder, which must exist as long as the predictor. The options are those of
    :class:`lenet_cpp.Options`, but ``accelerator`` is never ``auto``. ``bf16`` and ``int8`` go with
    ``onednn``, for a model that supports them (see ``engines.cc``): for others Paddle computes in
    float32, or wrongly.
    """
    found = (program, params) if params else (link_as_legacy(program, Path(cache, "linked")),)
    config = paddle.inference.Config(*map(str, found))
    with program.open("rb") as file:
        pir = file.read(1) == b"{"
    gpu = find_gpu(device)
    if gpu < 0:
        config.disable_gpu()
    else:
        config.enable_use_gpu(gpu_mem or 100, gpu)
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    config.switch_ir_optim(ir_optim)
    if pir:
        config.enable_new_executor(True)
        config.enable_new_ir(True)
    config.enable_memory_optim(memory_optim)
    if accelerator == "onednn":
        _onednn_method(config, "enable_onednn")()
        _onednn_method(config, "set_onednn_cache_capacity")(_ONEDNN_SHAPES)
    else:
        _onednn_method(config, "disable_onednn")()
    if accelerator == "openvino":
        config.set_optim_cache_dir(cache)
        config.enable_openvino_engine(paddle.inference.PrecisionType.Float32)
    if precision == "int8":
        _onednn_method(config, "enable_onednn_int8")(set())
    elif precision == "bf16":
        _onednn_method(config, "enable_onednn_bfloat16")()
        if not pir:
            config.set_bfloat16_op(set(_BF16_OPERATORS))
    if precision != "fp32":
        # It fuses fully connected layers, and the fused layers are computed in float32.
        config.delete_pass("repeated_fc_relu_fuse_pass")
    return config


def run_model(
    program: Path, params: Path | None, inputs: Iterable[npt.NDArray[np.float32]]
) -> Runs:
    """Run a model, as for :func:`inference_config`, by plain kernels and one thread."""
    require_paddle()
    with tempfile.TemporaryDirectory(prefix="lenet-") as cache:
        return run_config(inference_config(program, params, cache=cache), inputs)


class ConfiguredPredictor:
    """The predictor of a model with one input; it needs its configuration as long as it lives."""

    def __init__(self, config: paddle.inference.Config) -> None:
        """Load the model that the configuration describes."""
        self.config = config
        self._predictor = predictor = paddle.inference.create_predictor(config)
        self.input_name, *_ = map(str, predictor.get_input_names())
        self.output_names = [str(output) for output in predictor.get_output_names()]
        self._input = predictor.get_input_handle(self.input_name)
        self._outputs = [predictor.get_output_handle(name) for name in self.output_names]

    def run(self, batch: npt.NDArray[np.float32], *names: str) -> list[npt.NDArray[Any]]:
        """Return the outputs of these names, or all of them in the program's order."""
        self._input.reshape(batch.shape)
        self._input.copy_from_cpu(batch)
        self._predictor.run()
        wanted = map(self.output_names.index, names) if names else range(len(self._outputs))
        return [self._outputs[index].copy_to_cpu() for index in wanted]


def run_config(config: paddle.inference.Config, inputs: Iterable[npt.NDArray[np.float32]]) -> Runs:
    """Run the model that ``config`` describes, which has one input, for each batch."""
    predictor = ConfiguredPredictor(config)
    outputs = list(map(predictor.run, inputs))
    return Runs(predictor.input_name, predictor.output_names, outputs)


def as_given(output: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an output of Paddle as :class:`lenet_cpp.Predictor` gives it: floats are float32."""
    return output.astype(np.float32, copy=False) if output.dtype.kind == "f" else output


def signature_of(inputs: Sequence[npt.NDArray[Any]], runs: Runs) -> ModelSignature:
    """Return a model's signature from two runs: a dimension that differs is free."""

    def tensor(name: str, first: npt.NDArray[Any], last: npt.NDArray[Any]) -> TensorSpec:
        shape = tuple(a if a == b else -1 for a, b in zip(first.shape, last.shape, strict=True))
        return TensorSpec(name, shape, str(first.dtype))

    return ModelSignature(
        (tensor(runs.input_name, inputs[0], inputs[-1]),),
        tuple(map(tensor, runs.output_names, runs.outputs[0], runs.outputs[-1])),
    )


def last_line(error: Exception) -> str:
    """Return the last line of Paddle's message: the reason, which follows the call stacks."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


@contextmanager
def paddle_failures(doing: str) -> Iterator[None]:
    """Turn Paddle's exceptions into :class:`BackendFailure`, in one line."""
    try:
        yield
    except Error:
        raise
    except Exception as error:
        raise BackendFailure(f"Paddle failed while {doing}: {last_line(error)}") from error
