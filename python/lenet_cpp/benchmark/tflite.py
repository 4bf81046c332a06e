"""LeNet as a ``.tflite``, written without a converter.

The published converters need TensorFlow or PyTorch. The format is a FlatBuffer whose classes come
with the package ``ai-edge-litert``, so the operators are put down one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._files import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["write_tflite"]

_SCHEMA_VERSION = 3


class _Graph:
    """The tensors and operators put down so far; tensors go by their number."""

    def __init__(self, schema: Any, weights: dict[str, NDArray[np.float32]]) -> None:
        self._schema = schema
        self._weights = weights
        self._buffers: list[Any] = [schema.BufferT()]  # the first is that of tensors without values
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        operator = schema.BuiltinOperator
        self._kinds = [operator.CONV_2D, operator.MAX_POOL_2D, operator.FULLY_CONNECTED]

    def tensor(self, shape: list[int], values: NDArray[np.float32] | None = None) -> int:
        """Add a tensor; without values its first dimension is free."""
        made = self._schema.TensorT()
        made.name = f"tensor{len(self._tensors)}"
        made.shape, made.type, made.buffer = shape, self._schema.TensorType.FLOAT32, 0
        if values is None:
            made.shapeSignature = [-1, *shape[1:]]
        else:
            buffer = self._schema.BufferT()
            buffer.data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
            made.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self._tensors.append(made)
        return len(self._tensors) - 1

    def _operator(self, kind: int, inputs: list[int], shape: list[int], options: Any) -> int:
        made = self._schema.OperatorT()
        made.opcodeIndex = self._kinds.index(kind)
        made.inputs, made.outputs = inputs, [self.tensor(shape)]
        made.builtinOptions = options
        name = type(options).__name__.removesuffix("T")
        made.builtinOptionsType = getattr(self._schema.BuiltinOptions, name)
        self._operators.append(made)
        return int(made.outputs[0])

    def _activation(self, *, relu: bool) -> int:
        kinds = self._schema.ActivationFunctionType
        return int(kinds.RELU if relu else kinds.NONE)

    def _parameters(self, name: str, weight: NDArray[np.float32]) -> list[int]:
        bias = self._weights[f"{name}.bias"]
        return [self.tensor(list(values.shape), values) for values in (weight, bias)]

    def conv(self, x: int, name: str, shape: list[int], *, same: bool, relu: bool) -> int:
        """Add a convolution, with padding to the same size or without any."""
        options = self._schema.Conv2DOptionsT()
        options.padding = self._schema.Padding.SAME if same else self._schema.Padding.VALID
        options.fusedActivationFunction = self._activation(relu=relu)
        options.strideW = options.strideH = 1
        weight = self._weights[f"{name}.weight"].transpose(0, 2, 3, 1)  # OIHW to OHWI
        inputs = [x, *self._parameters(name, weight)]
        return self._operator(self._schema.BuiltinOperator.CONV_2D, inputs, shape, options)

    def pool(self, x: int, shape: list[int]) -> int:
        """Add max-pooling of 2x2."""
        options = self._schema.Pool2DOptionsT()
        options.padding = self._schema.Padding.VALID
        options.strideW = options.strideH = options.filterWidth = options.filterHeight = 2
        return self._operator(self._schema.BuiltinOperator.MAX_POOL_2D, [x], shape, options)

    def linear(self, x: int, name: str, matrix: NDArray[np.float32], *, relu: bool) -> int:
        """Add a fully connected layer; ``matrix`` is [outputs, inputs]."""
        options = self._schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = self._activation(relu=relu)
        inputs = [x, *self._parameters(name, matrix)]
        kind = self._schema.BuiltinOperator.FULLY_CONNECTED
        return self._operator(kind, inputs, [1, len(matrix)], options)

    def model(self, source: int, output: int) -> Any:
        """Return the whole, in the classes of the format."""
        graph = self._schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = "lenet", self._tensors, self._operators
        graph.inputs, graph.outputs = [source], [output]
        model = self._schema.ModelT()
        model.version, model.description = _SCHEMA_VERSION, "lenet"
        model.buffers, model.subgraphs, model.operatorCodes = self._buffers, [graph], []
        for kind in self._kinds:
            code = self._schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = kind
            code.version = 1
            model.operatorCodes.append(code)
        return model


def write_tflite(weights: dict[str, NDArray[np.float32]], path: Path) -> None:
    """Write LeNet for LiteRT, input float32 [N, 28, 28, 1], output float32 [N, 10].

    Args:
        weights: From :func:`lenet_cpp.benchmark.graphs.read_weights`.
        path: The file.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated

    graph = _Graph(schema_py_generated, weights)
    source = graph.tensor([1, 28, 28, 1])
    x = graph.conv(source, "conv1", [1, 28, 28, 6], same=True, relu=True)
    x = graph.pool(x, [1, 14, 14, 6])
    x = graph.conv(x, "conv2", [1, 10, 10, 16], same=False, relu=False)
    x = graph.pool(x, [1, 5, 5, 16])
    # [400, 120], the 400 in the order channel, row, column: to [120, 400], row, column, channel
    first = weights["linear1.weight"].reshape(16, 5, 5, 120).transpose(3, 1, 2, 0)
    x = graph.linear(x, "linear1", first.reshape(120, 400), relu=True)
    x = graph.linear(x, "linear2", weights["linear2.weight"].T, relu=True)
    x = graph.linear(x, "linear3", weights["linear3.weight"].T, relu=False)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(graph.model(source, x).Pack(builder), file_identifier=b"TFL3")
    with atomic_path(path) as temporary:
        temporary.write_bytes(bytes(builder.Output()))
