"""Convolutions, poolings and paddings; see :mod:`lenet_cpp.interchange.onnx.reduce`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lenet_cpp.interchange.onnx.steps import Node, Steps


def _padded(steps: Steps, node: Node) -> tuple[str, tuple[int, int, int, int]]:
    """The input, and the zeros that a Pad before it would have put around it."""
    name = steps.names[node.inputs[0]]
    return steps.padding.get(name, (name, (0, 0, 0, 0)))


def _pad(steps: Steps, node: Node) -> None:
    """Note a padding with zeros, for the convolution or pooling that comes next."""
    given, value = steps.constant(node, 1), steps.constant(node, 2)
    pads = [int(one) for one in (node.get("pads", ()) if given is None else given)]
    fill = float(node.get("value", 0)) if value is None else value.item()
    rank = len(steps.shape(node))
    axes = steps.constant(node, 3)
    if axes is not None:
        every = [0] * (2 * rank)
        for index, axis in enumerate(axes % rank):
            every[axis], every[axis + rank] = pads[index], pads[index + len(axes)]
        pads = every
    if not any(pads):
        steps.give(node, steps.names[node.inputs[0]])
        return
    usual = rank == 4 and node.get("mode", "constant") == "constant" and fill == 0
    if not usual or min(pads) < 0 or pads[0] or pads[1] or pads[4] or pads[5]:
        raise node.refuse("is supported for zeros around height and width only")
    x, before = _padded(steps, node)
    around = (pads[2], pads[3], pads[6], pads[7])
    name = f"padded_{len(steps.padding)}"
    top, left, bottom, right = (a + b for a, b in zip(before, around, strict=True))
    steps.padding[name] = x, (top, left, bottom, right)
    steps.give(node, name)


class _Window:
    """The window of a convolution or pooling over height and width, with all written out."""

    def __init__(self, steps: Steps, node: Node, kernel: Sequence[int]) -> None:
        self.kernel = [int(size) for size in kernel]
        if len(steps.shape(node)) != 4 or len(self.kernel) != 2:
            raise node.refuse("is supported over height and width only")
        self.strides = [int(one) for one in node.get("strides", (1, 1))]
        self.dilations = [int(one) for one in node.get("dilations", (1, 1))]
        self.out = steps.out_shape(node)[2:]
        self.image = steps.shape(node)[2:]  # of what a Pad made, when there was one
        mode = node.get("auto_pad", "NOTSET")
        self._reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        if mode in {"SAME_UPPER", "SAME_LOWER"}:
            missing = [max(0, self._covered(i) - self.image[i]) for i in (0, 1)]
            less, more = [one // 2 for one in missing], [one - one // 2 for one in missing]
            self.begin, self.end = (less, more) if mode == "SAME_UPPER" else (more, less)
        else:
            pads = [0] * 4 if mode == "VALID" else [int(p) for p in node.get("pads", [0] * 4)]
            self.begin, self.end = pads[:2], pads[2:]
        self.pooled_beyond = any(  # windows that ceil_mode lets hang over the edge
            self._covered(i) > self.image[i] + self.begin[i] + self.end[i] for i in (0, 1)
        )

    def take_padding(self, before: tuple[int, int, int, int]) -> None:
        """Take over the zeros of a Pad, which ``image`` is measured with."""
        top, left, bottom, right = before
        self.begin = [self.begin[0] + top, self.begin[1] + left]
        self.end = [self.end[0] + bottom, self.end[1] + right]
        self.image = (self.image[0] - top - bottom, self.image[1] - left - right)

    def needed_end(self) -> list[int]:
        """The least padding after the image that gives as many windows; none is cut off."""
        return [max(0, self._covered(i) - self.image[i] - self.begin[i]) for i in (0, 1)]

    def _covered(self, i: int) -> int:
        """How far the windows reach, from the first pixel of the first to the last one's last."""
        return (self.out[i] - 1) * self.strides[i] + self._reach[i]

    def symmetric(self) -> bool | None:
        """The ``ceil_mode`` with which the padding before the image serves after it too."""
        room = [self.image[i] + 2 * self.begin[i] - self._reach[i] for i in (0, 1)]
        if self.out == tuple(r // s + 1 for r, s in zip(room, self.strides, strict=True)):
            return False
        if self.out == tuple(-(-r // s) + 1 for r, s in zip(room, self.strides, strict=True)):
            return True
        return None


def _around(begin: Sequence[int], end: Sequence[int]) -> list[int]:
    """Return a padding as Paddle takes it."""
    return list(begin) if begin == end else [begin[0], end[0], begin[1], end[1]]


def _conv(steps: Steps, node: Node) -> None:
    weight = steps.weights_of(node, 1)
    x, before = _padded(steps, node)
    window = _Window(steps, node, weight.shape[2:])
    window.take_padding(before)
    bias = steps.constant(node, 2)
    result = steps.add(
        "conv2d",
        x,
        weight,
        *([] if bias is None else [bias.astype(np.float32)]),
        stride=window.strides,
        padding=_around(window.begin, window.end),
        dilation=window.dilations,
        groups=int(node.get("group", 1)),
    )
    steps.give(node, result)


def _max_pool(steps: Steps, node: Node) -> None:
    if node.get("storage_order", 0) or any(node.outputs[1:]):
        raise node.refuse("with indices is not supported")
    x, before = _padded(steps, node)
    window = _Window(steps, node, node.get("kernel_shape", ()))
    if window.dilations != [1, 1]:
        raise node.refuse("with dilations is not supported")
    if any(before):
        if steps.made_by(x) != "relu":  # elsewhere a zero may be larger than every pixel
            raise node.refuse("after a Pad of what may be negative is not supported")
        window.take_padding(before)
    # Nothing is added for the padding: as long as there are as many windows from the same place,
    # the padding after the image does not matter.
    mode = window.symmetric()
    if mode is None:
        raise node.refuse(f"with paddings {[*window.begin, *window.end]} is not supported")
    result = steps.add(
        "max_pool2d",
        x,
        kernel_size=window.kernel,
        stride=window.strides,
        padding=window.begin,
        ceil_mode=mode,
    )
    steps.give(node, result)


def _average_pool(steps: Steps, node: Node) -> None:
    window = _Window(steps, node, node.get("kernel_shape", ()))
    if window.dilations != [1, 1]:
        raise node.refuse("with dilations is not supported")
    counted = bool(node.get("count_include_pad", 0))
    x, before = _padded(steps, node)
    if any(before):
        if not counted and any((*window.begin, *window.end)):
            raise node.refuse("with a padding of its own after a Pad is not supported")
        window.take_padding(before)
        counted = True
    if counted and window.pooled_beyond:
        raise node.refuse("with both ceil_mode and count_include_pad is not supported")
    if counted and window.begin != window.end:  # which Paddle divides by too little
        channels = steps.shape(node)[1]
        mean = np.full((channels, 1, *window.kernel), 1 / np.prod(window.kernel), np.float32)
        padding = _around(window.begin, window.end)
        options = {"stride": window.strides, "padding": padding, "groups": channels}
        steps.give(node, steps.add("conv2d", x, mean, **options))
        return
    end = window.end if counted else window.needed_end()
    result = steps.add(
        "avg_pool2d",
        x,
        kernel_size=window.kernel,
        stride=window.strides,
        padding=_around(window.begin, end),
        exclusive=not counted,
    )
    steps.give(node, result)


def _global_pool(function: str) -> Callable[[Steps, Node], None]:
    def rule(steps: Steps, node: Node) -> None:
        if len(steps.shape(node)) != 4:
            raise node.refuse("is supported over height and width only")
        steps.give(node, steps.add(function, steps.data(node), output_size=1))

    return rule


def _lrn(steps: Steps, node: Node) -> None:
    """The sum over neighbouring channels, as a convolution: Paddle's own layer pools in 3-D."""
    x, size = steps.data(node), int(node.get("size"))
    channels = steps.shape(node)[1]
    apart = np.subtract.outer(np.arange(channels), np.arange(channels)) * -1
    near = (apart >= -((size - 1) // 2)) & (apart <= size // 2)
    weight = near * np.float32(node.get("alpha", 1e-4) / size)
    bias = np.full(channels, node.get("bias", 1.0), np.float32)
    band = weight.astype(np.float32)[:, :, None, None]
    total = steps.add("conv2d", steps.add("multiply", x, x), band, bias)
    root = steps.add("pow", total, np.array([node.get("beta", 0.75)], np.float32))
    steps.give(node, steps.add("divide", x, root))


WINDOW_RULES: dict[str, Callable[[Steps, Node], None]] = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "GlobalAveragePool": _global_pool("adaptive_avg_pool2d"),
    "GlobalMaxPool": _global_pool("adaptive_max_pool2d"),
    "LRN": _lrn,
    "MaxPool": _max_pool,
    "Pad": _pad,
}
"""As :data:`lenet_cpp.interchange.onnx.rules.RULES`, of which it is a part."""
