"""The four methods as PaddleSlim has them; in the environment of :mod:`.slim_environment`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lenet_cpp.quantize.task import INPUT_NAME, QUANTIZED_OPS

if TYPE_CHECKING:
    from lenet_cpp._base.worker import Report
    from lenet_cpp.quantize.task import Task

ALGORITHMS = ("hist", "KL", "avg", "abs_max", "mse", "emd")
DYGRAPH_ALGORITHMS = {
    "hist": "HistQuantizer",
    "KL": "KLQuantizer",
    "abs_max": "AbsmaxQuantizer",
}


def static_ptq(task: Task, progress: Report) -> None:
    """``paddleslim.quant.quant_post_static``."""
    import paddle
    from paddleslim.quant import quant_post_static

    from lenet_cpp.quantize.static_ptq import Loader

    paddle.enable_static()
    program, params = Path(task.program), Path(task.params)
    loader = Loader(task, progress)
    quant_post_static(
        executor=paddle.static.Executor(paddle.CPUPlace()),
        model_dir=str(program.parent),
        model_filename=program.name,
        params_filename=params.name,
        quantize_model_path=str(task.prefix.parent),
        save_model_filename=f"{task.stem}.pdmodel",
        save_params_filename=f"{task.stem}.pdiparams",
        data_loader=loader,
        batch_size=task.batch_size,
        batch_nums=len(loader),
        algo=task.algo,
        hist_percent=0.99999,
        quantizable_op_type=list(QUANTIZED_OPS),
        activation_quantize_type="moving_average_abs_max",
        weight_quantize_type="channel_wise_abs_max",
        onnx_format=True,
    )


def static_qat(task: Task, progress: Report) -> None:
    """``paddleslim.quant.quant_aware`` and ``convert``."""
    from paddleslim.quant import convert, quant_aware

    from lenet_cpp.quantize.static_qat import train_program

    train_program(task, progress, quant_aware, convert)


def dygraph_ptq(task: Task, progress: Report) -> None:
    """``paddleslim.PTQ``."""
    import paddle
    from paddleslim import PTQ

    layer = task.float_layer()
    ptq = PTQ(
        activation_quantizer=DYGRAPH_ALGORITHMS[task.algo],
        weight_quantizer="PerChannelAbsmaxQuantizer",
    )
    observed = ptq.quantize(layer, inplace=True)
    batches = task.calibration_batches()
    with paddle.no_grad():
        for done, batch in enumerate(batches, start=1):
            observed(paddle.to_tensor(batch))
            progress("calibrating", done, len(batches))
    spec = [paddle.static.InputSpec([None, *task.image_shape], "float32", name=INPUT_NAME)]
    ptq.save_quantized_model(observed, str(task.prefix), input_spec=spec)
    _round_weights(task)


def dygraph_qat(task: Task, progress: Report) -> None:
    """``paddleslim.QAT``."""
    import paddle
    from paddleslim import QAT

    from lenet_cpp.quantize.dygraph_qat import train_layer

    qat = QAT(
        config={
            "weight_quantize_type": "channel_wise_abs_max",
            "activation_quantize_type": "moving_average_abs_max",
            "onnx_format": True,
        }
    )
    student = task.float_layer()
    student.train()
    student = qat.quantize(student, inplace=True)
    train_layer(student, task, progress)
    spec = [paddle.static.InputSpec([None, *task.image_shape], "float32", name=INPUT_NAME)]
    qat.save_quantized_model(student, str(task.prefix), input_spec=spec)


def _round_weights(task: Task) -> None:
    """Turn simulated rounding, float weights included, into the ONNX form; the others do it."""
    import paddle
    from paddle.base import core
    from paddle.base.framework import IrGraph
    from paddle.static.quantization import QuantWeightPass, ReplaceFakeQuantDequantPass

    paddle.enable_static()
    place, scope = paddle.CPUPlace(), paddle.static.Scope()
    executor = paddle.static.Executor(place)
    with paddle.static.scope_guard(scope):
        program, feeds, fetches = paddle.static.load_inference_model(
            str(task.prefix.parent),
            executor,
            model_filename=f"{task.stem}.pdmodel",
            params_filename=f"{task.stem}.pdiparams",
        )
        outputs = [output.name for output in fetches]
        graph = IrGraph(core.Graph(program.desc), for_test=True)
        ReplaceFakeQuantDequantPass(scope, place, quant_bits=8).apply(graph)
        QuantWeightPass(scope, place).apply(graph)
        program = graph.to_program()
        block = program.global_block()
        paddle.static.save_inference_model(
            str(task.prefix),
            [block.var(name) for name in feeds],
            [block.var(name) for name in outputs],
            executor,
            program=program,
            clip_extra=True,
        )
