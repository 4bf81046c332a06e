"""LeNet without any engine: its weights, NumPy's answers, and the same weights as ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.files import atomic_path
from lenet_cpp.errors import Unsupported
from lenet_cpp.formats.tensors import read_combined

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Weights = dict[str, NDArray[np.float32]]

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


def read_weights(params: Path) -> Weights:
    """Read LeNet's weights from a ``.pdiparams``, by their shapes, which are all different.

    Raises:
        FileNotFound: There is no such file.
        BadModel: It is damaged, or holds another number of arrays.
        Unsupported: It is not that of a LeNet with ten classes.
    """
    found = read_combined(params, [str(i) for i in range(len(_SHAPES))]).values()
    by_shape = {one.shape: one for one in found}
    if set(by_shape) != set(_SHAPES.values()):
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


def activations(weights: Weights, images: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Compute LeNet in double precision, from its definition.

    Returns:
        ``x``, the images, and what comes out of each layer, after its relu; the logits are
        ``linear3``.
    """
    w = {name: values.astype(np.float64) for name, values in weights.items()}
    parts = []
    for begin in range(0, len(images), _CHUNK):
        found = {"x": images[begin : begin + _CHUNK].astype(np.float64)}
        x = np.pad(found["x"], ((0, 0), (0, 0), (2, 2), (2, 2)))
        x = found["conv1"] = np.maximum(_convolve(x, w["conv1.weight"], w["conv1.bias"]), 0)
        x = found["conv2"] = _convolve(_pool(x), w["conv2.weight"], w["conv2.bias"])
        x = _pool(x).reshape(len(x), -1)
        x = found["linear1"] = np.maximum(x @ w["linear1.weight"] + w["linear1.bias"], 0)
        x = found["linear2"] = np.maximum(x @ w["linear2.weight"] + w["linear2.bias"], 0)
        found["linear3"] = x @ w["linear3.weight"] + w["linear3.bias"]
        parts.append(found)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def write_onnx(weights: Weights, path: Path) -> None:
    """Write LeNet as ONNX, opset 13, with a free batch; needs the package ``onnx``."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []

    def node(kind: str, *inputs: str, **attributes: object) -> str:
        output = f"{kind}_{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def layer(kind: str, x: str, name: str, **attributes: object) -> str:
        return node(kind, x, f"{name}.weight", f"{name}.bias", **attributes)

    def pool(x: str) -> str:
        return node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    x = pool(node("Relu", layer("Conv", "x", "conv1", pads=[2, 2, 2, 2])))
    x = node("Flatten", pool(layer("Conv", x, "conv2")))
    x = node("Relu", layer("Gemm", x, "linear1"))
    x = node("Relu", layer("Gemm", x, "linear2"))
    x = layer("Gemm", x, "linear3")
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 28, 28])
    output = helper.make_tensor_value_info(x, TensorProto.FLOAT, ["N", 10])
    arrays = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "lenet", [source], [output], arrays)
    opset = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
