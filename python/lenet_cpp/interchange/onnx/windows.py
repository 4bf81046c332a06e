"""Convolutions, poolings and paddings for x2paddle; see :mod:`lenet_cpp.interchange.onnx.tidy`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lenet_cpp.interchange.onnx.graph import Node, RewrittenGraph, Value

_WHOLE: dict[str, Any] = {
    "kernel_shape": [1, 1],
    "strides": [1, 1],
    "dilations": [1, 1],
    "pads": [0] * 4,
    "group": 1,
}


def weights_of(graph: RewrittenGraph, node: Node, index: int) -> NDArray[np.float32]:
    """An input that has to be weights."""
    found = graph.constant(node, index)
    if found is None:
        raise node.refuse("lacks weights")
    return found.astype(np.float32)


def _padded(graph: RewrittenGraph, node: Node) -> tuple[str, tuple[int, int, int, int]]:
    """The input, and the zeros that a Pad before it would have put around it."""
    name = graph.names[node.inputs[0]]
    return graph.padding.get(name, (name, (0, 0, 0, 0)))


def _pad(graph: RewrittenGraph, node: Node) -> None:
    """Note a padding with zeros, for the convolution or pooling that comes next."""
    given, value = graph.constant(node, 1), graph.constant(node, 2)
    pads = [int(one) for one in (node.get("pads", ()) if given is None else given)]
    fill = float(node.get("value", 0)) if value is None else value.item()
    rank = len(graph.shape(node))
    axes = graph.constant(node, 3)
    if axes is not None:
        every = [0] * (2 * rank)
        for index, axis in enumerate(axes % rank):
            every[axis], every[axis + rank] = pads[index], pads[index + len(axes)]
        pads = every
    if not any(pads):
        graph.give(node, graph.names[node.inputs[0]])
        return
    usual = rank == 4 and node.get("mode", "constant") == "constant" and fill == 0
    if not usual or min(pads) < 0 or pads[0] or pads[1] or pads[4] or pads[5]:
        raise node.refuse("is supported for zeros around height and width only")
    x, before = _padded(graph, node)
    around = (pads[2], pads[3], pads[6], pads[7])
    name = f"padded_{len(graph.padding)}"
    top, left, bottom, right = (a + b for a, b in zip(before, around, strict=True))
    graph.padding[name] = x, (top, left, bottom, right)
    graph.give(node, name)


class _Window:
    """The window of a convolution or pooling over height and width, with all written out."""

    def __init__(self, graph: RewrittenGraph, node: Node, kernel: Sequence[int]) -> None:
        self.kernel = [int(size) for size in kernel]
        if len(graph.shape(node)) != 4 or len(self.kernel) != 2:
            raise node.refuse("is supported over height and width only")
        self.strides = [int(one) for one in node.get("strides", (1, 1))]
        self.dilations = [int(one) for one in node.get("dilations", (1, 1))]
        self.out = graph.out_shape(node)[2:]
        self.image = graph.shape(node)[2:]  # of what a Pad made, when there was one
        mode = node.get("auto_pad", "NOTSET")
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        self._reach = reach
        if mode in {"SAME_UPPER", "SAME_LOWER"}:
            missing = [
                max(0, (self.out[i] - 1) * self.strides[i] + reach[i] - self.image[i])
                for i in (0, 1)
            ]
            less, more = [one // 2 for one in missing], [one - one // 2 for one in missing]
            self.begin, self.end = (less, more) if mode == "SAME_UPPER" else (more, less)
        else:
            pads = [0] * 4 if mode == "VALID" else [int(p) for p in node.get("pads", [0] * 4)]
            self.begin, self.end = pads[:2], pads[2:]
        self.pooled_beyond = any(  # windows that ceil_mode lets hang over the edge
            (self.out[i] - 1) * self.strides[i] + reach[i]
            > self.image[i] + self.begin[i] + self.end[i]
            for i in (0, 1)
        )

    def take_padding(self, before: tuple[int, int, int, int]) -> None:
        """Take over the zeros of a Pad, which ``image`` is measured with."""
        top, left, bottom, right = before
        self.begin = [self.begin[0] + top, self.begin[1] + left]
        self.end = [self.end[0] + bottom, self.end[1] + right]
        self.image = (self.image[0] - top - bottom, self.image[1] - left - right)

    def needed_end(self) -> list[int]:
        """The least padding after the image that gives as many windows; none is cut off."""
        return [
            max(
                0,
                (self.out[i] - 1) * self.strides[i]
                + self._reach[i]
                - self.image[i]
                - self.begin[i],
            )
            for i in (0, 1)
        ]

    def symmetric(self) -> int | None:
        """The ``ceil_mode`` with which the padding before the image serves after it too."""
        room = [self.image[i] + 2 * self.begin[i] - self._reach[i] for i in (0, 1)]
        if self.out == tuple(r // s + 1 for r, s in zip(room, self.strides, strict=True)):
            return 0
        if self.out == tuple(-(-r // s) + 1 for r, s in zip(room, self.strides, strict=True)):
            return 1
        return None


def _conv(graph: RewrittenGraph, node: Node) -> None:
    weight = weights_of(graph, node, 1)
    x, before = _padded(graph, node)
    window = _Window(graph, node, weight.shape[2:])
    window.take_padding(before)
    operands: list[Value] = [x, weight]
    bias = graph.constant(node, 2)
    if bias is not None:
        operands.append(bias.astype(np.float32))
    result = graph.add(
        "Conv",
        *operands,
        kernel_shape=window.kernel,
        strides=window.strides,
        dilations=window.dilations,
        pads=[*window.begin, *window.end],
        group=int(node.get("group", 1)),
    )
    graph.give(node, result)


def _max_pool(graph: RewrittenGraph, node: Node) -> None:
    if node.get("storage_order", 0) or any(node.outputs[1:]):
        raise node.refuse("with indices is not supported")
    x, before = _padded(graph, node)
    window = _Window(graph, node, node.get("kernel_shape", ()))
    if window.dilations != [1, 1]:
        raise node.refuse("with dilations is not supported")
    if any(before):
        if graph.made_by.get(x) != "Relu":  # elsewhere a zero may be larger than every pixel
            raise node.refuse("after a Pad of what may be negative is not supported")
        window.take_padding(before)
    # Nothing is added for the padding: as long as there are as many windows from the same place,
    # the padding after the image does not matter.
    mode = window.symmetric()
    if mode is None:
        raise node.refuse(f"with paddings {[*window.begin, *window.end]} is not supported")
    result = graph.add(
        "MaxPool",
        x,
        kernel_shape=window.kernel,
        strides=window.strides,
        pads=[*window.begin, *window.begin],
        ceil_mode=mode,
    )
    graph.give(node, result)


def _average_pool(graph: RewrittenGraph, node: Node) -> None:
    window = _Window(graph, node, node.get("kernel_shape", ()))
    if window.dilations != [1, 1]:
        raise node.refuse("with dilations is not supported")
    counted = int(node.get("count_include_pad", 0))
    x, before = _padded(graph, node)
    if any(before):
        if not counted and any((*window.begin, *window.end)):
            raise node.refuse("with a padding of its own after a Pad is not supported")
        window.take_padding(before)
        counted = 1
    if counted and window.pooled_beyond:
        raise node.refuse("with both ceil_mode and count_include_pad is not supported")
    if counted and window.begin != window.end:  # which Paddle divides by too little
        channels = graph.shape(node)[1]
        mean = np.full((channels, 1, *window.kernel), 1 / np.prod(window.kernel), np.float32)
        options = {
            "kernel_shape": window.kernel,
            "strides": window.strides,
            "pads": [*window.begin, *window.end],
        }
        graph.give(node, graph.add("Conv", x, mean, **_WHOLE | options | {"group": channels}))
        return
    end = window.end if counted else window.needed_end()
    result = graph.add(
        "AveragePool",
        x,
        kernel_shape=window.kernel,
        strides=window.strides,
        pads=[*window.begin, *end],
        count_include_pad=counted,
    )
    graph.give(node, result)


def _global_pool(graph: RewrittenGraph, node: Node) -> None:
    if len(graph.shape(node)) != 4:
        raise node.refuse("is supported over height and width only")
    graph.give(node, graph.add(node.kind, graph.data(node)))


def _lrn(graph: RewrittenGraph, node: Node) -> None:
    """The sum over neighbouring channels, as a convolution: Paddle's own layer pools in 3-D."""
    x, size = graph.data(node), int(node.get("size"))
    channels = graph.shape(node)[1]
    apart = np.subtract.outer(np.arange(channels), np.arange(channels)) * -1
    near = (apart >= -((size - 1) // 2)) & (apart <= size // 2)
    weight = near * np.float32(node.get("alpha", 1e-4) / size)
    bias = np.full(channels, node.get("bias", 1.0), np.float32)
    band = weight.astype(np.float32)[:, :, None, None]
    total = graph.add("Conv", graph.add("Mul", x, x), band, bias, **_WHOLE)
    root = graph.add("Pow", total, np.array([node.get("beta", 0.75)], np.float32))
    graph.give(node, graph.add("Div", x, root))


WINDOW_RULES: dict[str, Callable[[RewrittenGraph, Node], None]] = {
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _global_pool),
    "AveragePool": _average_pool,
    "Conv": _conv,
    "LRN": _lrn,
    "MaxPool": _max_pool,
    "Pad": _pad,
}
"""As :data:`lenet_cpp.interchange.onnx.rules.RULES`, of which it is a part."""
