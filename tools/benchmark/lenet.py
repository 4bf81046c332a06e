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

_CONVOLUTIONS = {"conv1": (6, 1, 5, 5), "conv2": (16, 6, 5, 5)}
_LINEAR = {"linear1": (400, 120), "linear2": (120, 84), "linear3": (84, 10)}
_SHAPES: dict[str, tuple[int, ...]] = {
    **{f"{name}.weight": shape for name, shape in (_CONVOLUTIONS | _LINEAR).items()},
    **{f"{name}.bias": shape[:1] for name, shape in _CONVOLUTIONS.items()},
    **{f"{name}.bias": shape[1:] for name, shape in _LINEAR.items()},
}
_ONNX = """<ir_version: 8, opset_import: ["": 13]>
lenet (float[N, 1, 28, 28] x) => (float[N, 10] y) {
    a = Conv <pads = [2, 2, 2, 2]> (x, conv1_weight, conv1_bias)
    b = Relu (a)
    c = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)
    d = Conv (c, conv2_weight, conv2_bias)
    e = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (d)
    f = Flatten (e)
    g = Gemm (f, linear1_weight, linear1_bias)
    h = Relu (g)
    i = Gemm (h, linear2_weight, linear2_bias)
    j = Relu (i)
    y = Gemm (j, linear3_weight, linear3_bias)
}"""


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
    found: Any = np.einsum("nchwij,ocij->nohw", windows, weight, optimize=True)
    return found + bias[:, None, None]  # type: ignore[no-any-return]  # NumPy says Any


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
    x = images.astype(np.float64)
    found = {"x": x}
    x = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    x = found["conv1"] = np.maximum(_convolve(x, w["conv1.weight"], w["conv1.bias"]), 0)
    x = found["conv2"] = _convolve(_pool(x), w["conv2.weight"], w["conv2.bias"])
    x = _pool(x).reshape(len(x), -1)
    x = found["linear1"] = np.maximum(x @ w["linear1.weight"] + w["linear1.bias"], 0)
    x = found["linear2"] = np.maximum(x @ w["linear2.weight"] + w["linear2.bias"], 0)
    return {**found, "linear3": x @ w["linear3.weight"] + w["linear3.bias"]}


def write_onnx(weights: Weights, path: Path) -> None:
    """Write LeNet as ONNX, with a free batch; needs the package ``onnx``."""
    import onnx

    model = onnx.parser.parse_model(_ONNX)
    arrays = {name.replace(".", "_"): values for name, values in weights.items()}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in arrays.items())
    onnx.checker.check_model(model)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
