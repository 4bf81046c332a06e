"""LeNet as a ``.tflite``, in float32 or in int8, written without a converter.

The published converters need TensorFlow or PyTorch. The format is a FlatBuffer whose classes come
with the package ``ai-edge-litert``, so the operators are put down one by one.

In int8 everything between the first operator, which rounds the images, and the last, which makes
float32 of the logits, is integers: a value ``q`` stands for ``scale * (q - zero_point)``. Weights
are symmetric (``zero_point`` 0), those of convolutions with a scale for each output channel; a bias
has 32 bits and the product of the scales of input and weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["write_tflite"]

_SCHEMA_VERSION = 3
_LEAST, _MOST = -128, 127


@dataclass(frozen=True)
class _Scale:
    """How 8-bit integers stand for the values of an activation."""

    scale: float
    zero_point: int

    @classmethod
    def of_range(cls, low: float, high: float) -> _Scale:
        # 0 has to be an integer: it is what a convolution pads with.
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / (_MOST - _LEAST) or 1.0
        return cls(scale, round(_LEAST - low / scale))


class _Graph:
    """The tensors and operators put down so far; tensors go by their number."""

    def __init__(
        self,
        schema: Any,
        weights: dict[str, NDArray[np.float32]],
        ranges: Mapping[str, tuple[float, float]] | None,
    ) -> None:
        self._schema = schema
        self._weights = weights
        self._scales = {name: _Scale.of_range(*found) for name, found in (ranges or {}).items()}
        self._buffers: list[Any] = [schema.BufferT()]  # the first is that of tensors without values
        self._tensors: list[Any] = []
        self._scale_of: dict[int, _Scale] = {}
        self._operators: list[Any] = []
        operator = schema.BuiltinOperator
        # The versions that know int8; the first of each knows float32.
        kinds = {operator.CONV_2D: 3, operator.MAX_POOL_2D: 2, operator.FULLY_CONNECTED: 4}
        quantizing = {operator.QUANTIZE: 1, operator.DEQUANTIZE: 2}
        self._kinds = {**kinds, **quantizing} if self._scales else dict.fromkeys(kinds, 1)

    def tensor(self, shape: list[int], scale: _Scale | None = None) -> int:
        """Add a tensor that is computed, int8 with a scale; its first dimension is free."""
        made = self._made(shape, "FLOAT32" if scale is None else "INT8")
        made.shapeSignature = [-1, *shape[1:]]
        if scale is not None:
            self._scale_of[len(self._tensors) - 1] = scale
            made.quantization = self._quantization([scale.scale], [scale.zero_point])
        return len(self._tensors) - 1

    def _made(self, shape: list[int], kind: str) -> Any:
        made = self._schema.TensorT()
        made.name = f"tensor{len(self._tensors)}"
        made.shape, made.type, made.buffer = shape, getattr(self._schema.TensorType, kind), 0
        self._tensors.append(made)
        return made

    def _quantization(self, scales: list[float], zero_points: list[int]) -> Any:
        made = self._schema.QuantizationParametersT()
        made.scale, made.zeroPoint, made.quantizedDimension = scales, zero_points, 0
        return made

    def _constant(
        self, values: NDArray[Any], kind: str, scales: NDArray[np.float64] | None = None
    ) -> int:
        made = self._made(list(values.shape), kind)
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        made.buffer = len(self._buffers)
        self._buffers.append(buffer)
        if scales is not None:
            made.quantization = self._quantization(scales.tolist(), [0] * len(scales))
        return len(self._tensors) - 1

    def _operator(
        self, kind: int, inputs: list[int], shape: list[int], options: Any, scale: _Scale | None
    ) -> int:
        made = self._schema.OperatorT()
        made.opcodeIndex = list(self._kinds).index(kind)
        made.inputs, made.outputs = inputs, [self.tensor(shape, scale)]
        made.builtinOptions = options
        name = type(options).__name__.removesuffix("T")
        made.builtinOptionsType = getattr(self._schema.BuiltinOptions, name)
        self._operators.append(made)
        return int(made.outputs[0])

    def _activation(self, *, relu: bool) -> int:
        kinds = self._schema.ActivationFunctionType
        return int(kinds.RELU if relu else kinds.NONE)

    def _parameters(
        self, x: int, name: str, weight: NDArray[np.float32], *, by_channel: bool
    ) -> list[int]:
        """Add weight, outputs first, and bias."""
        bias = self._weights[f"{name}.bias"]
        if not self._scales:
            return [self._constant(values.astype("<f4"), "FLOAT32") for values in (weight, bias)]
        axes = tuple(range(1 if by_channel else 0, weight.ndim))
        largest = np.abs(weight.astype(np.float64)).max(axis=axes, keepdims=True)
        scales = largest / _MOST
        rounded = np.rint(weight / scales).astype("i1")
        of_bias = self._scale_of[x].scale * scales.ravel()
        whole = np.rint(bias / of_bias).astype("<i4")
        return [
            self._constant(rounded, "INT8", scales.ravel()),
            self._constant(whole, "INT32", of_bias),
        ]

    def quantize(self, x: int, name: str, shape: list[int]) -> int:
        """Add the rounding to 8 bits, if the graph is one of integers."""
        if not self._scales:
            return x
        kind, options = self._schema.BuiltinOperator.QUANTIZE, self._schema.QuantizeOptionsT()
        return self._operator(kind, [x], shape, options, self._scales[name])

    def dequantize(self, x: int, shape: list[int]) -> int:
        """Add the way back."""
        if not self._scales:
            return x
        kind, options = self._schema.BuiltinOperator.DEQUANTIZE, self._schema.DequantizeOptionsT()
        return self._operator(kind, [x], shape, options, None)

    def conv(self, x: int, name: str, shape: list[int], *, same: bool, relu: bool) -> int:
        """Add a convolution, with padding to the same size or without any."""
        options = self._schema.Conv2DOptionsT()
        options.padding = self._schema.Padding.SAME if same else self._schema.Padding.VALID
        options.fusedActivationFunction = self._activation(relu=relu)
        options.strideW = options.strideH = 1
        weight = self._weights[f"{name}.weight"].transpose(0, 2, 3, 1)  # OIHW to OHWI
        inputs = [x, *self._parameters(x, name, weight, by_channel=True)]
        kind = self._schema.BuiltinOperator.CONV_2D
        return self._operator(kind, inputs, shape, options, self._scales.get(name))

    def pool(self, x: int, shape: list[int]) -> int:
        """Add max-pooling of 2x2."""
        options = self._schema.Pool2DOptionsT()
        options.padding = self._schema.Padding.VALID
        options.strideW = options.strideH = options.filterWidth = options.filterHeight = 2
        kind = self._schema.BuiltinOperator.MAX_POOL_2D
        return self._operator(kind, [x], shape, options, self._scale_of.get(x))

    def linear(self, x: int, name: str, matrix: NDArray[np.float32], *, relu: bool) -> int:
        """Add a fully connected layer; ``matrix`` is [outputs, inputs]."""
        options = self._schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = self._activation(relu=relu)
        inputs = [x, *self._parameters(x, name, matrix, by_channel=False)]
        kind = self._schema.BuiltinOperator.FULLY_CONNECTED
        return self._operator(kind, inputs, [1, len(matrix)], options, self._scales.get(name))

    def model(self, source: int, output: int) -> Any:
        """Return the whole, in the classes of the format."""
        graph = self._schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = "lenet", self._tensors, self._operators
        graph.inputs, graph.outputs = [source], [output]
        model = self._schema.ModelT()
        model.version, model.description = _SCHEMA_VERSION, "lenet"
        model.buffers, model.subgraphs, model.operatorCodes = self._buffers, [graph], []
        for kind, version in self._kinds.items():
            code = self._schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = kind
            code.version = version
            model.operatorCodes.append(code)
        return model


def write_tflite(
    weights: dict[str, NDArray[np.float32]],
    path: Path,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """Write LeNet for LiteRT, input float32 [N, 28, 28, 1], output float32 [N, 10].

    Args:
        weights: From :func:`tools.benchmark.graphs.read_weights`.
        path: The file.
        ranges: From :func:`tools.benchmark.graphs.activation_ranges`, for arithmetic in int8;
            None for float32.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated

    graph = _Graph(schema_py_generated, weights, ranges)
    source = graph.tensor([1, 28, 28, 1])
    x = graph.quantize(source, "x", [1, 28, 28, 1])
    x = graph.conv(x, "conv1", [1, 28, 28, 6], same=True, relu=True)
    x = graph.pool(x, [1, 14, 14, 6])
    x = graph.conv(x, "conv2", [1, 10, 10, 16], same=False, relu=False)
    x = graph.pool(x, [1, 5, 5, 16])
    # [400, 120], the 400 in the order channel, row, column: to [120, 400], row, column, channel
    first = weights["linear1.weight"].reshape(16, 5, 5, 120).transpose(3, 1, 2, 0)
    x = graph.linear(x, "linear1", first.reshape(120, 400), relu=True)
    x = graph.linear(x, "linear2", weights["linear2.weight"].T, relu=True)
    x = graph.linear(x, "linear3", weights["linear3.weight"].T, relu=False)
    x = graph.dequantize(x, [1, 10])
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(graph.model(source, x).Pack(builder), file_identifier=b"TFL3")
    with atomic_path(path) as temporary:
        temporary.write_bytes(bytes(builder.Output()))
