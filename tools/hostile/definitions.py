"""ONNX's definitions of operators in NumPy, where those of the package onnx are not right.

What the package gives instead is said beside each. ``of_set`` returns them for an operator set.
"""

import math

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_average_pool, op_max_pool, op_resize

from tools.hostile.networks import InvalidNetworkError


class BatchNormalization(OpRun):
    """A scale and a bias for each channel; the package takes the statistics of the images.

    It does so before the operator set 14, as when a network is trained.
    """

    def _run(self, x, scale, bias, mean, var, epsilon=1e-5, **_):
        sizes = [-1, *[1] * (x.ndim - 2)]
        scale, bias, mean, var = (each.reshape(sizes) for each in (scale, bias, mean, var))
        return (scale * (x - mean) / np.sqrt(var + epsilon) + bias,)


class GatherElements(OpRun):
    """Take elements by a table of places; the package mistakes the axis of some tables."""

    def _run(self, x, places, axis=0):
        axis %= x.ndim
        sizes = enumerate(places.shape)
        part = x[tuple(slice(None if i == axis else size) for i, size in sizes)]
        return (np.take_along_axis(part, places % x.shape[axis], axis),)


class GroupNormalization(OpRun):
    """Normalize groups of channels; the package computes the variance from squares in float32."""

    def _run(self, x, scale, bias, epsilon=1e-5, num_groups=1, **_):
        groups = x.reshape(len(x), num_groups, -1)
        below = groups - groups.mean(axis=2, keepdims=True)
        normal = below / np.sqrt((below * below).mean(axis=2, keepdims=True) + epsilon)
        scale, bias = (each.reshape(-1, *[1] * (x.ndim - 2)) for each in (scale, bias))
        return (normal.reshape(x.shape) * scale + bias,)


class LogSoftmax(OpRun):
    """Log-softmax along an axis; the package takes the logarithm of zero."""

    def _run(self, x, axis=-1):
        below = x - x.max(axis=axis, keepdims=True)
        return (below - np.log(np.exp(below).sum(axis=axis, keepdims=True)),)


class LRN(OpRun):
    """Normalization across channels; the package takes images for channels."""

    def _run(self, x, alpha=1e-4, beta=0.75, bias=1.0, size=1):
        before = (size - 1) // 2
        room = [(0, 0), (before, size - 1 - before), *[(0, 0)] * (x.ndim - 2)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x * x, room), size, axis=1)
        return (x / (bias + alpha / size * windows.sum(axis=-1)) ** beta,)


class LpNormalization(OpRun):
    """Divide by a norm, and give 0 where it is 0.

    The package sums numbers in place of their absolute values where p is 1, and divides 0 by 0.
    """

    def _run(self, x, axis=-1, p=2):
        powers = np.abs(x) if p == 1 else x * x
        norm = powers.sum(axis=axis, keepdims=True) ** (1 / p)
        return (np.divide(x, norm, out=np.zeros_like(x), where=norm != 0),)


class GlobalMaxPool(OpRun):
    """The largest number of each channel; the package takes that of two axes, if there are two."""

    def _run(self, x):
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class Windows:
    """The windows of a pool, and the room that it adds before and behind an image."""

    def __init__(self, sizes, kernel, strides, pads, ceil_mode):
        rank = len(kernel)
        self.kernel = kernel
        self.strides = strides or [1] * rank
        pads = pads or [0] * 2 * rank
        self.pads = [*zip(pads[:rank], pads[rank:], strict=True)]
        self.counts, self.more = [], []
        for size, window, stride, (before, behind) in zip(
            sizes, kernel, self.strides, self.pads, strict=True
        ):
            steps = (size + before + behind - window) / stride
            count = (math.ceil(steps) if ceil_mode else math.floor(steps)) + 1
            if ceil_mode and (count - 1) * stride >= size + before:  # it begins behind the image
                count -= 1
            end = (count - 1) * stride + window
            if count < 1:
                raise InvalidNetworkError("no definition of a window larger than the image")
            self.counts.append(count)
            self.more.append((0, max(0, end - size - before - behind)))

    def cut(self, x, of_pads, of_more):
        """Return the windows of an array, whose last axes they are, with numbers around it."""
        others = [(0, 0)] * (x.ndim - len(self.kernel))
        x = np.pad(x, [*others, *self.pads], constant_values=of_pads)
        x = np.pad(x, [*others, *self.more], constant_values=of_more)
        axes = tuple(range(len(others), x.ndim))
        found = np.lib.stride_tricks.sliding_window_view(x, self.kernel, axes)
        kept = [
            slice(0, count * stride, stride)
            for count, stride in zip(self.counts, self.strides, strict=True)
        ]
        return found[(..., *kept, *[slice(None)] * len(self.kernel))]


class MaxPool(op_max_pool.MaxPool):
    """The largest number of each window; the package pads twice with ``ceil_mode``."""

    def _run(self, x, auto_pad="NOTSET", ceil_mode=0, kernel_shape=(), pads=None, **more):
        if auto_pad != "NOTSET" or len(self.output) > 1 or not is_plain(more):
            named = {"auto_pad": auto_pad, "ceil_mode": ceil_mode, "pads": pads}
            return super()._run(x, kernel_shape=kernel_shape, **named, **more)
        windows = Windows(x.shape[2:], kernel_shape, more.get("strides"), pads, ceil_mode)
        axes = tuple(range(-len(kernel_shape), 0))
        return (windows.cut(x, -np.inf, -np.inf).max(axis=axes),)


class AveragePool(op_average_pool.AveragePool_19):
    """The mean of each window; the package reads behind the image with ``ceil_mode``."""

    def _run(self, x, auto_pad="NOTSET", ceil_mode=0, kernel_shape=(), pads=None, **more):
        if auto_pad != "NOTSET" or not is_plain(more):
            named = {"auto_pad": auto_pad, "ceil_mode": ceil_mode, "pads": pads}
            return super()._run(x, kernel_shape=kernel_shape, **named, **more)
        windows = Windows(x.shape[2:], kernel_shape, more.get("strides"), pads, ceil_mode)
        axes = tuple(range(-len(kernel_shape), 0))
        counted = windows.cut(np.ones(x.shape[2:]), more.get("count_include_pad") or 0, 0)
        return (windows.cut(x, 0, 0).sum(axis=axes) / counted.sum(axis=axes),)


def is_plain(attributes):
    """Return whether a pool has no dilations."""
    return all(step == 1 for step in attributes.get("dilations") or [])


class Mean(OpRun):
    """The mean of several values; the package takes the first for the largest shape."""

    def _run(self, *values):
        return (sum(values) / len(values),)


class Pad(OpRun):
    """Cut what is negative, and add numbers; the package does not cut."""

    def _run(self, x, pads, value=None, axes=None, mode="constant"):
        axes = range(x.ndim) if axes is None else axes
        sides = dict.fromkeys(range(x.ndim), (0, 0))
        sides |= {
            axis % x.ndim: (int(before), int(behind))
            for axis, before, behind in zip(axes, *np.split(np.array(pads), 2), strict=True)
        }
        kept = [
            slice(max(0, -before), x.shape[axis] + min(0, behind))
            for axis, (before, behind) in sorted(sides.items())
        ]
        more = [(max(0, before), max(0, behind)) for _, (before, behind) in sorted(sides.items())]
        number = 0 if value is None or not np.size(value) else np.asarray(value).item()
        how = {"constant_values": number} if mode == "constant" else {}
        return (np.pad(x[tuple(kept)], more, mode=mode, **how),)


class Resize(op_resize.Resize):
    """Resize; the package reads the first number of an empty ``roi``."""

    def _run(self, x, roi=None, scales=None, sizes=None, **more):
        roi, scales = (None if each is None or not each.size else each for each in (roi, scales))
        return super()._run(x, roi, scales, sizes, **more)


class ScatterElements(OpRun):
    """Overwrite elements; the package does not take every shape."""

    def _run(self, data, indices, updates, axis=0, reduction="none"):
        changed = data.copy()
        np.put_along_axis(changed, indices, updates, axis)
        return (changed,)


class QuantizeLinear(OpRun):
    """Round to int8 by one scale; the package has none before the operator set 19."""

    def _run(self, x, scale, zero, **_):
        return (np.clip(np.round(x / scale) + zero, -128, 127).astype(np.int8),)


class DequantizeLinear(OpRun):
    """Multiply int8 by one scale; the package has none before the set 19, and rounds to float32."""

    def _run(self, x, scale, zero, **_):
        return ((x.astype(np.float64) - zero) * np.float64(scale),)


def joined(definition):
    """Return the definition of a softmax before the set 13: over an axis and all behind it."""

    def run(_, x, axis=1):
        flat = x.reshape(math.prod(x.shape[:axis]), -1)
        return (definition(flat).reshape(x.shape),)

    return run


def softmax(x):
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def log_softmax(x):
    below = x - x.max(axis=1, keepdims=True)
    return below - np.log(np.exp(below).sum(axis=1, keepdims=True))


def hardmax(x):
    return np.eye(x.shape[1])[x.argmax(axis=1)]


BEFORE_13 = {"Softmax": softmax, "LogSoftmax": log_softmax, "Hardmax": hardmax}
"""The package has definitions of these operators only since operator set 13."""
ALWAYS = [
    *(
        AveragePool,
        BatchNormalization,
        DequantizeLinear,
        GatherElements,
        GlobalMaxPool,
        GroupNormalization,
        LRN,
        LogSoftmax,
        LpNormalization,
    ),
    *(MaxPool, Mean, QuantizeLinear, Resize, ScatterElements),
]


def of_set(opset):
    """Return the definitions of an operator set, the first of those with the same name."""
    before = BEFORE_13 if opset < 13 else {}
    old = [type(name, (OpRun,), {"_run": joined(each)}) for name, each in before.items()]
    return [*old, *ALWAYS, *[Pad] * (opset >= 11)]
