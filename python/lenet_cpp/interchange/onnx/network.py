"""The Paddle network that runs the steps of an ONNX classifier.

A step calls a layer of its own when it has parameters that Paddle keeps in one (``conv2d``,
``batch_norm``), and else a function of ``paddle.nn.functional`` or ``paddle``.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from lenet_cpp._base.frameworks import paddle
from lenet_cpp.interchange.onnx.steps import INPUT, Step, Steps

_LAYERS = {"batch_norm": ("weight", "bias", "_mean", "_variance"), "conv2d": ("weight", "bias")}
# Functions that in Paddle 3.3 build PIR only, as operators of a .pdmodel.
_OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ("abs", "ceil", "cos", "exp", "floor", "log", "sin", "sqrt")},
    **{name: (name, {}) for name in ("gelu", "sigmoid", "tanh")},
    "matmul": ("matmul_v2", {"trans_x": False, "trans_y": False}),
    "maximum": ("elementwise_max", {"axis": -1}),
    "minimum": ("elementwise_min", {"axis": -1}),
    "multiply": ("elementwise_mul", {"axis": -1}),
    "softplus": ("softplus", {"beta": 1.0, "threshold": 20.0}),
}


def build_network(steps: Steps) -> paddle.nn.Layer:
    """Build the network, with its parameters, in evaluation mode."""

    class Network(paddle.nn.Layer):
        """Walks over the steps; the class gives its parameters their names in an export."""

        def __init__(self) -> None:
            super().__init__()
            for step in steps.steps:
                if step.function in _LAYERS:
                    self.add_sublayer(step.output, _layer(step, steps.weights))
                    continue
                for name in step.inputs:
                    if name in steps.weights:
                        value = steps.weights[name]
                        parameter = self.create_parameter(value.shape, dtype="float32")
                        parameter.set_value(value)
                        self.add_parameter(name, parameter)

        def forward(self, x: paddle.Tensor) -> paddle.Tensor:
            return self.walk(x)

        @paddle.jit.not_to_static  # type: ignore[misc] # paddle has no types
        def walk(self, x: paddle.Tensor) -> paddle.Tensor:
            values = {INPUT: x, **dict(self.named_parameters(include_sublayers=False))}
            for step in steps.steps:
                if step.function in _LAYERS:
                    values[step.output] = getattr(self, step.output)(values[step.inputs[0]])
                else:
                    inputs = [values[name] for name in step.inputs]
                    values[step.output] = _call(step.function, inputs, step.options)
            return values[steps.output]

    network = Network()
    network.eval()
    return network


def _layer(step: Step, weights: dict[str, NDArray[Any]]) -> paddle.nn.Layer:
    arrays = [weights[name] for name in step.inputs[1:]]
    size = arrays[0].shape
    if step.function == "batch_norm":
        layer = paddle.nn.BatchNorm(size[0], **step.options)
    else:
        inputs, bias = size[1] * step.options.get("groups", 1), len(arrays) > 1 and None
        layer = paddle.nn.Conv2D(inputs, size[0], list(size[2:]), bias_attr=bias, **step.options)
    for name, array in zip(_LAYERS[step.function], arrays, strict=False):
        getattr(layer, name).set_value(array)
    return layer


def _call(function: str, inputs: list[Any], options: dict[str, Any]) -> Any:
    old_program = not (paddle.in_dynamic_mode() or paddle.framework.in_pir_mode())
    if old_program and function in _OPERATORS:
        kind, attributes = _OPERATORS[function]
        helper = paddle.base.layer_helper.LayerHelper(kind)
        output = helper.create_variable_for_type_inference(dtype=inputs[0].dtype)
        named = dict(zip(("X", "Y"), inputs, strict=False))
        attributes = {**attributes, **options}
        helper.append_op(type=kind, inputs=named, outputs={"Out": output}, attrs=attributes)
        return output
    if function == "concat":
        return paddle.concat(inputs, **options)
    call = getattr(paddle.nn.functional, function, None) or getattr(paddle, function)
    return call(*inputs, **options)
