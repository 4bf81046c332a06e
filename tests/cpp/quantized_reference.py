"""A quantized program of Paddle as it says itself, by NumPy and in float64.

The scale of an operator is the value that the integer 127 stands for. quantize_linear divides by a
127th of it, rounds to even, and keeps to -128 to 127; dequantize_linear multiplies by it. An
operator that only observes does neither. Everything in between is computed from what it is given.

Engines compute in float32, and round a value that lies in the middle of two integers to either of
them. So each value has a bound of float32's error, and what is in the middle within that bound is
rounded to both integers.

A child process has Paddle read each ``.pdmodel``, and writes its operators and parameters beside
it, as a ``.npz``.
"""

import json
from pathlib import Path
from typing import NamedTuple

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


class Value(NamedTuple):
    """A tensor, and the bound of what float32 may make of it."""

    numbers: np.ndarray
    error: np.ndarray
    is_integers: bool = False  # times a scale, so that sums of products have no error


class Answers(NamedTuple):
    """What a program may answer, when values in the middle of two integers go to either.

    Attributes:
        logits: [rows, classes].
        error: The bound of float32's error of the logits.
        of_image: The image of each row.
        is_complete: Of each image, whether all combinations are among the rows.
    """

    logits: np.ndarray
    error: np.ndarray
    of_image: np.ndarray
    is_complete: np.ndarray

    def include(self, found):
        """Return for each image whether an engine's logits [images, classes] are among them."""
        near = (np.abs(found[self.of_image] - self.logits) <= self.error).all(axis=1)
        right = np.zeros(len(found), bool)
        np.logical_or.at(right, self.of_image, near)
        return right


class QuantizedProgram:
    """One program; :meth:`run` computes it."""

    def __init__(self, described):
        with np.load(described) as stored:
            values = {name: np.asarray(value) for name, value in stored.items()}
        self._operators = json.loads(str(values.pop("operators")))
        self._constants = {
            name: Value(value.astype(np.float64), np.zeros(value.shape))
            for name, value in values.items()
        }

    def run(self, images):
        """Return the :class:`Answers` for float32 [N, channels, height, width]."""
        constants = dict(self._constants)
        found = _Rows(images)
        for kind, takes, gives, attributes in self._operators:
            if kind == "fetch":
                logits, error, _ = found.values[takes["X"][0]]
                return Answers(logits, error, found.of_image, found.is_complete)
            if kind == "feed":
                found.values[gives["Out"][0]] = Value(found.images, np.zeros(found.images.shape))
                continue
            output = next(gives[name][0] for name in ("Out", "Output", "Y") if name in gives)
            known = constants | found.values
            inputs = {slot: [known[name] for name in names] for slot, names in takes.items()}
            if kind != "concat":
                inputs = {slot: only for slot, (only,) in inputs.items()}
            inputs |= attributes
            if all(name in constants for names in takes.values() for name in names):
                constants[output] = _OPERATORS[kind](inputs)
            elif kind == "quantize_linear" and not attributes.get("only_observer"):
                found.values[output] = found.round(*_ends(inputs))
            else:
                found.values[output] = _OPERATORS[kind](inputs)
        raise AssertionError("the program fetches nothing")


class _Rows:
    """The values of images: several rows for an image with a value between two integers."""

    def __init__(self, images):
        self.images = np.asarray(images, np.float64)
        self.values = {}
        self.of_image = np.arange(len(images))
        self.is_complete = np.ones(len(images), bool)

    def round(self, low, high):
        """Return integers from ``low`` to ``high``; adds a row for each further combination."""
        shape = low.shape[1:]
        low, high = (ends.reshape(len(low), -1) for ends in (low, high))
        combinations = 2.0 ** (low != high).sum(axis=1)
        of_each_image = np.bincount(self.of_image, combinations, len(self.is_complete))
        is_too_many = (of_each_image > _MOST_ROWS)[self.of_image]
        self.is_complete[self.of_image[is_too_many]] = False
        combinations[is_too_many] = 1
        source = np.repeat(np.arange(len(low)), combinations.astype(int))
        self.of_image = self.of_image[source]
        self.values = {
            name: Value(value.numbers[source], value.error[source], value.is_integers)
            for name, value in self.values.items()
        }
        rounded = low[source]
        for row in np.flatnonzero(combinations > 1):
            places = np.flatnonzero(low[row] != high[row])
            numbers = np.arange(int(combinations[row]))[:, None]
            takes_high = numbers >> np.arange(len(places)) & 1
            first = np.searchsorted(source, row)
            rounded[first : first + len(numbers), places] += takes_high
        return Value(rounded.reshape(-1, *shape), np.zeros((len(rounded), *shape)))


_MOST_ROWS = 64  # for one image
_ERROR = 3 * 2.0**-24
"""The error of an operator of float32, as a share of its largest term: no engine computes one with
more than three roundings, which it may do for the parameters when it loads a program."""

# Each takes the attributes and the inputs of an operator, by their names in the program.


def _ends(op):
    """Return the integers to which a value may be rounded: the same ones, or two neighbours."""
    step = _along_axis(op) / 127
    steps, error = op["X"].numbers / step, op["X"].error / step
    error = error + _ERROR * np.abs(steps)
    return (np.clip(np.rint(steps + by), -128, 127) for by in (-error, error))


def _quantize_constant(op):
    if op.get("only_observer"):
        return op["X"]
    low, high = _ends(op)
    return Value(low, high - low)


def _dequantize(op):
    if op.get("only_observer"):
        return op["X"]
    numbers = op["X"].numbers * _along_axis(op) / 127
    error = op["X"].error * _along_axis(op) / 127 + _ERROR * np.abs(numbers)
    return Value(numbers, error, is_integers=True)


def _along_axis(op):
    """Return the scale of a tensor, or those of the indices of an axis."""
    scales = op["Scale"].numbers
    if scales.size == 1:
        return scales.reshape(())
    shape = [1] * op["X"].numbers.ndim
    shape[op["quant_axis"]] = -1
    return scales.reshape(shape)


def _product(x, weights, multiply):
    """Return sums of products: engines have no error in those of integers, and scale them then."""
    sums = multiply(x.numbers, weights.numbers)
    terms = weights.numbers.size / sums.shape[1]
    if x.is_integers and weights.is_integers:
        of_float64 = np.abs(x.numbers).max() * np.abs(weights.numbers).max() * terms * 2.0**-52
        return Value(sums, _ERROR * np.abs(sums) + of_float64)
    of_inputs = multiply(x.error, np.abs(weights.numbers))
    sizes = multiply(np.abs(x.numbers), np.abs(weights.numbers))
    return Value(sums, of_inputs + (_ERROR + terms * 2.0**-24) * sizes)


def _convolution(op):
    top, left = op["paddings"]
    window = {name: op[name] for name in ("strides", "dilations", "groups")}
    return _product(
        op["Input"],
        op["Filter"],
        lambda x, weights: conv2d(x, weights, pads=(top, left, top, left), **window),
    )


def _matmul(op):
    return _product(op["X"], op["Y"], lambda x, y: x @ (y.T if op["trans_y"] else y))


def _pool(op):
    x, is_average = op["X"], op["pooling_type"] == "avg"
    if op["adaptive"] or op["global_pooling"]:
        assert is_average
        assert op["ksize"] == [1, 1]
        pool, count = lambda x: x.mean(axis=(2, 3), keepdims=True), x.numbers[0, 0].size
    else:
        top, left = op["paddings"]
        window = {"strides": op["strides"], "pads": (top, left, top, left)}
        kind, count = average_pool if is_average else max_pool, np.prod(op["ksize"])

        def pool(x):
            return kind(x, op["ksize"], **window)

    error = pool(x.error)
    if is_average:
        error += (_ERROR + count * 2.0**-24) * pool(np.abs(x.numbers))
    return Value(pool(x.numbers), error)


def _add(op):
    assert op["axis"] == -1
    x, y = op["X"], op["Y"]
    terms = np.abs(x.numbers) + np.abs(y.numbers)
    return Value(x.numbers + y.numbers, x.error + y.error + _ERROR * terms)


def _batch_norm(op):
    x = op["X"]
    names = ("Scale", "Bias", "Mean", "Variance")
    scale, bias, mean, variance = (op[name].numbers for name in names)
    found = batch_norm(x.numbers, scale, bias, mean, variance, op["epsilon"])
    factor = np.abs(scale / np.sqrt(variance + op["epsilon"]))[:, None, None]
    terms = np.abs(x.numbers) + np.abs(mean)[:, None, None]
    terms = terms * factor + np.abs(bias)[:, None, None]
    return Value(found, x.error * factor + _ERROR * terms)


def _concat(op):
    parts = zip(*(value[:2] for value in op["X"]), strict=True)
    return Value(*(np.concatenate(each, axis=op["axis"]) for each in parts))


def _softmax(op):
    """A probability changes by the share by which its power and the sum of all of them change."""
    x = op["X"]
    found = softmax(x.numbers)
    share = 2 * x.error.max(axis=1, keepdims=True) + found.shape[1] * _ERROR
    share = share + _ERROR * np.ptp(x.numbers, axis=1, keepdims=True)
    return Value(found, found * np.expm1(share))


def _each(function):
    """Return an operator that changes no distance of two values, or makes it smaller."""
    return lambda op: Value(function(op["X"].numbers), op["X"].error)


def _shaped(shape_of):
    """Return an operator that changes the shape alone."""

    def shape(op):
        x = op["X"]
        return Value(*(part.reshape(shape_of(x.numbers)) for part in x[:2]), x.is_integers)

    return shape


_OPERATORS = {
    "batch_norm": _batch_norm,
    "concat": _concat,
    "conv2d": _convolution,
    "depthwise_conv2d": _convolution,
    "dequantize_linear": _dequantize,
    "elementwise_add": _add,
    "flatten_contiguous_range": _shaped(lambda x: (len(x), -1)),
    "matmul_v2": _matmul,
    "pool2d": _pool,
    "quantize_linear": _quantize_constant,
    "relu": _each(lambda x: np.maximum(x, 0)),
    "relu6": _each(lambda x: np.clip(x, 0, 6)),
    "reshape2": _shaped(lambda _: (1, -1, 1, 1)),  # of a bias, to channels
    "softmax": _softmax,
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
