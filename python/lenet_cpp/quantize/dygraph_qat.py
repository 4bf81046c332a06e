"""Dygraph quantization-aware training: ``paddle.quantization.QAT`` on a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lenet_cpp.quantize.dygraph_ptq import save
from lenet_cpp.quantize.task import SETTLING_STEPS

if TYPE_CHECKING:
    import paddle

    from lenet_cpp._base.worker import Report
    from lenet_cpp.quantize.task import Task


def quantize(task: Task, progress: Report) -> None:
    """Train with rounded values and write the quantized model."""
    import paddle
    from paddle.quantization import QAT, QuantConfig

    from lenet_cpp.quantize.observers import ActivationQuanter, WeightQuanter

    config = QuantConfig(activation=None, weight=None)
    config.add_type_config(
        [paddle.nn.Conv2D, paddle.nn.Linear],
        activation=ActivationQuanter(moving_rate=0.9),
        weight=WeightQuanter(),
    )
    qat = QAT(config)
    layer = task.float_layer()
    layer.train()
    student = qat.quantize(layer, inplace=True)
    train_layer(student, task, progress)
    save(qat.convert(student, inplace=True), task)


def train_layer(student: paddle.nn.Layer, task: Task, progress: Report) -> None:
    """Train a layer with rounded values to answer as the float network does."""
    import paddle

    teacher = task.float_layer()
    student.train()
    for layer in student.sublayers():
        # The statistics and the depth of the float network stay.
        if "BatchNorm" in type(layer).__name__ or "Dropout" in type(layer).__name__:
            layer.eval()
    parameters = [one for one in student.parameters() if not one.stop_gradient]
    optimizer = paddle.optimizer.Adam(task.learning_rate, parameters=parameters)
    for step, images in enumerate(task.training_batches(), start=-SETTLING_STEPS):
        progress("training", step + SETTLING_STEPS + 1, task.all_steps)
        x = paddle.to_tensor(images)
        with paddle.no_grad():
            if step < 0:
                student(x)
                continue
            wanted = paddle.nn.functional.softmax(teacher(x))
        loss = paddle.nn.functional.cross_entropy(student(x), wanted, soft_label=True)
        loss.backward()
        optimizer.set_lr(task.rate(step))
        optimizer.step()
        optimizer.clear_grad()
    student.eval()
    with paddle.no_grad():
        student(paddle.to_tensor(images))  # the ranges of the weights as they are now
