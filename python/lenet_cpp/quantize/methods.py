"""The four methods, in a child process that sees programs in the older format.

``paddle.static.quantization`` and ``paddle.quantization`` do the work. What is here beside them:
the training, and observers, because Paddle's own know whole tensors only and no zero points.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import paddle
from paddle.quantization import PTQ, QAT, BaseQuanter, QuantConfig
from paddle.quantization.factory import QuanterFactory
from paddle.quantization.quanters.abs_max import FakeQuanterWithAbsMaxObserverLayer
from paddle.static.quantization import PostTrainingQuantization, convert, quant_aware

from lenet_cpp._base.worker import Report
from lenet_cpp.models import resolve
from lenet_cpp.quantize import slim
from lenet_cpp.quantize.int8_weights import (
    QUANTIZED_OPS,
    finish_program,
    quantizable_weights,
    save_program,
)
from lenet_cpp.quantize.task import Task

_BITS = 8
_BINS = 2048
_HIST_SHARE = 0.99999  # as the static method has it by default
_LARGEST = 127.0
# The algorithms of PostTrainingQuantization that look at all images twice: for the range, then
# for what lies within.
_TWO_PASSES = ("hist", "KL")


def quantize(tasks: list[dict[str, Any]], report: Report) -> None:
    """Do tasks, each as ``dataclasses.asdict`` describes a :class:`Task`, one after the other."""
    for index, task in enumerate(Task(**each) for each in tasks):
        paddle.disable_static()  # an earlier task may have left it on
        paddle.seed(task.seed)
        with paddle.static.scope_guard(paddle.static.Scope()):
            _METHODS[task.method](task, share_of(report, index, len(tasks)))
            paddle.enable_static()
            finish_program(task.result)
        written = {task.result, task.result.with_suffix(".pdiparams")}
        for leftover in set(task.result.parent.iterdir()) - written:
            leftover.unlink()


def share_of(report: Report, index: int, count: int, name: str = "") -> Report:
    """Return what takes the progress of one of ``count`` pieces of work, and may name it."""
    return lambda what, done, total: report(name or what, index * total + done, count * total)


def _build(task: Task) -> paddle.nn.Layer:
    """Build the network in evaluation mode, in Paddle's current mode, without parameters."""
    layer = resolve(str(task.network)).build(task.num_classes, task.image_shape[-1])
    layer.eval()
    return layer


def _float_layer(task: Task) -> paddle.nn.Layer:
    """Build the network with its parameters; in dynamic mode."""
    with paddle.utils.unique_name.guard():
        layer = _build(task)
    with np.load(Path(task.data, "state.npz")) as state:
        layer.set_state_dict(dict(state))
    return layer


def _static_ptq(task: Task, progress: Report) -> None:
    """Calibrate a program, and write it with its weights rounded by channel."""
    paddle.enable_static()
    program = Path(task.program)
    batches = task.calibration_batches()
    total = len(batches) * (2 if task.algo in _TWO_PASSES else 1)
    done = count(1)

    def feeds() -> Iterator[dict[str, npt.NDArray[np.float32]]]:
        for batch in batches:
            # Before, because after the last one Paddle does not come back.
            progress("calibrating", min(next(done), total), total)
            yield {task.input_name: batch}

    options = {
        "executor": paddle.static.Executor(paddle.CPUPlace()),
        "model_dir": str(program.parent),
        "model_filename": program.name,
        "params_filename": program.with_suffix(".pdiparams").name,
        "data_loader": feeds,
        "batch_size": task.batch_size,
        "batch_nums": len(batches),
        "algo": task.algo,
        "quantizable_op_type": list(QUANTIZED_OPS),
        **slim.ROUNDING,
    }
    if task.via == "paddleslim":
        slim.static_ptq(task.result, options)
        return
    skipped = sorted(quantizable_weights(program).keys() - task.only) if task.only else None
    # Another deploy_backend than None leaves Paddle's object without its configuration.
    ptq = PostTrainingQuantization(**options, skip_tensor_list=skipped or None, deploy_backend=None)
    ptq.quantize()
    ptq.save_quantized_model(task.output, model_filename=task.result.name)


def _static_qat(task: Task, progress: Report) -> None:
    """Train a program with rounded values, and write what ``convert`` makes of it.

    What is learned is to answer as the float network does: no labels are needed, and the answers
    stay where they were.
    """
    by_slim = task.via == "paddleslim"
    make_aware, make_final = slim.qat_functions() if by_slim else (quant_aware, convert)
    config = {"moving_rate": 0.9, "quantize_op_types": list(QUANTIZED_OPS), **slim.ROUNDING}
    teacher = _float_layer(task)
    state = {key: tensor.numpy() for key, tensor in teacher.state_dict().items()}
    paddle.enable_static()
    place = paddle.CPUPlace()
    executor = paddle.static.Executor(place)
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        x = paddle.static.data(task.input_name, [None, *task.image_shape], "float32")
        layer = _build(task)
        logits = layer(x)
        names = {key: tensor.name for key, tensor in layer.state_dict().items()}
        inference = main.clone(for_test=True)
        wanted = paddle.static.data("wanted", [None, logits.shape[-1]], "float32")
        loss = paddle.nn.functional.cross_entropy(logits, wanted, soft_label=True)
        optimizer = paddle.optimizer.Adam(task.rate(0))
        optimizer.minimize(loss)
        rate = optimizer._global_learning_rate().name  # noqa: SLF001 - there is no other way
    executor.run(startup)
    scope = paddle.static.global_scope()
    for key, name in names.items():
        scope.find_var(name).get_tensor().set(state[key], place)
    # All before anything runs: each sets the ranges, which they share, to where they begin.
    inference = make_aware(inference, place, config, scope=scope, for_test=True)
    training = make_aware(main, place, config, scope=scope, return_program=True)
    prune = training._prune_with_input  # noqa: SLF001 - no public way leaves out the loss
    settling = prune([task.input_name], [logits.name])
    for step, images in task.training_batches(progress):
        if step < 0:
            executor.run(settling, feed={task.input_name: images}, fetch_list=[])
            continue
        scope.find_var(rate).get_tensor().set(np.array([task.rate(step)], np.float32), place)
        paddle.disable_static()
        answers = _answers(teacher, images).numpy()
        paddle.enable_static()
        feed = {task.input_name: images, "wanted": answers}
        executor.run(training, feed=feed, fetch_list=[loss.name])
    final = make_final(inference, place, config, scope=scope)
    save_program(task.result, final, [task.input_name], [logits.name])


def _answers(teacher: paddle.nn.Layer, images: npt.NDArray[np.float32]) -> paddle.Tensor:
    """Return the float network's probabilities."""
    with paddle.no_grad():
        return paddle.nn.functional.softmax(teacher(paddle.to_tensor(images)))


def _dygraph_ptq(task: Task, progress: Report) -> None:
    """Calibrate a layer, and write it with its weights rounded by channel."""
    by_slim = task.via == "paddleslim"
    algo = task.algo
    ptq = slim.dygraph(task.method, algo) if by_slim else PTQ(layer_config(algo))
    observed = ptq.quantize(_float_layer(task), inplace=True)
    batches = task.calibration_batches()
    with paddle.no_grad():
        for done, batch in enumerate(batches, start=1):
            observed(paddle.to_tensor(batch))
            progress("calibrating", done, len(batches))
    _save(ptq, observed, task)
    if by_slim:
        slim.round_weights(task.result)


def _dygraph_qat(task: Task, progress: Report) -> None:
    """Train a layer with rounded values to answer as the float network does, and write it."""
    by_slim = task.via == "paddleslim"
    qat = slim.dygraph(task.method, "") if by_slim else QAT(layer_config(None))
    student = _float_layer(task)
    student.train()
    student = qat.quantize(student, inplace=True)
    student.train()
    for layer in student.sublayers():
        # The statistics and the depth of the float network stay.
        if "BatchNorm" in type(layer).__name__ or "Dropout" in type(layer).__name__:
            layer.eval()
    teacher = _float_layer(task)
    parameters = [one for one in student.parameters() if not one.stop_gradient]
    optimizer = paddle.optimizer.Adam(task.rate(0), parameters=parameters)
    for step, images in task.training_batches(progress):
        x = paddle.to_tensor(images)
        if step < 0:
            with paddle.no_grad():
                student(x)
            continue
        wanted = _answers(teacher, images)
        loss = paddle.nn.functional.cross_entropy(student(x), wanted, soft_label=True)
        loss.backward()
        optimizer.set_lr(task.rate(step))
        optimizer.step()
        optimizer.clear_grad()
    student.eval()
    with paddle.no_grad():
        student(x)  # the ranges of the weights as they are now
    _save(qat, student, task)


def _save(quantization: Any, layer: paddle.nn.Layer, task: Task) -> None:
    """Write a layer that was calibrated or trained as a program."""
    shape = [None, *task.image_shape]
    spec = [paddle.static.InputSpec(shape, "float32", name=task.input_name)]
    target = str(task.result.with_suffix(""))
    if task.via == "paddleslim":
        quantization.save_quantized_model(layer, target, input_spec=spec)
    else:
        layer = quantization.convert(layer, inplace=True)
        layer.eval()
        paddle.jit.save(layer, target, input_spec=spec)


_METHODS = {
    "static-ptq": _static_ptq,
    "static-qat": _static_qat,
    "dygraph-ptq": _dygraph_ptq,
    "dygraph-qat": _dygraph_qat,
}


def layer_config(algo: str | None) -> QuantConfig:
    """Return which layers are quantized, and how; ``algo`` calibrates, and is None for training."""
    activation = _Factory(_ActivationQuanter, moving_rate=0.9)
    if algo is not None:
        activation = _Factory(_ActivationObserver, algo=algo)
    config = QuantConfig(activation=None, weight=None)
    types = [paddle.nn.Conv2D, paddle.nn.Linear]
    config.add_type_config(types, activation=activation, weight=_Factory(_WeightQuanter))
    return config


class _Factory(QuanterFactory):
    """What Paddle wants of a class: an object that makes one for each layer."""

    def __init__(self, kind: type, **options: Any) -> None:
        super().__init__(**options)
        self._kind = kind

    def _get_class(self) -> type:
        return self._kind


class _OneScale:
    """What Paddle asks of whatever rounds a whole tensor; its own has no zero points."""

    def zero_points(self) -> paddle.Tensor | None:
        return paddle.zeros([1])

    def quant_axis(self) -> int:
        return -1

    def bit_length(self) -> int:
        return _BITS


class _ActivationObserver(_OneScale, BaseQuanter):
    """Finds the range of what goes into a layer.

    Keeps a histogram of magnitudes whose range doubles when a value lies beyond it.
    """

    def __init__(self, layer: paddle.nn.Layer, algo: str) -> None:  # noqa: ARG002 - Paddle gives it
        super().__init__()
        self._algo = algo
        self._counts: npt.NDArray[np.int64] = np.zeros(_BINS, np.int64)
        self._end = 0.0
        self._peaks: list[float] = []

    def forward(self, values: paddle.Tensor) -> paddle.Tensor:
        magnitudes = np.abs(values.numpy()).ravel()
        peak = float(magnitudes.max(initial=0))
        self._peaks.append(peak)
        if self._end == 0:
            self._end = peak
        while 0 < self._end < peak:
            self._counts[: _BINS // 2] = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts[_BINS // 2 :] = 0
            self._end *= 2
        if self._end > 0:
            self._counts += np.histogram(magnitudes, _BINS, (0, self._end))[0]
        return values

    def scales(self) -> paddle.Tensor:
        return paddle.to_tensor(np.array([max(self._threshold(), 1e-8)], np.float32))

    def _threshold(self) -> float:
        peak = max(self._peaks, default=0.0)
        if self._algo == "abs_max" or peak == 0:
            return peak
        if self._algo == "avg":
            return float(np.mean(self._peaks))
        width = self._end / _BINS
        if self._algo == "hist":
            share = np.cumsum(self._counts) / self._counts.sum()
            return min(peak, float(np.searchsorted(share, _HIST_SHARE) + 1) * width)
        from paddle.static.quantization.cal_kl_threshold import cal_kl_threshold

        return float(cal_kl_threshold(self._counts, width, _BITS))


class _ActivationQuanter(_OneScale, FakeQuanterWithAbsMaxObserverLayer):
    """Rounds activations in training, to the moving average of their largest magnitudes."""


class _WeightQuanter(_OneScale, BaseQuanter):
    """Rounds weights, each output channel to its largest magnitude; trains straight through."""

    def __init__(self, layer: paddle.nn.Layer) -> None:
        super().__init__()
        # A linear layer's matrix is [inputs, outputs], a convolution's [outputs, inputs, ...].
        self._axis = 1 if len(layer.weight.shape) == 2 else 0
        self._latest: npt.NDArray[Any] | None = None

    def forward(self, weight: paddle.Tensor) -> paddle.Tensor:
        with paddle.no_grad():
            other = [axis for axis in range(len(weight.shape)) if axis != self._axis]
            scale = paddle.clip(paddle.amax(paddle.abs(weight), other, keepdim=True), min=1e-8)
            self._latest = scale.numpy().ravel()
            rounded = paddle.round(weight / scale * _LARGEST) * (scale / _LARGEST)
            difference = rounded - weight
        return weight + difference

    def scales(self) -> paddle.Tensor | None:
        return None if self._latest is None else paddle.to_tensor(self._latest)

    def zero_points(self) -> paddle.Tensor | None:
        return None if self._latest is None else paddle.zeros([len(self._latest)])

    def quant_axis(self) -> int:
        return self._axis
