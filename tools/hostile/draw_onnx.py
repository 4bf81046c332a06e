"""Draw networks of ONNX's operators, most of which the native engine has kernels for."""

import math

from tools.hostile.draw import Drawing, all_of, groups_of, maybe, one_of, plain

OPSETS = range(7, 22)


def window(d, kernel, opset, *, pool):
    """Strides and paddings; what is the default is now and then left out."""
    most = [size - 1 for size in kernel] if pool else [4, 4]
    pads = [d.random.randint(0, min(most[i % 2], 3)) for i in range(4)]
    mode = d.pick(["NOTSET", "pads", "pads", None, None, "SAME_UPPER", "SAME_LOWER", "VALID"])
    padding = {"pads": pads} if mode == "pads" else {"auto_pad": mode} if mode else {}
    more = d.some(strides=(0.6, d.two([1, 2, 2, 3])))
    return padding | more | (d.some(ceil_mode=(0.35, 1)) if pool and opset >= 10 else {})


def constant(d, s):
    per_channel = [0, *[1] * (len(s) - 2)]
    every = [per_channel, [1, *per_channel], [1], [1, 1], [], [0], [d.pick([0, 1]) for _ in s]]
    return {"of": d.pick(["Add", "Mul"]), "shape": d.pick(every), **d.some(first=(0.3, True))}


def draw_onnx(d, shapes):
    """Draw a network of ONNX's operators."""
    opset = d.pick(OPSETS)
    batch = d.pick(["N", "N", 1])
    written = d.some(constants_as_nodes=(0.4, True), as_lists=(0.4, True))
    negative = opset >= 11  # axes from the end
    biases = [None, None, [0], [1, 0], [1]]

    def conv(d, s):
        kernel, group = d.kernel(), groups_of(d, s[1], [1, 1, 1, 2, s[1]])
        out = group * d.pick([1, 2, 5, 8] if group == 1 else [1, 2])
        more = d.some(
            kernel_shape=(0.5, kernel), dilations=(0.25, d.two([1, 2])), bias=(0.4, False),
            group=(1 if group > 1 else 0.2, group),
        )  # fmt: skip
        return {"out": out, "kernel": kernel, **window(d, kernel, opset, pool=False), **more}

    def pool(d, s):
        kernel = d.two([1, 2, 2, 3, 3, 4, 5])
        return {"kernel_shape": kernel, **window(d, kernel, opset, pool=True)}

    def max_pool(d, s):
        newer = d.some(dilations=(0.15 * (opset >= 10), d.two([1, 1, 2])))
        return pool(d, s) | d.some(storage_order=(0.15 * (opset >= 8), 1)) | newer

    def concat(d, s):
        axis = d.pick([1, 1, 1, d.random.randrange(1, len(s))])
        return {"axis": axis - len(s) if negative and d.chance(0.3) else axis}

    def reshape(d, s):
        count, images = math.prod(s[1:]), 1 if batch == 1 else 0
        flat = [[0, -1], [-1, count], [0, count], [images, -1], [0, 0, -1]]
        wide = [[0, -1, 1, 1], [0, count, 1, 1], [0, s[1], 1, -1], [-1, *s[1:]]]
        return {"shape": d.pick(flat + wide)}

    def mean(d, s):
        axes = d.pick([[2, 3], [3, 2], [2, 3], d.axes(len(s)) if negative else [1]])
        return {"axes": axes, **d.some(keepdims=(0.5, 0))}

    def gemm(d, s):
        bias = d.pick([*biases, []] if opset >= 11 else [*biases[2:], []])
        more = d.some(transB=(0.5, 1), alpha=(0.3, 0.5), beta=(0.3, -2.0), transA=(0.04, 1))
        return {"out": d.pick([1, 1, 4, 17]), "bias": bias, **more}

    bounds = [{"min": 0.0}, {"min": 0.0}, {}, {"min": 0.0, "max": 6.0}, {"max": 0.5}]
    flatten = one_of(axis=[1, 1, 1, 2, *([-1, -3] if negative else [])])
    normalize = maybe(epsilon=(0.4, 0.01))
    softmax = one_of(axis=[1, 1, -1 if negative else 1])
    squeeze = one_of(axes=[[2, 3], [2], [1]])
    view = maybe(gather=(0.5, True), cast=(0.3, True))
    body = {
        "Conv": conv, "MaxPool": max_pool, "Relu": plain, "BatchNormalization": normalize,
        "AveragePool": all_of(pool, maybe(count_include_pad=(0.5, 1))),
        "Clip": lambda d, s: d.pick(bounds), "constant_of": constant, "Identity": plain,
        "Cast": plain, "Dropout": plain, "Add": plain, "Concat": concat, "Reshape": reshape,
        "Flatten": flatten,
    }  # fmt: skip
    joints = {op: body[op] for op in ("Add", "Concat", "Conv", "Relu")}
    others = {"Sigmoid": plain, "Mul": plain, "Softmax": softmax}
    flat = {
        "Flatten": flatten, "Reshape": reshape, "view": view, "ReduceMean": mean,
        "GlobalAveragePool": plain, "GlobalMaxPool": plain,
    }  # fmt: skip
    flatter = {"Flatten": flatten, "Squeeze": squeeze, "Reshape": reshape, "view": view}
    ends = {
        "Gemm": gemm, "a Gemm": gemm, "MatMul": one_of(out=[1, 1, 4, 17], bias=biases),
        "Relu": plain, "BatchNormalization": normalize, "constant_of": constant,
        "Reshape": reshape, "Squeeze": squeeze, "Unsqueeze": squeeze, "Concat": concat,
        "Add": plain,
    }  # fmt: skip
    shape = [d.pick([1, 1, 2, 3, 4, 8]), *d.two([*range(1, 15), 1, 2, 3, 4, 28])]
    drawing = Drawing(d, "onnx", shape, shapes, opset=opset, batch=batch, **written)
    drawing.add_one_of({"Conv": conv} if d.chance(0.95) else body)
    for _ in range(d.pick(range(5))):
        drawing.add_one_of(joints if d.chance(0.3) else others if d.chance(0.1) else body)
    if d.chance(0.9):
        drawing.add_one_of(flat)
        if len(drawing.shapes[-1]) > 2 and d.chance(0.8):
            drawing.add_one_of(flatter)
        for _ in range(d.pick(range(4))):
            drawing.add_one_of(ends)
        if d.chance(0.25):
            drawing.add("Softmax", softmax, {})
    return drawing.network
