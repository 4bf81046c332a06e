"""Dygraph post-training quantization: ``paddle.quantization.PTQ`` on a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lenet_cpp.quantize.task import INPUT_NAME

if TYPE_CHECKING:
    import paddle

    from lenet_cpp._base.worker import Report
    from lenet_cpp.quantize.task import Task


def quantize(task: Task, progress: Report) -> None:
    """Write the quantized model, its weights rounded by channel."""
    import paddle
    from paddle.quantization import PTQ, QuantConfig

    from lenet_cpp.quantize.observers import ActivationObserver, WeightQuanter

    layer = task.float_layer()
    config = QuantConfig(activation=None, weight=None)
    config.add_type_config(
        [paddle.nn.Conv2D, paddle.nn.Linear],
        activation=ActivationObserver(task.algo),
        weight=WeightQuanter(),
    )
    ptq = PTQ(config)
    observed = ptq.quantize(layer, inplace=True)
    batches = task.calibration_batches()
    with paddle.no_grad():
        for done, batch in enumerate(batches, start=1):
            observed(paddle.to_tensor(batch))
            progress("calibrating", done, len(batches))
    save(ptq.convert(observed, inplace=True), task)


def save(layer: paddle.nn.Layer, task: Task) -> None:
    """Write a converted layer as a program."""
    import paddle

    layer.eval()
    shape = [None, *task.image_shape]
    static = paddle.jit.to_static(
        layer,
        input_spec=[paddle.static.InputSpec(shape, "float32", name=INPUT_NAME)],
        full_graph=True,
    )
    paddle.jit.save(static, str(task.prefix))
