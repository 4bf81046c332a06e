"""Static quantization-aware training: ``quant_aware`` and ``convert`` on a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.quantize.task import INPUT_NAME, QUANTIZED_OPS, SETTLING_STEPS

if TYPE_CHECKING:
    from lenet_cpp._base.worker import Report
    from lenet_cpp.quantize.task import Task

CONFIG: dict[str, Any] = {
    "weight_quantize_type": "channel_wise_abs_max",
    "activation_quantize_type": "moving_average_abs_max",
    "moving_rate": 0.9,
    "quantize_op_types": list(QUANTIZED_OPS),
    "onnx_format": True,
}


def quantize(task: Task, progress: Report) -> None:
    """Train with rounded values and write the quantized model."""
    from paddle.static.quantization import convert, quant_aware

    train_program(task, progress, quant_aware, convert)


def train_program(task: Task, progress: Report, quant_aware: Any, convert: Any) -> None:
    """Train a program that ``quant_aware`` made, and save what ``convert`` makes of it.

    What is learned is to answer as the float network does: no labels are needed, and the answers
    stay where they were.
    """
    import paddle

    teacher = task.float_layer()
    with np.load(task.state) as file:
        state = dict(file)
    paddle.enable_static()
    place = paddle.CPUPlace()
    executor = paddle.static.Executor(place)
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        x = paddle.static.data(INPUT_NAME, [None, *task.image_shape], "float32")
        layer = task.build()
        logits = layer(x)
        names = {key: tensor.name for key, tensor in layer.state_dict().items()}
        inference, settling = main.clone(for_test=True), main.clone()
        wanted = paddle.static.data("wanted", [None, logits.shape[-1]], "float32")
        loss = paddle.nn.functional.cross_entropy(logits, wanted, soft_label=True)
        optimizer = paddle.optimizer.Adam(task.learning_rate)
        optimizer.minimize(loss)
        rate = optimizer._global_learning_rate().name  # noqa: SLF001 - there is no other way
    executor.run(startup)
    scope = paddle.static.global_scope()
    for key, name in names.items():
        scope.find_var(name).get_tensor().set(state[key], place)
    # All before anything runs: each sets the ranges, which they share, to where they begin.
    inference = quant_aware(inference, place, CONFIG, scope=scope, for_test=True)
    settling = quant_aware(settling, place, CONFIG, scope=scope, return_program=True)
    training = quant_aware(main, place, CONFIG, scope=scope, return_program=True)
    for step, images in enumerate(task.training_batches(), start=-SETTLING_STEPS):
        progress("training", step + SETTLING_STEPS + 1, task.all_steps)
        if step < 0:
            executor.run(settling, feed={INPUT_NAME: images}, fetch_list=[])
            continue
        if step == 0:
            _take_over_averages(settling, training, scope, place)
        scope.find_var(rate).get_tensor().set(np.array([task.rate(step)], np.float32), place)
        answers = _answers(teacher, images)
        executor.run(training, feed={INPUT_NAME: images, "wanted": answers}, fetch_list=[loss.name])
    converted = convert(inference, place, CONFIG, scope=scope)
    block = converted.global_block()
    paddle.static.save_inference_model(
        str(task.prefix),
        [block.var(INPUT_NAME)],
        [block.var(logits.name)],
        executor,
        program=converted,
        clip_extra=True,
    )


def _take_over_averages(before: Any, after: Any, scope: Any, place: Any) -> None:
    """Let a program's moving averages go on where another's are; only the ranges are shared."""
    old = _averages(before)
    for scale, names in _averages(after).items():
        for source, target in zip(old.get(scale, ()), names, strict=False):
            value = np.array(scope.find_var(source).get_tensor())
            scope.find_var(target).get_tensor().set(value, place)


def _averages(program: Any) -> dict[str, tuple[str, ...]]:
    """The range's name to the names of what its moving average is made of."""
    found = {}
    for op in program.global_block().ops:
        slots = set(op.input_names)
        if {"InAccum", "InState"} <= slots:
            (scale,) = op.output("OutScale")
            found[scale] = (*op.input("InAccum"), *op.input("InState"))
    return found


def _answers(teacher: Any, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The float network's probabilities."""
    import paddle

    paddle.disable_static()
    try:
        with paddle.no_grad():
            logits = teacher(paddle.to_tensor(images))
            answer: np.ndarray[Any, Any] = paddle.nn.functional.softmax(logits).numpy()
            return answer
    finally:
        paddle.enable_static()
