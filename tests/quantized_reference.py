"""A quantized program of Paddle, computed by NumPy from the definitions of its operators.

What is rounded is a whole number times a step, and float64 sums such products exactly: the
convolutions here are the integer arithmetic that the program stands for.

Run as a script, ``quantized_reference.py PROGRAM...`` has Paddle read each ``.pdmodel``, in a
process of its own, and writes its operators and parameters beside it, as a ``.npz``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_ATTRIBUTES = (
    "only_observer", "quant_axis", "strides", "paddings", "dilations", "groups", "pooling_type",
    "ksize", "adaptive", "global_pooling", "epsilon", "axis", "trans_y",
)  # fmt: skip
_MOST = 127


def read_programs(programs: list[Path]) -> list[QuantizedProgram]:
    """Read them, each with the parameters beside it."""
    command = [sys.executable, "-W", "ignore", __file__, *map(str, programs)]
    # The old representation of programs is chosen before paddle is imported.
    environment = {
        "FLAGS_enable_pir_api": "0",
        "OMP_NUM_THREADS": "1",
        "HOME": str(programs[0].parent),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [QuantizedProgram(program.with_suffix(".npz")) for program in programs]


class QuantizedProgram:
    """One program; :meth:`run` computes it."""

    def __init__(self, described: Path) -> None:
        with np.load(described) as stored:
            self._parameters = dict(stored.items())
        self._operators = json.loads(str(self._parameters.pop("operators")))

    def run(self, images: Array) -> Array:
        """Float64 logits of float32 [N, channels, height, width]."""
        self._values = {name: np.asarray(value) for name, value in self._parameters.items()}
        for op in self._operators:
            kind, inputs, outputs, attributes = op
            arguments = {name: self._values.get(values[0]) for name, values in inputs.items()}
            if kind == "feed":
                result: Any = images.astype(np.float64)
            elif kind == "concat":
                result = self._concat(inputs["X"], attributes)
            elif kind == "fetch":
                return arguments["X"]
            else:
                result = getattr(self, f"_{kind}")(arguments, attributes)
            for name in ("Out", "Output", "Y"):
                if name in outputs:
                    self._values[outputs[name][0]] = result
        raise AssertionError("the program gives nothing")

    @staticmethod
    def _quantize_linear(values: dict[str, Any], attributes: dict[str, Any]) -> Array:
        if attributes.get("only_observer"):
            return values["X"]
        scaled = values["X"] * (_MOST / values["Scale"].astype(np.float64).item())
        return np.clip(np.rint(scaled), -_MOST - 1, _MOST)

    @staticmethod
    def _dequantize_linear(values: dict[str, Any], attributes: dict[str, Any]) -> Array:
        if attributes.get("only_observer"):
            return values["X"]
        x, scale = values["X"].astype(np.float64), values["Scale"].astype(np.float64)
        if scale.size > 1:
            shape = [1] * x.ndim
            shape[attributes["quant_axis"]] = -1
            return x * scale.reshape(shape) / _MOST
        return x * scale.item() / _MOST

    @staticmethod
    def _conv2d(values: dict[str, Any], attributes: dict[str, Any]) -> Array:
        x, filters = values["Input"], values["Filter"]
        (top, left), (down, right) = attributes["paddings"], attributes["strides"]
        vertical, horizontal = attributes["dilations"]
        groups, (outputs, inputs, height, width) = attributes["groups"], filters.shape
        padded = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))
        span = vertical * (height - 1) + 1, horizontal * (width - 1) + 1
        windows = np.lib.stride_tricks.sliding_window_view(padded, span, (2, 3))
        windows = windows[:, :, ::down, ::right, ::vertical, ::horizontal]
        share = outputs // groups
        found = [
            np.tensordot(
                windows[:, g * inputs : (g + 1) * inputs],
                filters[g * share : (g + 1) * share],
                ((1, 4, 5), (1, 2, 3)),
            )
            for g in range(groups)
        ]
        return np.concatenate(found, axis=-1).transpose(0, 3, 1, 2)

    _depthwise_conv2d = _conv2d

    @staticmethod
    def _pool2d(values: dict[str, Any], attributes: dict[str, Any]) -> Array:
        x = values["X"]
        average = attributes["pooling_type"] == "avg"
        if attributes["adaptive"] or attributes["global_pooling"]:
            assert average
            assert attributes["ksize"] == [1, 1]
            return x.mean(axis=(2, 3), keepdims=True)
        top, left = attributes["paddings"]
        down, right = attributes["strides"]
        assert not (average and (top or left))
        padded = np.pad(
            x, ((0, 0), (0, 0), (top, top), (left, left)), constant_values=0 if average else -np.inf
        )
        windows = np.lib.stride_tricks.sliding_window_view(padded, attributes["ksize"], (2, 3))
        windows = windows[:, :, ::down, ::right]
        return windows.mean(axis=(4, 5)) if average else windows.max(axis=(4, 5))

    @staticmethod
    def _matmul_v2(values: dict[str, Any], attributes: dict[str, Any]) -> Array:
        y = values["Y"].T if attributes["trans_y"] else values["Y"]
        return values["X"] @ y

    @staticmethod
    def _elementwise_add(values: dict[str, Any], attributes: dict[str, Any]) -> Array:
        assert attributes["axis"] == -1
        return values["X"] + values["Y"].astype(np.float64)

    def _concat(self, names: list[str], attributes: dict[str, Any]) -> Array:
        return np.concatenate([self._values[name] for name in names], axis=attributes["axis"])

    @staticmethod
    def _batch_norm(values: dict[str, Any], attributes: dict[str, Any]) -> Array:
        mean, variance, gain, bias = (
            values[name].astype(np.float64)[:, None, None]
            for name in ("Mean", "Variance", "Scale", "Bias")
        )
        return (values["X"] - mean) / np.sqrt(variance + attributes["epsilon"]) * gain + bias

    @staticmethod
    def _relu(values: dict[str, Any], _: dict[str, Any]) -> Array:
        return np.maximum(values["X"], 0)

    @staticmethod
    def _reshape2(values: dict[str, Any], _: dict[str, Any]) -> Array:
        """Of a bias, to channels."""
        return values["X"].reshape(1, -1, 1, 1)

    @staticmethod
    def _flatten_contiguous_range(values: dict[str, Any], _: dict[str, Any]) -> Array:
        return values["X"].reshape(len(values["X"]), -1)

    @staticmethod
    def _softmax(values: dict[str, Any], _: dict[str, Any]) -> Array:
        found = np.exp(values["X"] - values["X"].max(axis=1, keepdims=True))
        return found / found.sum(axis=1, keepdims=True)


def describe(program: Path) -> None:
    """Write what a program holds beside it; in a process with the old representation."""
    import paddle

    paddle.enable_static()
    loaded = paddle.static.deserialize_program(program.read_bytes())
    executor = paddle.static.Executor(paddle.CPUPlace())
    scope = paddle.static.Scope()
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


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        describe(Path(argument))
