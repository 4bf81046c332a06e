"""A quantized program of Paddle as its oneDNN computes it in int8, by NumPy and in float64.

Paddle takes quantization out of the program, keeps the ranges, joins operators and has oneDNN round
between those that it computes in integers; the rules are those of its passes in
paddle/fluid/framework/ir/onednn. What is rounded is a whole number times a step, and float64 sums
such products exactly.

A child process has Paddle read each ``.pdmodel``, and writes its operators and parameters beside
it, as a ``.npz``.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
_INPUTS = {"conv2d": "Input", "depthwise_conv2d": "Input"}
_WEIGHTS = {"conv2d": "Filter", "depthwise_conv2d": "Filter", "matmul_v2": "Y"}
_CONVOLUTIONS = ("conv2d", "depthwise_conv2d")
_SIMPLE = {
    "concat": lambda op, x: np.concatenate(x, axis=op.attributes["axis"]),
    "fc": lambda op, x: x[0] @ op.weights + op.bias,
    "flatten_contiguous_range": lambda _, x: x[0].reshape(len(x[0]), -1),
    "matmul_v2": lambda op, x: x[0] @ (op.weights.T if op.attributes["trans_y"] else op.weights),
    "relu": lambda _, x: np.maximum(x[0], 0),
    "reshape2": lambda _, x: x[0].reshape(1, -1, 1, 1),  # of a bias, to channels
    "softmax": lambda _, x: softmax(x[0]),
}


def read_programs(programs):
    """Read programs, each with the parameters beside it."""
    arguments = {"programs": [str(program) for program in programs]}
    call("quantized_reference:describe", arguments, doing="reading", variables=PROGRAM_DESC)
    return [QuantizedProgram(program.with_suffix(".npz")) for program in programs]


@dataclass
class _Operator:
    kind: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any]
    names: dict[str, str]
    weights: Any = None
    bias: Any = 0.0
    quantized: bool = False
    residual: str = ""
    relu: bool = False
    whole: bool = False


@dataclass
class _Tensor:
    """``unsigned``: the range stands for 255 steps; ``from_zero``: integers are 0 to 255."""

    range: float = 0.0
    unsigned: bool = False
    from_zero: bool = False
    rounded: bool = False
    by_whole: bool = False

    def round(self, values):
        most = 255 if self.unsigned else 127
        least, largest = (0, 255) if self.from_zero else (-128, 127)
        # Means of integers lie in the middle of two but for float64's last bits.
        whole = np.rint(np.round(values * (most / self.range), 9))
        return np.clip(whole, least, largest) * (self.range / most)


class QuantizedProgram:
    """One program; :meth:`run` computes it."""

    def __init__(self, described):
        with np.load(described) as stored:
            self._values = {name: np.asarray(value) for name, value in stored.items()}
        self._tensors: dict[str, _Tensor] = {}
        self._operators: list[_Operator] = []
        self._read(json.loads(str(self._values.pop("operators"))))
        self._join()
        self._share_ranges()
        for op in self._operators:
            op.whole = self._is_whole(op)
            if op.whole and op.weights is not None:
                op.weights = self._as_multiplied(op)
        self._choose_rounding()

    def _tensor(self, name):
        return self._tensors.setdefault(name, _Tensor())

    # ---- the program, without its quantization

    def _read(self, operators):
        same = {}
        made_by = {
            name: kind for kind, _, gives, _ in operators for n in gives.values() for name in n
        }
        for kind, takes, gives, attributes in operators:
            if kind == "quantize_linear":
                (x,), (y,) = takes["X"], gives["Y"]
                same[y] = same.get(x, x)
                tensor = self._tensor(x)
                tensor.range = tensor.range or float(self._values[takes["Scale"][0]].item())
            elif kind == "dequantize_linear":
                (x,), (y,) = takes["X"], gives["Y"]
                if x in self._values:
                    self._values[y] = self._dequantized(x, takes["Scale"][0], attributes)
                else:
                    same[y] = same.get(x, x)
            elif kind == "feed":
                self._input = gives["Out"][0]
            elif kind == "fetch":
                self._output = same.get(takes["X"][0], takes["X"][0])
            else:
                op = self._operator(kind, takes, gives, attributes, same)
                sources = [made_by.get(name, "quantize") for n in takes.values() for name in n]
                op.quantized = all("quantize" in source for source in sources)
                self._operators.append(op)

    def _dequantized(self, name, scale, attributes):
        values, scales = self._values[name], self._values[scale].astype(np.float32)
        shape = [1] * values.ndim
        if scales.size > 1:
            # Of as many inputs as outputs, Paddle takes the first axis, whatever the program says.
            shape[0 if scales.size == len(values) else attributes["quant_axis"]] = -1
        return (values / 127).astype(np.float32) * scales.reshape(shape)

    def _operator(self, kind, takes, gives, attributes, same):
        inputs = takes[_INPUTS.get(kind, "X")] + (takes["Y"] if kind == "elementwise_add" else [])
        output = next(gives[name][0] for name in ("Out", "Output", "Y") if name in gives)
        names = {name: values[0] for name, values in takes.items()}
        op = _Operator(kind, [same.get(x, x) for x in inputs], output, attributes, names)
        if kind in _WEIGHTS:
            op.weights = self._values[names[_WEIGHTS[kind]]].astype(np.float64)
        return op

    # ---- operators that Paddle joins

    def _reader(self, name, kind):
        """Return the operator that alone reads a value, if it is of this kind."""
        readers = [op for op in self._operators if name in (*op.inputs, op.residual)]
        if name == self._output or len(readers) != 1 or readers[0].kind != kind:
            return None
        return readers[0]

    def _absorb(self, op, other):
        op.output = other.output
        self._operators.remove(other)

    def _join(self):
        for op in self._of_kinds(_CONVOLUTIONS):
            self._join_batch_norm(op)
        for op in self._of_kinds(["matmul_v2"]):
            self._join_bias(op)
        for op in self._of_kinds(_CONVOLUTIONS):
            self._join_residual(op)
        for op in self._of_kinds([*_CONVOLUTIONS, "fc"]):
            self._join_relu(op)

    def _of_kinds(self, kinds):
        """Return the operators of some kinds; joining them changes ``_operators``."""
        return [op for op in self._operators if op.kind in kinds]

    def _join_batch_norm(self, op):
        norm = self._reader(op.output, "batch_norm")
        if norm is None:
            return
        mean, variance, gain, bias = self._statistics(norm)
        factor = gain / np.sqrt(variance + norm.attributes["epsilon"])
        op.weights = op.weights * factor[:, None, None, None]
        op.bias = (bias - mean * factor)[:, None, None]
        self._absorb(op, norm)

    def _join_bias(self, op):
        """Make a fully connected layer of a product of matrices and a bias."""
        added = self._reader(op.output, "elementwise_add")
        if op.attributes["trans_y"] or added is None or added.inputs[1] not in self._values:
            return
        op.kind = "fc"
        op.bias = self._values[added.inputs[1]].astype(np.float64)
        self._absorb(op, added)

    def _join_residual(self, op):
        """Let a convolution add what is added to its output, where Paddle does so."""
        added = self._reader(op.output, "elementwise_add")
        if added is None:
            return
        (other,) = {*added.inputs} - {op.output}
        givers = self._givers(other)
        convolved = any(giver.kind in _CONVOLUTIONS for giver in givers)
        # If both values come from convolutions, Paddle lets the later one add: the one that the
        # input of the other is computed before. A convolution does not add its own input, because
        # the values of a pattern of Paddle's are different ones.
        source = givers[0].inputs[0] if convolved else other
        if op.inputs[0] in (other, source) or not self._reaches(source, op.output):
            return
        op.residual = other
        self._absorb(op, added)
        self._move_behind(op, [*self._givers(op.residual), *self._givers(op.inputs[0])])

    def _join_relu(self, op):
        relu = self._reader(op.output, "relu")
        if relu is not None:
            op.relu = True
            self._absorb(op, relu)

    def _move_behind(self, op, needed):
        """Move an operator to the first place behind all that it needs."""
        self._operators.remove(op)
        places = [self._operators.index(other) for other in needed]
        self._operators.insert(max(places, default=-1) + 1, op)

    def _reaches(self, name, to):
        reached = {name}
        for op in self._operators:
            if reached & {*op.inputs, op.residual}:
                reached.add(op.output)
        return to in reached

    def _givers(self, name):
        return [op for op in self._operators if op.output == name]

    def _statistics(self, op):
        names = ("Mean", "Variance", "Scale", "Bias")
        return [self._values[op.names[name]].astype(np.float64) for name in names]

    # ---- what is rounded, and how

    def _share_ranges(self):
        for op in self._operators:
            tensor = self._tensor(op.output)
            tensor.unsigned = tensor.range > 0 and (op.relu or op.kind == "relu")
        unknown = {""}
        before = set()
        while unknown and unknown != before:  # each round carries ranges on by an operator or more
            before = unknown
            unknown = set()
            for op in self._operators:
                if op.kind in ("pool2d", "reshape2"):
                    unknown |= self._share_with_output(op)
                elif op.kind == "concat":
                    self._share_with_inputs(op)

    def _share_with_output(self, op):
        """Give input and output the range that one of them has; return them if none has one."""
        tensors = [self._tensor(name) for name in (*op.inputs, op.output)]
        known = [tensor for tensor in tensors if tensor.range > 0]
        if not known:
            return {op.inputs[0], op.output}
        for tensor in tensors:
            tensor.range, tensor.unsigned = known[0].range, known[0].unsigned
        return set()

    def _share_with_inputs(self, op):
        """Give the inputs the range of the output, if it has one."""
        output = self._tensor(op.output)
        if output.range > 0:
            for name in op.inputs:
                self._tensor(name).range = output.range

    def _is_whole(self, op):
        inputs, output = [self._tensor(name) for name in op.inputs], self._tensor(op.output)
        all_known = all(tensor.range > 0 for tensor in (*inputs, output))
        if op.kind in (*_CONVOLUTIONS, "fc"):
            needed = [inputs[0], *([self._tensor(op.residual), output] if op.residual else [])]
            return op.quantized and all(tensor.range > 0 for tensor in needed)
        if op.kind == "elementwise_add":
            return all_known and inputs[0].unsigned == inputs[1].unsigned
        return (op.kind == "pool2d" and all_known) or (op.kind == "concat" and output.range > 0)

    def _as_multiplied(self, op):
        """By integers of each output's largest. Of a matrix [inputs, outputs] Paddle takes for
        that as many numbers of the memory as there are inputs, which are not one output's.
        """
        weights = op.weights.astype(np.float32)
        matrix = op.kind == "fc"
        rows = weights.reshape((-1, len(weights)) if matrix else (len(weights), -1))
        largest = np.abs(rows).max(axis=1)
        largest = np.where(largest > 0, largest, np.float32(1))
        largest = largest if matrix else largest[:, None, None, None]
        # In float32, as Paddle does: a weight may lie in the middle of two integers.
        whole = np.clip(np.rint(weights * (127 * (1 / largest))), -128, 127)
        assert whole.dtype == np.float32
        return whole.astype(np.float64) * (largest.astype(np.float64) / 127)

    def _choose_rounding(self):
        for tensor in self._tensors.values():
            tensor.from_zero = tensor.unsigned
        for op in self._operators:
            output = self._tensor(op.output)
            output.by_whole = op.whole
            if not op.whole:
                continue
            inputs = [self._tensor(name) for name in op.inputs]
            if op.residual:
                residual = self._tensor(op.residual)
                output.from_zero = residual.from_zero or residual.unsigned
                residual.rounded = output.rounded = True
            elif op.kind in (*_CONVOLUTIONS, "fc"):
                output.from_zero = op.relu
            elif op.kind != "concat":
                output.from_zero, output.rounded = inputs[0].from_zero, True
            for tensor in inputs if op.kind != "concat" else []:
                tensor.rounded = True

    # ---- running

    def run(self, images):
        """Float64 logits of float32 [N, channels, height, width]."""
        values = dict(self._values)

        def read(op, name):
            tensor, value = self._tensor(name), values[name].astype(np.float64)
            if op.kind == "concat" and op.whole:
                unsigned = all(self._tensor(each).unsigned for each in op.inputs)
                return _Tensor(self._tensor(op.output).range, unsigned, unsigned).round(value)
            seen = tensor.rounded and (op.whole or tensor.by_whole)
            return tensor.round(value) if seen else value

        values[self._input] = images
        for op in self._operators:
            compute = _SIMPLE.get(op.kind) or getattr(self, f"_{op.kind}")
            found = compute(op, [read(op, name) for name in op.inputs])
            if op.residual:
                found = found + read(op, op.residual)
            values[op.output] = np.maximum(found, 0) if op.relu else found
        last = self._tensor(self._output)
        rounded = last.rounded and last.by_whole
        return last.round(values[self._output]) if rounded else values[self._output]

    def _conv2d(self, op, inputs):
        top, left = op.attributes["paddings"]
        window = {name: op.attributes[name] for name in ("strides", "dilations", "groups")}
        return conv2d(inputs[0], op.weights, op.bias, pads=(top, left, top, left), **window)

    _depthwise_conv2d = _conv2d

    def _pool2d(self, op, inputs):
        (x,), attributes = inputs, op.attributes
        average = attributes["pooling_type"] == "avg"
        if attributes["adaptive"] or attributes["global_pooling"]:
            assert average
            assert attributes["ksize"] == [1, 1]
            return x.mean(axis=(2, 3), keepdims=True)
        top, left = attributes["paddings"]
        assert not (average and (top or left))
        pool, pads = average_pool if average else max_pool, (top, left, top, left)
        return pool(x, attributes["ksize"], strides=attributes["strides"], pads=pads)

    def _elementwise_add(self, op, inputs):
        assert op.attributes["axis"] == -1
        return inputs[0] + inputs[1]

    def _batch_norm(self, op, inputs):
        mean, variance, gain, bias = self._statistics(op)
        return batch_norm(inputs[0], gain, bias, mean, variance, op.attributes["epsilon"])


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
