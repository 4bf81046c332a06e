"""LeNet as a ``.tflite``, in float32 or in int8, written without a converter.

The published converters need TensorFlow or PyTorch. The format is a FlatBuffer whose classes come
with the package ``ai-edge-litert``, so the operators are put down one by one.

In int8 everything between the first operator, which rounds the images, and the last, which makes
float32 of the logits, is integers: a value ``q`` stands for ``scale * (q - zero_point)``. Weights
are symmetric (``zero_point`` 0), those of convolutions with a scale for each output channel; a bias
has 32 bits and the product of the scales of input and weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.files import atomic_path
from tools.benchmark.lenet import activations

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tools.benchmark.lenet import Weights

_SCHEMA_VERSION = 3
_LEAST, _MOST = -128, 127
# Operators, with the versions that know int8 (the first of each knows float32), and their options.
_KINDS = {
    "CONV_2D": (3, "Conv2DOptions"),
    "MAX_POOL_2D": (2, "Pool2DOptions"),
    "FULLY_CONNECTED": (4, "FullyConnectedOptions"),
    "QUANTIZE": (1, "QuantizeOptions"),
    "DEQUANTIZE": (2, "DequantizeOptions"),
}
_ONE = {"strideW": 1, "strideH": 1}
_TWO = {"strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2}


def scale_of(values: NDArray[Any]) -> tuple[float, int]:
    """Return scale and zero point with which 8-bit integers stand for these values."""
    # 0 has to be an integer: it is what a convolution pads with.
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = (high - low) / (_MOST - _LEAST) or 1.0
    return scale, round(_LEAST - low / scale)


class _Graph:
    """The tensors and operators put down so far; tensors go by their number."""

    def __init__(self, weights: Weights, scales: dict[str, tuple[float, int]]) -> None:
        from ai_edge_litert import schema_py_generated

        self._schema: Any = schema_py_generated
        self._weights = weights
        self._scales = scales
        self._buffers = [self._schema.BufferT()]  # the first is that of tensors without values
        self._tensors: list[Any] = []
        self._operators: list[Any] = []

    def _made(self, kind: str, **values: Any) -> Any:
        """Return an object of the format."""
        made = getattr(self._schema, f"{kind}T")()
        for name, value in values.items():
            setattr(made, name, value)
        return made

    def tensor(
        self,
        shape: tuple[int, ...],
        scales: tuple[list[float], list[int]] | None = None,
        values: NDArray[Any] | None = None,
    ) -> int:
        """Add a tensor; one without values is computed, and its first dimension is free."""
        name = "FLOAT32" if scales is None else "INT8"
        name = "INT32" if values is not None and values.dtype == np.int32 else name
        tensor = self._made("Tensor", name=f"tensor{len(self._tensors)}", shape=list(shape))
        tensor.type, tensor.buffer = getattr(self._schema.TensorType, name), 0
        if values is None:
            tensor.shapeSignature = [-1, *shape[1:]]
        else:
            tensor.buffer = len(self._buffers)
            self._buffers.append(self._made("Buffer", data=np.frombuffer(values.tobytes(), "u1")))
        if scales is not None:
            scale = {"scale": scales[0], "zeroPoint": scales[1], "quantizedDimension": 0}
            tensor.quantization = self._made("QuantizationParameters", **scale)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def operator(
        self, kind: str, inputs: list[int], shape: tuple[int, ...], name: str, **options: Any
    ) -> int:
        """Add an operator; its output has the scale of that name."""
        scale = self._scales.get(name)
        output = self.tensor(shape, scale and ([scale[0]], [scale[1]]))
        operator = self._made("Operator", inputs=inputs, outputs=[output])
        operator.opcodeIndex = list(_KINDS).index(kind)
        operator.builtinOptions = self._made(_KINDS[kind][1], **options)
        operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, _KINDS[kind][1])
        self._operators.append(operator)
        return output

    def layer(
        self,
        kind: str,
        x: int,
        name: str,
        weight: NDArray[np.float32],
        shape: tuple[int, ...],
        *,
        relu: bool = True,
        **options: Any,
    ) -> int:
        """Add a convolution or fully connected layer; ``weight`` has its outputs first."""
        bias = self._weights[f"{name}.bias"]
        if self._scales:
            axes = tuple(range(1 if kind == "CONV_2D" else 0, weight.ndim))
            scales = np.abs(weight.astype(np.float64)).max(axis=axes, keepdims=True) / _MOST
            of_bias = self._tensors[x].quantization.scale[0] * scales.ravel()
            zeros = [0] * scales.size
            rounded = np.rint(weight / scales).astype("i1")
            weights = self.tensor(weight.shape, (scales.ravel().tolist(), zeros), rounded)
            rounded = np.rint(bias / of_bias).astype("<i4")
            inputs = [x, weights, self.tensor(bias.shape, (of_bias.tolist(), zeros), rounded)]
        else:
            inputs = [x, *(self.tensor(v.shape, None, v.astype("<f4")) for v in (weight, bias))]
        kinds = self._schema.ActivationFunctionType
        options["fusedActivationFunction"] = kinds.RELU if relu else kinds.NONE
        return self.operator(kind, inputs, shape, name, **options)

    def conv(self, x: int, name: str, sizes: tuple[int, int, int], *, same: bool) -> int:
        """Add a convolution, padded and with a relu or neither, and max-pooling by two."""
        paddings = self._schema.Padding
        weight = self._weights[f"{name}.weight"].transpose(0, 2, 3, 1)  # OIHW to OHWI
        padding = paddings.SAME if same else paddings.VALID
        of = {"relu": same, "padding": padding, **_ONE}
        x = self.layer("CONV_2D", x, name, weight, (1, *sizes), **of)
        half = (1, sizes[0] // 2, sizes[1] // 2, sizes[2])
        return self.operator("MAX_POOL_2D", [x], half, name, padding=paddings.VALID, **_TWO)

    def write(self, source: int, output: int) -> bytes:
        """Return the file."""
        import flatbuffers

        graph = self._made("SubGraph", name="lenet", tensors=self._tensors)
        graph.operators, graph.inputs, graph.outputs = self._operators, [source], [output]
        model = self._made("Model", version=_SCHEMA_VERSION, buffers=self._buffers)
        model.subgraphs, model.operatorCodes = [graph], []
        for kind, (version, _) in _KINDS.items():
            code = getattr(self._schema.BuiltinOperator, kind)
            known = {"builtinCode": code, "deprecatedBuiltinCode": code}
            known["version"] = version if self._scales else 1
            model.operatorCodes.append(self._made("OperatorCode", **known))
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def write_tflite(
    weights: Weights, path: Path, calibration: NDArray[np.float32] | None = None
) -> None:
    """Write LeNet for LiteRT, input float32 [N, 28, 28, 1], output float32 [N, 10].

    ``calibration`` has images that show the range of each activation, for arithmetic in int8.
    """
    found = {} if calibration is None else activations(weights, calibration)
    graph = _Graph(weights, {name: scale_of(values) for name, values in found.items()})
    x = source = graph.tensor((1, 28, 28, 1))
    if found:
        x = graph.operator("QUANTIZE", [x], (1, 28, 28, 1), "x")
    x = graph.conv(x, "conv1", (28, 28, 6), same=True)
    x = graph.conv(x, "conv2", (10, 10, 16), same=False)
    # [400, 120], the 400 in the order channel, row, column: to [120, 400], row, column, channel
    first = weights["linear1.weight"].reshape(16, 5, 5, 120).transpose(3, 1, 2, 0)
    x = graph.layer("FULLY_CONNECTED", x, "linear1", first.reshape(120, 400), (1, 120))
    x = graph.layer("FULLY_CONNECTED", x, "linear2", weights["linear2.weight"].T, (1, 84))
    last = weights["linear3.weight"].T
    x = graph.layer("FULLY_CONNECTED", x, "linear3", last, (1, 10), relu=False)
    if found:
        x = graph.operator("DEQUANTIZE", [x], (1, 10), "")
    with atomic_path(path) as temporary:
        temporary.write_bytes(graph.write(source, x))
