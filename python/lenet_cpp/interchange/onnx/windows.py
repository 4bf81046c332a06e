"""Convolutions, poolings and paddings; see :mod:`lenet_cpp.interchange.onnx.reduce`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lenet_cpp.interchange.onnx.steps import Node


def _padded(node: Node) -> tuple[str, NDArray[np.int64]]:
    """The input, and the zeros that a Pad before it would have put around it."""
    name = node.steps.names[node.inputs[0]]
    return node.steps.padding.get(name, (name, np.zeros((2, 2), np.int64)))


def _pad(node: Node) -> str:
    """Note a padding with zeros, for the convolution or pooling that comes next."""
    given, axes, rank = node.constant(2), node.constant(3), len(node.shape)
    fill = node.get("value", 0) if given is None else given.item()
    pads = np.zeros((2, rank), np.int64)
    pads[:, range(rank) if axes is None else axes % rank] = np.reshape(
        node.integers(1, "pads") or 2 * rank * [0], (2, -1)
    )
    if not pads.any():
        return node.steps.names[node.inputs[0]]
    usual = rank == 4 and node.get("mode", "constant") == "constant" and fill == 0
    if not usual or (pads < 0).any() or pads[:, :2].any():
        raise node.refuse("is supported for zeros around height and width only")
    x, before = _padded(node)
    name = f"padded_{len(node.steps.padding)}"
    node.steps.padding[name] = x, before + pads[:, 2:]
    return name


class _Window:
    """The window of a convolution or pooling over height and width, with all written out."""

    def __init__(self, node: Node, kernel: Sequence[int]) -> None:
        if len(node.shape) != 4 or len(kernel) != 2:
            raise node.refuse("is supported over height and width only")
        self.x, self.around = _padded(node)
        self.kernel = [int(size) for size in kernel]
        self.strides = [int(one) for one in node.get("strides", (1, 1))]
        self.dilations = [int(one) for one in node.get("dilations", (1, 1))]
        # From the first pixel of the first window to the last one's last.
        covered = np.subtract(node.out_shape[2:], 1) * self.strides + 1
        covered += np.subtract(kernel, 1) * self.dilations
        missing = covered - node.shape[2:]
        mode = node.get("auto_pad", "NOTSET")
        if mode in {"SAME_UPPER", "SAME_LOWER"}:
            less = np.maximum(0, missing) // 2
            pads = np.stack([less, np.maximum(0, missing) - less])
            pads = pads if mode == "SAME_UPPER" else pads[::-1]
        else:
            pads = np.reshape([0] * 4 if mode == "VALID" else node.get("pads", [0] * 4), (2, 2))
        self.own_padding = bool(pads.any())
        self.hangs_over = bool((missing > pads.sum(axis=0)).any())  # as ceil_mode lets it
        self.begin, self.end = pads + self.around
        # The least padding after the image that gives as many windows; none is cut off.
        self.needed_end = np.maximum(0, missing - pads[0] + self.around[1])

    def options(self, end: NDArray[np.int64]) -> dict[str, Any]:
        """Return its steps and its padding, of which ``end`` is after the image."""
        same = (self.begin == end).all()
        padding = self.begin if same else np.stack([self.begin, end], axis=1).ravel()
        return {"stride": self.strides, "padding": padding.tolist()}


def _conv(node: Node) -> str:
    weight, bias = node.weights(1), node.constant(2)
    window = _Window(node, weight.shape[2:])
    return node.add(
        "conv2d",
        window.x,
        weight,
        *([] if bias is None else [bias.astype(np.float32)]),
        dilation=window.dilations,
        groups=int(node.get("group", 1)),
        **window.options(window.end),
    )


def _pool_window(node: Node) -> _Window:
    window = _Window(node, node.get("kernel_shape", ()))
    if window.dilations != [1, 1]:
        raise node.refuse("with dilations is not supported")
    return window


def _max_pool(node: Node) -> str:
    if node.get("storage_order", 0) or any(node.outputs[1:]):
        raise node.refuse("with indices is not supported")
    window = _pool_window(node)
    # Elsewhere a zero may be larger than every pixel.
    if window.around.any() and node.steps.made_by(window.x) != "relu":
        raise node.refuse("after a Pad of what may be negative is not supported")
    options = window.options(window.needed_end)
    return node.add("max_pool2d", window.x, kernel_size=window.kernel, **options)


def _average_pool(node: Node) -> str:
    window, counted = _pool_window(node), bool(node.get("count_include_pad", 0))
    if window.around.any():
        if not counted and window.own_padding:
            raise node.refuse("with a padding of its own after a Pad is not supported")
        counted = True
    if counted and window.hangs_over:
        raise node.refuse("with both ceil_mode and count_include_pad is not supported")
    options = window.options(window.end if counted else window.needed_end)
    if counted and (window.begin != window.end).any():  # which Paddle divides by too little
        channels = node.shape[1]
        mean = np.full((channels, 1, *window.kernel), 1 / np.prod(window.kernel), np.float32)
        return node.add("conv2d", window.x, mean, groups=channels, **options)
    options |= {"kernel_size": window.kernel, "exclusive": not counted}
    return node.add("avg_pool2d", window.x, **options)


def _global_pool(function: str) -> Callable[[Node], str]:
    def rule(node: Node) -> str:
        if len(node.shape) != 4:
            raise node.refuse("is supported over height and width only")
        return node.add(function, node.data(), output_size=1)

    return rule


def _lrn(node: Node) -> str:
    """The sum over neighbouring channels, as a convolution: Paddle's own layer pools in 3-D."""
    x, size, channels = node.data(), int(node.get("size")), node.shape[1]
    apart = np.subtract.outer(np.arange(channels), np.arange(channels)) * -1
    near = (apart >= -((size - 1) // 2)) & (apart <= size // 2)
    weight = near * np.float32(node.get("alpha", 1e-4) / size)
    bias = np.full(channels, node.get("bias", 1.0), np.float32)
    band = weight.astype(np.float32)[:, :, None, None]
    total = node.add("conv2d", node.add("multiply", x, x), band, bias)
    root = node.add("pow", total, np.array([node.get("beta", 0.75)], np.float32))
    return node.add("divide", x, root)


WINDOW_RULES: dict[str, Callable[[Node], str]] = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "GlobalAveragePool": _global_pool("adaptive_avg_pool2d"),
    "GlobalMaxPool": _global_pool("adaptive_max_pool2d"),
    "LRN": _lrn,
    "MaxPool": _max_pool,
    "Pad": _pad,
}
"""As :data:`lenet_cpp.interchange.onnx.rules.RULES`, of which it is a part."""
