"""The same weights for engines that do not read Paddle's files, and a reference without any engine.

LeNet is a dozen operators: its ONNX file is written here, from the arrays in the ``.pdiparams``
(LiteRT's in ``tflite.py``), and :func:`reference` computes the network in NumPy, in double
precision, from its definition.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.files import atomic_path
from lenet_cpp.errors import BadModel, FileNotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Weights = dict[str, NDArray[np.float32]]

__all__ = ["MULTIPLY_ADDS", "activation_ranges", "read_weights", "reference", "write_onnx"]

MULTIPLY_ADDS = 416_520
"""Of one image: 117,600 + 240,000 in the convolutions, 48,000 + 10,080 + 840 after them."""

_SHAPES = {
    "conv1.weight": (6, 1, 5, 5),
    "conv1.bias": (6,),
    "conv2.weight": (16, 6, 5, 5),
    "conv2.bias": (16,),
    "linear1.weight": (400, 120),
    "linear1.bias": (120,),
    "linear2.weight": (120, 84),
    "linear2.bias": (84,),
    "linear3.weight": (84, 10),
    "linear3.bias": (10,),
}
_CHUNK = 64


def _read_tensors(data: bytes) -> list[NDArray[np.float32]]:
    """Read the tensors of a ``.pdiparams``.

    Each is a version, the lengths of its levels of detail, a version, a description (protobuf:
    data type, dimensions) with its length, and the values, everything little-endian.
    """
    tensors = []
    at = 0
    while at < len(data):
        levels = struct.unpack_from("<Q", data, at + 4)[0]
        if levels:
            raise ValueError("a tensor with levels of detail")
        length = struct.unpack_from("<i", data, at + 16)[0]
        at += 20
        kind, dims = _read_description(data[at : at + length])
        if kind != 5:
            raise ValueError("a tensor that is not float32")
        at += length
        count = int(np.prod(dims))
        tensors.append(np.frombuffer(data, "<f4", count, at).reshape(dims))
        at += 4 * count
    return tensors


def _read_description(data: bytes) -> tuple[int, list[int]]:
    kind, dims, at = -1, [], 0
    while at < len(data):
        tag, at = data[at], at + 1
        value, shift = 0, 0
        while True:
            byte, at = data[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if tag == 0x08:
            kind = value
        elif tag == 0x10:
            dims.append(value)
        else:
            raise ValueError("a description with unknown fields")
    return kind, dims


def read_weights(params: Path) -> Weights:
    """Read LeNet's weights from a ``.pdiparams``, by their shapes, which are all different.

    Returns:
        The names of :class:`lenet_cpp.models.lenet.LeNet`'s state dict to float32 arrays.

    Raises:
        FileNotFound: There is no such file.
        BadModel: It is damaged.
        Unsupported: It is not that of a LeNet with ten classes.
    """
    try:
        data = params.read_bytes()
    except OSError as error:
        raise FileNotFound(f"cannot read {params}: {error.strerror}") from error
    try:
        tensors = _read_tensors(data)
    except (ValueError, IndexError, struct.error) as error:
        raise BadModel(f"{params} cannot be read: {error}; export the model again") from error
    by_shape = {tensor.shape: tensor for tensor in tensors}
    if len(tensors) != len(_SHAPES) or set(by_shape) != set(_SHAPES.values()):
        raise Unsupported(
            f"{params} does not hold the weights of the LeNet with ten classes, which the benchmark"
            " is made for"
        )
    return {name: by_shape[shape] for name, shape in _SHAPES.items()}


def _convolve(x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any]) -> NDArray[Any]:
    windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(2, 3))
    result: NDArray[Any] = np.einsum("nchwij,ocij->nohw", windows, weight, optimize=True)
    result += bias[:, None, None]
    return result


def _pool(x: NDArray[Any]) -> NDArray[Any]:
    n, c, h, w = x.shape
    result: NDArray[Any] = x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))
    return result


def _activations(weights: Weights, images: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Compute what goes into the network and what comes out of each layer, with its relu."""
    w = {name: values.astype(np.float64) for name, values in weights.items()}
    found = {"x": images.astype(np.float64)}
    x = np.pad(found["x"], ((0, 0), (0, 0), (2, 2), (2, 2)))
    x = found["conv1"] = np.maximum(_convolve(x, w["conv1.weight"], w["conv1.bias"]), 0)
    x = found["conv2"] = _convolve(_pool(x), w["conv2.weight"], w["conv2.bias"])
    x = _pool(x).reshape(len(x), -1)
    x = found["linear1"] = np.maximum(x @ w["linear1.weight"] + w["linear1.bias"], 0)
    x = found["linear2"] = np.maximum(x @ w["linear2.weight"] + w["linear2.bias"], 0)
    found["linear3"] = x @ w["linear3.weight"] + w["linear3.bias"]
    return found


def _chunks(images: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for begin in range(0, len(images), _CHUNK):
        yield images[begin : begin + _CHUNK]


def reference(weights: Weights, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute LeNet's logits in double precision.

    Args:
        weights: From :func:`read_weights`.
        images: float32 [N, 1, 28, 28].

    Returns:
        float32 [N, 10].
    """
    parts = [_activations(weights, chunk)["linear3"] for chunk in _chunks(images)]
    return np.concatenate(parts).astype(np.float32)


def activation_ranges(
    weights: Weights, images: NDArray[np.float32]
) -> dict[str, tuple[float, float]]:
    """Find the least and the most that some images bring about.

    Args:
        weights: From :func:`read_weights`.
        images: float32 [N, 1, 28, 28].

    Returns:
        ``x``, the input, and the name of each layer, for what comes out of it after its relu.
    """
    parts = [_activations(weights, chunk) for chunk in _chunks(images)]
    return {
        name: (
            min(float(part[name].min()) for part in parts),
            max(float(part[name].max()) for part in parts),
        )
        for name in parts[0]
    }


def write_onnx(weights: Weights, path: Path) -> None:
    """Write LeNet as ONNX, opset 13, with a free batch; needs the package ``onnx``."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []

    def node(kind: str, *inputs: str, **attributes: object) -> str:
        output = f"{kind}_{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def pool(x: str) -> str:
        return node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    x = node("Conv", "x", "conv1.weight", "conv1.bias", pads=[2, 2, 2, 2])
    x = pool(node("Relu", x))
    x = pool(node("Conv", x, "conv2.weight", "conv2.bias"))
    x = node("Flatten", x)
    x = node("Relu", node("Gemm", x, "linear1.weight", "linear1.bias"))
    x = node("Relu", node("Gemm", x, "linear2.weight", "linear2.bias"))
    x = node("Gemm", x, "linear3.weight", "linear3.bias")
    graph = helper.make_graph(
        nodes,
        "lenet",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="lenet_cpp"
    )
    onnx.checker.check_model(model)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
