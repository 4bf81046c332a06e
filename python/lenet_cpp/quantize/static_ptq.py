"""Static post-training quantization: ``paddle.static.quantization.PostTrainingQuantization``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lenet_cpp.quantize.task import INPUT_NAME, QUANTIZED_OPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from lenet_cpp._base.worker import Report
    from lenet_cpp.quantize.task import Task

ALGORITHMS = ("hist", "KL", "avg", "abs_max", "mse", "emd")
# Those that look at all images twice: for the range, then for what lies within.
_TWO_PASSES = ("hist", "KL")


class Loader:
    """Calibration batches in the form in which Paddle asks for them: called, and with a length."""

    def __init__(self, task: Task, progress: Report) -> None:
        """Read the images."""
        self._batches = task.calibration_batches()
        self._total = len(self._batches) * (2 if task.algo in _TWO_PASSES else 1)
        self._done = 0
        self._progress = progress

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._batches)

    def __call__(self) -> Iterator[list[dict[str, npt.NDArray[np.float32]]]]:
        """Give what the executor takes as ``feed``."""
        for batch in self._batches:
            # Before, because after the last one Paddle does not come back.
            self._done += 1
            self._progress("calibrating", min(self._done, self._total), self._total)
            yield {INPUT_NAME: batch}  # type: ignore[misc]


def quantize(task: Task, progress: Report) -> None:
    """Write the quantized model, its weights rounded by channel."""
    import paddle
    from paddle.static.quantization import PostTrainingQuantization

    paddle.enable_static()
    program, params = Path(task.program), Path(task.params)
    loader = Loader(task, progress)
    ptq = PostTrainingQuantization(
        executor=paddle.static.Executor(paddle.CPUPlace()),
        model_dir=str(program.parent),
        model_filename=program.name,
        params_filename=params.name,
        data_loader=loader,
        batch_size=task.batch_size,
        batch_nums=len(loader),
        algo=task.algo,
        quantizable_op_type=list(QUANTIZED_OPS),
        activation_quantize_type="moving_average_abs_max",
        weight_quantize_type="channel_wise_abs_max",
        onnx_format=True,
        skip_tensor_list=_skipped(task) or None,
        # Another value than None leaves Paddle's object without its configuration.
        deploy_backend=None,
    )
    ptq.quantize()
    ptq.save_quantized_model(str(task.prefix.parent), model_filename=f"{task.stem}.pdmodel")


def _skipped(task: Task) -> list[str]:
    """The weights that are to stay as they are."""
    if not task.only:
        return []
    import paddle

    program = paddle.static.Program.parse_from_string(Path(task.program).read_bytes())
    weights = {
        name
        for op in program.global_block().ops
        if op.type in QUANTIZED_OPS
        for name in op.input("Filter" if "conv" in op.type else "Y")
    }
    return sorted(weights - set(task.only))
