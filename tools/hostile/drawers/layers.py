"""Layers: convolutions, pools, normalizations and products."""

import math

from tools.hostile.drawers.constants import numbers, weights
from tools.hostile.drawers.moves import factors


def spatial(g, x):
    shape = g.shape(x)
    if g.axis(x) != 0 or g.entries(x) != 1 or len(shape) not in (3, 4):
        raise ValueError("no pixels")
    return shape[1], shape[2:]


def windows(g, sizes, kernel):
    """Draw strides, paddings and dilations."""
    pads = [g.d.randint(0, k // 2) for k in kernel]
    same = pads if g.d.chance(0.7) else [g.d.randint(0, k // 2) for k in kernel]
    how = g.d.some(
        strides=(0.3, [g.d.pick([1, 2, 2, 3]) for _ in sizes]),
        dilations=(0.1, [g.d.pick([1, 2]) for _ in sizes]),
    )
    return how | ({"auto_pad": "SAME_UPPER"} if g.d.chance(0.1) else {"pads": pads + same})


def channels(g):
    return g.d.pick([1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 32, 33])


def conv(g, x):
    count, sizes = spatial(g, x)
    out = g.d.pick([count, channels(g)])
    group = g.d.pick([k for k in (1, 1, 1, 2, count) if count % k == 0 and out % k == 0])
    kernel = [g.d.pick([1, 1, 3, 3, 5, 2]) for _ in sizes]
    if g.d.chance(0.6):
        kernel = [kernel[0]] * len(sizes)
    how = windows(g, sizes, kernel)
    if g.d.chance(0.5):
        how = {"pads": [k // 2 for k in kernel] * 2}
    elif any(2 * k - 1 > size for k, size in zip(kernel, sizes, strict=True)):
        raise ValueError("the kernel may be larger than the image")
    return convolved(g, x, out, kernel, group, **how)


def convolved(g, x, out, kernel, group=1, *, bias=None, **how):
    _, sizes = spatial(g, x)
    if len(sizes) != len(kernel):  # of which the package onnx would end the process
        raise ValueError("no such pixels")
    count = g.shape(x)[1] // group
    shape = [out, count, *kernel]
    more = [weights(g, [out], 1)] if (g.d.chance(0.6) if bias is None else bias) else []
    if group > 1:
        how["group"] = group
    return g.add("Conv", x, weights(g, shape, math.prod(shape[1:])), *more, **how)


def conv_transpose(g, x):
    count, sizes = spatial(g, x)
    out = channels(g) // 2 + 1
    kernel = [g.d.pick([1, 2, 3]) for _ in sizes]
    strides = [g.d.pick([1, 2]) for _ in sizes]
    pads = [g.d.randint(0, (k - 1) // 2) for k in kernel]
    shape = [count, out, *kernel]
    more = [weights(g, [out], 1)] if g.d.chance(0.5) else []
    weight = weights(g, shape, count * math.prod(kernel))
    return g.add("ConvTranspose", x, weight, *more, strides=strides, pads=pads * 2)


def pool(op):
    def draw(g, x):
        _, sizes = spatial(g, x)
        kernel = [g.d.pick([k for k in (1, 2, 2, 3, 3) if k <= size]) for size in sizes]
        strides = g.d.some(strides=(0.5, [g.d.pick([1, 2]) for _ in sizes]))
        pads = g.d.some(pads=(0.5, [g.d.randint(0, k // 2) for k in kernel] * 2))
        more = g.d.some(ceil_mode=(0.2 * (g.opset >= 10), 1))
        if op == "AveragePool":
            more |= g.d.some(count_include_pad=(0.4, 1))
        return g.add(op, x, kernel_shape=kernel, **strides, **pads, **more)

    return draw


def global_pool(op):
    def draw(g, x):
        spatial(g, x)
        return g.add(op, x)

    return draw


def batch_norm(g, x):
    shape = g.shape(x)
    if g.axis(x) != 0 or g.entries(x) != 1:
        raise ValueError("no channels")
    size = [shape[1]]
    some = [numbers(g, size), numbers(g, size), weights(g, size, 1)]
    more = {"epsilon": 1e-3} if g.d.chance(0.3) else {}
    return g.add("BatchNormalization", x, *some, {"shape": size, "least": 0.5}, **more)


def layer_norm(g, x):
    shape, axis = g.shape(x), g.axis(x)
    at = g.d.randint(axis + 1, len(shape) - 1)
    size = shape[at:]
    more = [numbers(g, size)] if g.d.chance(0.8) else []
    named = g.d.pick([at, at - len(shape)])
    return g.add("LayerNormalization", x, numbers(g, size), *more, axis=named, epsilon=1e-3)


def group_norm(g, x):
    shape = g.shape(x)
    count = g.d.pick(factors(shape[1]))
    if g.opset < 21 or g.axis(x) != 0 or len(shape) < 3:
        raise ValueError("no groups of channels")
    parts = [numbers(g, [shape[1]]), numbers(g, [shape[1]])]
    return g.add("GroupNormalization", x, *parts, num_groups=count, epsilon=1e-3)


def instance_norm(g, x):
    count, _ = spatial(g, x)
    parts = [numbers(g, [count]), numbers(g, [count])]
    return g.add("InstanceNormalization", x, *parts, epsilon=1e-2)


def lrn(g, x):
    _, sizes = spatial(g, x)
    if len(sizes) != 2:
        raise ValueError("no pixels")
    return g.add("LRN", x, size=g.d.pick([1, 3, 5]), alpha=g.d.pick([1e-4, 0.5]))


def matmul(g, x):
    """Multiply by a constant on either side, or by a value, which may be the same transposed."""
    shape, axis = g.shape(x), g.axis(x)
    rank = len(shape)
    way = g.d.pick(["right", "right", "left", "value", "own", "batched"])
    if way == "right":
        if axis == rank - 1:
            raise ValueError("mixes images")
        return linear(g, x, g.d.pick([shape[-1], channels(g)]))
    if way == "left":
        if axis >= rank - 2:
            raise ValueError("mixes images")
        out = g.d.pick([shape[-2], channels(g)])
        return g.add("MatMul", weights(g, [out, shape[-2]], shape[-2]), x)
    if way == "batched":
        if axis >= rank - 2 or rank < 3:
            raise ValueError("mixes images")
        before = [1 if i == axis else size for i, size in enumerate(shape[:-2])]
        out = g.d.pick([shape[-1], channels(g)])
        return g.add("MatMul", x, weights(g, [*before, shape[-1], out], shape[-1]))
    if way == "own":
        perm = [*range(rank - 2), rank - 1, rank - 2]
        if axis > rank - 3:
            raise ValueError("mixes images")
        turned = g.add("Transpose", x, perm=perm)
        product = g.add("MatMul", x, turned)
        return g.add("Mul", product, {"floats": shape[-1] ** -0.5}) if g.d.chance() else product

    def fits(y):
        other = g.shape(y)
        return g.is_float(y) and len(other) == rank and other[:-2] == shape[:-2]

    left = g.values(lambda y: fits(y) and g.shape(y)[-1] == shape[-2])
    right = g.values(lambda y: fits(y) and g.shape(y)[-2] == shape[-1])
    if axis > rank - 3:
        raise ValueError("mixes images")
    if g.d.chance() and left:
        return g.add("MatMul", g.d.pick(left), x)
    return g.add("MatMul", x, g.d.pick(right))


def linear(g, x, out):
    width = g.shape(x)[-1]
    return g.add("MatMul", x, weights(g, [width, out], width))


def gemm(g, x):
    _, width = g.shape(x)
    if g.axis(x) != 0:
        raise ValueError("mixes images")
    out = channels(g)
    turned = g.d.chance(0.5)
    shape = [out, width] if turned else [width, out]
    bias = [numbers(g, g.d.pick([[out], [1, out], [1], [1, 1], []]))] if g.d.chance(0.7) else []
    how = g.d.some(transB=(turned, 1), alpha=(0.2, 0.5), beta=(0.2, -2.0))
    return g.add("Gemm", x, weights(g, shape, width), *bias, **how)


def einsum(g, x):
    """Multiply by a constant or a value, with letters that keep, sum, move or join axes."""
    shape = g.shape(x)
    rank = len(shape)
    if g.opset < 12:
        raise ValueError("no Einsum")
    letters = "abcdef"[:rank]
    order = "".join(g.d.sample(letters, rank)) if g.d.chance(0.5) else letters
    summed = letters[g.d.pick(g.others(x))] if g.d.chance(0.6) else ""
    kept = order.replace(summed, "") if summed else order
    if g.d.chance(0.15):
        return g.add("Einsum", x, equation=f"{letters}->{kept}")
    if g.d.chance(0.3):
        other = g.d.pick(g.values(lambda y: g.shapes[y] == g.shapes[x] and g.is_float(y)))
        return g.add("Einsum", x, other, equation=f"{letters},{letters}->{kept}")
    taken = [i for i in g.others(x) if letters[i] == summed or g.d.chance(0.4)]
    g.d.shuffle(taken)
    new = "z" if g.d.chance(0.6) else ""
    sizes = [shape[i] for i in taken] + ([channels(g)] if new else [])
    of_constant = "".join(letters[i] for i in taken) + new
    if not of_constant:
        raise ValueError("a constant without axes")
    at = g.d.randint(0, len(kept))
    result = kept[:at] + new + kept[at:]
    fan_in = shape[letters.index(summed)] if summed else 1
    constant = weights(g, sizes, max(1, fan_in))
    if g.d.chance(0.3):
        return g.add("Einsum", constant, x, equation=f"{of_constant},{letters}->{result}")
    return g.add("Einsum", x, constant, equation=f"{letters},{of_constant}->{result}")
