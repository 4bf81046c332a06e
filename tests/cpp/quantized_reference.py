"""A quantized program of Paddle as it says itself, by NumPy and in float64.

The scale of an operator is the value that the integer 127 stands for. quantize_linear divides by a
127th of it, rounds to even, and keeps to -128 to 127; dequantize_linear multiplies by it. An
operator that only observes does neither. Everything in between is computed from what it is given.

A child process has Paddle read each ``.pdmodel``, and writes its operators and parameters beside
it, as a ``.npz``.
"""

import json
from pathlib import Path

import numpy as np

from lenet_cpp._base.worker import PROGRAM_DESC, call
from numpy_reference import average_pool, batch_norm, conv2d, max_pool, softmax

_ATTRIBUTES = (
    "only_observer",
    "quant_axis",
    "strides",
    "paddings",
    "dilations",
    "groups",
    "pooling_type",
    "ksize",
    "adaptive",
    "global_pooling",
    "epsilon",
    "axis",
    "trans_y",
)


def read_programs(programs):
    """Read programs, each with the parameters beside it."""
    arguments = {"programs": [str(program) for program in programs]}
    call("quantized_reference:describe", arguments, doing="reading", variables=PROGRAM_DESC)
    return [QuantizedProgram(program.with_suffix(".npz")) for program in programs]


class QuantizedProgram:
    """One program; :meth:`run` computes it."""

    def __init__(self, described):
        with np.load(described) as stored:
            self._values = {name: np.asarray(value) for name, value in stored.items()}
        self._operators = json.loads(str(self._values.pop("operators")))

    def run(self, images):
        """Float64 logits of float32 [N, channels, height, width]."""
        values = dict(self._values)
        for kind, takes, gives, attributes in self._operators:
            if kind == "fetch":
                return values[takes["X"][0]]
            output = next(gives[name][0] for name in ("Out", "Output", "Y") if name in gives)
            if kind == "feed":
                values[output] = np.asarray(images, np.float64)
                continue
            inputs = {
                slot: [np.asarray(values[name], np.float64) for name in names]
                for slot, names in takes.items()
            }
            if kind != "concat":
                inputs = {slot: only for slot, (only,) in inputs.items()}
            values[output] = _OPERATORS[kind]({**attributes, **inputs})
        raise AssertionError("the program fetches nothing")


# Each takes the attributes and the inputs of an operator, by their names in the program.


def _quantize(op):
    if op.get("only_observer"):
        return op["X"]
    # Means of integers lie in the middle of two but for float64's last bits.
    steps = np.round(op["X"] / (_along_axis(op) / 127), 9)
    return np.clip(np.rint(steps), -128, 127)


def _dequantize(op):
    return op["X"] if op.get("only_observer") else op["X"] * _along_axis(op) / 127


def _along_axis(op):
    """Return the scale of a tensor, or those of the indices of an axis."""
    scales = op["Scale"]
    if scales.size == 1:
        return scales.reshape(())
    shape = [1] * op["X"].ndim
    shape[op["quant_axis"]] = -1
    return scales.reshape(shape)


def _convolution(op):
    top, left = op["paddings"]
    window = {name: op[name] for name in ("strides", "dilations", "groups")}
    return conv2d(op["Input"], op["Filter"], pads=(top, left, top, left), **window)


def _pool(op):
    x, average = op["X"], op["pooling_type"] == "avg"
    if op["adaptive"] or op["global_pooling"]:
        assert average
        assert op["ksize"] == [1, 1]
        return x.mean(axis=(2, 3), keepdims=True)
    top, left = op["paddings"]
    pool = average_pool if average else max_pool
    return pool(x, op["ksize"], strides=op["strides"], pads=(top, left, top, left))


def _add(op):
    assert op["axis"] == -1
    return op["X"] + op["Y"]


def _batch_norm(op):
    statistics = (op[name] for name in ("Scale", "Bias", "Mean", "Variance"))
    return batch_norm(op["X"], *statistics, op["epsilon"])


_OPERATORS = {
    "batch_norm": _batch_norm,
    "concat": lambda op: np.concatenate(op["X"], axis=op["axis"]),
    "conv2d": _convolution,
    "depthwise_conv2d": _convolution,
    "dequantize_linear": _dequantize,
    "elementwise_add": _add,
    "flatten_contiguous_range": lambda op: op["X"].reshape(len(op["X"]), -1),
    "matmul_v2": lambda op: op["X"] @ (op["Y"].T if op["trans_y"] else op["Y"]),
    "pool2d": _pool,
    "quantize_linear": _quantize,
    "relu": lambda op: np.maximum(op["X"], 0),
    "relu6": lambda op: np.clip(op["X"], 0, 6),
    "reshape2": lambda op: op["X"].reshape(1, -1, 1, 1),  # of a bias, to channels
    "softmax": lambda op: softmax(op["X"]),
}


def describe(programs, report):
    """Write what programs hold beside them; in a process with the old representation."""
    import paddle

    paddle.enable_static()
    executor = paddle.static.Executor(paddle.CPUPlace())
    for program in map(Path, programs):
        scope = paddle.static.Scope()
        loaded = paddle.static.deserialize_program(program.read_bytes())
        with paddle.static.scope_guard(scope):
            params = program.with_suffix(".pdiparams").read_bytes()
            paddle.static.deserialize_persistables(loaded, params, executor)
        operators = []
        for op in loaded.global_block().ops:
            inputs = {name: op.input(name) for name in op.input_names if op.input(name)}
            outputs = {name: op.output(name) for name in op.output_names if op.output(name)}
            attributes = {name: op.attr(name) for name in _ATTRIBUTES if op.has_attr(name)}
            operators.append((op.type, inputs, outputs, attributes))
        values = {
            name: np.array(scope.find_var(name).get_tensor())
            for name, variable in loaded.global_block().vars.items()
            if variable.persistable and name not in ("feed", "fetch")
        }
        np.savez(program.with_suffix(".npz"), operators=json.dumps(operators), **values)
